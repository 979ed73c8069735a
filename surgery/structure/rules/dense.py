"""Dense layers and embeddings."""

from __future__ import annotations

import re

from surgery.architecture.variables import quantization_mode
from surgery.structure.calls import LAYERS, At, Axis, Outputs


@LAYERS("Dense")
def _dense(at: At) -> Outputs:
    if quantization_mode(at.config) not in (None, "int8"):
        return None
    given = at.read(at.x[-1])
    out = at.make(int(at.config["units"]))
    at.cut("kernel", 0, given, "in")
    at.cut("kernel", 1, out, "out")
    at.cut("kernel_scale", 0, out, "along")
    at.cut("bias", 0, out, "along")
    at.cut("lora_kernel_a", 0, given, "along")
    at.cut("lora_kernel_b", 1, out, "along")
    at.edit("units", out)
    at.activated(out, others=at.x[:-1])
    return [[*at.x[:-1], out]]


@LAYERS("Embedding")
def _embedding(at: At) -> Outputs:
    if quantization_mode(at.config):
        return None
    out = at.make(int(at.config["output_dim"]))
    at.cut("embeddings", 1, out, "out")
    at.cut("lora_embeddings_b", 1, out, "along")
    at.edit("output_dim", out)
    return [[*at.x, out]]


@LAYERS("EinsumDense")
def _einsum(at: At) -> Outputs:
    """Follow an equation that reads the last axis and makes the last axis, as a Dense does."""
    found = re.fullmatch(r"(\.*\w+),(\w+)->(\.*\w+)", str(at.config["equation"]))
    if found is None or quantization_mode(at.config):
        return None
    given, kernel, made = found.groups()
    reads, makes = given[-1], made[-1]
    if kernel != reads + makes or given[:-1] != made[:-1] or makes in given:
        return None
    if at.config.get("bias_axes") not in (None, "", makes):
        return None
    labels = at.read(at.x[-1])
    shape = at.config["output_shape"]
    size = shape[-1] if isinstance(shape, list) else shape
    out = at.make(int(size))
    at.cut("kernel", 0, labels, "in")
    at.cut("kernel", 1, out, "out")
    at.cut("bias", 0, out, "along")
    at.edit(("output_shape", len(shape) - 1) if isinstance(shape, list) else "output_shape", out)
    at.activated(out, others=at.x[:-1])
    axes: list[Axis] = [*at.x[:-1], out]
    return [axes]
