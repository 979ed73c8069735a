"""Layers whose output has the shape of their input, inputs themselves, and given shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgery.architecture.shapes.registry import LAYERS, Shape

ACTIVATIONS = ("Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU")
NORMALIZATIONS = (
    "BatchNormalization", "GroupNormalization", "LayerNormalization", "Normalization",
    "RMSNormalization", "SyncBatchNormalization", "UnitNormalization",
)  # fmt: skip
IN_TRAINING = (
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise",
    "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
)  # fmt: skip
"""Layers that do nothing when a trained model is called."""

RANDOM_IMAGES = (
    "AugMix", "CutMix", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration",
    "RandomColorJitter", "RandomContrast", "RandomElasticTransform", "RandomErasing",
    "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert",
    "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation",
    "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom",
)  # fmt: skip
_IMAGES = (
    "AutoContrast",
    "ContrastLimitedAdaptiveHistogramEqualization",
    "Equalization",
    "Solarization",
)


@LAYERS.shape(
    *ACTIVATIONS, *NORMALIZATIONS, *IN_TRAINING, *RANDOM_IMAGES, *_IMAGES,
    "Identity", "LayerScale", "Masking", "Rescaling",
)  # fmt: skip
def _same(inputs: Any) -> Any:
    return inputs


@LAYERS.shape("CustomScaleLayer", "StochasticDepth")
def _of_an_application(inputs: Any, *, entry: Mapping[str, Any]) -> Any:
    """Return the shape of the layers that keras.applications define themselves."""
    if "applications" not in str(entry.get("module")):
        raise ValueError(entry.get("module"))
    return inputs[0] if isinstance(inputs, list) else inputs


@LAYERS.shape("InputLayer")
def _input(*, entry: Mapping[str, Any]) -> Shape:
    config = entry["config"]
    return tuple(config.get("batch_shape") or config["batch_input_shape"])


@LAYERS.shape("Lambda")
def _given(inputs: Any, *, output_shape: list[int | None]) -> Shape:
    """Return the shape that was given to a Lambda layer, whose code is not run."""
    first = inputs[0] if isinstance(inputs, list) else inputs
    return (first[0], *output_shape)
