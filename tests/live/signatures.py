"""What Keras's optimizers, losses, metrics and schedules take.

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
    return {
        kind: {name: arguments(getattr(module, name)) for name in sorted(names)}
        for kind, (module, names) in kinds.items()
    }


def arguments(made):
    """All of a class's arguments, and those without a default."""
    given = [
        each
        for each in list(inspect.signature(made.__init__).parameters.values())[1:]
        if each.kind is each.POSITIONAL_OR_KEYWORD
    ]
    needs = [each.name for each in given if each.default is each.empty]
    return {"takes": [each.name for each in given], "needs": needs}


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
