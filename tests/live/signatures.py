"""What Keras's optimizers, losses, metrics, schedules and layers take.

`python -m tests.live.signatures` writes `surgery/declared/signatures.json`.
"""

import inspect
import json
from pathlib import Path

from surgery.declared import compiling

PLACE = Path(compiling.__file__).with_name("signatures.json")


def ask():
    """What the installed Keras says."""
    import keras

    kinds = {
        "optimizers": (keras.optimizers, compiling.OPTIMIZERS),
        "losses": (keras.losses, compiling.LOSSES),
        "metrics": (keras.metrics, compiling.METRICS),
        "schedules": (keras.optimizers.schedules, compiling.SCHEDULES),
    }
    found = {
        kind: {name: arguments(getattr(module, name)) for name in sorted(names)}
        for kind, (module, names) in kinds.items()
    }
    return {**found, "layers": layers(keras)}


def layers(keras):
    """The classes of layers that a recipe may add: no inputs, no cells, none with code in it."""
    base = keras.layers.Layer
    not_new = (
        "FlaxLayer", "GRUCell", "InputLayer", "JaxLayer", "LSTMCell", "Lambda", "Layer", "Pipeline",
        "RNN", "SimpleRNNCell", "StackedRNNCells", "TFSMLayer", "TorchModuleWrapper", "Wrapper",
    )  # fmt: skip
    classes = {
        name: made
        for name, made in sorted(vars(keras.layers).items())
        if inspect.isclass(made) and issubclass(made, base) and name == made.__name__
    }
    return {
        name: arguments(made, ("name", "trainable", "dtype"))
        for name, made in classes.items()
        if name not in not_new
    }


def arguments(made, common=()):
    """All of a class's arguments, and those without a default."""
    parameters = list(inspect.signature(made.__init__).parameters.values())[1:]
    given = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    needs = [each.name for each in given if each.default is each.empty]
    names = [each.name for each in given]
    more = any(each.kind is each.VAR_KEYWORD for each in parameters)
    names += [name for name in common if more and name not in names]
    return {"takes": names, "needs": needs}


def as_text(found):
    """The table, a line for each class."""
    kinds = (
        f'"{kind}": {{\n'
        + ",\n".join(f'"{name}": {json.dumps(row)}' for name, row in rows.items())
        + "\n}"
        for kind, rows in found.items()
    )
    return "{" + ",\n".join(kinds) + "}\n"


if __name__ == "__main__":
    PLACE.write_text(as_text(ask()))
