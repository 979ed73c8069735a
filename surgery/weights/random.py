"""Random numbers that depend on nothing but a seed and on what they are for."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A fresh generator (Philox) for one purpose, such as an op, an address and a chunk's start.

    Neither the order of steps nor the number of threads changes what it draws.
    """
    text = "\0".join([str(seed), *map(str, purpose)])
    key = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
