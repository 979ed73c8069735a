"""Objects that several layers share, which Keras's configs identify by `shared_object_id`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEY = "shared_object_id"


def numbered(config: Any) -> Any:
    """Return the config with shared objects numbered in order of appearance.

    Keras numbers them by memory address, which differs from process to process.
    """
    numbers: dict[Any, int] = {}

    def renumbered(value: Any) -> Any:
        if isinstance(value, list):
            return [renumbered(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        return {
            name: numbers.setdefault(item, len(numbers))
            if name == _KEY and isinstance(item, int)
            else renumbered(item)
            for name, item in value.items()
        }

    return renumbered(config)
