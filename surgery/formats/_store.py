"""The variables of a Keras 3 weights file, and their assignment to weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from surgery.architecture import Architecture, Layer, snake_case
from surgery.architecture.entries import join
from surgery.architecture.variables import VariableSpec, known_classes, variables_by_count
from surgery.errors import FormatError
from surgery.formats import _configs
from surgery.formats._hdf5 import Reader, Writer, attribute, unheld
from surgery.formats._old_places import OLD_LAYERS, todays_places
from surgery.formats.base import NEEDS_ARCHITECTURE
from surgery.weights.model import Carried, FormatFacts, Model
from surgery.weights.naming import natural_key
from surgery.weights.tensor import Tensor
from surgery.weights.weight import Weight

_INNER = "optimizer/inner_optimizer"
"""The path of the variables of the optimizer inside a LossScaleOptimizer."""

_CLASSES = {snake_case(name): name for name in known_classes()}


@dataclass(frozen=True)
class StoreFacts(FormatFacts):
    """The `name` attribute of each group in the Keras 3 weights file of a model."""

    group_names: Mapping[str, str]

    def renamed(self, model: Model, names: Mapping[str, str]) -> Model:
        layers = list(model.need_architecture("rename acts on layers").root.walk())
        new = {layer.group: names.get(layer.address) for layer in reversed(layers)}
        groups = {group: new.get(group) or name for group, name in self.group_names.items()}
        return replace(model, format_facts=StoreFacts(groups))


@dataclass(frozen=True)
class _Group:
    """The variables of one object; `place` is the path in today's layout of Keras 3."""

    place: str
    stored: str
    name: str
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True)
class Store:
    """The contents of a Keras 3 weights file."""

    weights: tuple[Weight, ...]
    optimizer: tuple[tuple[str, Tensor], ...]
    state: Mapping[str, Tensor]
    facts: StoreFacts


def read_store(readers: Sequence[Reader], architecture: Architecture | None) -> Store:
    """Sort variables into weights, optimizer and state, and give weights their addresses.

    They may be spread over several files, even those of one group. Raises FormatError.
    """
    groups = {group.place: group for group in _groups(readers, architecture)}
    names = {group.stored: group.name for group in groups.values() if group.name}
    optimizer = groups.pop("optimizer", None)
    groups.pop(_INNER, None)  # a second copy of the optimizer's variables
    state = {
        f"{group.stored}/vars/{i}": tensor
        for group in list(groups.values())
        if _is_state(group)
        for i, tensor in enumerate(groups.pop(group.place).tensors)
    }
    weights = _Namer(groups, architecture).weights()
    slots = tuple(
        (str(i), tensor) for i, tensor in enumerate(optimizer.tensors if optimizer else ())
    )
    return Store(tuple(weights), slots, state, StoreFacts(names))


def _groups(readers: Sequence[Reader], architecture: Architecture | None) -> Iterator[_Group]:
    found: dict[str, dict[str, Tensor]] = {}
    names: dict[str, str] = {}
    for reader in readers:
        for path, group, members in reader.groups():
            stored, _, last = path.rpartition("/")
            if last == "vars":
                own = {number: reader.tensor(group, number, d) for number, d in members.items()}
                found.setdefault(stored, {}).update(own)
                name = attribute(group, "name")
                names.setdefault(stored, name if isinstance(name, str) else "")
    file = str(readers[0].path)
    slashed = {stored: with_slashes(stored) for stored in found}
    filled = [slashed[stored] for stored, variables in found.items() if variables]
    places = todays_places(slashed.values(), filled, architecture, file)
    for stored, variables in found.items():
        numbers = [str(i) for i in range(len(variables))]
        if set(variables) != set(numbers):
            raise FormatError(f"{file}: the variables of {stored} are not numbered 0 to n")
        place = places[slashed[stored]]
        yield _Group(place, stored, names[stored], tuple(variables[i] for i in numbers))


def with_slashes(stored: str) -> str:
    """Return a group's path with slashes; some Keras versions use backslashes on Windows.

    Those are 2.12 to 2.14 and 3.0 to 3.3.
    """
    return stored.replace("\\", "/")


def _is_state(group: _Group) -> bool:
    """Return whether a group is a seed generator or metric: Keras variables, but not weights."""
    last = group.place.rpartition("/")[2]
    if group.place.startswith(("metrics/", "_metrics/")):
        return True
    return group.name.startswith("seed_generator") or bool(
        re.fullmatch(r"(_?seed_)?generator(_\d+)?", last)
        and [(t.shape, t.dtype.name) for t in group.tensors] == [((2,), "uint32")]
    )


class _Namer:
    """The assignment of addresses: by the architecture if there is one, else by the file."""

    def __init__(self, groups: Mapping[str, _Group], architecture: Architecture | None) -> None:
        self.left = {place: group for place, group in groups.items() if group.tensors}
        self.all = groups
        self.architecture = architecture
        self.found: dict[str, Weight] = {}

    def weights(self) -> list[Weight]:
        if self.architecture is not None:
            for layer in self.architecture.root.walk():
                self._layer(layer)
            self._in_keras_order(self.architecture)
        for group in sorted(self.left.values(), key=lambda g: natural_key(g.place)):
            self._unknown(group, "", "")
        return list(self.found.values())

    def _layer(self, layer: Layer) -> None:
        if layer.variables is None:
            inside = [g for p, g in self.left.items() if f"{p}/".startswith(f"{layer.group}/")]
            for group in sorted(inside, key=lambda g: natural_key(g.place)):
                self._unknown(group, layer.address, layer.group)
            return
        if (found := self._take(layer.group)) is None:
            return
        if len(found.tensors) > len(layer.variables):
            self._unknown(found, layer.address, layer.group)
            return
        for i, (variable, tensor) in enumerate(zip(layer.variables, found.tensors, strict=False)):
            self._add(variable.address, f"{found.stored}/vars/{i}", tensor, variable.trainable)

    def _take(self, place: str) -> _Group | None:
        """Remove and return the group at a path; older Keras used private attributes in it."""
        parent, _, last = place.rpartition("/")
        for candidate in (place, join(parent, "_" + last), join(parent, last.removeprefix("_"))):
            if candidate in self.left:
                return self.left.pop(candidate)
        return None

    def _add(
        self, address: str, stored: str, tensor: Tensor, trains: bool, named: bool = True
    ) -> None:
        architecture = self.architecture
        if known := self.found.get(address):
            # Stored twice: Keras loads the owner's own variables first, so the later one wins.
            self.found[address] = replace(known, tensor=tensor, stored=(*known.stored, stored))
            return
        trainable = architecture.is_trained(address, trains) if architecture else None
        self.found[address] = Weight(address, tensor, (stored,), trains, trainable, named)

    def _in_keras_order(self, architecture: Architecture) -> None:
        order = architecture.weight_order
        layers = {layer.address: i for i, layer in enumerate(architecture.layers)}
        known = sorted((a for a in self.found if a in order), key=order.__getitem__)
        # A custom layer's weights are inserted after those of the layers before it.
        for address in self.found:
            if address not in order:
                place = layers.get(architecture.owner(address).address, len(layers))
                before = sum(layers.get(architecture.owner(a).address, 0) <= place for a in known)
                known.insert(before, address)
        self.found = {address: self.found[address] for address in known}

    def _unknown(self, group: _Group, parent: str, below: str) -> None:
        """Add a group that the config does not cover, under stored names or Keras's path."""
        self.left.pop(group.place, None)
        address = join(parent, *self._names(group.place, below))
        custom = below == group.place  # a custom class, even if it has the name of Keras's
        class_name = None if custom else self._class_of(group)
        count = len(group.tensors)
        quantized = bool(count) and group.tensors[0].dtype.kind == "i"
        variables = variables_by_count(class_name, count, quantized) if class_name else None
        named = bool(group.name) and variables is not None
        numbered = variables or tuple(VariableSpec(str(i), position=i) for i in range(count))
        for i, (variable, tensor) in enumerate(zip(numbered, group.tensors, strict=True)):
            stored = f"{group.stored}/vars/{i}"
            full = join(address, variable.name)
            if full in self.found:
                full = join(parent, group.place, variable.name)
            while full in self.found:
                full += "_"
            self._add(full, stored, tensor, variable.trainable, named)

    def _names(self, place: str, below: str) -> Iterator[str]:
        """Yield the names of the owners along a path, or the attributes that hold them."""
        path = ""
        for part in place.split("/"):
            path = join(path, part)
            if path == below or f"{below}/".startswith(f"{path}/"):
                continue
            owner = self.all.get(path)
            if owner is not None and owner.name:
                yield owner.name
            elif part != "layers":
                yield part

    def _class_of(self, group: _Group) -> str | None:
        """Return the class that the group of a cell or projection is named after, else None."""
        parent, _, last = group.place.rpartition("/")
        if last == "cell" or parent.endswith("cell/cells"):
            return _CLASSES.get(re.sub(r"_\d+$", "", group.name if last == "cell" else last))
        if last.strip("_") in ("query_dense", "key_dense", "value_dense", "output_dense"):
            return "EinsumDense"
        if parent == "layers" or parent.endswith("/layers"):
            return _CLASSES.get(re.sub(r"_\d+$", "", last))
        return None


def stored_names(model: Model) -> Mapping[str, tuple[str, ...]]:
    """Return {address: paths at which Keras 3 expects the weight}.

    Raises FormatError without an architecture, or for a weight that Keras does not save.
    """
    if isinstance(model.format_facts, StoreFacts):
        homeless = [weight.address for weight in model.weights if not weight.stored]
        if homeless:
            raise FormatError(f"Keras does not save {homeless[0]}, which belongs to no layer")
        return {w.address: tuple(map(with_slashes, w.stored)) for w in model.weights}
    if model.architecture is None:
        raise FormatError(NEEDS_ARCHITECTURE)
    places: dict[str, list[str]] = {}
    for layer in model.architecture.root.walk():
        for variable in layer.variables or ():
            places.setdefault(variable.address, []).append(variable.stored)
    custom: dict[str, int] = {}
    for weight in model.weights:
        if weight.address in places:
            continue
        owner = model.architecture.owner(weight.address)
        if owner.variables is not None or weight.layer != owner.address:
            raise FormatError(
                f"{weight.address} cannot be stored: Keras 3 has no such variable in "
                f"{owner.class_name or 'the model'}"
            )
        number = custom[owner.address] = custom.get(owner.address, -1) + 1
        places[weight.address] = [join(owner.group, f"vars/{number}")]
    return {weight.address: tuple(places[weight.address]) for weight in model.weights}


def in_todays_layout(model: Model) -> Model:
    """Return the model, to be laid out anew if its file is by Keras 2.12 to 2.14."""
    if model.architecture is None or not _is_old(model):
        return model
    return replace(model.to_be_laid_out(), carried=replace(model.carried, state={}))


def _is_old(model: Model) -> bool:
    """Return whether Keras 2.12 to 2.14 wrote the file from which the model was read."""
    places = (stored for weight in model.weights for stored in weight.stored)
    is_of_keras3 = isinstance(model.format_facts, StoreFacts)
    return is_of_keras3 and any(OLD_LAYERS in place for place in places)


def write_store(writer: Writer, model: Model) -> None:
    """Lay out a Keras 3 weights file by the writer."""
    carried, facts = model.carried, model.format_facts
    names = {}
    if isinstance(facts, StoreFacts):
        names = {with_slashes(place): name for place, name in facts.group_names.items()}
    if not names and model.architecture is not None and not _is_old(model):
        names = {layer.group: layer.name or model.name for layer in model.architecture.root.walk()}
    optimizer = model.optimizer
    if not optimizer:
        names.pop("optimizer", None)
        names.pop(_INNER, None)
    for path, name in names.items():
        writer.group(join(path, "vars")).attrs["name"] = name
    for address, places in stored_names(model).items():
        for place in places:
            writer.dataset(place, model[address].tensor)
    for place, tensor in carried.state.items():
        writer.dataset(place, tensor)
    for number, (_, tensor) in enumerate(optimizer):
        writer.dataset(f"optimizer/vars/{number}", tensor)
        if number >= 4 and _configs.scales_loss(carried):
            writer.dataset(f"{_INNER}/vars/{number - 4}", tensor)


def store_problems(model: Model) -> list[str]:
    """Return why a Keras 3 weights file cannot store the model."""
    try:
        stored_names(model)
    except FormatError as error:
        return [str(error)]
    return unheld(model)


def carried_from(store: Store, carried: Carried) -> Carried:
    """Return `carried` with the optimizer's variables and the state of the weights file."""
    return replace(carried, optimizer=store.optimizer, state=store.state)
