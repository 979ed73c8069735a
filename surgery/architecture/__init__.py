"""Keras's model configs, read without importing Keras."""

from surgery.architecture.entries import snake_case
from surgery.architecture.layer import Layer
from surgery.architecture.tree import Architecture

__all__ = ["Architecture", "Layer", "snake_case"]
