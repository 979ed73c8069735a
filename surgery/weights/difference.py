"""The difference between two models, by weight and by layer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from surgery.architecture import Architecture, Layer
from surgery.weights.comparison import Comparison, are_equal, compared
from surgery.weights.digest import sha256
from surgery.weights.model import Carried, Model
from surgery.weights.weight import Weight


@dataclass(frozen=True)
class Difference:
    """The difference from model a to model b.

    `renamed` maps addresses in a to addresses in b with the same contents; `config` has a text for
    each difference in the layers, the compile config and the optimizer state.
    """

    same: tuple[str, ...] = ()
    changed: Mapping[str, Comparison] = field(default_factory=dict)
    reshaped: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    recast: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    config: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Difference: {len(self.same)} weights the same, {len(self.changed)} changed>"

    @property
    def is_none(self) -> bool:
        """True if the models are the same."""
        parts = (self.changed, self.reshaped, self.recast, self.renamed)
        return not any((*parts, self.only_a, self.only_b, self.config))

    @property
    def total(self) -> Comparison:
        """The comparison over all changed weights that have the same shape in both."""
        return sum(self.changed.values(), Comparison())


def differences(a: Model, b: Model, threads: int) -> Difference:
    """Compare two models; at most a few chunks are in memory at once."""
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


def _renamed(only_a: Iterable[Weight], only_b: Iterable[Weight], pool: Executor) -> dict[str, str]:
    """Pair weights with the same contents under other addresses, one to one and in order."""

    def kind(weight: Weight) -> tuple[Any, ...]:
        return weight.tensor.shape, weight.tensor.dtype.name

    candidates = list(only_b)
    wanted = [w for w in only_a if kind(w) in set(map(kind, candidates))]
    known = {kind(w) for w in wanted}
    candidates = [w for w in candidates if kind(w) in known]
    digests = pool.map(lambda w: sha256(w.tensor), [*wanted, *candidates])
    digest_of = dict(zip((w.address for w in [*wanted, *candidates]), digests, strict=True))
    free: dict[tuple[Any, ...], deque[str]] = {}
    for weight in candidates:
        free.setdefault((kind(weight), digest_of[weight.address]), deque()).append(weight.address)
    found = {}
    for weight in wanted:
        same = free.get((kind(weight), digest_of[weight.address]))
        if same:
            found[weight.address] = same.popleft()
    return found


def _optimizer(a: Model, b: Model, pool: Executor, threads: int) -> Iterator[str]:
    """Yield a text if the optimizers' variables differ."""
    left, right = a.optimizer, b.optimizer
    if bool(left) != bool(right) and a.architecture is not None and b.architecture is not None:
        yield f"optimizer state only in the {'first' if left else 'second'}"
    elif left and right and len(left) != len(right):
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
    """Yield a text for each difference in the layers and the compile config."""
    if a.architecture is not None and b.architecture is not None:
        yield from _layers(a.architecture, b.architecture)
        yield from _compiled(a.carried, b.carried)


def _compiled(a: Carried, b: Carried) -> Iterator[str]:
    if bool(a.compiled) != bool(b.compiled):
        yield f"compile config only in the {'first' if a.compiled else 'second'}"
    elif a.compile_config and b.compile_config:
        for path, old, new in _changes(a.compile_config, b.compile_config, ""):
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
        yield "the layers are in another order"


_ELSEWHERE = {"layers", "layer", "cell", "cells", "forward_layer", "backward_layer"}
"""Keys of a config that hold other layers, which are compared by themselves."""


def _own(layer: Layer) -> Mapping[str, Any]:
    return {k: v for k, v in layer.config.items() if k not in _ELSEWHERE}


_LONGEST_SHOWN = 60


def _changes(a: Any, b: Any, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield (path, value in a, value in b) of each difference between two configs."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            yield from _changes(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
    elif a != b:
        yield path, _short(a), _short(b)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."
