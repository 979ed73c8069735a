"""SHA-256 of tensors, computed while their chunks are read in any order."""

from __future__ import annotations

import hashlib
import threading
import weakref

import numpy as np

from surgery.weights.tensor import CHUNK, Array, Tensor, chunk_ranges

_MOST_WAITING = 4
"""Chunks kept, over all tensors, until their predecessors arrive; others are read again."""

_WAITING: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()
"""The kept arrays by `id`; the digests of an input and its output may keep the same ones."""


class Digest:
    """The SHA-256 of a tensor's little-endian C-order bytes, updated chunk by chunk.

    Chunks may come early, late or twice. Those ahead of the hash are kept until their turn, up to
    a limit over all tensors.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._next = 0
        self._missed = size
        self._sha256 = hashlib.sha256()
        self._waiting: dict[int, Array] = {}
        self._busy = False
        self._lock = threading.Lock()

    def update(self, start: int, values: Array) -> None:
        """Add the elements from flat index `start`; anything but a whole chunk is ignored."""
        if not _is_chunk(start, values.size, self._size):
            return
        with self._lock:
            if start < self._next or start > self._missed:
                return
            if start > self._next and len(_WAITING) >= _MOST_WAITING:
                self._miss(start)
                return
            if start == self._missed:
                self._missed = self._size
            if self._busy or start > self._next:
                self._waiting[start] = values
                _WAITING[id(values)] = values
                return
            self._busy = True
            self._next += values.size
        self._sum(values)
        self._drain()

    def _miss(self, start: int) -> None:
        """Drop the kept chunks after one that is not kept: all of them must be read again."""
        self._missed = start
        for late in [each for each in self._waiting if each > start]:
            _WAITING.pop(id(self._waiting.pop(late)), None)

    def _sum(self, values: Array) -> None:
        self._sha256.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)

    def _drain(self) -> None:
        """Hash the chunks whose turn it is, outside the lock, by one thread at a time."""
        while True:
            with self._lock:
                values = self._waiting.pop(self._next, None)
                if values is None:
                    self._busy = False
                    return
                self._next += values.size
                _WAITING.pop(id(values), None)
            self._sum(values)

    def forget(self) -> None:
        """Drop the kept chunks, as for the digest of an interrupted run."""
        with self._lock:
            for values in self._waiting.values():
                _WAITING.pop(id(values), None)
            self._waiting.clear()

    @property
    def is_complete(self) -> bool:
        """True if every chunk has been hashed."""
        return self._next >= self._size and not self._busy

    def finish(self, tensor: Tensor) -> str:
        """Return the SHA-256 in hexadecimal; chunks not hashed yet are read from `tensor`."""
        for start, stop in chunk_ranges(self._size):
            if start >= self._next:
                self.update(start, tensor.read(start, stop))
        return self.hexdigest()

    def hexdigest(self) -> str:
        """Return the SHA-256 in hexadecimal; all chunks must have been hashed."""
        assert self.is_complete
        return self._sha256.hexdigest()


def _is_chunk(start: int, count: int, size: int) -> bool:
    return start % CHUNK == 0 and count == min(CHUNK, size - start)


class HashingTensor(Tensor):
    """A tensor that is hashed while it is read; wrapping it again shares its digest.

    `is_read` is whether anything was read through this object.
    """

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tensor.shape, tensor.dtype)
        self.tensor: Tensor = tensor
        self.digest: Digest
        if isinstance(tensor, HashingTensor):
            self.tensor, self.digest = tensor.tensor, tensor.digest
            self.digest.forget()
        else:
            self.digest = Digest(tensor.size)
        self._unread = set(range(0, tensor.size, CHUNK))
        self.is_read = False

    def read(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop`, flat."""
        self.is_read = True
        values = self.tensor.read(start, stop)
        self.digest.update(start, values)
        if _is_chunk(start, values.size, self.size):
            self._unread.discard(start)
        return values

    def hexdigest(self) -> str:
        """Return the SHA-256 in hexadecimal; chunks not hashed yet are read now."""
        self._unread.clear()
        return self.digest.finish(self)

    @property
    def seen(self) -> str | None:
        """The SHA-256 if all chunks were read through this object, else None."""
        return None if self._unread or not self.digest.is_complete else self.digest.hexdigest()

    @property
    def passes(self) -> int:
        """How many times writing the wrapped tensor reads its file."""
        return self.tensor.passes


def sha256(tensor: Tensor) -> str:
    """Return the SHA-256, in hexadecimal, of a tensor's little-endian C-order bytes."""
    return Digest(tensor.size).finish(tensor)
