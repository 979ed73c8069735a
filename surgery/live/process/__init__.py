"""The process with Keras, and its jobs: models are built, trained and measured there."""
