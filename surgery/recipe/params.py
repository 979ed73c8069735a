"""`params`, `env` and `${name}`: parameters of a recipe, and their substitution."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from surgery.errors import Problem, RecipeError, UsageError, did_you_mean
from surgery.live.permission import ALLOW_CODE, may_run_code
from surgery.recipe.document import Document, Place, parse, plain, scalar
from surgery.storage import locations

OWN = "x-"
"""The prefix of top-level keys that only contain anchors."""

PER_SWEEP = ("matrix", "objective", "cluster")
"""The keys for a sweep as a whole, which do not affect a single run."""

_REFERENCE = re.compile(r"\$(\$?)\{([^}]*)\}")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_SECRET = re.compile(r"token|secret|key|password|passwd|credential", re.IGNORECASE)
_NO_SECRETS = (
    "looks like a secret, which would be written to manifests; programs can read it from the "
    "environment directly"
)
_RUNS_CODE = ("build", "generator", "custom_objects", "arguments", "cluster")
"""Keys whose values become code, or part of a script."""


class Text(str):
    """Text from Python code, which stays text even if the recipe leaves the type open."""


def given(text: str) -> tuple[str, str]:
    """Split `name=value`; raises UsageError if it is malformed."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"-p {text}: write it as -p name=value")
    return name, value


def as_given(overrides: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides from Python code in the form of the command line, where equivalent."""
    return {name: _as_given(value, defaults.get(name)) for name, value in overrides.items()}


def _as_given(value: Any, default: Any) -> Any:
    if isinstance(value, str) and not (isinstance(value, Text) and _is_open(default)):
        return str(value)
    text = str(value) if isinstance(value, str) else json.dumps(value)
    try:
        is_read_so = json.dumps(plain(_typed("", text, default))) == json.dumps(value)
    except UsageError:  # a wrong type, which `resolve` reports
        is_read_so = False
    if is_read_so:
        return text
    return json.dumps(value) if isinstance(value, str) else value


def _is_open(default: Any) -> bool:
    """Return whether a parameter may have any type: its default is null or one `${reference}`."""
    is_reference = isinstance(default, str) and _REFERENCE.fullmatch(default) is not None
    return default is None or is_reference


def resolve(defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters' values: the defaults, or the overrides.

    An override that is text is parsed as the type of the default; another value must have that
    type, unless the default is text or null. Raises UsageError.
    """
    values = dict(defaults)
    for name, value in overrides.items():
        if name not in defaults:
            hint = did_you_mean(name, defaults)
            known = f"it has {', '.join(defaults)}" if defaults else "it has none"
            raise UsageError(f"-p {name}: the recipe has no parameter {name!r}{hint}; {known}")
        values[name] = _typed(name, value, defaults[name])
    return values


def _typed(name: str, given: Any, default: Any) -> Any:
    """Return an override as the parameter's value; raises UsageError for a wrong type."""
    value = _read(name, given, default) if isinstance(given, str) else given
    if isinstance(default, str) or default is None:
        return value
    if isinstance(default, bool | list | dict):
        fits = isinstance(value, type(default))
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits:
        raise UsageError(f"-p {name}={given}: expected {_kind(default)}, as in the recipe")
    is_whole = isinstance(default, int) and isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value


def _read(name: str, text: str, default: Any) -> Any:
    """Parse text from the command line as the type of the default; raises UsageError."""
    if isinstance(default, str) and not _is_open(default):
        return text
    is_list = isinstance(default, list | dict) or (default is None and text[:1] in ("[", "{"))
    if not is_list and not (_is_open(default) and _QUOTED.fullmatch(text)):
        return scalar(text)
    try:
        return parse(text.encode(), f"-p {name}").value
    except RecipeError as error:
        raise UsageError(f"-p {name}={text}: {error.problems[0].message}") from None


def _kind(value: Any) -> str:
    """Return the name of a value's type, for messages."""
    if isinstance(value, list | dict):
        return "a list, [a, b]" if isinstance(value, list) else "a mapping, {a: b}"
    return "true or false" if isinstance(value, bool) else "a number"


def environment(
    names: Any, outside: Mapping[str, str], document: Document
) -> tuple[dict[str, str], list[Problem]]:
    """Return {name: value} of the variables listed under `env` that are set, and problems."""
    found, problems = {}, []
    for number, name in enumerate(names if isinstance(names, list) else ()):
        if _SECRET.search(str(name)):
            problems.append(document.problem(("env", number), f"{name} {_NO_SECRETS}"))
        elif str(name) in outside:
            found[str(name)] = outside[str(name)]
    return found, problems


class Substitution:
    """The replacement of `${name}` and `${env:NAME}` by values, with `problems`."""

    def __init__(
        self,
        document: Document,
        params: Mapping[str, Any],
        env: Mapping[str, str],
        is_foreign: bool = False,
    ) -> None:
        """Start with values of parameters; `is_foreign` if they depend on the environment."""
        self.problems: list[Problem] = []
        self.params = dict(params)
        self._document, self._env = document, env
        listed = document.value.get("env")
        self._listed = listed if isinstance(listed, list) else []
        self._foreign = set(params) if is_foreign else set()
        self._failed: dict[str, str] = {}

    def define(self, name: str, default: Any) -> None:
        """Define a parameter by its default, which may refer to earlier parameters."""
        before = len(self.problems)
        value = self.value(default, ("params", name))
        if len(self.problems) > before:
            self._failed[name] = self.problems[before].message
            return
        self.params[name] = value
        if any(self._is_foreign(each) for each in references(default)):
            self._foreign.add(name)

    def value(self, value: Any, place: Place = ()) -> Any:
        """Return a value with all references replaced; a reference alone keeps its type."""
        if isinstance(value, dict):
            return self._mapping(value, place)
        if isinstance(value, list):
            return [self.value(item, (*place, i)) for i, item in enumerate(value)]
        return self._text(value, place) if isinstance(value, str) else value

    def _mapping(self, value: Mapping[str, Any], place: Place) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in value.items():
            found = self._text(key, (*place, key))
            name = _as_text(found)
            if isinstance(found, list | dict):
                self._problem((*place, key), f"{key} is {_kind_of(found)}, which cannot be a key")
            elif name in result:
                self._problem((*place, key), f"{key} is {name!r}, which is already a key here")
            result[name] = self.value(item, (*place, key))
        return result

    def _text(self, text: str, place: Place) -> Any:
        names = list(references(text))
        wrong = [message for name in names if (message := self._wrong(name))]
        whole = _REFERENCE.fullmatch(text)
        if not names or wrong:
            for message in wrong:
                self._problem(place, message)
            return text if wrong else _REFERENCE.sub(lambda found: found[0][1:], text)
        result = self._found(names[0]) if whole else self._joined(text, place)
        if any(self._is_foreign(name) for name in names) and not may_run_code():
            self._check_where_it_goes(result, place)
        return result

    def _joined(self, text: str, place: Place) -> str:
        for name in references(text):
            if isinstance(found := self.params.get(name), list | dict):
                kind = _kind_of(found)
                message = f"${{{name}}} is {kind}, which cannot be part of text; use it alone"
                self._problem(place, message)
                return text
        return _REFERENCE.sub(lambda m: m[0][1:] if m[1] else self._in_text(m[2]), text)

    def _found(self, name: str) -> Any:
        return scalar(self._variable(name)) if name.startswith("env:") else self.params[name]

    def _in_text(self, name: str) -> str:
        return self._variable(name) if name.startswith("env:") else _as_text(self.params[name])

    def _variable(self, name: str) -> str:
        _, variable, *default = name.split(":", 2)
        return self._env[variable] if variable in self._env else default[0]

    def _wrong(self, name: str) -> str | None:
        """Return what is wrong with a reference; None if it is valid."""
        if name in self._failed:
            return f"${{{name}}}: {self._failed[name]}"
        if name.startswith("env:"):
            return self._wrong_variable(name)
        if name in self.params:
            return None
        hint = did_you_mean(name, self.params)
        known = (
            f"params has {', '.join(self.params)}" if self.params else "the recipe has no params"
        )
        if name.isupper():
            known += f"; an environment variable is ${{env:{name}}}, with env: [{name}] at the top"
        return f"${{{name}}} is not a parameter{hint}; {known}"

    def _wrong_variable(self, name: str) -> str | None:
        _, variable, *default = name.split(":", 2)
        if variable not in self._listed:
            return f"${{{name}}} is not listed; add env: [{variable}] at the top of the recipe"
        if variable not in self._env and not default:
            return (f"the environment variable {variable} is not set; set it, or give a default: "
                    f"${{env:{variable}:default}}")  # fmt: skip
        return None

    def _is_foreign(self, name: str) -> bool:
        """Return whether a parameter or variable depends on the environment."""
        return name.startswith("env:") or name in self._foreign

    def _check_where_it_goes(self, result: Any, place: Place) -> None:
        if place[:1] in (("params",), ("matrix",)):
            return  # checked where the value is used
        is_code = any(part in _RUNS_CODE for part in place)
        if is_code or (isinstance(result, str) and locations.url_in(result)):
            what = "code or a script" if is_code else f"a remote address, {result}"
            self._problem(place, f"a value of the environment is used in {what}, which needs "
                                 f"--allow-code or {ALLOW_CODE}=1")  # fmt: skip

    def _problem(self, place: Place, message: str) -> None:
        self.problems.append(self._document.problem(place, message))


def references(value: Any) -> Iterator[str]:
    """Yield the names in every `${name}` of a value."""
    if isinstance(value, str):
        yield from (name for escaped, name in _REFERENCE.findall(value) if not escaped)
    elif isinstance(value, list | dict):
        for item in value.items() if isinstance(value, dict) else value:
            yield from references(list(item) if isinstance(item, tuple) else item)


def _kind_of(value: list[Any] | dict[str, Any]) -> str:
    return "a list" if isinstance(value, list) else "a mapping"


def _as_text(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
