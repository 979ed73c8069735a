"""The same edits with Keras's KerasFileEditor, as far as it goes.

It writes `.weights.h5` only: no freeze, no `.keras`, no `.npy`. Arguments: input, output
folder, and the groups (in the file) of the layer to scale and of the one to prune.
"""

import sys
from pathlib import Path

import numpy as np
from keras.saving import KerasFileEditor


def main(source, folder, scaled, pruned):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    editor = KerasFileEditor(source)
    layers = editor.weights_dict["layers"]
    variables = layers[scaled]
    for key in list(variables):
        variables[key] = np.array(variables[key]) * 2
    variables = layers[pruned]
    kernel = np.array(variables["0"])
    flat = kernel.reshape(-1)
    flat[np.argpartition(np.abs(flat), flat.size // 10)[: flat.size // 10]] = 0
    variables["0"] = flat.reshape(kernel.shape)
    editor.save(folder / "model.weights.h5")


main(*sys.argv[1:])
