"""SHA-256 of tensors, taken while their chunks stream by in whatever order."""

from __future__ import annotations

import hashlib
import threading
import weakref

import numpy as np

from surgery.weights.tensor import CHUNK, Array, Tensor, chunk_ranges

_MOST_WAITING = 4
"""Chunks of all tensors kept until their turn; others are read once more in the end."""

_WAITING: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()
"""The arrays that are kept, by their id; the digests of an input and an output share them."""


class Digest:
    """The SHA-256 of a tensor's little-endian C-order bytes, given chunk by chunk.

    A chunk may come early, late or twice. Those that wait for an earlier one are kept, a few
    at most.
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
        """A part of the tensor; one that is not a whole chunk is passed over."""
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
        """Let go of the chunks behind one that is not kept: all of them must be read again."""
        self._missed = start
        for late in [each for each in self._waiting if each > start]:
            _WAITING.pop(id(self._waiting.pop(late)), None)

    def _sum(self, values: Array) -> None:
        self._sha256.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)

    def _drain(self) -> None:
        """Hash the chunks whose turn it is; one thread at a time does it, outside the lock."""
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
        """Let go of the chunks that wait, for one that a run broke off."""
        with self._lock:
            for values in self._waiting.values():
                _WAITING.pop(id(values), None)
            self._waiting.clear()

    @property
    def is_complete(self) -> bool:
        """Whether every chunk has been hashed."""
        return self._next >= self._size and not self._busy

    def finish(self, tensor: Tensor) -> str:
        """Return the SHA-256; chunks that have not been hashed yet are read now."""
        for start, stop in chunk_ranges(self._size):
            if start >= self._next:
                self.update(start, tensor.read(start, stop))
        return self.hexdigest()

    def hexdigest(self) -> str:
        """Return the SHA-256 of all chunks, which must have been hashed."""
        assert self.is_complete
        return self._sha256.hexdigest()


def _is_chunk(start: int, count: int, size: int) -> bool:
    return start % CHUNK == 0 and count == min(CHUNK, size - start)


class HashingTensor(Tensor):
    """A tensor that is hashed while it is read; once, however often it is wrapped.

    `is_read` says whether anything of it has been read through this very object.
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
        """Elements `start` to `stop`."""
        self.is_read = True
        values = self.tensor.read(start, stop)
        self.digest.update(start, values)
        if _is_chunk(start, values.size, self.size):
            self._unread.discard(start)
        return values

    def hexdigest(self) -> str:
        """Return the SHA-256; what was not read before is read now."""
        self._unread.clear()
        return self.digest.finish(self)

    @property
    def seen(self) -> str | None:
        """The SHA-256, where all chunks have been read through this very object."""
        return None if self._unread or not self.digest.is_complete else self.digest.hexdigest()

    @property
    def passes(self) -> int:
        """As of the tensor itself."""
        return self.tensor.passes


def sha256(tensor: Tensor) -> str:
    """The SHA-256 of a tensor's little-endian C-order bytes."""
    return Digest(tensor.size).finish(tensor)
