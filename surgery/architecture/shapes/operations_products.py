"""Operations of `keras.ops` that sum products, with their FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from surgery.architecture.shapes.convolution import conv, transposed
from surgery.architecture.shapes.operations_elementwise import operand
from surgery.architecture.shapes.registry import OPERATIONS, Shape
from surgery.architecture.shapes.sizes import as_list, axis_of, broadcast, count, known, product


@OPERATIONS.shape("Matmul")
def _matmul(x1: Shape, x2: Shape) -> Shape:
    left = x1 if len(x1) > 1 else (1, *x1)
    right = x2 if len(x2) > 1 else (*x2, 1)
    rows, inner = left[-2:]
    other, columns = right[-2:]
    if None not in (inner, other) and inner != other:
        raise ValueError(x1, x2)
    made = broadcast(left[:-2], right[:-2])
    return made + (rows,) * (len(x1) > 1) + (columns,) * (len(x2) > 1)


@OPERATIONS.cost("Matmul", "Inner")
def _matmul_cost(output: Shape, x1: Any) -> int:
    return 2 * count(output) * count(operand(x1)[-1:])


@OPERATIONS.shape("Dot")
def _dot(x1: Any, x2: Any) -> Shape:
    first, second = operand(x1), operand(x2)
    if not first or not second:
        return broadcast(first, second)
    if len(second) == 1:
        return first[:-1]
    return (*first[:-1], *second[:-2], second[-1])


@OPERATIONS.cost("Dot")
def _dot_cost(output: Shape, x1: Any, x2: Any) -> int:
    if operand(x1) and operand(x2):
        return _matmul_cost(output, x1)
    return count(output)


@OPERATIONS.shape("Tensordot")
def _tensordot(x1: Any, x2: Any, *, axes: Any = 2) -> Shape:
    first, second = operand(x1), operand(x2)
    if isinstance(axes, int):
        return first + second if axes <= 0 else first[:-axes] + second[axes:]
    gone = [
        {axis % len(shape) for axis in as_list(own)}
        for shape, own in zip((first, second), axes, strict=True)
    ]
    return tuple(size for a, size in enumerate(first) if a not in gone[0]) + tuple(
        size for a, size in enumerate(second) if a not in gone[1]
    )


@OPERATIONS.cost("Tensordot")
def _tensordot_cost(output: Shape, x1: Any, *, axes: Any = 2) -> int:
    first = operand(x1)
    if isinstance(axes, int):
        summed = first[-axes:] if axes > 0 else ()
    else:
        summed = tuple(first[axis] for axis in as_list(axes[0]))
    return 2 * count(output) * count(summed)


@OPERATIONS.shape("Einsum")
def _einsum(*operands: Any, subscripts: str) -> Shape:
    given, made = _subscripts(subscripts, len(operands))
    output: Shape | None = None
    for labels, x in zip(given, operands, strict=True):
        sizes = _labelled(labels, operand(x))
        rest = sizes.pop("...", ())
        placed: list[int | None] = []
        for label in made:
            placed += rest if label == "..." else [sizes.get(label, (1,))[0]]
        output = tuple(placed) if output is None else broadcast(output, placed)
    return () if output is None else output


@OPERATIONS.cost("Einsum")
def _einsum_cost(output: Shape, *operands: Any, subscripts: str) -> int:
    """Count one product for each combination of all labels, and a sum where some are gone."""
    given, made = _subscripts(subscripts, len(operands))
    sizes: dict[str, int] = {}
    for labels, x in zip(given, operands, strict=True):
        for label, found in _labelled(labels, operand(x)).items():
            if label not in (*made, "..."):
                sizes[label] = max(sizes.get(label, 1), count(found))
    return max(len(operands), 2) * count(output) * count(sizes.values())


def _subscripts(subscripts: str, number: int) -> tuple[list[list[str]], list[str]]:
    """Return the labels of each operand and those of the output; `...` is one."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    given = [_labels(labels) for labels in inputs.split(",")]
    if len(given) != number:
        raise ValueError(subscripts)
    if arrow:
        return given, _labels(output)
    letters = [label for label in inputs if label.isalpha()]
    return given, ["...", *sorted(label for label in letters if letters.count(label) == 1)]


def _labels(text: str) -> list[str]:
    before, dots, after = text.partition("...")
    return [*before, *([dots] if dots else []), *after]


def _labelled(labels: Sequence[str], shape: Shape) -> dict[str, Shape]:
    """Return the size of each label, and those that `...` stands for."""
    if "..." not in labels:
        pairs = zip(labels, shape, strict=True)
        return {label: (size,) for label, size in reversed(list(pairs))}
    start = list(labels).index("...")
    end = len(shape) - (len(labels) - start - 1)
    if end < start:
        raise ValueError(labels, shape)
    sizes = [*shape[:start], *shape[end:]]
    letters = [label for label in labels if label != "..."]
    found: dict[str, Shape] = {
        label: (size,) for label, size in reversed(list(zip(letters, sizes, strict=True)))
    }
    return {**found, "...": shape[start:end]}


@OPERATIONS.shape("Inner")
def _inner(x1: Any, x2: Any) -> Shape:
    first, second = operand(x1), operand(x2)
    return first[:-1] + second[:-1] if first and second else first or second


@OPERATIONS.shape("Outer")
def _outer(x1: Any, x2: Any) -> Shape:
    return (product(operand(x1)), product(operand(x2)))


@OPERATIONS.shape("Kron")
def _kron(x1: Any, x2: Any) -> Shape:
    return tuple(map(product, zip(operand(x1), operand(x2), strict=False)))


@OPERATIONS.cost("Outer", "Kron")
def _each_pair_cost(output: Shape) -> int:
    return count(output)


@OPERATIONS.shape("Cross")
def _cross(x1: Shape, x2: Shape, *, axisa: int = -1, axisb: int = -1, axisc: int = -1) -> Shape:
    sides = (x1[axisa], x2[axisb])
    rest = broadcast(_without(x1, axisa), _without(x2, axisb))
    if 3 not in sides:
        return rest
    axis = axis_of(axisc, len(rest) + 1)
    return (*rest[:axis], 3, *rest[axis:])


def _without(shape: Shape, axis: int) -> Shape:
    axis = axis_of(axis, len(shape))
    return shape[:axis] + shape[axis + 1 :]


@OPERATIONS.shape("CDist")
def _distances(x: Shape, y: Shape) -> Shape:
    return (*broadcast(x[:-2], y[:-2]), x[-2], y[-2])


@OPERATIONS.shape("Vdot", "AllClose", "PSNR", "Size")
def _scalar() -> Shape:
    return ()


@OPERATIONS.cost("Vdot")
def _vdot_cost(_output: Shape, x1: Any) -> int:
    return 2 * count(operand(x1))


@OPERATIONS.shape("Conv")
def _conv(
    inputs: Shape,
    kernel: Shape,
    *,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Shape:
    (filters,) = known(kernel[-1:])
    return conv(
        inputs,
        filters=filters,
        kernel_size=known(kernel[:-2]),
        strides=strides,
        padding=padding,
        data_format=data_format,
        dilation_rate=dilation_rate,
    )


@OPERATIONS.cost("Conv")
def _conv_cost(output: Shape, _inputs: Shape, kernel: Shape) -> int:
    return 2 * count(output) * count(kernel[:-1])


@OPERATIONS.shape("DepthwiseConv")
def _depthwise(
    inputs: Shape,
    kernel: Shape,
    *,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Shape:
    return _conv(
        inputs,
        (*kernel[:-2], 1, count(kernel[-2:])),
        strides=strides,
        padding=padding,
        data_format=data_format,
        dilation_rate=dilation_rate,
    )


@OPERATIONS.cost("DepthwiseConv")
def _depthwise_cost(output: Shape, _inputs: Shape, kernel: Shape) -> int:
    return 2 * count(output) * count(kernel[:-2])


@OPERATIONS.shape("SeparableConv")
def _separable(
    inputs: Shape,
    depthwise_kernel: Shape,
    pointwise_kernel: Shape,
    *,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Shape:
    return _conv(
        inputs,
        (*depthwise_kernel[:-2], 1, pointwise_kernel[-1]),
        strides=strides,
        padding=padding,
        data_format=data_format,
        dilation_rate=dilation_rate,
    )


@OPERATIONS.cost("SeparableConv")
def _separable_cost(
    output: Shape, _inputs: Shape, depthwise_kernel: Shape, pointwise_kernel: Shape
) -> int:
    places = count(output) // known(pointwise_kernel)[-1]
    return 2 * places * (count(depthwise_kernel) + count(pointwise_kernel))


@OPERATIONS.shape("ConvTranspose")
def _transposed(
    inputs: Shape,
    kernel: Shape,
    *,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Shape:
    return transposed(
        inputs,
        filters=known(kernel)[-2],
        kernel_size=known(kernel[:-2]),
        strides=strides,
        padding=padding,
        output_padding=output_padding,
        data_format=data_format,
        dilation_rate=dilation_rate,
    )


@OPERATIONS.cost("ConvTranspose")
def _transposed_cost(_output: Shape, inputs: Shape, kernel: Shape) -> int:
    return 2 * count(inputs) * count(kernel[:-1])


@OPERATIONS.cost("DotProductAttention")
def _attention_cost(output: Shape, _query: Shape, key: Shape) -> int:
    return 4 * count(output) * known(key)[1]
