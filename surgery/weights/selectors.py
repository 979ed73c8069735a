"""Selectors of weights, as written in recipes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.errors import SelectorError, did_you_mean, nearest
from surgery.weights import globs, regexes
from surgery.weights.facts import FACTS, Asked, as_list, check_fact
from surgery.weights.model import Model
from surgery.weights.weight import Weight, prefixes

_MOST_ALTERNATIVES = 10_000
NO_WEIGHTS = (
    "it has no weights at all; a model that was saved before it was ever called gets them by "
    "load: {path: ..., inputs: {shape: [1, 10]}}"
)


@dataclass(frozen=True)
class Select:
    """A parsed selector: a pattern, a list (any of), or a mapping of facts (all of)."""

    value: Any

    def __post_init__(self) -> None:
        check_selector(self.value)

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Select:
        """Make the selector from a recipe's value; raises SelectorError if it is malformed."""
        return cls(value)

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema; patterns and ranges are checked when a Select is made."""
        return {
            "type": ["string", "array", "object"],
            "items": {"type": ["string", "object", "array"]},
            "properties": {name: fact.schema() for name, fact in FACTS.items()},
            "additionalProperties": False,
            "minLength": 1,
        }

    def matches(self, model: Model) -> tuple[Weight, ...]:
        """Return the matching weights in the model's order; may be empty."""
        return model.once(self._matches)

    def _matches(self, model: Model) -> tuple[Weight, ...]:
        names = dict.fromkeys(
            name for w in (*model.weights, *model.states) for name in prefixes(w.address)
        )
        asked = Asked(model, named(patterns_of(self.value, ("path", "not")), names))
        weights = [w for w in model.weights if asked.matches(self.value, w)]
        return (*weights, *(w for w in model.states if _names_state(self.value, w, asked)))

    def weights(self, model: Model, allow_empty: bool = False) -> tuple[Weight, ...]:
        """Return the matching weights.

        Unless `allow_empty`, raises SelectorError with near addresses if there are none.
        """
        found = self.matches(model)
        if not found and not allow_empty:
            raise SelectorError(self._nothing(model))
        return found

    def __str__(self) -> str:
        return selector_text(self.value)

    def _nothing(self, model: Model) -> str:
        names = _names(model)
        close = [n for pattern in patterns_of(self.value) for n in nearest(pattern, names, 3)]
        close = close if model.weights or model.states else []
        hint = (
            f"the nearest are {', '.join(dict.fromkeys(close))}"
            if close
            else (
                f"the model has {', '.join(names[:3])}, ..."
                if names and (model.weights or model.states)
                else NO_WEIGHTS
            )
        )
        return (
            f"{self} matches no weight of {model.origin or 'the model'}; {hint}{self._types(model)}"
        )

    def _types(self, model: Model) -> str:
        """Return a hint with the layer classes of the model, if `type` names one it lacks."""
        wanted = as_list(self.value.get("type", [])) if isinstance(self.value, Mapping) else []
        layers = model.architecture.layers if model.architecture is not None else ()
        there = dict.fromkeys(layer.class_name for layer in layers)
        unknown = [name for name in wanted if name not in there]
        if not unknown or not there:
            return ""
        hint = did_you_mean(unknown[0], there)
        return f"; no layer is a {unknown[0]}{hint}; there are {', '.join(there)}"


def expand_braces(pattern: str) -> list[str]:
    """Expand `b{1..2}_{x,y}` to b1_x, b1_y, b2_x, b2_y; raises SelectorError for wrong braces."""
    if not re.fullmatch(r"[^{}]*(\{[^{}]*\}[^{}]*)*", pattern):
        raise SelectorError(f"{pattern!r} has unbalanced or nested braces")
    result = [""]
    for part in re.findall(r"[^{}]+|\{[^{}]*\}", pattern):
        options = _options(part[1:-1], pattern) if part.startswith("{") else [part]
        result = [head + option for head in result for option in options]
        if len(result) > _MOST_ALTERNATIVES:
            raise SelectorError(f"{pattern!r} expands to more than {_MOST_ALTERNATIVES} names")
    return result


def _options(inner: str, pattern: str) -> list[str]:
    if not inner:
        raise SelectorError(f"{pattern!r} has empty braces; write {{a,b}} or {{1..3}}")
    if counted := re.fullmatch(r"(\d+)\.\.(\d+)", inner):
        low, high = int(counted[1]), int(counted[2])
        if high < low or high - low >= _MOST_ALTERNATIVES:
            raise SelectorError(f"{pattern!r} has a range that is empty or too long")
        width = len(counted[1]) if counted[1].startswith("0") else 0
        return [f"{number:0{width}}" for number in range(low, high + 1)]
    return inner.split(",")


def named(patterns: Iterable[str], names: Iterable[str]) -> dict[str, AbstractSet[str]]:
    """Return for each pattern the set of matching names."""
    end = regexes.deadline()
    return {
        pattern: set(
            _by_regex(pattern, names, end) if _is_regex(pattern) else _by_glob(pattern, names)
        )
        for pattern in patterns
    }


def _by_glob(pattern: str, names: Iterable[str]) -> Iterator[str]:
    beginnings: dict[str, list[str]] = {}
    for option in expand_braces(pattern):
        beginnings.setdefault(globs.beginning(option), []).append(option)
    sizes = {len(beginning) for beginning in beginnings}
    for name in names:
        near = (option for size in sizes for option in beginnings.get(name[:size], ()))
        if any(globs.matches(option, name) for option in near):
            yield name


def _is_regex(pattern: str) -> bool:
    return pattern.startswith("re:")


def _by_regex(pattern: str, names: Iterable[str], end: float) -> Iterator[str]:
    try:
        for found in regexes.fullmatches(pattern[3:], names, end):
            yield found.string
    except ValueError as error:
        raise SelectorError(str(error)) from None


def _check_pattern(pattern: str) -> None:
    if not pattern or pattern == "re:":
        raise SelectorError('an empty selector names nothing; "**" names every weight')
    if not _is_regex(pattern):
        expand_braces(pattern)
        return
    try:
        regexes.compiled(pattern[3:])
    except ValueError as error:
        raise SelectorError(str(error)) from None


def check_selector(value: Any) -> None:
    """Raise SelectorError for a value that is no selector."""
    if isinstance(value, str):
        _check_pattern(value)
    elif isinstance(value, list):
        if not value:
            raise SelectorError('an empty list names nothing; "**" names every weight')
        for item in value:
            check_selector(item)
    elif isinstance(value, Mapping):
        _check_facts(value)
    else:
        raise SelectorError(f"expected a pattern, a list or a mapping of facts, not {value!r}")


def _check_facts(facts: Mapping[str, Any]) -> None:
    if not facts:
        raise SelectorError(f"an empty mapping names nothing; it takes {', '.join(FACTS)}")
    for key, value in facts.items():
        if key not in FACTS:
            hint = did_you_mean(str(key), FACTS)
            raise SelectorError(f"unknown fact {key!r}{hint}; allowed: {', '.join(FACTS)}")
        check_fact(key, value)
        if FACTS[key].kind is None:
            check_selector(value)
        elif key == "layers" and not re.fullmatch(r".+\.\..+", str(value)):
            raise SelectorError(
                f"layers: {value!r} is not a range such as block1_conv1..block3_pool"
            )


def _names_state(value: Any, weight: Weight, asked: Asked) -> bool:
    """Return whether a selector matches a state; it must use the fact `state`."""
    if isinstance(value, list):
        return any(_names_state(item, weight, asked) for item in value)
    return isinstance(value, Mapping) and "state" in value and asked.matches(value, weight)


def _names(model: Model) -> list[str]:
    return list(model.layer_order) + [weight.address for weight in model.weights]


def patterns_of(value: Any, facts: Sequence[str] = ("path",)) -> Iterator[str]:
    """Yield the patterns in a selector's value, and below the given facts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from patterns_of(item, facts)
    elif isinstance(value, Mapping):
        for fact in facts:
            yield from patterns_of(value.get(fact), facts)


def selector_text(value: Any) -> str:
    """Return the text of a selector's value, for messages: YAML in one line, without quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {selector_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(selector_text(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
