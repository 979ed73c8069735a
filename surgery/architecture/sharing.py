"""Objects that several layers share, which Keras's configs tell apart by a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEY = "shared_object_id"


def numbered(config: Any) -> Any:
    """The config with shared objects numbered as they come.

    Keras numbers them by where they lie in memory, which differs from process to process.
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
