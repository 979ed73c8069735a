"""The grammar of expressions: text becomes a tree of Python's `ast`, which is checked, never run.

An expression has numbers, names of operands, `+ - * / ** @`, comparisons, and the functions below.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from surgery.errors import did_you_mean
from surgery.weights.tensor import Array

LONGEST = 1000
"""The most characters of an expression."""

_MOST_PARTS = 600
"""The most nodes of the tree of an expression: three for a name or an operator with it."""

_DEEPEST = 60
"""The most levels of the tree."""

_LARGEST = 2**53
"""Whole numbers up to here are the same as floats."""

BINARY: Mapping[type[ast.operator], Callable[[Array, Array], Array]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide,
    ast.Pow: np.power,
}  # fmt: skip
COMPARED: Mapping[type[ast.cmpop], Callable[[Array, Array], Array]] = {
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal,
    ast.Eq: np.equal, ast.NotEq: np.not_equal,
}  # fmt: skip
FUNCTIONS: Mapping[str, tuple[int, Callable[..., Array]]] = {
    "abs": (1, np.abs), "sqrt": (1, np.sqrt), "exp": (1, np.exp), "log": (1, np.log),
    "minimum": (2, np.minimum), "maximum": (2, np.maximum), "where": (3, np.where),
    "clip": (3, np.clip),
}  # fmt: skip
REDUCTIONS: Mapping[str, Callable[..., Array]] = {
    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "std": np.std,
}  # fmt: skip
NAMES = (*FUNCTIONS, *REDUCTIONS, "transpose")


def parsed(text: str) -> tuple[ast.expr, tuple[str, ...]]:
    """Return the tree of an expression and its operands' names, in the order of their first use.

    Raises ValueError for all that the grammar does not have.
    """
    names: dict[str, None] = {}
    node = tree(text)
    _check(node, names, text)
    return node, tuple(names)


def tree(text: str) -> ast.expr:
    """Return the tree of an expression; raises ValueError for one that is too long or deep."""
    if len(text) > LONGEST:
        raise ValueError(f"the expression has {len(text):,} characters; {LONGEST:,} are the most")
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{_shown(text)} is not an expression: {error}") from None
    level: list[ast.AST] = [tree]
    depth = count = 0
    while level:
        depth, count = depth + 1, count + len(level)
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if depth > _DEEPEST or count > _MOST_PARTS:
        raise ValueError(f"{_shown(text)} has too many parts; make it of several steps")
    return tree


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _check(node: ast.expr, names: dict[str, None], text: str, is_condition: bool = False) -> None:
    """Raise ValueError for a part that is not in the grammar, and collect the operands' names."""
    if is_condition != isinstance(node, ast.Compare):
        if not is_condition:
            raise ValueError(f"{_part(node)}: a comparison is the first argument of where only")
        raise ValueError(f"{_part(node)}: where takes a comparison first, such as x > 0")
    for child in _children(node, names):
        inside = isinstance(node, ast.Call) and called(node) == "where" and child is node.args[0]
        _check(child, names, text, inside)


def _children(node: ast.expr, names: dict[str, None]) -> Sequence[ast.expr]:
    """Return the operands of a part; raises ValueError if the grammar does not have it."""
    match node:
        case ast.Constant():
            number(node)
            return []
        case ast.Name():
            if node.id in NAMES:
                raise ValueError(f"{node.id} is a function: {node.id}(...)")
            names[node.id] = None
            return []
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            return [node.operand]
        case ast.BinOp(op=ast.Pow()):
            if any(isinstance(n, ast.Pow) for n in ast.walk(node.right)):
                raise ValueError(f"{_part(node)}: an exponent has no power in it")
            return [node.left, node.right]
        case ast.BinOp() if type(node.op) in BINARY or isinstance(node.op, ast.MatMult):
            return [node.left, node.right]
        case ast.Compare(ops=[op], comparators=[right]) if type(op) in COMPARED:
            return [node.left, right]
        case ast.Call():
            return _arguments(node)
    raise ValueError(
        f"{_part(node)} is not allowed; an expression has numbers, operands, + - * / ** @, and "
        f"{', '.join(NAMES)}"
    )


def _part(node: ast.AST) -> str:
    return _shown(ast.unparse(node)) if isinstance(node, ast.expr) else type(node).__name__


def number(node: ast.Constant) -> float:
    """Return a number of the expression; raises ValueError for any other constant."""
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{_part(node)} is not a number")
    if value == math.inf or (isinstance(value, int) and value > _LARGEST):
        raise ValueError(f"{_part(node)} is too large a number")
    return float(value)


def called(node: ast.Call) -> str:
    """Return the name of the function of a call; raises ValueError for an unknown one."""
    if not isinstance(node.func, ast.Name) or node.func.id not in NAMES:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        hint = did_you_mean(name, NAMES)
        raise ValueError(f"{_shown(name)} is not a function here{hint}; {', '.join(NAMES)} are")
    return node.func.id


def _arguments(node: ast.Call) -> Sequence[ast.expr]:
    """Return the operands of a call; raises ValueError if it has others than it takes."""
    name = called(node)
    if any(isinstance(argument, ast.Starred) for argument in node.args):
        raise ValueError(f"{_part(node)} is not allowed: *")
    count = FUNCTIONS[name][0] if name in FUNCTIONS else 1
    if len(node.args) != count:
        raise ValueError(f"{name} takes {count} operands, and {_part(node)} has {len(node.args)}")
    options(node)
    return node.args


def options(node: ast.Call) -> dict[str, Any]:
    """Return axis and keepdims of a reduction; raises ValueError for any other keyword."""
    found: dict[str, Any] = {}
    for keyword in node.keywords:
        kinds = {"axis": int, "keepdims": bool} if called(node) in REDUCTIONS else {}
        kind = kinds.get(keyword.arg or "")
        try:
            value = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            value = None
        if kind is None or type(value) is not kind:
            raise ValueError(f"{_part(node)}: only sum(x, axis=0, keepdims=True) has keywords")
        found[str(keyword.arg)] = value
    return found
