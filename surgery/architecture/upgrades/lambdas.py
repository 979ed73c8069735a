"""Functions of a Lambda in Keras 3's form: bytecode, or a module and a name."""

from __future__ import annotations

from typing import Any

from surgery.architecture.upgrades._notes import Config

_MODULES = {"function": "module", "output_shape": "output_shape_module", "mask": "mask_module"}


def upgraded_lambda(config: Config) -> Config:
    """Convert the config of a Keras 2 Lambda; running it needs the user's consent as before."""
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
