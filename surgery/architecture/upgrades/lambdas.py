"""A Lambda's functions, as Keras 3 keeps them: their code, or a name and where it is found."""

from __future__ import annotations

from typing import Any

from surgery.architecture.upgrades._notes import Config

_MODULES = {"function": "module", "output_shape": "output_shape_module", "mask": "mask_module"}


def upgraded_lambda(config: Config) -> Config:
    """The config of a Lambda of Keras 2; what it runs needs leave of the user in Keras 3 too."""
    new = dict(config)
    for key, place in _MODULES.items():
        kind, module = new.pop(f"{key}_type", "raw"), new.pop(place, None)
        if kind == "lambda":
            new[key] = _of_code(new[key])
        elif kind == "function":
            name = new[key]
            new[key] = {"module": module, "class_name": "function", "config": name,
                        "registered_name": name}  # fmt: skip
        elif new.get(key) is None:
            new.pop(key, None)
    return new


def _of_code(value: Any) -> Any:
    if not isinstance(value, list) or len(value) != 3:
        return value
    # Keras unpacks all three from `code`, and makes the defaults a tuple again.
    inner = {"code": value, "defaults": None, "closure": None}
    return {"class_name": "__lambda__", "config": inner}
