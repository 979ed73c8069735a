"""Selectors: what a recipe writes to name weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from surgery.errors import SelectorError, did_you_mean, nearest
from surgery.weights import globs, regexes
from surgery.weights.model import Model
from surgery.weights.weight import STATES, Weight, prefixes

FACTS = (
    "path", "type", "variable", "trainable", "dtype", "rank", "min_size", "layers", "state", "not",
)  # fmt: skip
_MOST_ALTERNATIVES = 10_000
NO_WEIGHTS = (
    "it has no weights at all; a model that was saved before it was ever called gets them by "
    "load: {path: ..., inputs: {shape: [1, 10]}}"
)
_FACT_KINDS: Mapping[str, tuple[type, ...]] = {
    "type": (str,),
    "variable": (str,),
    "dtype": (str,),
    "trainable": (bool,),
    "rank": (int,),
    "min_size": (int,),
    "layers": (str,),
    "state": (str,),
}


@dataclass(frozen=True)
class Select:
    """A parsed selector: a pattern, a list (any of), or a mapping of facts (all of)."""

    value: Any

    def __post_init__(self) -> None:
        _check(self.value)

    def matches(self, model: Model) -> tuple[Weight, ...]:
        """The weights it names, in the model's order; perhaps none."""
        return model.once(self._matches)

    def _matches(self, model: Model) -> tuple[Weight, ...]:
        names = dict.fromkeys(
            name for w in (*model.weights, *model.states) for name in prefixes(w.address)
        )
        asked = _Asked(model, _named(_patterns(self.value, ("path", "not")), names))
        weights = [w for w in model.weights if _matches(self.value, w, asked)]
        return (*weights, *(w for w in model.states if _names_state(self.value, w, asked)))

    def weights(self, model: Model, allow_empty: bool = False) -> tuple[Weight, ...]:
        """The weights it names; raises SelectorError, with the nearest addresses, for none."""
        found = self.matches(model)
        if not found and not allow_empty:
            raise SelectorError(self._nothing(model))
        return found

    def __str__(self) -> str:
        return _text(self.value)

    def _nothing(self, model: Model) -> str:
        names = _names(model)
        close = [n for pattern in _patterns(self.value) for n in nearest(pattern, names, 3)]
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
        """Which classes there are, where it names others."""
        wanted = _as_list(self.value.get("type", [])) if isinstance(self.value, Mapping) else []
        layers = model.architecture.layers if model.architecture is not None else ()
        there = dict.fromkeys(layer.class_name for layer in layers)
        unknown = [name for name in wanted if name not in there]
        if not unknown or not there:
            return ""
        hint = did_you_mean(unknown[0], there)
        return f"; no layer is a {unknown[0]}{hint}; there are {', '.join(there)}"


def expand_braces(pattern: str) -> list[str]:
    """`b{1..3}_{x,y}` -> b1_x, b1_y, b2_x...; raises SelectorError for braces in disorder."""
    if not re.fullmatch(r"[^{}]*(\{[^{}]*\}[^{}]*)*", pattern):
        raise SelectorError(f"{pattern!r} has a brace without its pair, or one inside another")
    result = [""]
    for part in re.findall(r"[^{}]+|\{[^{}]*\}", pattern):
        options = _options(part[1:-1], pattern) if part.startswith("{") else [part]
        result = [head + option for head in result for option in options]
        if len(result) > _MOST_ALTERNATIVES:
            raise SelectorError(f"{pattern!r} stands for more than {_MOST_ALTERNATIVES} names")
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


@dataclass(frozen=True)
class _Asked:
    """The model that a selector is asked about, and the names that each pattern stands for."""

    model: Model
    named: Mapping[str, AbstractSet[str]]


def _named(patterns: Iterable[str], names: Iterable[str]) -> dict[str, AbstractSet[str]]:
    """Those of the names that each pattern stands for."""
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


def _check(value: Any) -> None:
    if isinstance(value, str):
        _check_pattern(value)
    elif isinstance(value, list):
        if not value:
            raise SelectorError('an empty list names nothing; "**" names every weight')
        for item in value:
            _check(item)
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
        kinds = _FACT_KINDS.get(key)
        if kinds and not all(type(item) in kinds for item in _as_list(value)):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise SelectorError(f"{key}: expected {wanted}, not {value!r}")
        if key in ("path", "not"):
            _check(value)
        elif key == "state" and not set(_as_list(value)) <= set(STATES):
            raise SelectorError(f"state: {value!r} is not among {', '.join(STATES)}")
        elif key == "layers" and not re.fullmatch(r".+\.\..+", str(value)):
            raise SelectorError(
                f"layers: {value!r} is not a range such as block1_conv1..block3_pool"
            )


def _matches(value: Any, weight: Weight, asked: _Asked) -> bool:
    if isinstance(value, str):
        return not asked.named[value].isdisjoint(prefixes(weight.address))
    if isinstance(value, list):
        return any(_matches(item, weight, asked) for item in value)
    return all(_FACT_TESTS[key](wanted, weight, asked) for key, wanted in value.items())


def _names_state(value: Any, weight: Weight, asked: _Asked) -> bool:
    """Whether a variable that is no weight is meant: only where the selector says `state`."""
    if isinstance(value, list):
        return any(_names_state(item, weight, asked) for item in value)
    return isinstance(value, Mapping) and "state" in value and _matches(value, weight, asked)


def _is_type(wanted: Any, weight: Weight, asked: _Asked) -> bool:
    if asked.model.architecture is None:
        return False
    layers = asked.model.architecture.by_address
    classes = {layers[p].class_name for p in prefixes(weight.address) if p in layers}
    return bool(classes & set(_as_list(wanted)))


def _in_range(wanted: Any, weight: Weight, asked: _Asked) -> bool:
    first, _, last = str(wanted).partition("..")
    order = asked.model.layer_order
    for end in (first, last):
        if end not in order:
            raise SelectorError(
                f"layers: {end!r} is not a layer of the model{did_you_mean(end, order)}"
            )
    if order[last] < order[first]:
        raise SelectorError(f"layers: {last!r} comes before {first!r} in the model")
    until = max(place for name, place in order.items() if f"{name}/".startswith(f"{last}/"))
    places = [order[p] for p in prefixes(weight.address) if p in order]
    return bool(places) and order[first] <= places[0] <= until


_FACT_TESTS: Mapping[str, Callable[[Any, Weight, _Asked], bool]] = {
    "path": _matches,
    "type": _is_type,
    "variable": lambda wanted, w, _: w.variable in _as_list(wanted),
    "trainable": lambda wanted, w, _: w.trainable in _as_list(wanted),
    "dtype": lambda wanted, w, _: w.tensor.dtype.name in _as_list(wanted),
    "rank": lambda wanted, w, _: len(w.tensor.shape) in _as_list(wanted),
    "min_size": lambda wanted, w, _: all(w.tensor.size >= size for size in _as_list(wanted)),
    "layers": _in_range,
    "state": lambda wanted, w, _: w.state in _as_list(wanted),
    "not": lambda wanted, w, asked: not _matches(wanted, w, asked),
}


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _names(model: Model) -> list[str]:
    return list(model.layer_order) + [weight.address for weight in model.weights]


def _patterns(value: Any, facts: Sequence[str] = ("path",)) -> Iterator[str]:
    """The patterns in it, below those facts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _patterns(item, facts)
    elif isinstance(value, Mapping):
        for fact in facts:
            yield from _patterns(value.get(fact), facts)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
