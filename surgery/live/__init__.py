"""Everything that imports Keras and TensorFlow."""
