"""Random numbers that depend only on a seed and on their purpose."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from surgery.weights.tensor import CHUNK, Array, FunctionTensor, Tensor

Draw = Callable[[np.random.Generator, int], Array]
"""A function that draws `size` numbers: `draw(generator, size)`."""


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a new Philox generator for one purpose, such as an op, an address and a chunk.

    Neither the order of steps nor the number of threads changes what it draws.
    """
    text = "\0".join([str(seed), *map(str, purpose)])
    key = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


@dataclass(frozen=True)
class Randomness:
    """The source of a step's random numbers: the recipe's seed, and the step."""

    seed: int = 0
    step: str = ""

    def tensor(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], draw: Draw, *purpose: str
    ) -> Tensor:
        """Return a tensor of random numbers, the same ones in whatever ranges it is read."""
        size = math.prod(shape)

        def chunk(first: int) -> Array:  # always a whole chunk: drawing part of it may give others
            random = generator(self.seed, self.step, *purpose, first)
            return draw(random, min(CHUNK, size - first)).astype(dtype, copy=False)

        def read(start: int, stop: int) -> Array:
            parts = [
                chunk(first)[max(0, start - first) : stop - first]
                for first in range(start // CHUNK * CHUNK, stop, CHUNK)
            ]
            return parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, dtype)])

        return FunctionTensor(shape, dtype, read)
