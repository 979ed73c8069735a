"""What people write by hand: the same edits with Keras. Arguments: input, output folder, layers."""

import sys
from pathlib import Path

import keras
import numpy as np


def main(source, folder, scaled, pruned, *frozen):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = keras.models.load_model(source)
    layer = model.get_layer(scaled)
    layer.set_weights([weight * 2 for weight in layer.get_weights()])
    for candidate in model.layers:
        if candidate.name.startswith(frozen):
            candidate.trainable = False
    layer = model.get_layer(pruned)
    kernel, *rest = layer.get_weights()
    flat = kernel.reshape(-1)
    flat[np.argpartition(np.abs(flat), flat.size // 10)[: flat.size // 10]] = 0
    layer.set_weights([flat.reshape(kernel.shape), *rest])
    model.save(folder / "model.keras")
    for weight in model.weights:
        path = folder / "weights" / f"{weight.path}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, weight.numpy())


main(*sys.argv[1:])
