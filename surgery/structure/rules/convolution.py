"""Convolutions: plain, grouped, transposed, depthwise and separable ones."""

from __future__ import annotations

import numpy as np

from surgery.architecture.variables import quantization_mode
from surgery.structure.calls import LAYERS, At, Axis, Outputs
from surgery.weights.tensor import Array


def _made(at: At, axis: int, out: Axis) -> Outputs:
    at.activated(out)
    return [at.placed(out, axis, len(at.x))]


@LAYERS("Conv1D", "Conv2D", "Conv3D")
def _conv(at: At) -> Outputs:
    if quantization_mode(at.config):
        return None
    axis, rank = at.axis(), len(at.x) - 2
    groups = int(at.config.get("groups") or 1)
    given = at.read(at.only(axis))
    out = at.make(int(at.config["filters"]))
    if groups == 1:
        at.cut("kernel", rank, given, "in")
        at.cut("lora_kernel_a", rank, given, "along")
    elif at.shape[axis] == groups:
        _one_group_each(at, given, out, groups)
    else:
        _grouped(at, given, out, groups)
    at.cut("kernel", rank + 1, out, "out")
    at.cut("lora_kernel_b", 1, out, "along")
    at.cut("bias", 0, out, "along")
    at.edit("filters", out)
    return _made(at, axis, out)


def _one_group_each(at: At, given: Axis, out: Array, groups: int) -> None:
    """Join each input channel, which is a group, with the output channels made of it."""
    if given is None:
        at.pin(out, "has a group for each channel of an input that must stay")
    else:
        at.labels.join(out, np.repeat(given, out.size // groups))
        at.edit("groups", given)


def _grouped(at: At, given: Axis, out: Array, groups: int) -> None:
    """Join the channels in the same place of every group, so that groups stay of one size."""
    makes = out.reshape(groups, -1)
    at.labels.join(makes[1:], makes[:1])
    if given is not None:
        reads = given.reshape(groups, -1)
        at.labels.join(reads[1:], reads[:1])
        at.cut("kernel", len(at.x) - 2, reads[0], "in")
        at.cut("lora_kernel_a", len(at.x) - 2, reads[0], "along")


@LAYERS("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def _transposed(at: At) -> Outputs:
    axis, rank = at.axis(), len(at.x) - 2
    given = at.read(at.only(axis))
    out = at.make(int(at.config["filters"]))
    at.cut("kernel", rank + 1, given, "in")
    at.cut("kernel", rank, out, "out")
    at.cut("bias", 0, out, "along")
    at.edit("filters", out)
    return _made(at, axis, out)


@LAYERS("DepthwiseConv1D", "DepthwiseConv2D")
def _depthwise(at: At) -> Outputs:
    axis, rank = at.axis(), len(at.x) - 2
    given = at.read(at.only(axis))
    if given is None:
        return _made(at, axis, None)
    out = np.repeat(given, int(at.config.get("depth_multiplier", 1)))
    at.cut("kernel", rank, given, "along")
    at.cut("bias", 0, out, "along")
    return _made(at, axis, out)


@LAYERS("SeparableConv1D", "SeparableConv2D")
def _separable(at: At) -> Outputs:
    axis, rank = at.axis(), len(at.x) - 2
    given = at.read(at.only(axis))
    out = at.make(int(at.config["filters"]))
    if given is not None:
        times = int(at.config.get("depth_multiplier", 1))
        at.cut("depthwise_kernel", rank, given, "along")
        at.cut("pointwise_kernel", rank, np.repeat(given, times), "in")
    at.cut("pointwise_kernel", rank + 1, out, "out")
    at.cut("bias", 0, out, "along")
    at.edit("filters", out)
    return _made(at, axis, out)
