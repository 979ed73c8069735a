"""Writing of an `.h5` file: the weights of each top-level layer, in the order Keras loads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import h5py
import numpy as np

from surgery.architecture import Layer
from surgery.architecture.entries import join
from surgery.errors import FormatError
from surgery.formats import _configs, _hdf5
from surgery.formats._h5_layout import (
    TOP_LEVEL,
    H5Facts,
    all_known,
    is_known,
    legacy_order,
    top_layer,
)
from surgery.formats.base import NEEDS_ARCHITECTURE
from surgery.weights.model import Model
from surgery.weights.tensor import Tensor
from surgery.weights.weight import Weight


def weights_by_layer(model: Model) -> dict[str, list[tuple[str, Weight]]]:
    """Return {top-level layer: [(name in the file, weight), ...] in order}.

    Raises FormatError if the order is unknown.
    """
    facts = model.format_facts
    if model.architecture is None and not isinstance(facts, H5Facts):
        raise FormatError(NEEDS_ARCHITECTURE)
    layers = list(facts.layers) if isinstance(facts, H5Facts) else []
    if model.architecture is not None and not layers:
        layers = [layer.name for layer in model.architecture.root.children]
    groups: dict[str, list[tuple[str, Weight]]] = {layer: [] for layer in layers}
    for weight in model.weights:
        layer = top_layer(weight.address, groups)
        groups.setdefault(layer, []).append((_stored_name(model, layer, weight), weight))
    for layer, entries in groups.items():
        groups[layer] = _reordered(model, layer, entries)
    return groups


def _stored_name(model: Model, layer: str, weight: Weight) -> str:
    if not isinstance(model.format_facts, H5Facts) or not weight.stored:
        return weight.address
    return weight.stored[0].removeprefix("model_weights/").removeprefix(f"{layer}/")


def _reordered(
    model: Model, layer: str, entries: list[tuple[str, Weight]]
) -> list[tuple[str, Weight]]:
    """Return the weights of a top-level layer in the order in which Keras loads them.

    If it is unknown, a file's own order is kept while its frozen layers stay the same; otherwise
    raises FormatError.
    """
    found = model.architecture.by_address.get(layer) if model.architecture else None
    if found is None:
        return entries
    by_address = {weight.address: (name, weight) for name, weight in entries}
    if is_known(found, by_address):
        return [by_address[variable.address] for variable in legacy_order(found)]
    facts = model.format_facts
    saved = facts.architecture if isinstance(facts, H5Facts) else None
    if saved is not None and _flags(found) == _flags(saved.by_address.get(layer)):
        return entries
    if not all_known(found):
        if not found.children and all(weight.layer == layer for _, weight in entries):
            return entries
        custom = next(inner for inner in found.walk() if inner.variables is None)
        raise FormatError(
            f"it stores weights by their order, and the order in {layer} is unknown: "
            f"{custom.address} ({custom.class_name}) is not a Keras layer; write keras instead"
            + (", or do not freeze or unfreeze its layers" if isinstance(facts, H5Facts) else "")
        )
    order = [variable.address for variable in legacy_order(found)]
    if missing := sorted(set(order) - set(by_address)):
        raise FormatError(
            f"{layer} has no {missing[0]}, and it is unknown which other layer shares it"
        )
    odd = sorted(set(by_address) - set(order))
    raise FormatError(f"{layer} has a weight that its config does not have: {odd[0]}")


def _flags(layer: Layer | None) -> list[bool]:
    return [inner.trainable for inner in layer.walk()] if layer else []


def write_model(
    writer: _hdf5.Writer, model: Model, groups: Mapping[str, Sequence[tuple[str, Weight]]]
) -> None:
    """Lay out an `.h5` file: config, weights by layer, and the optimizer's variables."""
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
    _write_names(group, "layer_names", [name for name in groups if name != TOP_LEVEL])
    group.attrs["backend"] = backend.encode()
    group.attrs["keras_version"] = version.encode()
    for layer, entries in sorted(groups.items()):
        _write_weights(writer, join(top, layer), [(n, w.tensor) for n, w in entries])
    if top and TOP_LEVEL not in groups and version.startswith("3"):
        _write_weights(writer, join(top, TOP_LEVEL), [])
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
    """Write a list of names, split as Keras does if it is too long for one attribute."""
    data = np.asarray([name.encode() for name in names])
    parts = 1
    while any(part.nbytes > _hdf5.ATTRIBUTE_LIMIT for part in np.array_split(data, parts)):
        parts += 1
    for number, part in enumerate(np.array_split(data, parts)):
        group.attrs[attribute if parts == 1 else f"{attribute}{number}"] = part
