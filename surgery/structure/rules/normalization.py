"""Normalizations, and layers with a parameter for each channel."""

from __future__ import annotations

from surgery.structure.calls import LAYERS, At, Outputs

_OF_BATCHES = (
    "beta", "moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev"
)  # fmt: skip


@LAYERS("BatchNormalization")
def _batch(at: At) -> Outputs:
    axis = at.config.get("axis", -1)
    given = at.read(at.x[axis[0] if isinstance(axis, list) else axis])
    at.cut("gamma", 0, given, "scale")
    for variable in _OF_BATCHES:
        at.cut(variable, 0, given, "along")
    return [at.x]


@LAYERS("LayerNormalization", "RMSNormalization", "UnitNormalization")
def _layer(at: At) -> Outputs:
    axis = at.config.get("axis", -1)
    for number, each in enumerate(axis if isinstance(axis, list) else [axis]):
        given = at.read(at.x[each], each)
        for variable in ("gamma", "beta", "scale"):
            at.cut(variable, number, given, "along")
        at.mix(given)
    return [at.x]


@LAYERS("GroupNormalization")
def _group(at: At) -> Outputs:
    given = at.read(at.x[at.config.get("axis", -1)])
    if given is None:
        return [at.x]
    groups = at.config["groups"]
    if groups == given.size:
        at.edit("groups", given)
    elif groups != -1:
        parts = given.reshape(groups, -1)
        at.labels.join(parts[1:], parts[:1])
        at.mix(given)
    for variable in ("gamma", "beta"):
        at.cut(variable, 0, given, "along")
    return [at.x]


@LAYERS("PReLU")
def _prelu(at: At) -> Outputs:
    shared = at.config.get("shared_axes") or ()
    for axis in range(1, len(at.x)):
        if axis not in shared:
            at.cut("alpha", axis - 1, at.read(at.x[axis], axis), "along")
    return [at.x]


@LAYERS("LayerScale")
def _scale(at: At) -> Outputs:
    given = at.read(at.x[-1])
    at.cut("gamma", 0, given, "along")
    if given is not None:
        at.edit("projection_dim", given)
    return [at.x]


@LAYERS("Masking", "Normalization")
def _all_channels(at: At) -> Outputs:
    at.pin(at.x, "has or compares numbers for all channels")
    return [at.x]
