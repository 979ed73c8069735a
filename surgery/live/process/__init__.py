"""A running Keras, in a process of its own: models are trained, measured and built there."""
