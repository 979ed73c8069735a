"""Layers that work along space, on each channel by itself."""

from __future__ import annotations

from surgery.structure.calls import LAYERS, At, Outputs

_SIZES = ("1D", "2D", "3D")


@LAYERS(
    *(
        name + size
        for name in (
            "AdaptiveAveragePooling", "AdaptiveMaxPooling", "AveragePooling", "Cropping",
            "MaxPooling", "UpSampling", "ZeroPadding",
        )
        for size in _SIZES
    ),
    "Resizing",
)  # fmt: skip
def _spatial(at: At) -> Outputs:
    axis = at.axis()
    return [at.placed(at.only(axis), axis, len(at.x))]


@LAYERS(*(f"Global{kind}Pooling{size}" for kind in ("Average", "Max") for size in _SIZES))
def _global(at: At) -> Outputs:
    axis = at.axis()
    labels = at.only(axis)
    if at.config.get("keepdims"):
        return [at.placed(labels, axis, len(at.x))]
    return [[None, labels]]
