"""TensorFlow's functions in a Keras 2 graph (TFOpLambda) as operations of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.architecture.renaming import is_reference

Arguments = MutableMapping[str, Any]
"""The keyword arguments of a call of TensorFlow's; an operation removes those it converts."""


@dataclass(frozen=True)
class Operation:
    """An operation of Keras 3, and how a call of TensorFlow's function becomes one of it.

    `inputs` names the arguments of TensorFlow's function that become positional inputs; `config`
    takes the operation's own arguments from a call, or raises LookupError or ValueError.
    """

    module: str
    class_name: str
    inputs: Sequence[str] = ("",)
    config: Callable[[Arguments], Mapping[str, Any]] = lambda _: {}


def _own(**names: tuple[str, Any]) -> Callable[[Arguments], Mapping[str, Any]]:
    """Return a reader of arguments: `ours=(TensorFlow's name, default)`, or `_REQUIRED`."""

    def read(given: Arguments) -> Mapping[str, Any]:
        values = {}
        for ours, (theirs, default) in names.items():
            value = given.pop(theirs, default)
            if value is _REQUIRED:
                raise ValueError(f"it does not say {theirs}")
            if is_reference(value):
                raise ValueError(f"{theirs} is computed")
            values[ours] = value
        return values

    return read


_REQUIRED = object()
_NUMPY, _NN, _CORE, _MATH = (
    f"keras.src.ops.{name}" for name in ("numpy", "nn", "core", "math")
)  # fmt: skip


def _binary(class_name: str) -> Operation:
    return Operation(_NUMPY, class_name, ("", "y"))


def _reduced(class_name: str) -> Operation:
    config = _own(axis=("axis", None), keepdims=("keepdims", False))
    return Operation(_NUMPY, class_name, ("",), config)


def _unary(class_name: str, module: str = _NUMPY) -> Operation:
    return Operation(module, class_name)


def _along(class_name: str, module: str, default: Any = _REQUIRED) -> Operation:
    return Operation(module, class_name, ("",), _own(axis=("axis", default)))


def _split(given: Arguments) -> Mapping[str, Any]:
    parts = given.pop("num_or_size_splits")
    if not isinstance(parts, int):
        raise ValueError("its parts are of several sizes")
    return {"indices_or_sections": parts, "axis": given.pop("axis", 0)}


def _reshape(given: Arguments) -> Mapping[str, Any]:
    shape = given.pop("shape")
    if not isinstance(shape, list) or not all(isinstance(size, int) for size in shape):
        raise ValueError("its shape is computed")
    return {"newshape": shape}


_BY_FUNCTION: Mapping[str, Operation] = {
    **dict.fromkeys(("math.multiply", "__operators__.mul"), _binary("Multiply")),
    **dict.fromkeys(("math.add", "__operators__.add", "math.add_v2"), _binary("Add")),
    **dict.fromkeys(("math.subtract", "__operators__.sub"), _binary("Subtract")),
    **dict.fromkeys(("math.truediv", "math.divide", "__operators__.truediv", "realdiv"),
                    _binary("TrueDivide")),
    "math.maximum": _binary("Maximum"),
    "math.minimum": _binary("Minimum"),
    "math.pow": _binary("Power"),
    "math.greater": _binary("Greater"),
    "math.greater_equal": _binary("GreaterEqual"),
    "math.less": _binary("Less"),
    "math.less_equal": _binary("LessEqual"),
    "linalg.matmul": Operation(_NUMPY, "Matmul", ("", "b")),
    "math.negative": _unary("Negative"),
    "math.abs": _unary("Absolute"),
    "math.exp": _unary("Exp"),
    "math.log": _unary("Log"),
    "math.log1p": _unary("Log1p"),
    "math.sqrt": _unary("Sqrt"),
    "math.square": _unary("Square"),
    "math.sin": _unary("Sin"),
    "math.cos": _unary("Cos"),
    "math.sign": _unary("Sign"),
    "math.floor": _unary("Floor"),
    "math.ceil": _unary("Ceil"),
    "math.rsqrt": _unary("Rsqrt", _MATH),
    **dict.fromkeys(("math.tanh", "nn.tanh"), _unary("Tanh")),
    **dict.fromkeys(("math.sigmoid", "nn.sigmoid"), _unary("Sigmoid", _NN)),
    "nn.relu": _unary("Relu", _NN),
    "nn.relu6": _unary("Relu6", _NN),
    "nn.selu": _unary("Selu", _NN),
    "nn.elu": _unary("Elu", _NN),
    **dict.fromkeys(("math.softplus", "nn.softplus"), _unary("Softplus", _NN)),
    "nn.softsign": _unary("Softsign", _NN),
    "nn.gelu": Operation(_NN, "Gelu", ("",), _own(approximate=("approximate", False))),
    "nn.leaky_relu": Operation(_NN, "LeakyRelu", ("",), _own(negative_slope=("alpha", 0.2))),
    "nn.softmax": _along("Softmax", _NN, -1),
    "nn.log_softmax": _along("LogSoftmax", _NN, -1),
    "math.reduce_mean": _reduced("Mean"),
    "math.reduce_sum": _reduced("Sum"),
    "math.reduce_max": _reduced("Max"),
    "math.reduce_min": _reduced("Min"),
    "math.reduce_prod": _reduced("Prod"),
    "expand_dims": _along("ExpandDims", _NUMPY),
    "squeeze": _along("Squeeze", _NUMPY, None),
    "concat": _along("Concatenate", _NUMPY),
    "stack": _along("Stack", _NUMPY, 0),
    "split": Operation(_NUMPY, "Split", ("",), _split),
    "reshape": Operation(_NUMPY, "Reshape", ("",), _reshape),
    "transpose": Operation(_NUMPY, "Transpose", ("",), _own(axes=("perm", None))),
    "tile": Operation(_NUMPY, "Tile", ("",), _own(repeats=("multiples", _REQUIRED))),
    "cast": Operation(_CORE, "Cast", ("",), _own(dtype=("dtype", _REQUIRED))),
    "clip_by_value": Operation(_NUMPY, "Clip", ("",), _own(
        x_min=("clip_value_min", _REQUIRED), x_max=("clip_value_max", _REQUIRED))),
    "where": Operation(_NUMPY, "Where", ("", "x", "y")),
}  # fmt: skip


def operation(function: str) -> Operation | None:
    """Return the Keras 3 operation equivalent to a TensorFlow function; None if there is none."""
    return _BY_FUNCTION.get(function.removeprefix("compat.v1."))
