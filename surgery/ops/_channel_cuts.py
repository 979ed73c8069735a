"""A model with fewer channels: its config with other numbers, its weights with places left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from surgery.architecture.entries import join
from surgery.architecture.graph import Ref, entry_of, is_graph, parse
from surgery.architecture.graph.model import Entry
from surgery.errors import SelectorError
from surgery.ops._kernels import without_arrays
from surgery.structure import Cut, Edit, Families, Trace
from surgery.structure.families import by_variable
from surgery.weights.gathering import gathered_by
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Reduction, Tensor
from surgery.weights.weight import Weight


@dataclass(frozen=True)
class Removal:
    """Channels that are removed.

    Attributes:
        nominal: classes of which as many in each family are removed as there will be, so that
            all sizes are known.
        dead: the classes that are removed, known once weights are read.
    """

    trace: Trace
    families: Families
    nominal: Array
    dead: Reduction[Array]

    def config(self, entry: Entry) -> Mapping[str, Any]:
        """Return the config with other numbers of channels."""
        alive = self.families.alive(self.nominal)
        touched = {cut.layer for cut in self.trace.labels.cuts if not alive[cut.labels].all()} | {
            e.layer for e in self.trace.labels.edits if not _is_whole(e, alive)
        }
        return _Writer(self.trace, alive, touched).written(entry, "")

    def weights(self, model: Model) -> Iterator[Weight]:
        """Yield the weights that have fewer elements, with their optimizer slots."""
        alive = self.families.alive(self.nominal)
        for address, cuts in by_variable(self.trace.labels).items():
            gone = [cut for cut in cuts if not alive[cut.labels].all()]
            if gone and address in model.by_address:
                weight = model.by_address[address]
                self._check(weight, cuts)
                change = self._change(gone, alive)
                slots = tuple((name, change(slot)) for name, slot in weight.slots)
                yield replace(weight, tensor=change(weight.tensor), slots=slots)

    def _change(self, cuts: Sequence[Cut], alive: Array) -> Callable[[Tensor], Tensor]:
        def change(tensor: Tensor) -> Tensor:
            for cut in cuts:  # in the order of axes, so that the file is read in order
                tensor = gathered_by(
                    tensor, cut.axis, int(alive[cut.labels].sum()), self._index(cut), self.dead
                )
            return tensor

        return change

    def _index(self, cut: Cut) -> Callable[[], Array]:
        """Return a function that finds the places that are kept."""
        return lambda: np.flatnonzero(self.families.alive(self.dead.result())[cut.labels])

    def _check(self, weight: Weight, cuts: Sequence[Cut]) -> None:
        for cut in cuts:
            shape = weight.tensor.shape
            if cut.axis >= len(shape) or shape[cut.axis] != cut.labels.size:
                raise SelectorError(
                    f"{weight.address} is {list(shape)}, and its layer's config means "
                    f"{cut.labels.size} along axis {cut.axis}"
                )

    def parameters(self, model: Model) -> int:
        """Return how many parameters the model then has."""
        alive = self.families.alive(self.nominal)
        cuts = by_variable(self.trace.labels)
        total = 0
        for weight in model.weights:
            shape = list(weight.tensor.shape)
            for cut in cuts.get(weight.address, ()):
                shape[cut.axis] = int(alive[cut.labels].sum())
            total += int(np.prod(shape, dtype=np.int64))
        return total

    def bytes(self, model: Model) -> int:
        """Return how many bytes its weights then have."""
        alive = self.families.alive(self.nominal)
        cuts = by_variable(self.trace.labels)
        total = 0
        for weight in model.weights:
            size = weight.tensor.nbytes
            for cut in cuts.get(weight.address, ()):
                size = size // cut.labels.size * int(alive[cut.labels].sum())
            total += size
        return total


def _is_whole(edit: Edit, alive: Array) -> bool:
    return all(alive[labels].all() for labels in edit.all_labels())


class _Writer:
    """Writes the graphs of a model and of those inside it with other numbers."""

    def __init__(self, trace: Trace, alive: Array, touched: set[str]) -> None:
        self.trace, self.alive, self.touched = trace, alive, touched
        self.edits: dict[str, list[Edit]] = {}
        for edit in trace.labels.edits:
            self.edits.setdefault(edit.layer, []).append(edit)

    def written(self, entry: Entry, parent: str) -> Mapping[str, Any]:
        """Return the entry of the model at an address."""
        graph = parse(entry)
        layers = {
            name: self._layer(layer, join(parent, name)) for name, layer in graph.layers.items()
        }
        shapes = {ref: self._shape(parent, ref, shape) for ref, shape in graph.shapes.items()}
        return entry_of(replace(graph, layers=layers, shapes=shapes))

    def _layer(self, entry: Entry, address: str) -> Entry:
        if is_graph(entry):
            return self.written(entry, address)
        plain: Entry = _without_built(entry)
        if address not in self.touched:
            return plain
        config = _plain(plain["config"])
        for edit in self.edits.get(address, ()):
            if not _is_whole(edit, self.alive) or edit.keys == ("output_shape",):
                config = _changed(config, edit.keys, edit.value(self.alive))
        return {**plain, "config": config}

    def _shape(
        self, parent: str, ref: Ref, shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        tensor = self.trace.tensors.get((parent, ref))
        if tensor is None or len(tensor.labels) != len(shape):
            return shape
        return tuple(
            size if labels is None else int(self.alive[labels].sum())
            for size, labels in zip(shape, tensor.labels, strict=True)
        )


def _changed(config: Any, keys: Sequence[str | int], value: Any) -> Any:
    """Return a config with another value at a path of keys."""
    if not keys:
        return value
    first, *rest = keys
    if isinstance(config, list):
        return [
            _changed(each, rest, value) if i == first else each for i, each in enumerate(config)
        ]
    return {**config, first: _changed(config.get(first), rest, value)}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer's config, and those inside it, without initialisers that hold arrays."""
    return {
        key: {**value, "config": _plain(value["config"])}
        if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping)
        else value
        for key, value in without_arrays(config).items()
    }


def _without_built(value: Any) -> Any:
    """Return an entry without the shapes that layers were built for, which are no longer right."""
    if isinstance(value, Mapping):
        return {key: _without_built(each) for key, each in value.items() if key != "build_config"}
    if isinstance(value, list):
        return [_without_built(each) for each in value]
    return value
