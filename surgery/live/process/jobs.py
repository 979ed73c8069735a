"""The jobs of the process with Keras, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from surgery.live.process import building, loading, measuring, sensitivity, training

JOBS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "build": building.build,
    "complete": building.complete,
    "check": loading.check,
    "train": training.train,
    "evaluate": measuring.evaluate,
    "predict": measuring.predict,
    "sensitivity": sensitivity.sensitivity,
    "activations": measuring.activations,
    "output_change": measuring.output_change,
    "equivalence": measuring.equivalence,
}
