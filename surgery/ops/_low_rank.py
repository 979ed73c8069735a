"""Matrices as products of two smaller ones, by singular value decomposition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surgery.weights.tensor import CHUNK, Array, Tensor

Kind = Literal["channel", "spatial"]


@dataclass(frozen=True)
class KernelMatrix:
    """A kernel as a matrix.

    By channel, its columns are the output channels, and its rows all that they are made of. By
    space, of a kernel of height, width, inputs and outputs, a row is a place in the height and an
    input, and a column is a place in the width and an output.
    """

    tensor: Tensor
    kind: Kind

    @property
    def shape(self) -> tuple[int, int]:
        """Its rows and columns."""
        shape = self.tensor.shape
        if self.kind == "spatial":
            return shape[0] * shape[2], shape[1] * shape[3]
        return self.tensor.size // shape[-1], shape[-1]

    @property
    def rank(self) -> int:
        """The highest rank that it can have."""
        return min(self.shape)

    def energies(self) -> Array:
        """Return its squared singular values, the largest first."""
        return np.maximum(np.linalg.eigvalsh(self._gram())[::-1], 0)

    def factors(self, rank: int) -> tuple[Array, Array]:
        """Return the two matrices of that rank whose product is closest to it, in its dtype.

        They are found by the eigenvectors of the product of its short side with itself, in
        float64: a kernel is read twice, and never in memory as a whole where its rows are many.
        """
        energies, vectors = np.linalg.eigh(self._gram())
        short = vectors[:, ::-1][:, :rank]
        largest = np.take_along_axis(short, np.abs(short).argmax(0)[np.newaxis], 0)
        short = short * np.where(largest < 0, -1.0, 1.0)  # either sign will do; always the same
        root = np.maximum(energies[::-1][:rank], 0) ** 0.25
        divisor = np.where(root > 0, root, 1.0)
        dtype = self.tensor.dtype
        long = np.concatenate([(block @ short / divisor).astype(dtype) for block in self._blocks()])
        other = (short * root).astype(dtype)
        return (long, other.T) if self._is_tall else (other, long.T)

    @property
    def _is_tall(self) -> bool:
        return self.shape[0] >= self.shape[1]

    def _gram(self) -> Array:
        gram = np.zeros((self.rank, self.rank))
        for block in self._blocks():
            gram += block.T @ block
        return gram

    def _blocks(self) -> Iterator[Array]:
        """Yield its rows, or where it has more columns these, some at a time in float64."""
        rows, columns = self.shape
        count = max(1, CHUNK // self.rank)
        if self._is_tall and self.kind == "channel":
            for first in range(0, rows, count):
                last = min(first + count, rows)
                values = self.tensor.read(first * columns, last * columns)
                yield values.reshape(-1, columns).astype(np.float64)
            return
        whole = self.tensor.numpy()
        if self.kind == "spatial":
            whole = whole.transpose(0, 2, 1, 3)
        matrix = whole.reshape(rows, columns)
        sides = matrix if self._is_tall else matrix.T
        for first in range(0, sides.shape[0], count):
            yield sides[first : first + count].astype(np.float64)


def rank_for(energies: Array, share: float) -> int:
    """Return the lowest rank that keeps a share of the sum of squared singular values."""
    kept = np.cumsum(energies)
    return min(int(np.searchsorted(kept, share * kept[-1])) + 1, energies.size)
