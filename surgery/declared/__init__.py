"""Declarations of the recipe language: key types, data, optimizers, losses; no Keras."""
