"""What Keras's own configs say about a model, read without importing Keras."""

from surgery.architecture.tree import Architecture, Layer, snake_case

__all__ = ["Architecture", "Layer", "snake_case"]
