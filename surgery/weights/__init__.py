"""The lazy tensor, the model, selectors; NumPy only."""
