"""TensorFlow's own files, read and written without it: bundles, graphs and messages."""
