"""The lazy tensor, the model and selectors; uses NumPy only."""
