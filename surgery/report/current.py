"""A run that was not needed, told to people and to machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surgery.report.tables import shown

_ENDING = ".run.json"


def current_facts(recipe: str, manifest: Path) -> dict[str, Any]:
    """A run that was not needed, as plain data."""
    return {
        "recipe": recipe,
        "name": manifest.name.removesuffix(_ENDING),
        "up_to_date": True,
        "manifest": str(manifest),
    }


def current_text(manifest: Path) -> str:
    """A run that was not needed, for people."""
    name = manifest.name.removesuffix(_ENDING)
    return f"{name}: up to date, as {shown(manifest)} says; --force runs it all the same"
