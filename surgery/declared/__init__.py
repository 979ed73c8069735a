"""What a recipe declares: types of fields, data, and what Keras compiles with; no Keras."""
