"""Objects that several layers share, which Keras's configs tell apart by a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_KEY = "shared_object_id"


def numbered(config: Any) -> Any:
    """Return the config with shared objects numbered as they come.

    Keras numbers them by memory address, which differs from process to process.
    """
    return _renumbered(config, {}, 0)


def told_apart(configs: Iterable[Any]) -> list[Any]:
    """Return configs of which no two have a shared object of one number, for one model of all."""
    found, count = [], 0
    for config in configs:
        numbers: dict[Any, int] = {}
        found.append(_renumbered(config, numbers, count))
        count += len(numbers)
    return found


def _renumbered(value: Any, numbers: dict[Any, int], start: int) -> Any:
    if isinstance(value, list):
        return [_renumbered(item, numbers, start) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {
        name: numbers.setdefault(item, start + len(numbers))
        if name == _KEY and isinstance(item, int)
        else _renumbered(item, numbers, start)
        for name, item in value.items()
    }
