"""The record of what an upgrade of a config changed and refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Config = dict[str, Any]


@dataclass
class Upgrade:
    """Descriptions of the changes (`done`), and of parts without an equivalent (`refused`)."""

    done: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
