"""What an upgrade of a config did, and what it could not do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Config = dict[str, Any]


@dataclass
class Upgrade:
    """What was changed, and what has no equal in Keras 3; by layer, in words."""

    done: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
