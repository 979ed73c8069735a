"""The operations in a functional model of Keras 3 (`x * 2`, `ops.mean(x)`) as Keras 2's TFOpLambda.

A TFOpLambda holds the name of a TensorFlow function.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from surgery.architecture.downgrades.calls import (
    ARRAYS,
    NotInKeras2Error,
    is_tensor,
    nested,
    reference,
)

Config = dict[str, Any]

_ANY, _FLOATS = "any", "floats"
# By Keras 3's class: TensorFlow's function, the names of its operands, `argument=its name there`.
_OPERATIONS = {
    _FLOATS: {
        "Absolute": "math.abs x",
        "Add": "math.add x y",
        "Clip": "clip_by_value t x_min=clip_value_min x_max=clip_value_max",
        "Cos": "math.cos x",
        "Divide": "math.divide x y",
        "Erf": "math.erf x",
        "Exp": "math.exp x",
        "FloorDivide": "math.floordiv x y",
        "Log": "math.log x",
        "Log1p": "math.log1p x",
        "LogSoftmax": "nn.log_softmax logits axis=axis",
        "Matmul": "linalg.matmul a b",
        "Max": "math.reduce_max input_tensor axis=axis keepdims=keepdims",
        "Maximum": "math.maximum x y",
        "Mean": "math.reduce_mean input_tensor axis=axis keepdims=keepdims",
        "Min": "math.reduce_min input_tensor axis=axis keepdims=keepdims",
        "Minimum": "math.minimum x y",
        "Multiply": "math.multiply x y",
        "Negative": "math.negative x",
        "Power": "math.pow x y",
        "Prod": "math.reduce_prod input_tensor axis=axis keepdims=keepdims",
        "Relu": "nn.relu features",
        "Relu6": "nn.relu6 features",
        "Rsqrt": "math.rsqrt x",
        "Sigmoid": "math.sigmoid x",
        "Silu": "nn.silu features",
        "Sin": "math.sin x",
        "Softmax": "nn.softmax logits axis=axis",
        "Softplus": "math.softplus features",
        "Softsign": "nn.softsign features",
        "Sqrt": "math.sqrt x",
        "Square": "math.square x",
        "Subtract": "math.subtract x y",
        "Sum": "math.reduce_sum input_tensor axis=axis keepdims=keepdims",
        "Tanh": "math.tanh x",
        "TrueDivide": "math.divide x y",
    },
    _ANY: {
        "Any": "math.reduce_any input_tensor axis=axis keepdims=keepdims",
        "Cast": "cast x dtype=dtype",
        "Concatenate": "concat values axis=axis",
        "Equal": "math.equal x y",
        "ExpandDims": "expand_dims input axis=axis",
        "GetItem": "__operators__.getitem tensor slice_spec",
        "Greater": "math.greater x y",
        "GreaterEqual": "math.greater_equal x y",
        "Less": "math.less x y",
        "LessEqual": "math.less_equal x y",
        "LogicalAnd": "math.logical_and x y",
        "LogicalNot": "math.logical_not x",
        "LogicalOr": "math.logical_or x y",
        "NotEqual": "math.not_equal x y",
        "Reshape": "reshape tensor newshape=shape",
        "Squeeze": "squeeze input axis=axis",
        "Stack": "stack values axis=axis",
        "Transpose": "transpose a axes=perm",
        "ZerosLike": "zeros_like input dtype=dtype",
    },
}

_OF_NO_ACCOUNT = ("name", "dtype_policy")


def operation(entry: Mapping[str, Any], counted: Collection[str]) -> Config:
    """Convert an operation of Keras 3 to a layer of Keras 2, with its calls.

    Raises NotInKeras2Error.
    """
    kind = str(entry["class_name"])
    of_floats = kind in _OPERATIONS[_FLOATS]
    spec = _OPERATIONS[_FLOATS if of_floats else _ANY].get(kind)
    if spec is None:
        raise NotInKeras2Error(f"Keras 2 has no operation that equals {kind}")
    function, *words = spec.split()
    names = [word for word in words if "=" not in word]
    arguments = _arguments(entry, dict(word.split("=") for word in words if "=" in word))
    name = entry["config"]["name"]
    config = {"name": name, "trainable": True, "dtype": "float32", "function": function}
    operands = [_operands(kind, node, names, of_floats) for node in entry["inbound_nodes"]]
    nodes = [_call(values, names, arguments, counted) for values in operands]
    class_name = "SlicingOpLambda" if kind == "GetItem" else "TFOpLambda"
    return {"class_name": class_name, "config": config, "name": name, "inbound_nodes": nodes}


def _arguments(entry: Mapping[str, Any], names: Mapping[str, str]) -> Config:
    """Return the operation's arguments, under the names that TensorFlow's function has for them.

    Raises NotInKeras2Error for an unknown argument or an open shape.
    """
    given = {k: v for k, v in entry["config"].items() if k not in _OF_NO_ACCOUNT}
    for key, value in given.items():
        if key not in names and value is not None:
            raise NotInKeras2Error(f"{entry['class_name']} of TensorFlow has no {key}: {value}")
    arguments = {names[key]: value for key, value in given.items() if key in names}
    if None in (shape := arguments.get("shape") or ()):
        raise NotInKeras2Error(f"{entry['class_name']} has an open shape: {shape}")
    return arguments


def _operands(
    kind: str, node: Mapping[str, Any], names: Sequence[str], of_floats: bool
) -> list[Any]:
    """Return the operands of a call; with `of_floats`, plain numbers become floats.

    Raises NotInKeras2Error if TensorFlow, which converts no dtypes, would refuse them.
    """
    operands: list[Any] = node["args"]
    if node["kwargs"] or len(operands) != len(names):
        raise NotInKeras2Error(f"the call of {kind} is not understood")
    if of_floats:  # a plain 2 would be an integer for TensorFlow
        operands = [float(value) if type(value) is int else value for value in operands]
    arrays = list(_arrays(operands))
    dtypes = {array["config"]["dtype"] for array in arrays}
    numbers = {type(value).__name__ for value in operands if isinstance(value, int | float)}
    wants_floats = of_floats or "float" in numbers
    if len(dtypes) > 1 or (wants_floats and "float" not in str(dtypes)):
        raise NotInKeras2Error(
            f"{kind} is given {' and '.join(sorted(dtypes | numbers))}, which TensorFlow does not "
            "convert as Keras 3 does"
        )
    if kind == "Matmul" and any(len(array["config"].get("shape", "  ")) < 2 for array in arrays):
        raise NotInKeras2Error("Matmul of TensorFlow takes no vectors")
    return operands


def _arrays(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the tensors and arrays in a nested list."""
    if isinstance(value, list):
        for item in value:
            yield from _arrays(item)
    elif is_tensor(value) or (isinstance(value, Mapping) and value.get("class_name") in ARRAYS):
        yield value


def _call(
    operands: Sequence[Any], names: Sequence[str], arguments: Config, counted: Collection[str]
) -> Any:
    first, *others = operands
    kept = {
        name: nested(_slices(value), lambda tensor: reference(tensor, counted))
        for name, value in zip(names[1:], others, strict=True)
    }
    kept |= {**arguments, **({} if "slice_spec" in kept else {"name": None})}

    def place(value: Any) -> Any:
        if isinstance(value, list):
            return [place(item) for item in value]
        if is_tensor(value):
            return [*reference(value, counted), kept]
        return ["_CONSTANT_VALUE", -1, nested(value, lambda tensor: tensor), kept]

    return place(first)


def _slices(value: Any) -> Any:
    """Return slices in Keras 2's form."""
    if isinstance(value, list):
        return [_slices(item) for item in value]
    if isinstance(value, Mapping) and value.get("class_name") == "__slice__":
        return dict(value["config"])
    return value
