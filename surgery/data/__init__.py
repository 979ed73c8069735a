"""Examples to train and measure models on; one file a form of data."""
