"""`factorize`: kernels become two of lower rank each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from surgery.architecture.entries import class_of, join
from surgery.architecture.graph import Graph, Ref
from surgery.architecture.graph.editing import inserted_before, renamed
from surgery.architecture.graph.model import Entry
from surgery.architecture.graph.nodes import Node, graph_of
from surgery.architecture.variables import quantization_mode
from surgery.declared.fields import Share, key
from surgery.errors import SelectorError
from surgery.ops._kernels import built_on_shape, channel_axis, family, without_arrays
from surgery.ops._low_rank import KernelMatrix, Kind, rank_for
from surgery.ops.base import op
from surgery.ops.structure import StructureOp, with_graph
from surgery.weights.layer_selectors import SelectLayers
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Reduction, deferred
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Factorize(StructureOp):
    """Replace layers by two each, whose kernels multiplied are close to the old one.

    The kernels come from a truncated singular value decomposition. The first layer is new and is
    called like the old one with `_factor` behind it; the second has the old one's name, bias and
    activation.
    """

    select: SelectLayers = key("The layers, each a Dense or a convolution without groups.", "fc1")
    rank: int | None = key(
        "The channels between the two layers.", 64, default=None, in_example=True, minimum=1
    )
    energy: Share | None = key(
        "Instead of rank: the lowest rank that keeps this share of the sum of the squared singular "
        "values; each layer has its own.",
        "95%",
        default=None,
    )
    kind: Kind = key(
        "How a convolution is split: channel is a convolution to fewer channels, then one of 1x1; "
        "spatial (Conv2D only) is one along the height, then one along the width.",
        "spatial",
        default="channel",
    )
    ranks: Mapping[str, int] = field(default_factory=dict, compare=False)
    """The rank of each layer by its address, where `energy` has been resolved; not a key."""

    def __post_init__(self) -> None:
        if (self.rank is None) == (self.energy is None):
            raise ValueError("give rank or energy, one of them")

    @property
    def needs_values(self) -> bool:
        return self.energy is not None

    @property
    def title(self) -> str:
        size = f"rank {self.rank}" if self.energy is None else f"energy {self.energy}"
        return f"{self.name} {self.select} to {size}"

    def resolved(self, model: Model) -> Factorize:
        """Return the op with the rank of each layer, for which kernels are read."""
        if self.energy is None:
            return self
        share = float(self.energy.fraction)
        return replace(
            self,
            ranks={
                node.address: rank_for(self._matrix(model, node).energies(), share)
                for node in self.select.layers(model)
            },
        )

    def apply(self, model: Model) -> Model:
        self.architecture(model)
        for node in self.select.layers(model):
            model = self._factorized(model, node)
        if self.energy is not None and not self.ranks:
            return model.with_note(
                f"{self.name}: ranks follow from the values of the kernels; these are the highest"
            )
        return model

    def _factorized(self, model: Model, node: Node) -> Model:
        graph = graph_of(model.need_architecture("factorize acts on layers"), node.parent)
        matrix = self._matrix(model, node)
        rank = self._rank(node.address, matrix)
        new = f"{node.name}_factor"
        if new in graph.layers:
            raise SelectorError(f"there is a layer called {new} already; rename it first")
        first, second = _entries(node.entry, new, rank, self.kind)

        def change(graph: Graph) -> Graph:
            calls = graph.calls_of(node.name)
            given = [graph.calls[node.name, number].refs()[0] for number in calls]
            grown = inserted_before(graph, new, first, node.name, calls)
            found = {Ref(new, n): _shape(first, graph.shapes.get(r)) for n, r in enumerate(given)}
            shapes = {ref: shape for ref, shape in found.items() if shape is not None}
            layers = {**grown.layers, node.name: built_on_shape(second, shapes.get(Ref(new)))}
            return replace(grown, layers=layers, shapes={**grown.shapes, **shapes})

        weights = _weights(model, node, join(node.parent, new), matrix, rank)
        made = with_graph(model, node.parent, change, new=lambda _: weights)
        after = sum(weight.tensor.size for weight in weights)
        return made.with_note(
            f"{node.address}: rank {rank} of {matrix.rank}; the kernel's {matrix.tensor.size:,} "
            f"parameters become {after:,}"
        )

    def _matrix(self, model: Model, node: Node) -> KernelMatrix:
        """Return a layer's kernel; raises SelectorError for one that it does not factorize."""
        reason = _refusal(node.entry, self.kind)
        weight = model.by_address.get(join(node.address, "kernel"))
        if reason is None and weight is None:
            reason = "its kernel is not in the file"
        if reason is not None or weight is None:
            raise SelectorError(
                f"{node.address} ({node.class_name}) is not factorized: {reason}; narrow select"
            )
        is_spatial = self.kind == "spatial" and family(node.entry) == "Conv"
        return KernelMatrix(weight.tensor, "spatial" if is_spatial else "channel")

    def _rank(self, address: str, matrix: KernelMatrix) -> int:
        rank = self.ranks.get(address, matrix.rank) if self.rank is None else self.rank
        if rank > matrix.rank:
            raise SelectorError(
                f"{address} has a rank of at most {matrix.rank}, and rank is {rank}"
            )
        return rank


def _refusal(entry: Entry, kind: Kind) -> str | None:
    """Return why a layer is not factorized, or None."""
    if family(entry) not in ("Conv", "Dense"):
        return "it is no Dense, Conv1D, Conv2D or Conv3D"
    if int(entry["config"].get("groups") or 1) > 1:
        return "it has groups"
    if quantization_mode(entry["config"]):
        return "it is quantised"
    if kind == "spatial" and family(entry) == "Conv" and class_of(entry) != "Conv2D":
        return "kind: spatial is for Conv2D"
    return None


def _entries(entry: Entry, name: str, rank: int, kind: Kind) -> tuple[Entry, Entry]:
    """Return the entries of the two layers that stand for one."""
    config = without_arrays(entry["config"])
    config |= {"kernel_constraint": None}  # it was about the one kernel
    first = {**config, "activation": "linear", "use_bias": False, "bias_regularizer": None}
    first |= {"bias_constraint": None, "activity_regularizer": None}
    second = dict(config)
    if family(entry) == "Dense":
        first["units"] = rank
    else:
        first["filters"] = rank
        for each in ("kernel_size", "strides", "dilation_rate"):
            first[each], second[each] = _split(list(config[each]), kind)
        if kind == "channel":
            second["padding"] = "valid"
    return renamed({**entry, "config": first}, name), {**entry, "config": second}


def _split(sizes: list[int], kind: Kind) -> tuple[list[int], list[int]]:
    """Return the sizes along each axis of the first and of the second convolution."""
    if kind == "channel":
        return sizes, [1] * len(sizes)
    return [sizes[0], 1], [1, sizes[1]]


def _shape(entry: Entry, given: tuple[int | None, ...] | None) -> tuple[int | None, ...] | None:
    """Return the shape of what the first layer returns; None where its input's is not known."""
    if not given:
        return None
    config, axis = entry["config"], channel_axis(entry, len(given))
    made = list(given)
    made[axis] = config.get("units") or config.get("filters")
    if family(entry) == "Conv":
        space = [place for place in range(1, len(given)) if place != axis]
        keys = ("kernel_size", "strides", "dilation_rate")
        for place, *sizes in zip(space, *(config[each] for each in keys), strict=True):
            length = given[place]
            made[place] = None if length is None else _length(length, config["padding"], *sizes)
    return tuple(made)


def _length(length: int, padding: str, kernel: int, stride: int, dilation: int) -> int:
    """Return how long an axis is behind a convolution."""
    if padding == "valid":
        length -= dilation * (kernel - 1)
    return math.ceil(length / stride)


def _weights(
    model: Model, node: Node, new: str, matrix: KernelMatrix, rank: int
) -> tuple[Weight, Weight]:
    """Return the kernels of both layers, which one decomposition gives when one is first read."""
    both = Reduction(lambda _: matrix.factors(rank), 2)
    shape, dtype = matrix.tensor.shape, matrix.tensor.dtype
    old = model.by_address[join(node.address, "kernel")]
    if matrix.kind == "channel":
        first = (*shape[:-1], rank)
        second = (*[1] * (len(shape) - 2), rank, shape[-1])
    else:
        first, second = (shape[0], 1, shape[2], rank), (1, shape[1], rank, shape[3])

    def make_first() -> Array:
        return both.result()[0]

    def make_second() -> Array:
        values = both.result()[1]
        if matrix.kind == "channel":
            return values
        return values.reshape(rank, shape[1], shape[3]).swapaxes(0, 1)

    return (
        Weight(join(new, "kernel"), deferred(first, dtype, make_first)),
        replace(old, tensor=deferred(second, dtype, make_second), slots=()),
    )
