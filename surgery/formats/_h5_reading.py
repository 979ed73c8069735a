"""Reading of the weights, config and optimizer state of an `.h5` file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from surgery.architecture import Architecture
from surgery.architecture.entries import join
from surgery.architecture.layer import LayerVariable
from surgery.formats import _configs, _hdf5
from surgery.formats._h5_layout import (
    TOP_LEVEL,
    H5Facts,
    all_known,
    is_known,
    legacy_order,
    top_layer,
)
from surgery.weights.model import Carried, Model
from surgery.weights.tensor import Tensor
from surgery.weights.weight import Weight

_NOT_TRAINED = ("moving_mean", "moving_variance", "running_mean", "running_std")


def read_model(reader: _hdf5.Reader, path: Path, architecture: Architecture | None) -> Model:
    """Read the model in a file; `architecture` gives addresses if the file has no config.

    Raises FormatError.
    """
    file = reader.file
    config = _json_attribute(reader, "model_config")
    if config is not None:
        architecture = Architecture(config, shares_layers=False)
    top = "model_weights" if "model_weights" in file else ""
    group = file[top] if top else file
    weights: dict[str, Weight] = {}
    layers = _names(group.id, "layer_names")
    names = _layers_by_order(group, layers, architecture) if config is None else {}
    for layer in [*layers, *([TOP_LEVEL] if TOP_LEVEL in group else [])]:
        parent = "" if layer == TOP_LEVEL else names.get(layer, layer)
        for weight in _layer_weights(reader, group, top, layer, parent, architecture):
            weights[weight.address] = weight
    optimizer: tuple[tuple[str, Tensor], ...] = ()
    if "optimizer_weights" in file:
        state = file["optimizer_weights"]
        stored = _names(state.id, "weight_names")
        optimizer = tuple(zip(stored, reader.tensors(state.id, stored), strict=True))
    carried = Carried(
        keras_version=_text(file.attrs.get("keras_version", group.attrs.get("keras_version"))),
        backend=_text(file.attrs.get("backend", group.attrs.get("backend"))),
        training_config=_json_attribute(reader, "training_config"),
        optimizer=optimizer,
    )
    model = Model(
        weights=tuple(_in_keras_order(weights, architecture)),
        architecture=architecture,
        carried=carried,
        format="h5",
        format_facts=H5Facts(tuple(dict.fromkeys(layers)), architecture),
        origin=str(path),
        inputs=(path,),
    )
    return (_configs.check_shapes(model) if config is not None else model).with_slots()


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _json_attribute(reader: _hdf5.Reader, name: str) -> Mapping[str, Any] | None:
    value = reader.file.attrs.get(name)
    return None if value is None else _configs.parse(_text(value), reader.path, name)


def _names(group: h5py.h5g.GroupID, attribute: str) -> list[str]:
    """Return a list of names; Keras splits long ones into attributes `name0`, `name1`..."""
    part, number = _hdf5.attribute(group, attribute), 0
    if part is not None:
        return [_text(name) for name in part]
    names: list[str] = []
    while (part := _hdf5.attribute(group, f"{attribute}{number}")) is not None:
        names += [_text(name) for name in part]
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
    """Yield the weights of `layer` in `group`, including those of layers nested in it.

    Raises FormatError if the file has no group for the layer.
    """
    held = reader.group(group.id, layer)
    stored = _names(held, "weight_names")
    variables = _layer_variables(architecture, parent, stored)
    tensors = reader.tensors(held, stored)
    for name, variable, tensor in zip(stored, variables, tensors, strict=True):
        address = variable.address if variable else _own_name(parent, name)
        trains = variable.trainable if variable else not name.split(":")[0].endswith(_NOT_TRAINED)
        yield Weight(
            address=address,
            tensor=tensor,
            stored=(join(top, layer, name),),
            variable_trains=trains,
            trainable=architecture.is_trained(address, trains) if architecture else None,
        )


def _layers_by_order(
    group: h5py.Group, layers: Sequence[str], architecture: Architecture | None
) -> dict[str, str]:
    """Return {stored layer: layer of the architecture} for a file of weights only.

    Keras matches the layers that have weights by order, as their automatic names may differ.
    """
    if architecture is None:
        return {}
    stored = [name for name in layers if name in group and _names(group[name].id, "weight_names")]
    wanted = [child.name for child in architecture.root.children if any(child.weights())]
    return dict(zip(stored, wanted, strict=True)) if len(stored) == len(wanted) else {}


def _own_name(layer: str, name: str) -> str:
    """Return the address from a stored name; Keras 3 prefixes names with some models' names."""
    name = name.removesuffix(":0")
    if not layer or name.startswith(f"{layer}/"):
        return name
    _, found, below = name.partition(f"/{layer}/")
    return join(layer, below if found else name)


def _layer_variables(
    architecture: Architecture | None, layer: str, stored: Sequence[str]
) -> Sequence[LayerVariable | None]:
    """Match stored names with variables: by order as Keras does, or by name; else None each."""
    unknown = [None] * len(stored)
    found = architecture.by_address.get(layer) if architecture and layer else None
    if found is None or not all_known(found):
        return unknown
    variables = legacy_order(found)
    if len(variables) != len(stored):
        return unknown
    names = [name.removesuffix(":0").rpartition("/")[2] for name in stored]
    if sorted(names) == sorted(variable.name for variable in variables) and names != [
        s.name for s in variables
    ]:
        # Written by a Keras version that orders a frozen model's weights differently.
        by_path = {variable.address: variable for variable in variables}
        matched = [by_path.get(_own_name(layer, name)) for name in stored]
        return matched if None not in matched else unknown
    return variables


def _in_keras_order(
    weights: Mapping[str, Weight], architecture: Architecture | None
) -> list[Weight]:
    """Return the weights in the order of Keras's `model.weights`.

    Inside a top-level layer whose variables are not all known, the file's order is kept, by which
    Keras loads them.
    """
    if architecture is None:
        return list(weights.values())
    order = architecture.weight_order
    tops = {layer.address: i for i, layer in enumerate(architecture.root.children)}
    inside: dict[str, set[str]] = {}
    for address in weights:
        inside.setdefault(top_layer(address, tops), set()).add(address)
    known = {
        layer.address
        for layer in architecture.root.children
        if is_known(layer, inside.get(layer.address, set()))
    }

    def place(numbered: tuple[int, Weight]) -> tuple[int, int]:
        number, weight = numbered
        top = top_layer(weight.address, tops)
        return tops.get(top, len(tops)), order[weight.address] if top in known else number

    return [weight for _, weight in sorted(enumerate(weights.values()), key=place)]
