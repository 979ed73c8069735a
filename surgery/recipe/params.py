"""`params` and `${name}`: what a recipe leaves open, with a default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from surgery.errors import Problem, UsageError, did_you_mean
from surgery.recipe.document import Document, Place, scalar

PER_SWEEP = ("matrix", "cluster")
"""Keys that are about all runs of a sweep; what one of them does does not depend on them."""

_REFERENCE = re.compile(r"\$(\$?)\{([^}]*)\}")


def given(text: str) -> tuple[str, str]:
    """`name=value` of the command line, apart; raises UsageError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"-p {text}: write it as -p name=value")
    return name, value


def resolve(defaults: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    """The parameters' values: the recipe's, or those given, of the same type as the recipe's."""
    values = dict(defaults)
    for name, text in overrides.items():
        if name not in defaults:
            hint = did_you_mean(name, defaults)
            known = f"it has {', '.join(defaults)}" if defaults else "it has none"
            raise UsageError(f"-p {name}: the recipe has no parameter {name!r}{hint}; {known}")
        values[name] = _typed(name, text, defaults[name])
    return values


def _typed(name: str, text: str, default: Any) -> Any:
    value = scalar(text)
    if default is None:
        return value
    if isinstance(default, bool) or not isinstance(default, int | float):
        wanted = type(default)
        if wanted is str:
            return text
        if not isinstance(value, wanted):
            raise UsageError(f"-p {name}={text}: expected {_kind(default)}, as in the recipe")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"-p {name}={text}: expected {_kind(default)}, as in the recipe")
    if isinstance(default, int) and isinstance(value, float):
        return value if not value.is_integer() else int(value)
    return value


def _kind(value: Any) -> str:
    return "true or false" if isinstance(value, bool) else "a number"


def substitute(
    value: Any, params: Mapping[str, Any], document: Document, place: Place = ()
) -> tuple[Any, list[Problem]]:
    """The value with every `${name}` replaced; a value that is only that keeps the type."""
    problems: list[Problem] = []
    if isinstance(value, dict):
        result: Any = {}
        for key, item in value.items():
            result[key], found = substitute(item, params, document, (*place, key))
            problems += found
        return result, problems
    if isinstance(value, list):
        pairs = [substitute(v, params, document, (*place, i)) for i, v in enumerate(value)]
        return [item for item, _ in pairs], [p for _, found in pairs for p in found]
    if not isinstance(value, str):
        return value, []
    for escaped, name in _REFERENCE.findall(value):
        if not escaped and name not in params:
            hint = did_you_mean(name, params)
            known = f"params has {', '.join(params)}" if params else "the recipe has no params"
            message = f"${{{name}}} is not a parameter{hint}; {known}"
            problems.append(document.problem(place, message))
    if problems:
        return value, problems
    whole = _REFERENCE.fullmatch(value)
    if whole and not whole[1]:
        return params[whole[2]], []
    return _REFERENCE.sub(lambda m: m[0][1:] if m[1] else _as_text(params[m[2]]), value), []


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
