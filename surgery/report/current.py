"""The report on a run that was not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surgery.execution.seen import ENDING
from surgery.report.tables import shown


def current_facts(recipe: str, manifest: Path) -> dict[str, Any]:
    """Return the facts of a run that was not needed, for JSON."""
    return {
        "recipe": recipe,
        "name": manifest.name.removesuffix(ENDING),
        "up_to_date": True,
        "manifest": str(manifest),
    }


def current_text(manifest: Path) -> str:
    """Return the line for a run that was not needed."""
    name = manifest.name.removesuffix(ENDING)
    return f"{name}: up to date by {shown(manifest)}; --force runs it anyway"
