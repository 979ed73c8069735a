"""The shapes of what layers return, and their FLOPs, from configs alone, as Keras has them."""

from surgery.architecture.shapes import (  # noqa: F401 - each registers its rules
    attention,
    convolution,
    counting,
    dense,
    merging,
    operations_axes,
    operations_elementwise,
    operations_images,
    operations_joining,
    operations_matrices,
    operations_others,
    operations_products,
    pooling,
    preprocessing,
    recurrent,
    reshaping,
    same,
    wrapping,
)
from surgery.architecture.shapes.models import ModelShapes, model_shapes
from surgery.architecture.shapes.registry import (
    LAYERS,
    OPERATIONS,
    RULE_ERRORS,
    Shape,
    flops,
    leaves,
    output_shapes,
)

__all__ = [
    "LAYERS",
    "OPERATIONS",
    "RULE_ERRORS",
    "ModelShapes",
    "Shape",
    "flops",
    "leaves",
    "model_shapes",
    "output_shapes",
]
