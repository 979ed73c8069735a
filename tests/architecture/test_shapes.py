"""Shapes and FLOPs from configs alone, against the real Keras and against formulas by hand."""

import functools
import importlib
import json
import pkgutil
import warnings

import pytest

from surgery.architecture.entries import class_of
from surgery.architecture.shapes import LAYERS, OPERATIONS, leaves, output_shapes
from tests.architecture import calls


def tensors(value, keras, dtype):
    """The arguments with tensors in place of shapes."""
    if isinstance(value, tuple):
        return keras.Input(batch_shape=value, dtype=dtype)
    if isinstance(value, list):
        return [tensors(item, keras, dtype) for item in value]
    if isinstance(value, dict):
        return {name: tensors(item, keras, dtype) for name, item in value.items()}
    return value


def made(value, keras):
    """The arguments with layers in place of their configs."""
    if isinstance(value, dict) and "class_name" in value:
        options = {name: made(item, keras) for name, item in value["config"].items()}
        return getattr(keras.layers, value["class_name"])(**options)
    return [made(item, keras) for item in value] if isinstance(value, list) else value


def found(keras, value):
    return [tuple(tensor.shape) for tensor in keras.tree.flatten(value)]


def entry_of(keras, layer):
    """What a file has of it."""
    return json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))


@pytest.mark.parametrize("name", calls.LAYERS)
def test_every_layer_gives_the_shapes_that_keras_says(name, keras):
    assert len(calls.LAYERS[name]) >= 3
    for row in calls.LAYERS[name]:
        options, args, kwargs, dtype = (*row, *({}, "float32")[len(row) - 2 :])
        layer = getattr(keras.layers, name)(**{k: made(v, keras) for k, v in options.items()})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = layer(*tensors(args, keras, dtype), **kwargs)
        shapes = output_shapes(entry_of(keras, layer), args, kwargs)
        assert list(leaves(shapes)) == found(keras, outputs), (options, args, kwargs)


@functools.cache
def operations():
    import keras.src.ops
    from keras.src.ops.operation import Operation

    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(keras.src.ops.__path__, "keras.src.ops.")
        if "_test" not in module.name
    ]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Operation)
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", calls.OPERATIONS)
def test_every_operation_gives_the_shapes_that_keras_says(name, keras):
    assert len(calls.OPERATIONS[name]) >= 3
    for row in calls.OPERATIONS[name]:
        options, args, kwargs, dtype = (*row, *({}, "float32")[len(row) - 2 :])
        operation = operations()[name](**options)
        given = tensors(args, keras, dtype)
        if name == "GetItem":
            given[1] = tuple(given[1]) if isinstance(given[1], list) else given[1]
        outputs = operation(*given, **kwargs)
        shapes = output_shapes(entry_of(keras, operation), args, kwargs)
        assert list(leaves(shapes)) == found(keras, outputs), (options, args, kwargs)


def test_every_class_has_a_rule_or_a_reason(keras):
    layers = {
        class_of({"class_name": value.__name__})
        for value in vars(keras.layers).values()
        if isinstance(value, type) and issubclass(value, keras.layers.Layer)
    }
    assert layers - set(LAYERS.shapes) == set(calls.WITHOUT_RULE)
    assert set(operations()) - set(OPERATIONS.shapes) == set(calls.OPERATIONS_WITHOUT_RULE)
    tested = {class_of({"class_name": name}) for name in calls.LAYERS} | {"InputLayer"}
    assert layers - tested == set(calls.WITHOUT_RULE)
    assert set(OPERATIONS.shapes) == set(calls.OPERATIONS)
