"""The rules by which the outputs of a layer's call have their shapes, and their costs, by class.

A shape is a tuple of sizes, in which None is a size that only a run tells. What a layer is called
with, and what it returns, is a structure: lists and mappings with shapes in them. Only shapes are
tuples; numbers, texts and None are other arguments.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from surgery.architecture.entries import class_of, is_operation

Shape = tuple[int | None, ...]
Entry = Mapping[str, Any]
Rule = Callable[..., Any]
R = TypeVar("R", bound=Rule)

_OF_KERAS = ("keras", "tf_keras", "keras_core", "tensorflow")
RULE_ERRORS = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""The errors of rules for unknown or invalid calls, and for damaged configs."""


_OLD_KEYS = frozenset({"border_mode", "dim_ordering", "subsample", "subsample_length"})
"""Keys of Keras 1's configs, which must be upgraded first."""


class Rules(NamedTuple):
    """The rules of a kind of classes: Keras's layers, or the operations of `keras.ops`."""

    shapes: dict[str, Rule]
    costs: dict[str, Rule]

    def shape(self, *class_names: str) -> Callable[[R], R]:
        """Register the rule that gives the output shapes of those classes.

        Its positional parameters are the arguments of a call, its keyword-only ones are keys of
        the class's config, or `entry`, the whole of it.
        """
        return _registering(self.shapes, class_names)

    def cost(self, *class_names: str) -> Callable[[R], R]:
        """Register the rule that counts FLOPs: like `shape`, with the outputs as first argument."""
        return _registering(self.costs, class_names)


def _registering(rules: dict[str, Rule], class_names: Sequence[str]) -> Callable[[R], R]:
    def register(rule: R) -> R:
        rules.update(dict.fromkeys(class_names, rule))
        return rule

    return register


LAYERS = Rules({}, {})
OPERATIONS = Rules({}, {})


def output_shapes(entry: Entry, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the structure of shapes that a layer (its config entry) gives for such arguments.

    None where no rule tells: for a class that is not Keras's own, or runs code of its own.
    """
    rules, class_name = _kind(entry)
    rule = rules.shapes.get(class_name)
    if rule is None:
        return None
    try:
        found = _call(rule, entry, (), decoded(args), decoded(kwargs))
        return found if all(map(_is_shape, leaves(found))) else None
    except RULE_ERRORS:
        return None


def flops(entry: Entry, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Any) -> int | None:
    """Return the FLOPs of a layer's call whose outputs have those shapes; None where unknown.

    A multiplication and an addition are two. All sizes must be known, that of the batch too.
    """
    rules, class_name = _kind(entry)
    rule = rules.costs.get(class_name)
    if rule is None or outputs is None:
        return None
    try:
        return int(_call(rule, entry, (outputs,), decoded(args), decoded(kwargs)))
    except RULE_ERRORS:
        return None


def leaves(structure: Any) -> Iterator[Any]:
    """Return what is in a structure, in the order in which Keras counts a call's outputs."""
    if isinstance(structure, Mapping):
        for key in sorted(structure):
            yield from leaves(structure[key])
    elif isinstance(structure, list):
        for item in structure:
            yield from leaves(item)
    else:
        yield structure


def decoded(value: Any) -> Any:
    """Return an argument as rules take it, from what Keras writes for slices and constants."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    config = value.get("config")
    match value.get("class_name"):
        case "__slice__" if isinstance(config, Mapping):
            return slice(config.get("start"), config.get("stop"), config.get("step"))
        case "__ellipsis__":
            return Ellipsis
        case "__numpy__" | "__tensor__" if isinstance(config, Mapping):
            return _shape_of_values(config.get("value"))
    return {key: decoded(item) for key, item in value.items()}


def _shape_of_values(values: Any) -> Shape:
    sizes = []
    while isinstance(values, list):
        sizes.append(len(values))
        values = values[0] if values else None
    return tuple(sizes)


def _kind(entry: Entry) -> tuple[Rules, str]:
    """Return the rules to ask for a class, and its name; empty where it is not Keras 3's."""
    module = str(entry.get("module") or "keras").partition(".")[0]
    package = str(entry.get("registered_name") or entry.get("class_name")).rpartition(">")[0]
    config = entry.get("config")
    is_old = isinstance(config, Mapping) and (
        not _OLD_KEYS.isdisjoint(config) or config.get("time_major")
    )
    if package or module not in _OF_KERAS or is_old:
        return LAYERS, ""
    if is_operation(entry):
        return OPERATIONS, str(entry.get("class_name"))
    return LAYERS, class_of(entry)


def _call(
    rule: Rule, entry: Entry, first: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    taken = _parameters(rule)
    config = entry.get("config")
    options = {**(config if isinstance(config, Mapping) else {}), "entry": entry}
    given: dict[str, Any] = {key: options[key] for key in taken.keys if key in options}
    if taken.any_number:
        return rule(*first, *args, **given)
    names = taken.arguments[len(first) :]
    given.update(zip(names, args, strict=False))
    rest = kwargs if taken.any_name else {key: kwargs[key] for key in names if key in kwargs}
    return rule(*first, **{**given, **rest})


class _Parameters(NamedTuple):
    arguments: tuple[str, ...]
    keys: tuple[str, ...]
    any_number: bool
    any_name: bool


@functools.cache
def _parameters(rule: Rule) -> _Parameters:
    parameters = inspect.signature(rule).parameters.values()
    kinds = {parameter.kind for parameter in parameters}

    def names(kind: Any) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in parameters if parameter.kind == kind)

    return _Parameters(
        names(inspect.Parameter.POSITIONAL_OR_KEYWORD),
        names(inspect.Parameter.KEYWORD_ONLY),
        inspect.Parameter.VAR_POSITIONAL in kinds,
        inspect.Parameter.VAR_KEYWORD in kinds,
    )


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(
        size is None or (isinstance(size, int) and size >= 0) for size in value
    )
