"""The shapes and FLOPs of a model's calls, as far as its config tells."""

from __future__ import annotations

from surgery.architecture.shapes import RULE_ERRORS, ModelShapes, model_shapes
from surgery.weights.model import Model


def shapes_of(model: Model) -> ModelShapes | None:
    """Return the shapes of what a model's calls return; None where no config lists its calls."""
    return model.once(_shapes)


def _shapes(model: Model) -> ModelShapes | None:
    if model.architecture is None:
        return None
    config = model.architecture.config
    try:
        if not model.carried.is_keras3:
            from surgery.architecture.upgrades import upgraded

            sizes = {weight.address: weight.tensor.shape for weight in model.weights}
            config, _ = upgraded(config, model.carried.keras_version, sizes)
        return model_shapes(config)
    except RULE_ERRORS:
        return None
