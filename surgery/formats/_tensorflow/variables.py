"""Entries of a checkpoint as a model's weights, and a model's weights as entries."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from surgery.architecture import Architecture, Layer
from surgery.errors import FormatError
from surgery.formats._tensorflow.bundle import GRAPH, Bundle, Entry
from surgery.formats._tensorflow.objects import (
    CheckpointNode,
    CheckpointVariable,
    addresses,
    is_export,
    of_key,
    variables,
)
from surgery.weights.model import FormatFacts, Model
from surgery.weights.slot_names import of_optimizer
from surgery.weights.tensor import Tensor
from surgery.weights.weight import State, Weight

_SUFFIX = "/.ATTRIBUTES/"


@dataclass(frozen=True)
class Container(FormatFacts):
    """The bundle from which a model was read, with its variables' keys and states by address."""

    edits_in_place = True

    bundle: Bundle
    names: Mapping[str, str]
    states: Mapping[str, State]

    def left_out(self, model: Model) -> list[str]:
        """Return the addresses of variables in the bundle that the model lacks."""
        return [address for address in self.names if address not in model.by_address]

    def left_out_keys(self, tensors: Mapping[str, Tensor]) -> frozenset[str]:
        """Return the keys of numeric entries in the bundle that `tensors` lacks."""
        entries = self.bundle.entries.items()
        return frozenset(key for key, e in entries if e.dtype is not None and key not in tensors)


def read_variables(
    bundle: Bundle,
    architecture: Architecture | None = None,
    trains: Mapping[str, bool] | None = None,
) -> Model:
    """Read the model whose weights are a bundle's variables; `origin` is not set.

    `trains` has by key whether a layer trains a variable, if known. Raises FormatError.
    """
    nodes, trains = bundle.graph, trains or {}
    if nodes is None:
        states = states_of(bundle.entries, trains)
        found = [
            _weight(name, bundle.tensor(name), (name,), states[name], trains)
            for name in sorted(bundle.entries, key=bundle.place)
            if bundle.entries[name].dtype is not None
        ]
    else:
        try:
            found = list(_of_objects(bundle, nodes, architecture, trains))
        except ValueError as error:
            raise FormatError(f"{bundle.index} is damaged: {error}") from None
    model = model_of(found, architecture)
    names = {weight.address: weight.stored[0] for weight in found}
    container = Container(bundle, names, {weight.address: weight.state for weight in found})
    return replace(model, format_facts=container, inputs=bundle.files, checks=(bundle.check,))


def _weight(
    address: str,
    tensor: Tensor,
    keys: tuple[str, ...],
    state: State,
    trains: Mapping[str, bool],
) -> Weight:
    """The variable of those keys, which is trained where that is known."""
    own = trains.get(keys[0])
    return Weight(address, tensor, keys, own is not False, own, state=state)


def model_of(found: Sequence[Weight], architecture: Architecture | None) -> Model:
    """Make a model of variables, split into weights and states, in the architecture's order."""
    if architecture is not None:
        found = [_known(weight, architecture) for weight in found]
        order = architecture.weight_order
        found.sort(key=lambda weight: order.get(weight.address, len(order)))
    return Model(
        weights=tuple(weight for weight in found if weight.state == "weight"),
        architecture=architecture,
        states=tuple(weight for weight in found if weight.state != "weight"),
    )


def _known(weight: Weight, architecture: Architecture) -> Weight:
    variable_trains = weight.variable_trains
    for variable in architecture.owner(weight.address).variables or ():
        if variable.address == weight.address:
            variable_trains = variable.trainable
    trainable = architecture.is_trained(weight.address, variable_trains)
    return replace(weight, trainable=trainable, variable_trains=variable_trains)


def is_counter(what: Entry | Tensor) -> bool:
    """Return whether a variable looks like a step counter: an integer scalar."""
    return what.dtype is not None and what.shape == () and what.dtype.kind in "iu"


def states_of(
    names: Mapping[str, Entry] | Mapping[str, Tensor], trains: Mapping[str, bool]
) -> dict[str, State]:
    """Return the state of each variable of a name-based checkpoint.

    It is "weight", "optimizer" or "other".
    """
    optimizers = of_optimizer(names, trains)

    def state(name: str) -> State:
        if trains.get(name):
            return "weight"
        if name in optimizers:
            return "optimizer"
        return "other" if is_counter(names[name]) or _is_of_table(name, names) else "weight"

    return {name: state(name) for name in names}


def _is_of_table(name: str, names: Collection[str]) -> bool:
    """Return whether `name` is one of a lookup table's two tensors, NAME-keys and NAME-values."""
    stem, _, part = name.rpartition("-")
    return part in ("keys", "values") and f"{stem}-keys" in names and f"{stem}-values" in names


def _of_objects(
    bundle: Bundle,
    nodes: tuple[CheckpointNode, ...],
    architecture: Architecture | None,
    trains: Mapping[str, bool],
) -> Iterator[Weight]:
    entries = bundle.entries
    known = [v for v in variables(nodes) if v.key in entries and entries[v.key].dtype is not None]
    found = tuple(_without_copies(known, entries) if is_export(nodes) else known)
    names = _with_places(found, architecture) if architecture is not None else addresses(found)
    for variable, address in zip(found, names, strict=True):
        keys = (variable.key, *variable.copies)
        entry = entries[variable.key]
        state = variable.state
        if state == "weight" and not variable.is_positional and is_counter(entry):
            state = "other"
        yield _weight(address, bundle.tensor(variable.key), keys, state, trains)
    listed = {key for variable in found for key in (variable.key, *variable.copies)}
    left = {key: entry for key, entry in entries.items() if key not in listed}
    states = states_of(left, {})
    for key, entry in left.items():
        if entry.dtype is not None and key != GRAPH:
            kind = "other" if _SUFFIX in key else states[key]
            address = key.replace(_SUFFIX, "/")
            yield _weight(address, bundle.tensor(key), (key,), kind, trains)


def _without_copies(
    found: Sequence[CheckpointVariable], entries: Mapping[str, Entry]
) -> list[CheckpointVariable]:
    """Merge variables of equal name and bytes that Keras saved also as `_all_variables`."""
    served: dict[object, list[str]] = {}
    for variable in found:
        if variable.key.startswith("variables/"):
            served.setdefault(_identity(variable, entries), []).append(variable.key)
    copies, kept = {}, []
    for variable in found:
        originals = served.get(_identity(variable, entries))
        if originals and variable.key.startswith("_all_variables/"):
            copies[originals.pop(0)] = variable.key
        else:
            kept.append(variable)
    return [v._replace(copies=(copies[v.key],)) if v.key in copies else v for v in kept]


def _identity(variable: CheckpointVariable, entries: Mapping[str, Entry]) -> object:
    entry = entries[variable.key]
    return variable.full_name, entry.code, entry.shape, entry.crc


def _with_places(
    found: tuple[CheckpointVariable, ...], architecture: Architecture
) -> Sequence[str]:
    """Return the variables' addresses in an architecture.

    They are matched by name if the names cover all of its weights, else by their positions in the
    object graph, as TensorFlow does.
    """
    by_name = addresses(found)
    if set(architecture.weight_order) <= set(by_name):
        return by_name
    places = [
        _in_architecture(variable, architecture) if variable.state == "weight" else None
        for variable in found
    ]
    counts = Counter(places)
    names = []
    for variable, place, name in zip(found, places, by_name, strict=True):
        if place is not None and counts[place] == 1:
            names.append(place)
        else:
            names.append(of_key(variable.key) if name in counts else name)
    return names


def _in_architecture(variable: CheckpointVariable, architecture: Architecture) -> str | None:
    """Return the address of the weight at a variable's path; None if there is none."""
    layer = architecture.root
    hops = list(variable.path)
    if hops and _child(layer, "", hops[0]) is None and hops[0] not in _LISTS:
        del hops[0]  # the attribute under which the model was saved
    inside = ""
    for hop in hops[:-1]:
        if hop in _LISTS:
            inside = hop
            continue
        child = _child(layer, inside, hop)
        if child is None:
            return None
        layer, inside = child, ""
    own = hops[-1].lstrip("_") if hops else ""
    names = {variable.name: variable.address for variable in layer.variables or ()}
    # Keras 2's name of DepthwiseConv's kernel; SeparableConv's has this name in Keras 3, too.
    return names.get(own) or (names.get("kernel") if own == "depthwise_kernel" else None)


_LISTS = ("_functional", "_operations", "_layers", "cells")


def _child(layer: Layer, inside: str, hop: str) -> Layer | None:
    """Return the sublayer that a hop of a path refers to; None if there is none."""
    children = list(layer.children)
    if found := re.fullmatch(r"layer_with_weights-(\d+)", hop):
        children = [child for child in children if _has_weights(child)]
        return children[int(found[1])] if int(found[1]) < len(children) else None
    if (found := re.fullmatch(r"layer-(\d+)", hop)) and layer.class_name == "Sequential":
        return children[int(found[1])] if int(found[1]) < len(children) else None
    if found:
        return next((child for child in children if _place(child) == int(found[1])), None)
    if hop.isdigit():
        place = int(hop)
        if inside == "_operations" and layer.class_name == "Sequential":
            return children[place - 1] if 0 < place <= len(children) else None
        return next((child for child in children if _place(child) == place), None)
    own = hop.lstrip("_")
    return next((c for c in children if c.group.rpartition("/")[2].lstrip("_") == own), None)


def _place(layer: Layer) -> int | None:
    """Return the layer's index in its owner's list of layers; None if it is not in a list."""
    place = layer.keys[-2] if layer.keys and len(layer.keys) > 1 else None
    return place if isinstance(place, int) else None


def _has_weights(layer: Layer) -> bool:
    return (
        layer.variables is None or bool(layer.variables) or any(map(_has_weights, layer.children))
    )


def stored_tensors(model: Model, container: Container) -> dict[str, Tensor]:
    """Return a model's tensors by their keys in the bundle."""
    entries = container.bundle.entries
    return {
        key: weight.tensor
        for weight in (*model.states, *model.weights)
        for key in weight.stored
        if key in entries
    }
