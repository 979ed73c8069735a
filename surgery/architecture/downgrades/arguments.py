"""Arguments of Keras 2's classes (TensorFlow 2.12 to 2.15), measured with the real ones.

`arguments.json` has a row for each class that Keras 3 has too: the arguments that Keras 2 `takes`,
the arguments whose value in Keras 3 Keras 2 assumes or has another default for (`differ`), and
what a layer's `call` takes; and the activations that compute the same under the same name.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Config = dict[str, Any]

_RENAMED = {
    ("InputLayer", "batch_shape"): "batch_input_shape",
    ("LeakyReLU", "negative_slope"): "alpha",
}
_WITHOUT_EFFECT = ("flash_attention", "seed", "use_cudnn")
"""Arguments that affect how a layer computes or samples, but not what it predicts."""


@functools.cache
def table() -> Mapping[str, Any]:
    """Return the rows by kind (`layers`, `losses`...) and class; `activations` is a name list."""
    rows: Mapping[str, Any] = json.loads(Path(__file__).with_name("arguments.json").read_text())
    return rows


def arguments(kind: str, class_name: str, config: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Return (the arguments that Keras 2 takes, texts `name: value` of those it lacks)."""
    row = table()[kind][class_name]
    takes = set(row["takes"])
    assumed = {_RENAMED.get((class_name, key), key): v for key, v in row["differ"].items()}
    given = {_RENAMED.get((class_name, key), key): value for key, value in config.items()}
    new = {key: value for key, value in {**assumed, **given}.items() if key in takes}
    odd = [
        f"{key}: {json.dumps(value)}"
        for key, value in given.items()
        if key not in takes and key not in _WITHOUT_EFFECT and value != assumed.get(key)
    ]
    return new, odd
