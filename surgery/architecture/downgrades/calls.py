"""The calls in a functional model of Keras 3, converted to Keras 2's form.

Keras 3 has `{"args": [...], "kwargs": {...}}` with a mapping for each tensor, Keras 2 a
`[layer, node, tensor, kwargs]` for each tensor of the first argument.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from surgery.architecture.downgrades.arguments import table
from surgery.architecture.entries import class_of

ARRAYS = ("__numpy__", "__tensor__")
_TENSOR = "__keras_tensor__"


class NotInKeras2Error(ValueError):
    """A call or operation that Keras 2 cannot express; the message names it."""


def call(entry: Mapping[str, Any], node: Any, counted: Collection[str]) -> Any:
    """Convert one call of a layer; Keras 2 counts the calls of the models in `counted` from 1.

    Raises NotInKeras2Error.
    """
    takes, names = _names(class_of(entry))
    arguments = _by_name(node, names)
    first = arguments.pop(names[0])
    training = arguments.pop("training", None)
    if training and not _trains_by_default(class_of(entry)):
        raise NotInKeras2Error(
            "it is called with training=True, which Keras 3 heeds outside of predict only, and "
            "Keras 2 always; call it without"
        )
    kept = {name: value for name, value in arguments.items() if not _is_none(value)}
    for name in kept:
        if name not in takes:
            raise NotInKeras2Error(f"Keras 2 does not call it with {name}")
    kept = {name: nested(value, lambda t: reference(t, counted)) for name, value in kept.items()}
    if training is False and "training" in takes:
        kept["training"] = False
    data = nested(first, lambda tensor: [*reference(tensor, counted), kept])
    return [data] if is_tensor(first) else data


def ends(places: Any, counted: Collection[str]) -> Any:
    """Convert a model's inputs or outputs: one `[layer, node, tensor]`, or any nesting of them."""
    new = _ends(places, counted)
    return [new] if isinstance(new, list) and isinstance(new[0], str) else new


def _ends(places: Any, counted: Collection[str]) -> Any:
    if isinstance(places, Mapping):
        return {key: _ends(place, counted) for key, place in places.items()}
    if isinstance(places[0], str):
        return _counted(places, counted)
    return [_ends(place, counted) for place in places]


def _names(class_name: str) -> tuple[Sequence[str], Sequence[str]]:
    """Return the names of the arguments of a layer's `call`: in Keras 2, and in Keras 3."""
    row = table()["layers"].get(class_name)
    if row is None:
        return ("inputs", "training", "mask"), ("inputs", "training", "mask")
    return row["call"], row["call_in_keras3"] or ("inputs",)


def _is_none(value: Any) -> bool:
    """Return whether a value is None, or a nested structure that holds only None."""
    if isinstance(value, Mapping):
        return all(map(_is_none, value.values()))
    return all(map(_is_none, value)) if isinstance(value, list) else value is None


def _trains_by_default(class_name: str) -> bool:
    """Return whether Keras 3 saves `training=True` for calls that were made without it."""
    return "trains_by_default" in table()["layers"].get(class_name, ())


def _by_name(node: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    arguments = {**dict(zip(names, node["args"], strict=False)), **node["kwargs"]}
    if len(node["args"]) > len(names) or names[0] not in arguments:
        raise NotInKeras2Error("its call is not understood")
    return arguments


def is_tensor(value: Any) -> bool:
    """Return whether a value is the config of a Keras tensor: the output of a layer."""
    return isinstance(value, Mapping) and value.get("class_name") == _TENSOR


def reference(tensor: Mapping[str, Any], counted: Collection[str]) -> list[Any]:
    """Return the `[layer, node, tensor]` of a Keras tensor.

    Nodes of the layers in `counted` (nested models) are numbered from 1.
    """
    return _counted(tensor["config"]["keras_history"], counted)


def _counted(place: Sequence[Any], counted: Collection[str]) -> list[Any]:
    name, node, tensor = place
    return [name, node + (name in counted), tensor]


def nested(value: Any, of_tensor: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Convert a nested value, with `of_tensor` applied to its tensors; arrays become lists.

    Raises NotInKeras2Error for other objects.
    """
    if is_tensor(value):
        return of_tensor(value)
    if isinstance(value, Mapping):
        if value.get("class_name") in ARRAYS:
            return value["config"]["value"]
        if value.get("class_name") == "__tuple__":
            value = value["config"]["value"]
        elif "class_name" in value:
            raise NotInKeras2Error(f"it is called with a {value['class_name']}")
        else:
            return {key: nested(item, of_tensor) for key, item in value.items()}
    if isinstance(value, list):
        return [nested(item, of_tensor) for item in value]
    return value
