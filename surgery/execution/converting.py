"""Conversion from one format to another: a recipe without steps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from surgery.errors import FormatError, RecipeError, UsageError, did_you_mean
from surgery.execution.plan import Plan
from surgery.execution.planning import make_plan
from surgery.formats.base import FORMATS, format_for, formats
from surgery.recipe.parts import recipe_text
from surgery.recipe.reading import recipe_from


def conversion(
    source: str,
    target: Path,
    to: str | None = None,
    select: Any = None,
    architecture: str | Path | None = None,
    for_: str | None = None,
    threads: int | None = None,
) -> Plan:
    """Plan to write the model in `source` to `target`.

    `to` is the format if the target's suffix does not tell, `select` a selector, `architecture`
    the model whose weights are in the source, `for_` is "keras2" for an old .h5. Raises UsageError
    and FormatError.
    """
    form = _format(target, to)
    if for_ is not None and form != "h5":
        raise UsageError(f"--for {for_} writes .h5 files, and {target} is {form}")
    given = {"architecture": architecture, "select": select}
    load = {"path": source, **{name: value for name, value in given.items() if value is not None}}
    written = str(target) if for_ is None else {"path": str(target), "for": for_}
    recipe = {"surgery": 1, "name": "convert", "load": load, "export": [{form: written}]}
    try:
        return make_plan(recipe_from(recipe_text(recipe).encode(), "convert", Path(), {}), threads)
    except RecipeError as error:
        raise UsageError("\n".join(problem.message for problem in error.problems)) from None
    except FormatError as error:  # without the position in the generated recipe
        raise FormatError(re.sub(r"^convert:\d+:\d+: load: ", "", str(error))) from None


def _format(target: Path, name: str | None) -> str:
    """Return the name of the format, derived from the target's suffix if `name` is None.

    Raises UsageError.
    """
    form = name or format_for(target)
    if form is None or FORMATS.find(form) is None:
        what = f"{form!r} is not a format" if form else f"{target} has no suffix of a known format"
        hint = did_you_mean(form or "", formats())
        raise UsageError(f"{what}{hint}; give --to with one of {', '.join(formats())}")
    return form
