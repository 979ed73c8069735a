"""How two models differ, streamed: the same whatever the number of threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, TypeVar

import numpy as np

from surgery.architecture import Architecture, Layer
from surgery.weights.arithmetic import compute_dtype
from surgery.weights.digest import sha256
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Span, Tensor, spans
from surgery.weights.weight import Weight

_BLOCK = 1 << 17
"""Elements read and looked at at once: few enough to stay in a core's cache."""

_AHEAD = 3
"""Chunks in work for each thread."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Comparison:
    """The difference b - a of some elements, and what both are alone; sums are in float64.

    Attributes:
        count, changed: the number of elements, and of those whose bytes differ.
        largest, total: the largest and the sum of |b - a|, over `finite` elements.
        squares: the sum of (b - a)^2, `before` of a^2, `after` of b^2, `product` of a x b.
        zeros: how many elements of a, and of b, are zero.
    """

    count: int = 0
    changed: int = 0
    finite: int = 0
    largest: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    before: float = 0.0
    after: float = 0.0
    product: float = 0.0
    zeros: tuple[int, int] = (0, 0)

    def __add__(self, other: Comparison) -> Comparison:
        """Both together."""
        return Comparison(
            self.count + other.count,
            self.changed + other.changed,
            self.finite + other.finite,
            max(self.largest, other.largest),
            self.total + other.total,
            self.squares + other.squares,
            self.before + other.before,
            self.after + other.after,
            self.product + other.product,
            (self.zeros[0] + other.zeros[0], self.zeros[1] + other.zeros[1]),
        )

    @property
    def mean(self) -> float:
        """The mean of |b - a|."""
        return self.total / self.finite if self.finite else 0.0

    @property
    def relative_norm(self) -> float:
        """|b - a| over |a|, both l2; infinite where a is all zero."""
        if not self.squares:
            return 0.0
        return math.sqrt(self.squares / self.before) if self.before else math.inf

    @property
    def cosine(self) -> float:
        """The cosine between a and b; NaN where one is all zero."""
        norms = math.sqrt(self.before) * math.sqrt(self.after)
        return self.product / norms if norms else math.nan

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON; None for what is not a finite number."""
        numbers = {
            "max_abs": self.largest,
            "mean_abs": self.mean,
            "relative_norm": self.relative_norm,
            "cosine": self.cosine,
        }
        known = {name: n if math.isfinite(n) else None for name, n in numbers.items()}
        zeros = {"zeros_before": self.zeros[0], "zeros_after": self.zeros[1]}
        return {"elements": self.count, "changed": self.changed, **known, **zeros}


@dataclass(frozen=True)
class Difference:
    """How model b differs from model a.

    `renamed` are weights with another address and the same contents; `config` says in words what
    is not the same of the layers and of what rides along.
    """

    same: tuple[str, ...] = ()
    changed: Mapping[str, Comparison] = field(default_factory=dict)
    reshaped: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    recast: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    config: tuple[str, ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether the models are the same."""
        parts = (self.changed, self.reshaped, self.recast, self.renamed)
        return not any((*parts, self.only_a, self.only_b, self.config))

    @property
    def total(self) -> Comparison:
        """Of all weights that both have in the same shape; those that are the same left out."""
        return sum(self.changed.values(), Comparison())


def differences(a: Model, b: Model, threads: int) -> Difference:
    """How b differs from a; no more than a few chunks are in memory at once."""
    left, right = a.by_address, b.by_address
    common = [w.address for w in a.weights if w.address in right]
    reshaped, recast, same = {}, {}, []
    changed: dict[str, Comparison] = {}
    with ThreadPoolExecutor(threads) as pool:
        for address in common:
            one, other = left[address].tensor, right[address].tensor
            if one.shape != other.shape:
                reshaped[address] = one.shape, other.shape
            elif one.dtype == other.dtype and are_equal(one, other, pool, threads):
                same.append(address)
            else:
                changed[address] = compared(one, other, pool, threads)
                if one.dtype != other.dtype:
                    recast[address] = one.dtype.name, other.dtype.name
        only_a = [w for w in a.weights if w.address not in right]
        only_b = [w for w in b.weights if w.address not in left]
        renamed = _renamed(only_a, only_b, pool)
        optimizer = list(_optimizer(a, b, pool, threads))
    return Difference(
        tuple(same),
        changed,
        reshaped,
        recast,
        renamed,
        tuple(w.address for w in only_a if w.address not in renamed),
        tuple(w.address for w in only_b if w.address not in renamed.values()),
        (*_config(a, b), *optimizer),
    )


def are_equal(a: Tensor, b: Tensor, pool: Executor, threads: int) -> bool:
    """Whether all bytes are the same; read until the first chunk that differs."""
    return all(_in_order(pool, threads, a, lambda span: _same_bytes(a, b, span)))


def compared(a: Tensor, b: Tensor, pool: Executor, threads: int) -> Comparison:
    """How two tensors of one shape differ."""

    def part(span: Span) -> Comparison:
        blocks = (of_block(a.read(*block), b.read(*block)) for block in _blocks(span))
        return sum(blocks, Comparison())

    return reduce(Comparison.__add__, _in_order(pool, threads, a, part), Comparison())


def _blocks(span: Span) -> Iterator[Span]:
    start, stop = span
    return ((begin, min(begin + _BLOCK, stop)) for begin in range(start, stop, _BLOCK))


def _same_bytes(a: Tensor, b: Tensor, span: Span) -> bool:
    return all(
        np.array_equal(_words(a.read(*block)), _words(b.read(*block))) for block in _blocks(span)
    )


def of_block(a: Array, b: Array) -> Comparison:
    """How two flat arrays of one length differ, computed in their own precision."""
    before, after = (v.astype(compute_dtype(v.dtype), copy=False) for v in (a, b))
    if before.dtype.kind != "f" or before.dtype != after.dtype:
        before, after = before.astype(np.float64), after.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = after - before
        found = _summed(before, after, difference)
        if not math.isfinite(found.squares + found.before + found.after):
            found = _summed(*_finite(before, after))
    if a.dtype == b.dtype:
        changed = int(np.count_nonzero(_bits(a) != _bits(b)))
    else:
        changed = int(np.count_nonzero(difference != 0))
    zeros = int(np.count_nonzero(before == 0)), int(np.count_nonzero(after == 0))
    return replace(found, count=a.size, changed=changed, zeros=zeros)


def _finite(before: Array, after: Array) -> tuple[Array, Array, Array]:
    """What is finite in both, where single precision overflows in double precision."""
    is_finite = np.isfinite(before) & np.isfinite(after)
    before, after = (v[is_finite].astype(np.float64) for v in (before, after))
    return before, after, after - before


def _summed(before: Array, after: Array, difference: Array) -> Comparison:
    """The sums; `difference` becomes its own magnitudes."""
    squares = float(difference @ difference)
    size = np.abs(difference, out=difference)
    at = int(size.argmax()) if size.size else 0
    largest = abs(float(after[at]) - float(before[at])) if size.size else 0.0
    return Comparison(
        finite=size.size,
        largest=largest,
        total=float(size.sum()),
        squares=squares,
        before=float(before @ before),
        after=float(after @ after),
        product=float(before @ after),
    )


def _bits(values: Array) -> Array:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _words(values: Array) -> Array:
    """The bytes, eight at a time where they are as many."""
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return flat.view(np.uint64) if flat.size % 8 == 0 else flat


def _in_order(
    pool: Executor, threads: int, tensor: Tensor, work: Callable[[Span], Result]
) -> Iterator[Result]:
    """The results for a tensor's chunks in order, a few in work at a time."""
    if tensor.size <= _BLOCK:
        yield from map(work, spans(tensor.size))
        return
    waiting: deque[Future[Result]] = deque()
    for span in spans(tensor.size):
        waiting.append(pool.submit(work, span))
        if len(waiting) >= threads * _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _renamed(only_a: Iterable[Weight], only_b: Iterable[Weight], pool: Executor) -> dict[str, str]:
    """Weights of a by the address that the same contents have in b, one for one and in order."""

    def kind(weight: Weight) -> tuple[Any, ...]:
        return weight.tensor.shape, weight.tensor.dtype.name

    candidates = list(only_b)
    wanted = [w for w in only_a if kind(w) in set(map(kind, candidates))]
    known = {kind(w) for w in wanted}
    candidates = [w for w in candidates if kind(w) in known]
    sums = pool.map(lambda w: sha256(w.tensor), [*wanted, *candidates])
    summed = dict(zip((w.address for w in [*wanted, *candidates]), sums, strict=True))
    free: dict[tuple[Any, ...], deque[str]] = {}
    for weight in candidates:
        free.setdefault((kind(weight), summed[weight.address]), deque()).append(weight.address)
    found = {}
    for weight in wanted:
        same = free.get((kind(weight), summed[weight.address]))
        if same:
            found[weight.address] = same.popleft()
    return found


def _optimizer(a: Model, b: Model, pool: Executor, threads: int) -> Iterator[str]:
    """Whether the optimizers of both have the same variables."""
    left, right = a.optimizer, b.optimizer
    if left and right and len(left) != len(right):
        yield f"optimizer state: {len(left)} variables -> {len(right)}"
    elif left and right:
        pairs = zip((t for _, t in left), (t for _, t in right), strict=True)
        count = sum(
            (one.shape, one.dtype) != (other.shape, other.dtype)
            or not are_equal(one, other, pool, threads)
            for one, other in pairs
        )
        if count:
            yield f"optimizer state: {count} of {len(left)} variables differ"


def _config(a: Model, b: Model) -> Iterator[str]:
    """What is not the same of the layers, and of what rides along."""
    if a.architecture is not None and b.architecture is not None:
        yield from _layers(a.architecture, b.architecture)
    if a.carried.compile_config and b.carried.compile_config:
        for path, old, new in _changes(a.carried.compile_config, b.carried.compile_config, ""):
            yield f"compile config: {path} {old} -> {new}"


def _layers(a: Architecture, b: Architecture) -> Iterator[str]:
    left, right = a.by_address, b.by_address
    for address, layer in left.items():
        if address not in right:
            yield f"layer {address} ({layer.class_name}) only in the first"
        elif layer.class_name != right[address].class_name:
            yield f"layer {address} is {layer.class_name} -> {right[address].class_name}"
        else:
            name = address or "the model"
            for path, old, new in _changes(_own(layer), _own(right[address]), ""):
                yield f"layer {name}: {path} {old} -> {new}"
    for address, layer in right.items():
        if address not in left:
            yield f"layer {address} ({layer.class_name}) only in the second"
    order = [name for name in left if name in right], [name for name in right if name in left]
    if order[0] != order[1]:
        yield "the layers stand in another order"


_ELSEWHERE = {"layers", "layer", "cell", "cells", "forward_layer", "backward_layer"}
"""What a config says of other layers, which are looked at by themselves."""


def _own(layer: Layer) -> Mapping[str, Any]:
    return {k: v for k, v in layer.config.items() if k not in _ELSEWHERE}


_SAID = 60


def _changes(a: Any, b: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Where two configs differ, and what stands there."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            yield from _changes(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
    elif a != b:
        yield path, _short(a), _short(b)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SAID else text[:_SAID] + "..."
