"""The lazy tensor: its shape and dtype are known, its elements are read by chunk."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import cache
from typing import Any, Generic, TypeVar

import numpy as np

from surgery.storage.descriptors import Descriptor, FileRange, pread, preadv
from surgery.storage.temporary import new_file

Array = np.ndarray[Any, np.dtype[Any]]
ChunkFunction = Callable[[Array, int], Array]
Result = TypeVar("Result")

CHUNK = 1 << 20
"""Elements in a chunk. Fixed, because random numbers and sums depend on it."""

Span = tuple[int, int]


@cache
def dtype_named(name: str) -> np.dtype[Any]:
    """Return the dtype of that name, including those of ml_dtypes (bfloat16, int4...)."""
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found


@cache
def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name of a dtype, which NumPy puts together anew each time: 3 us for each weight."""
    return dtype.name


def is_numpy_dtype(dtype: np.dtype[Any]) -> bool:
    """Return True for NumPy's own numeric and boolean dtypes, False for those of ml_dtypes."""
    return dtype.kind in "biufc" and type(dtype).__module__ == "numpy.dtypes"


def chunk_ranges(size: int) -> Iterator[Span]:
    """Yield the flat ranges (start, stop) of the chunks of a tensor of `size` elements."""
    for start in range(0, size, CHUNK):
        yield start, min(start + CHUNK, size)


class Tensor(ABC):
    """An array of known shape and dtype whose elements are read in flat (C-order) ranges.

    Attributes:
        shape, dtype: as of an array.
        size: the number of elements.
        nbytes: the number of bytes of all elements.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        # Not properties: all four are asked for many times of each of very many tensors.
        self.shape = shape
        self.dtype = dtype
        self.size = math.prod(shape)
        self.nbytes = self.size * dtype.itemsize

    @abstractmethod
    def read(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop`, flat, as an array that the caller must not change."""

    @property
    def passes(self) -> int:
        """How many times writing this tensor reads its file from start to end."""
        return 1

    @property
    def held(self) -> int:
        """The bytes that reading this tensor holds in memory, besides chunks."""
        return 0

    def chunks(self) -> Iterator[Array]:
        """Yield all elements in order, a chunk at a time."""
        for start, stop in chunk_ranges(self.size):
            yield self.read(start, stop)

    def numpy(self) -> Array:
        """Return the whole tensor as an array in memory."""
        whole = np.empty(self.size, self.dtype)
        for start, stop in chunk_ranges(self.size):
            whole[start:stop] = self.read(start, stop)
        return whole.reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a lazy tensor cannot be viewed without a copy; leave out copy=False")
        return self.numpy().astype(self.dtype if dtype is None else dtype, copy=False)


Named = tuple[str, Tensor]
"""A name in a file, and the tensor of that name."""


class FileTensor(Tensor):
    """A tensor whose bytes lie contiguously in a file.

    It is read by a descriptor that stays open, or else the file is opened for each chunk, since a
    folder may have more files than a process may open.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        file_range: FileRange,
        descriptor: Descriptor | None = None,
        seen: Callable[[int, memoryview], None] | None = None,
    ) -> None:
        """Make the tensor; `seen(offset, bytes)` is called for every whole chunk read."""
        super().__init__(shape, dtype)
        self.file_range = file_range
        self._descriptor = descriptor
        self._seen = seen

    def viewed(self, dtype: np.dtype[Any]) -> FileTensor:
        """Return the same bytes as a tensor of another dtype of the same size."""
        return FileTensor(self.shape, dtype, self.file_range, self._descriptor, self._seen)

    def read(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop`; raises OSError if the file ends too early."""
        item = self.dtype.itemsize
        buffer = np.empty((stop - start) * item, np.uint8)
        offset = self.file_range.offset + start * item
        if self._descriptor is not None:
            self._fill(buffer.data, self._descriptor, offset)
        else:
            self._fill(buffer.data, Descriptor.open(self.file_range.path), offset)
        if self._seen is not None and start % CHUNK == 0 and stop == min(start + CHUNK, self.size):
            self._seen(offset, buffer.data)
        return buffer.view(self.dtype)

    def _fill(self, view: memoryview, descriptor: int, offset: int) -> None:
        done = 0
        while done < len(view):
            count = preadv(descriptor, view[done:], offset + done)
            if count == 0:
                raise OSError(f"{self.file_range.path} is truncated: it ends inside a weight")
            done += count


def raw_bytes(file_range: FileRange, size: int, descriptor: Descriptor) -> FileTensor:
    """Return `size` bytes of a file as a uint8 tensor, to be copied like other tensors."""
    return FileTensor((size,), np.dtype(np.uint8), file_range, descriptor)


class FunctionTensor(Tensor):
    """A tensor whose elements are computed by `function(start, stop)` of the flat range."""

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], function: Callable[[int, int], Array]
    ) -> None:
        super().__init__(shape, dtype)
        self._function = function

    def read(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop`, flat."""
        return self._function(start, stop)


def constant(value: Array) -> Tensor:
    """Return a tensor of an array that is in memory."""
    flat = np.ascontiguousarray(value).reshape(-1)
    return FunctionTensor(value.shape, value.dtype, lambda start, stop: flat[start:stop])


def deferred(shape: tuple[int, ...], dtype: np.dtype[Any], make: Callable[[], Array]) -> Tensor:
    """Return a tensor whose elements are all computed when the first is read."""
    whole = Reduction(lambda _: np.ascontiguousarray(make(), dtype).reshape(-1), 0)
    return FunctionTensor(shape, dtype, lambda start, stop: whole.result()[start:stop])


class Reduction(Generic[Result]):
    """A value computed from whole tensors, needed before they can be changed.

    It is computed once, on first use; `passes` is how many times that reads the tensors.
    """

    def __init__(self, compute: Callable[[Executor | None], Result], passes: int) -> None:
        self.passes = passes
        self._compute = compute
        self._lock = threading.Lock()
        self._found: list[Result] = []

    def result(self, pool: Executor | None = None) -> Result:
        """Return the value; the first call computes it, in the pool's threads if one is given."""
        with self._lock:
            if not self._found:
                self._found.append(self._compute(pool))
            return self._found[0]


class Mapped(Tensor):
    """A tensor with a chunk function applied to another tensor; nothing is stored.

    The function gets a chunk's elements, which it must not change, and the flat index of the
    first one. `using` is a Reduction that the function reads.
    """

    def __init__(
        self,
        before: Tensor,
        function: ChunkFunction,
        using: Reduction[Any] | None = None,
        dtype: np.dtype[Any] | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(before.shape if shape is None else shape, dtype or before.dtype)
        self.before = before
        self.using = using
        self._function = function

    @property
    def passes(self) -> int:
        """How many times writing this tensor reads the file, reductions included."""
        return self.before.passes + (self.using.passes if self.using else 0)

    @property
    def held(self) -> int:
        """The bytes that reading this tensor holds in memory, besides chunks."""
        return self.before.held

    def apply(self, values: Array, start: int) -> Array:
        """Apply the function to `values`, the elements of `before` from flat index `start`."""
        return self._function(values, start).astype(self.dtype, copy=False)

    def read(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop` of the result, flat."""
        return self.apply(self.before.read(start, stop), start)

    def reductions(self) -> list[Reduction[Any]]:
        """Return all reductions that reading needs, in the order of their computation."""
        earlier = self.before.reductions() if isinstance(self.before, Mapped) else []
        return [*earlier, self.using] if self.using else earlier


class Rearranged(Mapped):
    """A tensor that takes elements from other places of `before`.

    `gather(before, start, stop)` returns a flat range of the result.
    """

    def __init__(
        self,
        before: Tensor,
        gather: Callable[[Tensor, int, int], Array],
        shape: tuple[int, ...] | None = None,
        using: Reduction[Any] | None = None,
    ) -> None:
        super().__init__(before, lambda values, _: values, using, shape=shape)
        self._gather = gather

    def read(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop` of the result, flat."""
        return self._gather(self.before, start, stop)


class Spilled(Mapped):
    """A tensor stored in an unnamed temporary file on first use, for random access.

    For tensors that would be recomputed again and again if read in many small pieces.
    """

    def __init__(self, before: Tensor) -> None:
        super().__init__(before, lambda values, _: values)
        self._file = Reduction(lambda _: self._written(), 0)

    def _written(self) -> Any:
        file = new_file()  # it lives with the tensor
        for chunk in self.before.chunks():
            file.write(np.ascontiguousarray(chunk).view(np.uint8).data)
        file.flush()
        return file

    def read(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop`, flat; the first call writes the file."""
        item = self.dtype.itemsize
        data = pread(self._file.result().fileno(), (stop - start) * item, start * item)
        return np.frombuffer(data, np.uint8).view(self.dtype)


def in_pieces(tensor: Tensor) -> Tensor:
    """Return the tensor, spilled to a file if reading it in small pieces would be slow."""
    inner = tensor
    while isinstance(inner, Mapped):
        if isinstance(inner, Rearranged):
            return Spilled(tensor)
        inner = inner.shown if isinstance(inner, Observed) else inner.before
    return tensor


def in_blocks(size: int, function: ChunkFunction) -> Callable[[Tensor, int, int], Array]:
    """Make a `gather` for Rearranged by a chunk function that gets whole blocks.

    A block has `size` elements, and starts at a multiple of that.
    """

    def gather(before: Tensor, start: int, stop: int) -> Array:
        first = start // size * size
        last = min(-(-stop // size) * size, before.size)
        return function(before.read(first, last), first)[start - first : stop - first]

    return gather


class Observed(Mapped):
    """A step's tensor that shows each chunk, before and after the step, to an observer.

    Only whole chunks are shown, so sums over them do not depend on how it is read.
    """

    def __init__(
        self, before: Tensor, after: Tensor, observe: Callable[[int, Array, Array], None]
    ) -> None:
        super().__init__(before, lambda values, _: values, None, after.dtype, after.shape)
        self.shown = after
        self._observe = observe

    @property
    def passes(self) -> int:
        """The number of passes of the step's tensor."""
        return self.shown.passes

    @property
    def held(self) -> int:
        """The bytes that reading the step's tensor holds in memory, besides chunks."""
        return self.shown.held

    def reductions(self) -> list[Reduction[Any]]:
        """Return the reductions of the step's tensor."""
        return self.shown.reductions() if isinstance(self.shown, Mapped) else []

    def read(self, start: int, stop: int) -> Array:
        """Return elements `start` to `stop`, flat, and show whole chunks to the observer."""
        before = self.before.read(start, stop)
        after = _after(self.shown, self.before, before, start)
        for first in range(-(-start // CHUNK) * CHUNK, stop, CHUNK):
            last = min(first + CHUNK, self.size)
            if last <= stop:
                part = before[first - start : last - start]
                new = part if after is before else after[first - start : last - start]
                self._observe(first, part, new)
        return after


def _after(tensor: Tensor, first: Tensor, values: Array, start: int) -> Array:
    """Return a tensor's elements at `start`, given those of `first`, from which it may be made."""
    if tensor is first:
        return values
    if type(tensor) is Mapped:
        return tensor.apply(_after(tensor.before, first, values, start), start)
    return tensor.read(start, start + values.size)
