"""The stub file `surgery/__init__.pyi`: every op's keys, for editors and type checkers."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import surgery
from surgery.api.operations import op_function
from surgery.declared.data import Data
from surgery.declared.fields import REFERENCE, first_line, hints_of, keys_of
from surgery.formats.base import formats
from surgery.ops.base import Op, ops
from surgery.ops.live import LiveOp
from surgery.recipe.schema import mapping_schema
from surgery.weights.selectors import Select
from surgery.weights.sources import Donor

FILE = Path(surgery.__file__).with_name("__init__.pyi")

_WIDTH = 100
_TYPES = {
    "number": "float", "integer": "int", "boolean": "bool", "string": "str",
    "array": "Sequence[Any]", "object": "Mapping[str, Any]", "null": "None",
}  # fmt: skip
_HEAD = '''\
"""The public names, and every op with its keys: made by `python -m tests.regenerate`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import ArrayLike

'''
_ALIASES = """
__version__: str
_MODULES: dict[str, tuple[str, ...]]

_Selector = str | Sequence[Any] | Mapping[str, Any]
_Target = str | Path | Mapping[str, Any]
"""


def stub_text() -> str:
    """Return the text of the stub file."""
    parts = [_HEAD + "".join(_imports()) + _ALIASES, _save()]
    parts += [_function(name, declared) for name, declared in ops().items()]
    return "\n".join(parts)


def _imports() -> Iterator[str]:
    """Yield the imports of the public names, except `save`, whose signature is written out."""
    public = [(module, f"{n} as {n}") for module, names in surgery._MODULES.items() for n in names]
    for module, name in sorted([*public, ("weights.model", "Model as _Model")], key=_by_module):
        if name != "save as save":
            yield f"from surgery.{module} import {name}\n"


def _by_module(item: tuple[str, str]) -> str:
    return item[0]


def _save() -> str:
    targets = [f"{name}: _Target = ..." for name, form in formats().items() if form.can_write]
    parameters = ["model: _Model", "path: str | Path | None = None", "/", "*", *targets]
    return _definition("save", parameters, "None", "Write a model: all of its targets, or none.")


def _function(name: str, declared: type[Op]) -> str:
    """Return the definition of an op's function, with the types of its keys."""
    parameters = inspect.signature(op_function(name)).parameters.values()
    keys = [_key(declared, each) for each in parameters if each.kind == each.KEYWORD_ONLY]
    first = [_key(declared, each) for each in parameters if each.kind != each.KEYWORD_ONLY]
    is_found = issubclass(declared, LiveOp) and not declared.changes_weights
    result = "dict[str, Any]" if is_found else "Model"
    return _definition(name, [*first, "*", *keys], result, first_line(declared))


_OWN = {"model": "_Model", "seed": "int", "progress": "bool", "allow_code": "bool"}
"""Parameters that are not keys of the op."""


def _key(declared: type[Op], parameter: inspect.Parameter) -> str:
    """Return the text of one parameter."""
    if parameter.name in _OWN:
        kind = _OWN[parameter.name]
    else:
        key = parameter.name.rstrip("_")
        facts = mapping_schema(declared, "")["properties"][key]
        kind = _kind(facts, hints_of(declared)[keys_of(declared)[key].name])
    if parameter.name == declared.array_key:
        kind = f"ArrayLike | {kind}"
    default = "" if parameter.default is parameter.empty else f" = {_literal(parameter.default)}"
    return f"{parameter.name}: {kind}{default}"


def _literal(value: object) -> str:
    if value is ...:
        return "..."
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _kind(facts: Mapping[str, Any], hint: Any) -> str:
    """Return the type of a key from its schema; a path may be a pathlib.Path, too."""
    if hint is Select:
        return "_Selector"
    if "enum" in facts:
        allowed = ", ".join(_literal(value) for value in facts["enum"] if value is not None)
        return f"Literal[{allowed}]" + (" | None" if None in facts["enum"] else "")
    if "anyOf" in facts:
        return " | ".join(_kind(each, type(None)) for each in facts["anyOf"])
    given = facts["type"] if isinstance(facts["type"], list) else [facts["type"]]
    kinds = [
        _TYPES[kind] for kind in given if kind != "string" or facts.get("pattern") != REFERENCE
    ]
    if "str" in kinds and not {Path, Data, Donor}.isdisjoint(_parts(hint)):
        kinds.insert(kinds.index("str") + 1, "Path")
    if Donor in _parts(hint):
        kinds.insert(0, "_Model")
    return " | ".join(dict.fromkeys(kinds))


def _parts(hint: Any) -> Iterator[Any]:
    """Yield a type hint and all types inside it."""
    yield hint
    for part in typing.get_args(hint):
        yield from _parts(part)


def _definition(name: str, parameters: list[str], result: str, doc: str) -> str:
    """Return a function's definition as ruff formats it: on one line, or one parameter a line."""
    line = f"def {name}({', '.join(parameters)}) -> {result}:"
    if len(line) > _WIDTH:
        line = f"def {name}(\n    {(',' + chr(10) + '    ').join(parameters)},\n) -> {result}:"
    return f'{line}\n    """{doc}"""\n'
