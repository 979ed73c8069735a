"""`.h5`: a model or its weights in the layout of Keras 1 and 2, which Keras 3 writes too."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from surgery.architecture import Architecture, Layer
from surgery.architecture.tree import Slot, join
from surgery.declared.fields import key
from surgery.errors import FormatError
from surgery.formats import _configs, _hdf5, _keras2, _lora, _outputs, _shared
from surgery.formats.base import Output, register
from surgery.formats.upgrading import WithConfig
from surgery.storage import disk
from surgery.weights.model import Carried, Model
from surgery.weights.tensor import Tensor
from surgery.weights.weight import Weight, prefixes

_TOP_LEVEL = "top_level_model_weights"


@register
@dataclass(frozen=True, kw_only=True)
class H5(WithConfig):
    """A model, or its weights, in Keras's older HDF5 layout."""

    name = "h5"
    suffix = ".h5"
    holds_architecture = True

    for_: Literal["keras2"] | None = key(
        "For whom a model of Keras 3 is written: keras2 is tf_keras and TensorFlow 2.12 to 2.15.",
        "keras2",
        default=None,
    )

    def __post_init__(self) -> None:
        if self.for_ is not None and self.config == "upgrade":
            raise ValueError("for: keras2 and config: upgrade exclude each other")

    def sniff(self, path: Path, head: bytes) -> bool:
        if not head.startswith(_hdf5.MAGIC):
            return False
        with _hdf5.Reader(path) as reader:
            known = {"model_config", "layer_names", "layer_names0"} & set(reader.file.attrs)
            return bool(known) or isinstance(reader.file.get("model_weights"), h5py.Group)

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        with _hdf5.Reader(path) as reader:
            return _open(reader, path, architecture)

    def prepared(self, model: Model) -> Model:
        if self.for_ is not None:
            return _keras2.for_keras2(model)[0]
        model = self.upgraded(model)
        return model if model.format == self.name else _shared.unshared(_lora.merged(model))

    def problems(self, model: Model) -> Sequence[str]:
        if self.for_ is not None and (found := _keras2.for_keras2(model)[1]).problems:
            return found.problems
        if refused := self.config_problems(model):
            return refused
        model = self.prepared(model)
        problems = [
            f"{w.address} is bfloat16, which Keras cannot load from an .h5 file; write .keras, "
            "or leave the format to weights_h5"
            for w in model.weights
            if w.tensor.dtype.name == "bfloat16"
        ][:1]
        problems += _hdf5.unheld(model)
        problems += _configs.misfits(model) if model.architecture is not None else []
        if model.architecture is not None and model.format != "h5":
            problems += _beyond(model.architecture.root)
        try:
            _groups(model)
        except FormatError as error:
            problems.append(str(error))
        return problems

    def notes(self, model: Model) -> Sequence[str]:
        if self.for_ is not None:
            return _keras2.for_keras2(model)[1].notes
        notes = self.config_notes(model)
        model = self.upgraded(model)
        if model.format == self.name:
            return notes
        notes += [*_lora.notes(model), *_shared.notes(model)]
        if model.carried.compile_config and not _configs.training_config(model.carried):
            notes.append(
                "the compile config is left out: it names no optimizer, which this format needs; "
                "compile the model after loading"
            )
        return notes

    def create(self, model: Model, path: Path) -> Output:
        model = self.prepared(model)
        groups = _groups(model)
        descriptor = disk.create(path)
        places = _hdf5.lay_out(descriptor, 0, lambda h5: _write(h5, model, groups))
        return _outputs.output(descriptor, places)


def _open(reader: _hdf5.Reader, path: Path, architecture: Architecture | None) -> Model:
    file = reader.file
    config = _json_attribute(reader, "model_config")
    if config is not None:
        architecture = Architecture(config, shares_layers=False)
    top = "model_weights" if "model_weights" in file else ""
    group = file[top] if top else file
    weights: dict[str, Weight] = {}
    layers = _names(group, "layer_names")
    names = _layers_by_order(group, layers, architecture) if config is None else {}
    for layer in [*layers, *([_TOP_LEVEL] if _TOP_LEVEL in group else [])]:
        parent = "" if layer == _TOP_LEVEL else names.get(layer, layer)
        for weight in _layer_weights(reader, group, top, layer, parent, architecture):
            weights[weight.address] = weight
    optimizer: tuple[tuple[str, Tensor], ...] = ()
    if "optimizer_weights" in file:
        slots = file["optimizer_weights"]
        optimizer = tuple((n, reader.tensor(slots, n)) for n in _names(slots, "weight_names"))
    carried = Carried(
        keras_version=_text(file.attrs.get("keras_version", group.attrs.get("keras_version"))),
        backend=_text(file.attrs.get("backend", group.attrs.get("backend"))),
        training_config=_json_attribute(reader, "training_config"),
        optimizer=optimizer,
        group_names=dict.fromkeys(layers, ""),
        architecture=architecture,
    )
    model = Model(
        weights=tuple(_in_keras_order(weights, architecture)),
        architecture=architecture,
        carried=carried,
        format="h5",
        origin=str(path),
        inputs=(path,),
    )
    return (_configs.check_shapes(model) if config is not None else model).with_slots()


def _beyond(root: Layer) -> Iterator[str]:
    """What Keras cannot load from this layout."""
    if root.slots is None:
        yield f"{root.class_name} is a model of its own class, which Keras keeps in .keras only"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _json_attribute(reader: _hdf5.Reader, name: str) -> Mapping[str, Any] | None:
    value = reader.file.attrs.get(name)
    return None if value is None else _configs.parse(_text(value), reader.path, name)


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names, which Keras splits into `name0`, `name1`... where it is long."""
    if attribute in group.attrs:
        return [_text(name) for name in group.attrs[attribute]]
    names: list[str] = []
    number = 0
    while f"{attribute}{number}" in group.attrs:
        names += [_text(name) for name in group.attrs[f"{attribute}{number}"]]
        number += 1
    return names


def _layer_weights(
    reader: _hdf5.Reader,
    group: h5py.Group,
    top: str,
    layer: str,
    parent: str,
    architecture: Architecture | None,
) -> Iterator[Weight]:
    """The weights of a layer at the top; those of a nested model are all kept under it."""
    if layer not in group or not isinstance(group[layer], h5py.Group):
        raise FormatError(f"{reader.path} names the layer {layer} but does not hold it")
    stored = _names(group[layer], "weight_names")
    slots = _slots(architecture, parent, stored)
    for name, slot in zip(stored, slots, strict=True):
        address = slot.address if slot else _own_name(parent, name)
        trains = slot.trainable if slot else not name.split(":")[0].endswith(_NOT_TRAINED)
        yield Weight(
            address=address,
            tensor=reader.tensor(group[layer], name),
            stored=(join(top, layer, name),),
            variable_trains=trains,
            trainable=architecture.is_trained(address, trains) if architecture else None,
        )


def _layers_by_order(
    group: h5py.Group, layers: Sequence[str], architecture: Architecture | None
) -> dict[str, str]:
    """For weights alone: the architecture's name of each stored layer, matched as Keras does.

    Keras goes by order among the layers that have weights; automatic names differ.
    """
    if architecture is None:
        return {}
    stored = [name for name in layers if name in group and _names(group[name], "weight_names")]
    wanted = [child.name for child in architecture.root.children if any(child.weights())]
    return dict(zip(stored, wanted, strict=True)) if len(stored) == len(wanted) else {}


_NOT_TRAINED = ("moving_mean", "moving_variance", "running_mean", "running_std")


def _own_name(layer: str, name: str) -> str:
    """The address that a stored name gives; Keras 3 puts the names of some models before it."""
    name = name.removesuffix(":0")
    if not layer or name.startswith(f"{layer}/"):
        return name
    _, found, below = name.partition(f"/{layer}/")
    return join(layer, below if found else name)


def _slots(
    architecture: Architecture | None, layer: str, stored: Sequence[str]
) -> Sequence[Slot | None]:
    """Which slot each stored name is: by order, as Keras loads, unless the names say otherwise."""
    unknown = [None] * len(stored)
    found = architecture.by_address.get(layer) if architecture and layer else None
    if found is None or not _all_known(found):
        return unknown
    slots = _legacy_order(found)
    if len(slots) != len(stored):
        return unknown
    names = [name.removesuffix(":0").rpartition("/")[2] for name in stored]
    if sorted(names) == sorted(slot.name for slot in slots) and names != [s.name for s in slots]:
        # Written by a Keras that hides a frozen model's layers in another way.
        by_path = {slot.address: slot for slot in slots}
        matched = [by_path.get(_own_name(layer, name)) for name in stored]
        return matched if None not in matched else unknown
    return slots


def _all_known(layer: Layer) -> bool:
    return all(inner.slots is not None for inner in layer.walk())


def _legacy_order(layer: Layer) -> list[Slot]:
    """Keras's order in this layout: the trainable weights, then the others."""
    slots = {slot.address: (owner, slot) for owner, slot in reversed(list(layer.weights()))}
    ordered = [slots[a] for a in dict.fromkeys(slot.address for _, slot in layer.weights())]
    if not layer.trainable:
        return [slot for _, slot in ordered]
    trained = [slot for owner, slot in ordered if owner.trainable and slot.trainable]
    rest = [slot for owner, slot in ordered if not (owner.trainable and slot.trainable)]
    return trained + rest


def _in_keras_order(
    weights: Mapping[str, Weight], architecture: Architecture | None
) -> list[Weight]:
    """The order of Keras's `model.weights`.

    Inside a layer at the top that is not known whole it is the file's, which Keras loads by.
    """
    if architecture is None:
        return list(weights.values())
    order = architecture.weight_order
    tops = {layer.address: i for i, layer in enumerate(architecture.root.children)}
    inside: dict[str, set[str]] = {}
    for address in weights:
        inside.setdefault(_top(address, tops), set()).add(address)
    known = {
        layer.address
        for layer in architecture.root.children
        if _is_known(layer, inside.get(layer.address, set()))
    }

    def place(numbered: tuple[int, Weight]) -> tuple[int, int]:
        number, weight = numbered
        top = _top(weight.address, tops)
        return tops.get(top, len(tops)), order[weight.address] if top in known else number

    return [weight for _, weight in sorted(enumerate(weights.values()), key=place)]


def _is_known(layer: Layer, addresses: Collection[str]) -> bool:
    """Whether the order of those weights of a layer at the top follows from its config."""
    expected = {slot.address for _, slot in layer.weights()}
    return _all_known(layer) and expected == set(addresses)


def _groups(model: Model) -> dict[str, list[tuple[str, Weight]]]:
    """For each layer at the top: its weights in order, each with its name in the file."""
    if model.architecture is None and model.format != "h5":
        raise FormatError(
            "it needs the architecture, and the source holds weights only; load the whole model, "
            "or an application with these weights"
        )
    layers = list(model.carried.group_names) if model.format == "h5" else []
    if model.architecture is not None and not layers:
        layers = [layer.name for layer in model.architecture.root.children]
    groups: dict[str, list[tuple[str, Weight]]] = {layer: [] for layer in layers}
    for weight in model.weights:
        layer = _top(weight.address, groups)
        groups.setdefault(layer, []).append((_stored_name(model, layer, weight), weight))
    for layer, entries in groups.items():
        groups[layer] = _reordered(model, layer, entries)
    return groups


def _top(address: str, layers: Collection[str]) -> str:
    """The layer at the top that a weight is kept under; some names have a `/` in them."""
    return next((owner for owner in prefixes(address) if owner in layers), _TOP_LEVEL)


def _stored_name(model: Model, layer: str, weight: Weight) -> str:
    if model.format != "h5" or not weight.stored:
        return weight.address
    return weight.stored[0].removeprefix("model_weights/").removeprefix(f"{layer}/")


def _reordered(
    model: Model, layer: str, entries: list[tuple[str, Weight]]
) -> list[tuple[str, Weight]]:
    """Those weights of a layer at the top in the order by which Keras loads them.

    Raises FormatError where it is not known: then a file keeps the order it had.
    """
    found = model.architecture.by_address.get(layer) if model.architecture else None
    if found is None:
        return entries
    by_address = {weight.address: (name, weight) for name, weight in entries}
    if _is_known(found, by_address):
        return [by_address[slot.address] for slot in _legacy_order(found)]
    if model.format == "h5" and _flags(found) == _flags(_as_saved(model, layer)):
        return entries
    if not _all_known(found):
        if not found.children and all(weight.layer == layer for _, weight in entries):
            return entries
        custom = next(inner for inner in found.walk() if inner.slots is None)
        raise FormatError(
            f"it keeps weights by their order, and that of {layer} is not known: "
            f"{custom.address} ({custom.class_name}) is not a layer of Keras; write keras instead"
            + (", or leave its layers as frozen as they are" if model.format == "h5" else "")
        )
    order = [slot.address for slot in _legacy_order(found)]
    if missing := sorted(set(order) - set(by_address)):
        raise FormatError(
            f"{layer} has no {missing[0]}, and it is not known which other layer shares it"
        )
    odd = sorted(set(by_address) - set(order))
    raise FormatError(f"{layer} has a weight that its config does not ask for: {odd[0]}")


def _as_saved(model: Model, layer: str) -> Layer | None:
    saved = model.carried.architecture
    return saved.by_address.get(layer) if saved else None


def _flags(layer: Layer | None) -> list[bool]:
    return [inner.trainable for inner in layer.walk()] if layer else []


def _write(
    writer: _hdf5.Writer, model: Model, groups: Mapping[str, Sequence[tuple[str, Weight]]]
) -> None:
    carried = model.carried
    version = carried.keras_version or "3"
    backend = carried.backend or "tensorflow"
    top = ""
    if model.architecture is not None:
        top = "model_weights"
        attributes = writer.file.attrs
        attributes["keras_version"] = version
        attributes["backend"] = backend
        attributes["model_config"] = _configs.dump(_configs.as_h5(model.architecture.config))
        if trained := _configs.training_config(carried):
            attributes["training_config"] = _configs.dump(trained)
    group = writer.group(top)
    _write_names(group, "layer_names", [name for name in groups if name != _TOP_LEVEL])
    group.attrs["backend"] = backend.encode()
    group.attrs["keras_version"] = version.encode()
    for layer, entries in sorted(groups.items()):
        _write_weights(writer, join(top, layer), [(n, w.tensor) for n, w in entries])
    if top and _TOP_LEVEL not in groups and version.startswith("3"):
        _write_weights(writer, join(top, _TOP_LEVEL), [])
    if optimizer := model.optimizer:
        named = [
            (name if not name.isdigit() else f"optimizer/{name}", tensor)
            for name, tensor in optimizer
        ]
        _write_weights(writer, "optimizer_weights", named)


def _write_weights(writer: _hdf5.Writer, path: str, entries: Sequence[tuple[str, Tensor]]) -> None:
    _write_names(writer.group(path), "weight_names", [name for name, _ in entries])
    for name, tensor in entries:
        writer.dataset(join(path, name), tensor)


def _write_names(group: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    """A list of names, split as Keras does where it is too long for one attribute."""
    data = np.asarray([name.encode() for name in names])
    parts = 1
    while any(part.nbytes > _hdf5.ATTRIBUTE_LIMIT for part in np.array_split(data, parts)):
        parts += 1
    for number, part in enumerate(np.array_split(data, parts)):
        group.attrs[attribute if parts == 1 else f"{attribute}{number}"] = part
