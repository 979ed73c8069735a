"""Folds BatchNormalization layers of a graph: kernels with other weights, and a smaller graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from surgery.architecture.entries import join
from surgery.architecture.graph import Graph, Ref
from surgery.architecture.graph.editing import with_refs
from surgery.ops._folds import Direction, Fold, Folds
from surgery.ops._kernels import Kernel, has_lora, kernels_of, norm_variables
from surgery.ops._neighbours import UnfitError
from surgery.ops.structure import with_graph
from surgery.weights.model import Model
from surgery.weights.tensor import Array, FunctionTensor, Mapped, Reduction, Tensor, deferred
from surgery.weights.weight import Weight

_EPSILON = 1e-3
"""Keras's own, where a config leaves it out."""


class Folding:
    """Folds layers of one graph of a model, as far as they can be."""

    def __init__(self, model: Model, graph: Graph, parent: str, shared: frozenset[str]) -> None:
        self.before = model
        self.graph = graph
        self.parent = parent
        self.shared = shared
        self.folded: list[str] = []
        self._changed: dict[str, Weight] = {}
        self._outputs: dict[str, str] = {}

    def run(self, norms: Sequence[str], directions: Iterable[Direction]) -> Mapping[str, str]:
        """Fold layers, and return those that stay, each with the reason.

        A kernel takes one at a time; what one leaves may be what another needed.
        """
        left = list(norms)
        while True:
            search = Folds(self.graph, self.shared)
            found: dict[str, Fold] = {}
            reasons: dict[str, str] = {}
            for norm in left:
                try:
                    fold = search.find(norm, directions)
                    self._check_weights(fold)
                except UnfitError as error:
                    reasons[norm] = str(error)
                else:
                    found.setdefault(fold.layer, fold)
            if not found:
                return reasons
            for fold in found.values():
                self._fold(fold)
            done = [fold.norm for fold in found.values()]
            self._remove(done)
            self.folded += done
            left = [norm for norm in left if norm not in done]

    def rescaled(self) -> int:
        """Return how many weights lose what the optimizer kept for them."""
        known = self.before.by_address
        return sum(1 for each in self._changed if each in known and known[each].slots)

    def model(self) -> Model:
        """Return the model with what was folded."""
        if not self.folded:
            return self.before
        made = with_graph(
            self.before, self.parent, lambda _: self.graph,
            new=lambda _: self._changed.values(), outputs={} if self.parent else self._outputs,
        )  # fmt: skip
        if all(made.by_address[each].trainable is False for each in self._changed):
            return made
        return made.without_raw_state("it is not known which of it belongs to rescaled weights")

    def _fold(self, fold: Fold) -> None:
        entry = self.graph.layers[fold.layer]
        kernels = [self._kernel(fold.layer, name) for name in kernels_of(entry)]
        affine = self._affine(fold.norm)
        if fold.direction == "after":
            name, tensor = kernels_of(entry)[-1], kernels[-1].times_outputs(affine.scale)
            bias = self._scaled_bias(fold.layer, kernels[-1], affine)
        else:
            name, tensor = kernels_of(entry)[0], kernels[0].times_inputs(affine.scale)
            bias = self._shifted_bias(fold.layer, kernels, affine)
        self._change(fold.layer, name, tensor)
        self._change(fold.layer, "bias", bias)
        config = {**entry["config"], "use_bias": True}
        layers = {**self.graph.layers, fold.layer: {**entry, "config": config}}
        self.graph = replace(self.graph, layers=layers)

    def _scaled_bias(self, layer: str, kernel: Kernel, affine: _Affine) -> Tensor:
        """Return the bias that a layer has once what it returns is scaled and shifted."""

        def changed(values: Array, start: int) -> Array:
            part = slice(start, start + values.size)
            result: Array = values * affine.scale()[part] + affine.shift()[part]
            return result

        old = self._weight(layer, "bias")
        if old is not None:
            return Mapped(old.tensor, lambda values, start: changed(_wide(values), start))
        dtype = kernel.tensor.dtype

        def new(start: int, stop: int) -> Array:
            return affine.shift()[start:stop].astype(dtype)

        return FunctionTensor((kernel.outputs.count,), dtype, new)

    def _shifted_bias(self, layer: str, kernels: Sequence[Kernel], affine: _Affine) -> Tensor:
        """Return the bias that a layer has once what it is given is shifted."""
        old = self._weight(layer, "bias")

        def make() -> Array:
            values = affine.shift()
            for kernel in kernels:
                values = kernel.applied(values)
            return values if old is None else values + _wide(old.tensor.numpy())

        return deferred((kernels[-1].outputs.count,), kernels[-1].tensor.dtype, make)

    def _affine(self, norm: str) -> _Affine:
        entry = self.graph.layers[norm]
        parts = {name: self._weight(norm, name) for name in norm_variables(entry["config"])}
        tensors = {name: weight.tensor for name, weight in parts.items() if weight is not None}
        return _Affine(tensors, float(entry["config"].get("epsilon", _EPSILON)))

    def _remove(self, norms: Sequence[str]) -> None:
        """Have the readers of folded layers read what these were given."""
        instead = {
            Ref(*key): call.refs()[0] for key, call in self.graph.calls.items() if key[0] in norms
        }

        def new(ref: Ref) -> Ref:
            while ref in instead:
                ref = instead[ref]
            return ref

        self._outputs |= {ref.layer: new(ref).layer for ref in instead}
        graph = with_refs(self.graph, new)
        self.graph = replace(
            graph,
            layers={name: entry for name, entry in graph.layers.items() if name not in norms},
            calls={key: call for key, call in graph.calls.items() if key[0] not in norms},
        )

    def _check_weights(self, fold: Fold) -> None:
        """Raise UnfitError where the model lacks weights of the layers, or has LoRA for them."""
        if has_lora(self.before, join(self.parent, fold.layer)):
            raise UnfitError(f"{fold.layer} has LoRA, which lora_merge merges")
        layer, norm = (self.graph.layers[name] for name in (fold.layer, fold.norm))
        wanted = [join(fold.layer, name) for name in kernels_of(layer)]
        wanted += [join(fold.norm, name) for name in norm_variables(norm["config"])]
        if layer["config"].get("use_bias", True):
            wanted.append(join(fold.layer, "bias"))
        for each in wanted:
            if join(self.parent, each) not in self.before.by_address:
                raise UnfitError(f"{each} is not in the file")

    def _kernel(self, layer: str, name: str) -> Kernel:
        weight = self._weight(layer, name)
        assert weight is not None  # as `_check_weights` says
        return Kernel.of(self.graph.layers[layer], name, weight.tensor)

    def _weight(self, layer: str, name: str) -> Weight | None:
        address = join(self.parent, layer, name)
        return self._changed.get(address) or self.before.by_address.get(address)

    def _change(self, layer: str, name: str, tensor: Tensor) -> None:
        old = self._weight(layer, name)
        address = join(self.parent, layer, name)
        made = Weight(address, tensor) if old is None else replace(old, tensor=tensor, slots=())
        self._changed[address] = made


class _Affine:
    """A BatchNormalization at inference: x * `scale` + `shift` for each channel, in float64."""

    def __init__(self, tensors: Mapping[str, Tensor], epsilon: float) -> None:
        self._tensors = tensors
        self._epsilon = epsilon
        self._both = Reduction(lambda _: self._computed(), 0)

    def scale(self) -> Array:
        """Return the factor of each channel."""
        return self._both.result()[0]

    def shift(self) -> Array:
        """Return what is added to each channel."""
        return self._both.result()[1]

    def _computed(self) -> tuple[Array, Array]:
        values = {name: _wide(tensor.numpy()) for name, tensor in self._tensors.items()}
        scale = values.get("gamma", 1.0) / np.sqrt(values["moving_variance"] + self._epsilon)
        return scale, values.get("beta", 0.0) - values["moving_mean"] * scale


def _wide(values: Array) -> Array:
    result: Array = values.astype(np.float64)
    return result
