"""Operations of `keras.ops` that count, encode, compare or make tensors."""

from __future__ import annotations

from typing import Any

from surgery.architecture.shapes.operations_elementwise import operand
from surgery.architecture.shapes.registry import OPERATIONS, Shape
from surgery.architecture.shapes.sizes import (
    as_list,
    axis_of,
    broadcast,
    product,
    reduced,
    with_size,
)


@OPERATIONS.shape("Glu")
def _glu(x: Shape, *, axis: int = -1) -> Shape:
    size = x[axis]
    return with_size(x, axis, None if size is None else size // 2)


@OPERATIONS.shape("OneHot")
def _one_hot(x: Any, *, num_classes: int, axis: int = -1) -> Shape:
    shape = operand(x)
    axis = len(shape) if axis == -1 else axis_of(axis, len(shape))
    return (*shape[:axis], num_classes, *shape[axis:])


@OPERATIONS.shape("MultiHot")
def _multi_hot(inputs: Shape, *, num_classes: int, axis: int = -1) -> Shape:
    made = _one_hot(inputs, num_classes=num_classes, axis=axis)
    return made[1:] if len(made) == 2 else (made[0], *made[2:])


@OPERATIONS.shape("CategoricalCrossentropy")
def _crossentropy(_target: Shape, output: Shape) -> Shape:
    return output[:-1]


@OPERATIONS.shape("SparseCategoricalCrossentropy")
def _sparse_crossentropy(_target: Shape, output: Shape, *, axis: int = -1) -> Shape:
    return reduced(output, axis)


@OPERATIONS.shape("CTCLoss")
def _ctc_loss(target: Shape) -> Shape:
    return target[:1]


@OPERATIONS.shape("CTCDecode")
def _ctc_decode(inputs: Shape, *, strategy: str = "greedy", top_paths: int = 1) -> list[Shape]:
    paths = 1 if strategy == "greedy" else top_paths
    return [(paths, *inputs[:2]), (inputs[0], paths)]


@OPERATIONS.shape("SegmentMax", "SegmentMin", "SegmentProd", "SegmentReduction", "SegmentSum")
def _segments(data: Shape, *, num_segments: int | None = None) -> Shape:
    return (num_segments, *data[1:])


@OPERATIONS.shape("TopK")
def _top_k(x: Shape, *, k: int) -> list[Shape]:
    return [(*x[:-1], k)] * 2


@OPERATIONS.shape("Full", "Scatter")
def _given(*, shape: Any) -> Shape:
    return tuple(as_list(shape))


@OPERATIONS.shape("Linspace", "Geomspace", "Logspace")
def _spaced(start: Any, stop: Any, *, num: int = 50, axis: int = 0, retstep: bool = False) -> Shape:
    if retstep:
        raise ValueError(retstep)
    rest = broadcast(operand(start), operand(stop))
    axis = axis_of(axis, len(rest) + 1)
    return (*rest[:axis], num, *rest[axis:])


@OPERATIONS.shape("Meshgrid")
def _meshgrid(*x: Shape, indexing: str = "xy") -> list[Shape]:
    sizes = [product(shape) for shape in x]
    if indexing == "xy":
        sizes[:2] = sizes[1::-1]
    return [tuple(sizes)] * len(x)


@OPERATIONS.shape("Ndim")
def _ndim(x: Shape) -> Shape:
    return (len(x),)


@OPERATIONS.shape("Nonzero")
def _nonzero(x: Shape) -> list[Shape]:
    return [(None,)] * len(x)


@OPERATIONS.shape("Bincount")
def _bincount(x: Shape) -> Shape:
    return (*x[:-1], None)


@OPERATIONS.shape("Histogram")
def _histogram(_x: Shape, *, bins: int = 10) -> list[Shape]:
    return [(bins,), (bins + 1,)]


@OPERATIONS.shape("UnravelIndex")
def _unravel(indices: Shape, *, shape: Any) -> list[Shape]:
    return [(None,) if None in shape else indices] * len(shape)


@OPERATIONS.shape("Unique")
def _unique(
    x: Shape,
    *,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    size: int | None = None,
) -> Any:
    place = None if axis is None else axis_of(axis, len(x))
    values = (size,) if place is None else with_size(x, place, size)
    inverse = x if place is None else (x[place],)
    made = [values, *[(size,)] * bool(return_index)]
    made += [inverse] * bool(return_inverse) + [(size,)] * bool(return_counts)
    return made if len(made) > 1 else values
