"""Arithmetic between tensors, written as an expression and computed lazily."""

from __future__ import annotations

import ast
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surgery.weights.arithmetic import compute_dtype, is_whole
from surgery.weights.grammar import (
    BINARY,
    COMPARED,
    FUNCTIONS,
    REDUCTIONS,
    called,
    number,
    options,
    parsed,
    tree,
)
from surgery.weights.tensor import CHUNK, Array, Mapped, Reduction, Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Expression:
    """A parsed expression; `names` are those of its operands, in the order of their first use."""

    text: str
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Parse an expression; raises ValueError for all that the grammar does not have."""
        return cls(text, parsed(text)[1])

    def result(self, operands: Mapping[str, Tensor], dtype: np.dtype[Any]) -> Tensor:
        """Return the result lazily, rounded to that dtype.

        Raises ValueError if the operands' shapes do not go together.
        """
        node = _build(tree(self.text), operands, wide_dtype(self.text, operands))
        return Computed(node, list(operands.values()), dtype)


def wide_dtype(text: str, operands: Mapping[str, Tensor]) -> np.dtype[Any]:
    """Return the dtype to compute in: float32, or float64 where an operand or number needs it."""
    found: list[np.dtype[Any]] = [np.dtype(np.float32)]
    for tensor in operands.values():
        own = compute_dtype(tensor.dtype)
        is_wide = is_whole(own) and own.itemsize > 2
        found.append(np.dtype(np.float64) if is_wide else np.result_type(own, np.float32))
    least, most = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    for node in ast.walk(tree(text)):
        number = node.value if isinstance(node, ast.Constant) else 0
        if isinstance(number, int | float) and number and not least <= number <= most:
            found.append(np.dtype(np.float64))
    return np.result_type(*found)


class _Node(ABC):
    """A part of an expression, with the shape that it has."""

    shape: Shape

    @abstractmethod
    def at(self, shape: Shape, start: int, stop: int) -> Array:
        """Return a flat range of it, broadcast to a shape."""

    def below(self) -> Iterator[_Node]:
        """Yield it and all parts below it, those first."""
        yield self


class _Number(_Node):
    shape = ()

    def __init__(self, value: float, dtype: np.dtype[Any]) -> None:
        self.value = dtype.type(value)

    def at(self, shape: Shape, start: int, stop: int) -> Array:
        return np.asarray(self.value)


class _Operand(_Node):
    """A tensor, read in the dtype that is computed in."""

    def __init__(self, tensor: Tensor, dtype: np.dtype[Any]) -> None:
        self.tensor, self.shape, self._dtype = tensor, tensor.shape, dtype

    def at(self, shape: Shape, start: int, stop: int) -> Array:
        values = broadcast(self.tensor.read, self.shape, shape, start, stop)
        return values.astype(self._dtype, copy=False)


class _Elementwise(_Node):
    def __init__(self, function: Callable[..., Array], children: Sequence[_Node]) -> None:
        self.shape = np.broadcast_shapes(*(child.shape for child in children))
        self._function, self._children = function, children

    def at(self, shape: Shape, start: int, stop: int) -> Array:
        return self._function(*(child.at(shape, start, stop) for child in self._children))

    def below(self) -> Iterator[_Node]:
        for child in self._children:
            yield from child.below()
        yield self


class _Held(_Node):
    """A part that is computed from a whole operand, which is held in memory."""

    def __init__(
        self, child: _Node, shape: Shape, dtype: np.dtype[Any], make: Callable[[Array], Array]
    ) -> None:
        self.shape, self._child, self._dtype = shape, child, dtype
        self.nbytes = math.prod(child.shape) * dtype.itemsize

        def compute(_: object) -> Array:
            with np.errstate(all="ignore"):
                return make(_whole(child)).astype(dtype).reshape(-1)

        self.whole = Reduction(compute, 1)

    def at(self, shape: Shape, start: int, stop: int) -> Array:
        held = self.whole.result()
        return broadcast(lambda a, b: held[a:b], self.shape, shape, start, stop)

    def below(self) -> Iterator[_Node]:
        yield from self._child.below()
        yield self


class _Product(_Node):
    """The product of two matrices, of which the right one is held; rows are read in blocks.

    The blocks are the same however it is read, as the last bits of a product depend on them.
    """

    def __init__(self, left: _Node, right: _Node, dtype: np.dtype[Any]) -> None:
        if len(left.shape) != 2 or len(right.shape) != 2 or left.shape[1] != right.shape[0]:
            raise ValueError(f"{list(left.shape)} @ {list(right.shape)} is not a matrix product")
        self.shape = (left.shape[0], right.shape[1])
        self._left, self._held = left, _Held(right, right.shape, dtype, lambda whole: whole)
        self._inner = left.shape[1]
        self._rows = max(1, CHUNK // max(1, self._inner, self.shape[1]))

    def at(self, shape: Shape, start: int, stop: int) -> Array:
        return broadcast(self._read, self.shape, shape, start, stop)

    def _read(self, start: int, stop: int) -> Array:
        width = self.shape[1]
        block = self._rows * width
        parts = [
            self._block(number)[max(0, start - number * block) : stop - number * block]
            for number in range(start // max(1, block), -(-stop // max(1, block)))
        ]
        return np.concatenate([*parts, np.empty(0, self._held._dtype)])

    def _block(self, number: int) -> Array:
        first, last = number * self._rows, min((number + 1) * self._rows, self.shape[0])
        rows = self._left.at(self._left.shape, first * self._inner, last * self._inner)
        right = self._held.whole.result().reshape(self._inner, self.shape[1])
        product: Array = rows.reshape(last - first, self._inner) @ right
        return product.reshape(-1)

    def below(self) -> Iterator[_Node]:
        yield from self._left.below()
        yield from self._held.below()
        yield self


def _whole(node: _Node) -> Array:
    size = math.prod(node.shape)
    parts = [
        np.broadcast_to(node.at(node.shape, a, min(a + CHUNK, size)), min(CHUNK, size - a))
        for a in range(0, size, CHUNK)
    ]
    return np.concatenate(parts or [np.empty(0)]).reshape(node.shape)


class Computed(Mapped):
    """The result of an expression."""

    def __init__(self, node: _Node, operands: Sequence[Tensor], dtype: np.dtype[Any]) -> None:
        super().__init__(operands[0], lambda values, _: values, None, dtype, node.shape)
        self._node, self._operands = node, operands
        self._whole = [part for part in node.below() if isinstance(part, _Held)]

    @property
    def passes(self) -> int:
        """How many times writing this tensor reads a file."""
        return max(tensor.passes for tensor in self._operands) + len(self._whole)

    @property
    def held(self) -> int:
        """The bytes of what is held in memory while it is read."""
        own = sum(part.nbytes for part in self._whole)
        return own + sum(tensor.held for tensor in self._operands)

    def reductions(self) -> list[Reduction[Any]]:
        """Return the reductions of the operands, then what is computed of whole operands."""
        found = [r for t in self._operands if isinstance(t, Mapped) for r in t.reductions()]
        return list(dict.fromkeys([*found, *(part.whole for part in self._whole)]))

    def read(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop`, flat."""
        with np.errstate(all="ignore"):
            values = np.broadcast_to(self._node.at(self.shape, start, stop), stop - start)
            rounded: Array = values.astype(self.dtype, copy=False)
            return rounded


def _build(node: ast.expr, operands: Mapping[str, Tensor], dtype: np.dtype[Any]) -> _Node:
    """Build the parts of a checked expression; raises ValueError for shapes that do not fit."""

    def inner(child: ast.expr) -> _Node:
        return _build(child, operands, dtype)

    match node:
        case ast.Constant():
            return _Number(number(node), dtype)
        case ast.Name():
            return _Operand(operands[node.id], dtype)
        case ast.UnaryOp(op=ast.USub()):
            return _Elementwise(np.negative, [inner(node.operand)])
        case ast.UnaryOp():
            return inner(node.operand)
        case ast.BinOp(op=ast.MatMult()):
            return _Product(inner(node.left), inner(node.right), dtype)
        case ast.BinOp():
            return _Elementwise(BINARY[type(node.op)], [inner(node.left), inner(node.right)])
        case ast.Compare():
            children = [inner(node.left), inner(node.comparators[0])]
            return _Elementwise(COMPARED[type(node.ops[0])], children)
        case ast.Call() if called(node) in FUNCTIONS:
            return _Elementwise(FUNCTIONS[called(node)][1], [inner(arg) for arg in node.args])
        case ast.Call():
            return _of_whole(called(node), inner(node.args[0]), options(node), dtype)
    raise AssertionError(node)


def _of_whole(name: str, child: _Node, options: Mapping[str, Any], dtype: np.dtype[Any]) -> _Node:
    """Return a transpose or a reduction; raises ValueError for an axis that is not there."""
    if name == "transpose":
        return _Held(child, child.shape[::-1], dtype, np.transpose)
    axis, keep = options.get("axis"), options.get("keepdims", False)
    rank = len(child.shape)
    if axis is not None and not -rank <= axis < rank:
        raise ValueError(f"{name}: {list(child.shape)} has no axis {axis}")
    over = range(rank) if axis is None else [axis % rank]
    if name in ("max", "min") and any(child.shape[a] == 0 for a in over):
        raise ValueError(f"{name} of no elements")
    shape = tuple(1 if a in over else n for a, n in enumerate(child.shape) if keep or a not in over)
    reduce = REDUCTIONS[name]

    def make(whole: Array) -> Array:
        return np.asarray(reduce(whole.astype(np.float64), axis=axis, keepdims=keep))

    return _Held(child, shape, dtype, make)


def broadcast(
    read: Callable[[int, int], Array], shape: Shape, to: Shape, start: int, stop: int
) -> Array:
    """Return a flat range of an array as NumPy broadcasts it to another shape."""
    if shape == to:
        return read(start, stop)
    if start >= stop:
        return read(0, 0)
    where = places(to, (1,) * (len(to) - len(shape)) + shape, start, stop)
    low, high = int(where.min()), int(where.max()) + 1
    if high - low <= 4 * CHUNK or stop - start == 1:
        taken: Array = read(low, high)[where - low]
        return taken
    middle = (start + stop) // 2
    halves = [broadcast(read, shape, to, *span) for span in ((start, middle), (middle, stop))]
    return np.concatenate(halves)


def places(shape: Shape, kept: Shape, start: int, stop: int) -> Array:
    """Return for a flat range of a shape the flat indices where axes of size 1 count as one."""
    left, found, stride = np.arange(start, stop), np.zeros(stop - start, np.int64), 1
    for size, own in zip(reversed(shape), reversed(kept), strict=True):
        if own != 1:
            found += left % size * stride
        left //= size
        stride *= own
    return found
