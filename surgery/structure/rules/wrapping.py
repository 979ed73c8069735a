"""Layers with a layer inside."""

from __future__ import annotations

from dataclasses import replace

from surgery.architecture.entries import class_of
from surgery.structure.calls import LAYERS, At, Outputs
from surgery.structure.labels import Traced

_ON_EACH_STEP = frozenset(
    """
    Activation BatchNormalization Conv1D Conv2D Conv3D Dense DepthwiseConv1D DepthwiseConv2D Dropout
    Flatten GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D
    LayerNormalization LSTM GRU SimpleRNN AveragePooling2D MaxPooling2D ReLU SeparableConv2D
    """.split()  # noqa: SIM905 - as a list it is a page
)


@LAYERS("TimeDistributed")
def _distributed(at: At) -> Outputs:
    """Follow the layer inside as if there were one step."""
    inner = at.config["layer"]
    if class_of(inner) not in _ON_EACH_STEP or len(at.tensors) != 1 or len(at.children()) > 1:
        return None
    at.pin(at.x[1], "works along that axis")
    one = Traced((at.x[0], *at.x[2:]), (*at.shape[:1], *at.shape[2:]))
    tree = next(iter(at.children()), None)
    within = replace(at.inside(inner, tree, ("layer", "config")), args=[one], tensors=[one])
    made = LAYERS.found[class_of(inner)](within)
    return made and [[each[0], None, *each[1:]] for each in made]


@LAYERS("SpectralNormalization")
def _spectral(at: At) -> Outputs:
    inner = at.config["layer"]
    if class_of(inner) not in ("Conv1D", "Conv2D", "Conv3D", "Dense") or len(at.children()) != 1:
        return None
    made = LAYERS.found[class_of(inner)](at.inside(inner, at.children()[0], ("layer", "config")))
    if made is not None:
        at.cut("vector_u", 1, [labels for labels in made[0] if labels is not None][-1], "along")
    return made
