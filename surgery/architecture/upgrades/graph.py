"""The graph of a functional model of Keras 2 in Keras 3's form: calls, operations, node numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from surgery.architecture.renaming import is_reference
from surgery.architecture.upgrades._notes import Config, Upgrade
from surgery.architecture.upgrades.layers import RECURRENT
from surgery.architecture.upgrades.operations import operation

_CONSTANT = "_CONSTANT_VALUE"
_WITH_STATES = (*RECURRENT, "Bidirectional")
_OPERATIONS = ("TFOpLambda", "SlicingOpLambda")


def count_nodes_from_0(config: Config, notes: Upgrade) -> None:
    """Count a nested model's calls from 0 in references to its outputs, in place.

    Keras 2 counts a nested model's own graph as its first call. So does Keras 3 in the outer
    model's `output_layers`, for functional models, but not where other layers take its outputs.
    """
    for layer in config["layers"]:
        if not isinstance(layer, Mapping) or not _is_container(layer):
            continue
        name = layer.get("name") or (layer.get("config") or {}).get("name")
        calls = len(layer.get("inbound_nodes") or ())
        within = [ref for other in config["layers"] for ref in references(
            other.get("inbound_nodes") if isinstance(other, Mapping) else None, name)]  # fmt: skip
        ends = list(references(config.get("output_layers"), name))
        numbers = {reference[1] for reference in (*within, *ends)}
        if not numbers or min(numbers) < 1 or max(numbers) > calls:
            continue
        moved = [*within, *(ends if layer.get("class_name") == "Sequential" else [])]
        for reference in moved:
            reference[1] -= 1
        if moved:
            notes.done.append(f"{name}: its calls are counted from 0")


def _is_container(layer: Mapping[str, Any]) -> bool:
    config = layer.get("config")
    return isinstance(config, Mapping) and isinstance(config.get("layers"), list)


def references(value: Any, name: object) -> Iterator[list[Any]]:
    """Yield every `[layer, node, tensor, ...]` of the layer `name` in a structure."""
    if isinstance(value, list):
        if is_reference(value) and value[0] == name:
            yield value
        for item in value:
            yield from references(item, name)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item, name)


def upgraded_calls(entry: Config, notes: Upgrade) -> Config:
    """Convert a layer in a functional model, with its calls, to Keras 3.

    Calls in Keras 2's form that Keras 3 reads correctly are kept.
    """
    class_name = str(entry.get("class_name"))
    nodes = entry.get("inbound_nodes") or []
    if class_name in _OPERATIONS:
        return _operation(entry, nodes, notes)
    _tell_of_training(entry, notes)
    return {**entry, "inbound_nodes": [_call(class_name, node) for node in nodes]}


def _tell_of_training(entry: Mapping[str, Any], notes: Upgrade) -> None:
    """Note calls with a `training` argument: Keras 3 replaces it by its own."""
    name = entry.get("name")
    for node in entry.get("inbound_nodes") or []:
        training = _parts(node)[1].get("training") if isinstance(node, list) else None
        if training is True:
            notes.refused.append(
                f"{name}: it is called with training=True, which Keras 3 ignores in predict"
            )
        elif training is False:
            notes.done.append(
                f"{name}: it is called with training=False, which Keras 3 ignores in fit: "
                "freeze it before you train"
            )


def _call(class_name: str, node: Any) -> Any:
    if isinstance(node, Mapping) and set(node) == {"args", "kwargs"}:
        return node
    first, arguments = _parts(node)
    with_states = isinstance(first, list) and len(first) > 1 and not is_reference(first)
    if class_name in _WITH_STATES and with_states:
        arguments = {**arguments, "initial_state": first[1:]}
        first = first[0]
    elif isinstance(node, list) and all(map(is_reference, node)) and not _holds_tensor(arguments):
        return [[*reference[:3], arguments] for reference in node]
    return {"args": [_modern(first)], "kwargs": {k: _modern(v) for k, v in arguments.items()}}


def _parts(node: Any) -> tuple[Any, dict[str, Any]]:
    """Return (first argument of a call, other arguments); tensors are `[layer, node, tensor]`."""
    arguments: dict[str, Any] = {}

    def without_arguments(value: Any) -> Any:
        if isinstance(value, list) and value and value[0] == _CONSTANT:
            arguments.update(value[3] if len(value) > 3 else {})
            return value[2]
        if is_reference(value):
            arguments.update(value[3] if len(value) > 3 else {})
            return value[:3]
        if isinstance(value, list):
            return [without_arguments(item) for item in value]
        if isinstance(value, Mapping):
            return {key: without_arguments(item) for key, item in value.items()}
        return value

    first = without_arguments(node)
    if isinstance(first, list) and len(first) == 1 and not is_reference(first):
        first = first[0]
    return first, {name: copy.deepcopy(v) for name, v in arguments.items() if v is not None}


def _holds_tensor(value: Any) -> bool:
    if is_reference(value):
        return True
    inner = value.values() if isinstance(value, Mapping) else value
    return isinstance(value, list | Mapping) and any(map(_holds_tensor, inner))


def _modern(value: Any) -> Any:
    """Return a structure of tensors and values in Keras 3's form.

    Keras 3 finds a tensor by its `keras_history` alone, so its shape may be left unknown.
    """
    if is_reference(value):
        history = {"shape": [None], "dtype": "float32", "keras_history": value[:3]}
        return {"class_name": "__keras_tensor__", "config": history}
    if isinstance(value, list):
        return [_modern(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _modern(item) for key, item in value.items()}
    return value


def _operation(entry: Config, nodes: list[Any], notes: Upgrade) -> Config:
    """Convert a layer that calls a TensorFlow function to the equivalent operation of Keras 3.

    `nodes` are its calls. Without an equivalent, returns the entry itself and adds to
    `notes.refused`.
    """
    config = entry.get("config") or {}
    name, function = str(config.get("name")), str(config.get("function"))
    try:
        calls = [_operation_call(function, node) for node in nodes]
    except (ValueError, LookupError) as error:
        notes.refused.append(f"{name}: TensorFlow's {function} has no equal in Keras 3 ({error})")
        return entry
    module, class_name, own, _ = calls[0]
    if any(call[:3] != calls[0][:3] for call in calls):
        notes.refused.append(f"{name}: {function} is called with several arguments")
        return entry
    notes.done.append(f"{name}: TensorFlow's {function} is Keras's {class_name}")
    return {
        "module": module,
        "class_name": class_name,
        "config": {"name": name, **own},
        "registered_name": class_name,
        "name": name,
        "inbound_nodes": [{"args": call[3], "kwargs": {}} for call in calls],
    }


def _operation_call(function: str, node: Any) -> tuple[str, str, Mapping[str, Any], list[Any]]:
    first, arguments = _parts(node)
    arguments.pop("name", None)
    if function == "__operators__.getitem":
        key = [_slice(part) for part in arguments["slice_spec"]]
        return "keras.src.ops.numpy", "GetItem", {}, [_modern(first), key]
    known = operation(function)
    if known is None:
        raise LookupError("the function is not in surgery's table")
    inputs = [first, *(arguments.pop(name) for name in known.inputs[1:])]
    own = known.config(arguments)
    if odd := [name for name, value in arguments.items() if value is not False]:
        raise ValueError(f"for its argument {odd[0]}")
    return known.module, known.class_name, own, [_modern(value) for value in inputs]


def _slice(part: Any) -> Any:
    """Return one part of a `[...]` subscript in Keras 3's form; raises ValueError."""
    if isinstance(part, Mapping) and set(part) == {"start", "stop", "step"}:
        if not all(value is None or isinstance(value, int) for value in part.values()):
            raise ValueError("its bounds are computed")
        return {"class_name": "__slice__", "config": dict(part)}
    if part is None or isinstance(part, int):
        return part
    if isinstance(part, Mapping) and part.get("class_name") == "__ellipsis__":
        return {"class_name": "__ellipsis__", "config": {}}
    raise ValueError(f"{part!r} in its brackets is not known")
