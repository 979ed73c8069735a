"""The FLOPs of what has no kernel.

An operation on each element, a maximum or a comparison counts as one, a softmax as five, as in
TensorFlow's profiler. Moving elements counts as none, and so do layers that act in training only.
An activation counts if it is a layer of its own, not if it is an argument of another layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from surgery.architecture.shapes import merging, operations_elementwise, pooling, same
from surgery.architecture.shapes.registry import (
    LAYERS,
    OPERATIONS,
    Entry,
    Rules,
    Shape,
    flops,
    leaves,
    output_shapes,
)
from surgery.architecture.shapes.sizes import count, numbers, split

_EACH = {
    "BatchNormalization": 2,  # the statistics are known: a factor and a summand
    "SyncBatchNormalization": 2,
    "Normalization": 2,
    "Rescaling": 2,
    "LayerScale": 1,
    "CustomScaleLayer": 2,
    "StochasticDepth": 0,
    "RMSNormalization": 4,  # squared, summed, divided, scaled
    "UnitNormalization": 3,
    **dict.fromkeys(same.ACTIVATIONS, 1),
    "Softmax": 5,
}
_ACTIVATIONS = {"linear": 0, None: 0, "softmax": 5, "log_softmax": 5}
_FREE = (
    *same.IN_TRAINING, *same.RANDOM_IMAGES, "CategoryEncoding", "CenterCrop", "Concatenate",
    "Cropping1D", "Cropping2D", "Cropping3D", "Discretization", "Flatten", "HashedCrossing",
    "Hashing", "Identity", "InputLayer", "IntegerLookup", "Masking", "MaxNumBoundingBoxes",
    "Permute", "RepeatVector", "Reshape", "StringLookup", "TextVectorization", "UpSampling1D",
    "UpSampling3D", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
)  # fmt: skip

_MOVED = tuple(
    """
    Append Array ArraySplit BroadcastTo Cast Concatenate ConvertToTensor Copy DepthToSpace Diag
    Diagflat Diagonal Dsplit Dstack EmptyLike ExpandDims ExtractPatches ExtractSequences Flip
    Fliplr Flipud Full FullLike GetItem Hsplit Hstack Imag Meshgrid Moveaxis MultiHot Ndim OneHot
    OnesLike PadImages CropImages Pad Ravel Real Rearrange Repeat Reshape Roll Rot90 SaturateCast
    Scatter ScatterUpdate Select Size Slice SliceUpdate SpaceToDepth Split Squeeze Stack
    StopGradient Swapaxes Take TakeAlongAxis Tile Transpose Tril Triu Unfold Unstack ViewAsComplex
    ViewAsReal Vsplit Vstack Where ZerosLike
    """.split()  # noqa: SIM905
)
_UNCOUNTED = ("Cholesky", "CholeskyInverse", "Corrcoef", "Inv", "Sparsemax")
_EACH_OPERATION = {
    **dict.fromkeys((*operations_elementwise.UNARY, *operations_elementwise.BINARY), 1),
    "BatchNorm": 2,
    "LayerNorm": 7,
    "LogSoftmax": 5,
    "Normalize": 3,
    "RMSNorm": 4,
    "Softmax": 5,
}
_EACH_INPUT = {
    **dict.fromkeys(
        """
        All Amax Amin Any Argmax Argmin Average CountNonzero Cumprod Cumsum Diff Max Mean Min
        Nanargmax Nanargmin Nancumprod Nancumsum Nanmax Nanmean Nanmin Nanprod Nansum Prod Sum
        """.split(),  # noqa: SIM905
        1,
    ),
    "Logsumexp": 3,
    "Moments": 4,
    "Nanstd": 4,
    "Nanvar": 4,
    "Norm": 2,
    "Ptp": 2,
    "Std": 4,
    "Var": 4,
}


def _register(rules: Rules, costs: Mapping[str, int], rule: Callable[[int], Any]) -> None:
    for class_name, each in costs.items():
        if class_name not in _UNCOUNTED:
            rules.cost(class_name)(rule(each))


def _per_output(each: int) -> Callable[[Any], int]:
    return lambda output: each and each * sum(map(count, leaves(output)))


def _per_input(each: int) -> Callable[[Any, Any], int]:
    return lambda _output, x: each * count(x)


_register(OPERATIONS, _EACH_OPERATION, _per_output)
_register(OPERATIONS, dict.fromkeys(_MOVED, 0), _per_output)
_register(OPERATIONS, _EACH_INPUT, _per_input)
_register(LAYERS, _EACH, _per_output)
_register(LAYERS, dict.fromkeys(_FREE, 0), _per_output)


@LAYERS.cost("Activation")
def _activation(output: Shape, *, activation: Any) -> int:
    each = 1 if isinstance(activation, Mapping) else _ACTIVATIONS.get(activation, 1)
    return each * count(output)


@LAYERS.cost("LayerNormalization", "GroupNormalization")
def _normalized(
    output: Shape, *, scale: bool = True, center: bool = True, rms_scaling: bool = False
) -> int:
    """Count the mean, the variance, the difference, the quotient; a factor and a summand."""
    each = 4 if rms_scaling else 5 + bool(scale) + bool(center)
    return each * count(output)


@LAYERS.cost("UpSampling2D")
def _upsampled(_output: Shape, *, interpolation: str = "nearest") -> int:
    if interpolation != "nearest":
        raise ValueError(interpolation)
    return 0


@LAYERS.cost(*merging.ELEMENTWISE)
def _merged(output: Shape, inputs: list[Shape], *, entry: Entry) -> int:
    divided = str(entry["class_name"]) == "Average"
    return count(output) * (len(inputs) - 1 + divided)


@LAYERS.cost(*pooling.POOLING)
@OPERATIONS.cost("AveragePool", "MaxPool")
def _pooled(output: Shape, *, pool_size: Any) -> int:
    return count(output) * count(numbers(pool_size, len(output) - 2))


@LAYERS.cost(*pooling.GLOBAL)
def _pooled_whole(_output: Shape, inputs: Shape) -> int:
    return count(inputs)


@LAYERS.cost(*pooling.ADAPTIVE)
def _adapted(output: Shape, inputs: Shape, *, data_format: Any = None) -> int:
    batch, made, channels = split(output, data_format)
    total = count([batch, channels])
    for size, places in zip(split(inputs, data_format)[1], made, strict=True):
        whole, number = count([size]), count([places])
        # Windows overlap by one where they do not divide the input.
        total *= whole + number - math.gcd(whole, number)
    return total


@LAYERS.cost("Pipeline")
def _one_after_another(_output: Any, inputs: Any, *, layers: list[Entry]) -> int:
    total = 0
    for layer in layers:
        outputs = output_shapes(layer, [inputs], {})
        cost = flops(layer, [inputs], {}, outputs)
        if cost is None:
            raise ValueError(layer["class_name"])
        total, inputs = total + cost, outputs
    return total
