"""What Keras's own configs say about a model, read without importing Keras."""

from surgery.architecture.entries import snake_case
from surgery.architecture.layer import Layer
from surgery.architecture.tree import Architecture

__all__ = ["Architecture", "Layer", "snake_case"]
