"""Keras's own script: load a model, freeze layers, fit; in a process with one thread.

A line of JSON on standard input asks for a training, and one on standard output has the losses.
"""

import json
import os
import sys

import numpy as np

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def fitted(folder, layers, data, compiled, orders):
    """An epoch for each order of the examples, with Adam for a model that is not compiled."""
    import keras

    model = keras.models.load_model(f"{folder}/start.keras", compile=compiled)
    if not compiled:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    for name in layers:
        layer = model
        for part in name.split("/"):
            layer = layer.get_layer(part)
        layer.trainable = False
    with np.load(f"{folder}/d.npz") as arrays:
        given = [arrays[name] for name in data]
    losses = []
    for order in orders:
        rows = [array[order] for array in given]
        done = model.fit(*rows, batch_size=8, epochs=1, shuffle=False, verbose=0)
        losses += done.history["loss"]
    model.save(f"{folder}/own.keras")
    return losses


def main():
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    import keras

    for line in sys.stdin:
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        print(json.dumps(fitted(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
