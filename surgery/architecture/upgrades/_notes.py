"""The record of what an upgrade of a config changed and refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Config = dict[str, Any]


@dataclass
class Upgrade:
    """What was changed (`done`), and what has no equivalent in Keras 3 (`refused`), as texts."""

    done: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
