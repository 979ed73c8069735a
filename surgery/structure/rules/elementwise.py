"""Layers and operations that act on each element by itself."""

from __future__ import annotations

from collections.abc import Mapping

from surgery.structure.calls import LAYERS, OPERATIONS, At, Outputs


@LAYERS(
    "ActivityRegularization", "AlphaDropout", "Dropout", "ELU", "GaussianDropout",
    "GaussianNoise", "Identity", "LeakyReLU", "ReLU", "SpatialDropout1D", "SpatialDropout2D",
    "SpatialDropout3D", "ThresholdedReLU",
)  # fmt: skip
@OPERATIONS(
    *"""
    Abs Absolute Arctan Cast Cbrt Ceil Celu Clip Copy Cos Cosh Elu Erf Exp Exp2 Expm1 Floor Gelu
    HardShrink HardSigmoid HardSilu HardTanh Isfinite Isinf Isnan LeakyRelu Log Log10 Log1p Log2
    LogSigmoid LogicalNot Negative OnesLike Reciprocal Relu Relu6 Round Rsqrt SaturateCast Selu
    Sigmoid Sign Silu Sin Sinh SoftShrink Softplus Softsign SparsePlus SparseSigmoid Sqrt Square
    Squareplus StopGradient Tan Tanh TanhShrink Threshold Trunc ZerosLike
    """.split()  # noqa: SIM905 - as a list it is a page
)
def _same(at: At) -> Outputs:
    values = (value for key, value in at.config.items() if key != "dtype")
    if any(isinstance(value, list | Mapping) for value in values):
        at.pin(at.x, "has numbers for each channel")
    return [at.x]


@LAYERS("Activation")
def _activation(at: At) -> Outputs:
    at.activated(at.x[-1], others=at.x[:-1])
    return [at.x]


@LAYERS("Softmax")
@OPERATIONS("LogSoftmax", "Softmax", "Sparsemax")
def _softmax(at: At) -> Outputs:
    axis = at.config.get("axis", -1)
    for each in axis if isinstance(axis, list) else range(len(at.x)) if axis is None else [axis]:
        at.mix(at.x[each])
    return [at.x]


@LAYERS("Rescaling")
def _rescaling(at: At) -> Outputs:
    if not all(isinstance(at.config.get(key, 0), int | float) for key in ("scale", "offset")):
        at.pin(at.x, "has numbers for each channel")
    return [at.x]
