"""Operations of `keras.ops` on matrices and signals."""

from __future__ import annotations

from typing import Any

from surgery.architecture.shapes.registry import OPERATIONS, Shape
from surgery.architecture.shapes.sizes import (
    known,
    total,
)


@OPERATIONS.shape("ExtractSequences")
def _sequences(x: Shape, *, sequence_length: int, sequence_stride: int) -> Shape:
    size = x[-1]
    number = None if size is None else 1 + (size - sequence_length) // sequence_stride
    return (*x[:-1], number, sequence_length)


@OPERATIONS.shape("FFT", "FFT2", "IFFT2")
def _fft(x: list[Shape]) -> list[Shape]:
    return x


@OPERATIONS.shape("RFFT")
def _rfft(x: Shape, *, fft_length: int | None = None) -> list[Shape]:
    length = x[-1] if fft_length is None else fft_length
    return [(*x[:-1], None if length is None else length // 2 + 1)] * 2


@OPERATIONS.shape("IRFFT")
def _irfft(x: list[Shape], *, fft_length: int | None = None) -> Shape:
    size = x[0][-1]
    made = fft_length if fft_length is not None or size is None else 2 * (size - 1)
    return (*x[0][:-1], made)


@OPERATIONS.shape("STFT")
def _stft(x: Shape, *, sequence_stride: int, fft_length: int, center: bool = True) -> list[Shape]:
    padded = total([x[-1], fft_length // 2 * 2 if center else 0, -fft_length])
    frames = None if padded is None else 1 + padded // sequence_stride
    return [(*x[:-1], frames, fft_length // 2 + 1)] * 2


@OPERATIONS.shape("ISTFT")
def _istft(
    x: list[Shape],
    *,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    center: bool = True,
) -> Shape:
    frames = x[0][-2]
    made = length
    if length is None and frames is not None:
        made = (frames - 1) * sequence_stride + fft_length - (fft_length // 2 * 2) * bool(center)
    return (*x[0][:-2], made)


@OPERATIONS.shape("ViewAsComplex")
def _as_complex(x: Shape) -> Shape:
    return x[:-1]


@OPERATIONS.shape("ViewAsReal")
def _as_real(x: Shape) -> Shape:
    return (*x, 2)


@OPERATIONS.shape("Det", "Logdet", "MatrixRank")
def _per_matrix(x: Shape) -> Shape:
    return x[:-2]


@OPERATIONS.shape("Slogdet")
def _slogdet(x: Shape) -> list[Shape]:
    return [(), x[:-2]]


@OPERATIONS.shape("Eig", "Eigh")
def _eigen(x: Shape) -> list[Shape]:
    return [x[:-1], x]


@OPERATIONS.shape("LuFactor")
def _lu(x: Shape) -> list[Shape]:
    return [x, (*x[:-2], min(known(x[-2:])))]


@OPERATIONS.shape("Qr")
def _qr(x: Shape, *, mode: str = "reduced") -> list[Shape]:
    rows, columns = known(x[-2:])
    inner = min(rows, columns) if mode == "reduced" else rows
    return [(*x[:-2], rows, inner), (*x[:-2], inner, columns)]


@OPERATIONS.shape("SVD")
def _svd(x: Shape, *, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    rows, columns = known(x[-2:])
    inner = min(rows, columns)
    values = (*x[:-2], inner)
    left = (*x[:-2], rows, rows if full_matrices else inner)
    right = (*x[:-2], columns if full_matrices else inner, columns)
    return [left, values, right] if compute_uv else values


@OPERATIONS.shape("Lstsq")
def _least_squares(a: Shape, b: Shape) -> Shape:
    return (a[1], *b[1:])


@OPERATIONS.shape("Pinv")
def _inverse(x: Shape) -> Shape:
    return (*x[:-2], x[-1], x[-2])


@OPERATIONS.shape("Vander")
def _vander(x: Shape, *, N: int | None = None) -> Shape:  # noqa: N803 - Keras's name
    return (*x, x[0] if N is None else N)


@OPERATIONS.shape("Correlate")
def _correlate(x1: Shape, x2: Shape, *, mode: str = "valid") -> Shape:
    (a,), (b,) = known(x1), known(x2)
    sizes = {"valid": max(a, b) - min(a, b) + 1, "same": max(a, b), "full": a + b - 1}
    return (sizes[mode],)
