"""The recipe language: YAML, its schema, its sources and targets."""
