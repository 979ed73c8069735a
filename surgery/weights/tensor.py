"""The lazy tensor: its shape is free, its bytes are asked for, a chunk at a time."""

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
"""Elements in a chunk. Fixed, because random numbers and sums are drawn and taken by chunk."""

Span = tuple[int, int]


@cache
def dtype_named(name: str) -> np.dtype[Any]:
    """The dtype of that name, those of ml_dtypes (bfloat16, float8_e4m3fn, int4...) included."""
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
    """True for NumPy's own numbers and truth values, not for those of ml_dtypes."""
    return dtype.kind in "biufc" and type(dtype).__module__ == "numpy.dtypes"


def chunk_ranges(size: int) -> Iterator[Span]:
    """The flat element ranges of a tensor's chunks."""
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
        """Elements `start` to `stop`, flat, as an array that the caller must not change."""

    @property
    def passes(self) -> int:
        """How often writing this tensor reads its file from start to end."""
        return 1

    def chunks(self) -> Iterator[Array]:
        """All elements in order, a chunk at a time."""
        for start, stop in chunk_ranges(self.size):
            yield self.read(start, stop)

    def numpy(self) -> Array:
        """The whole tensor in memory."""
        whole = np.empty(self.size, self.dtype)
        for start, stop in chunk_ranges(self.size):
            whole[start:stop] = self.read(start, stop)
        return whole.reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("its elements are read from a file, which makes a copy of them")
        return self.numpy().astype(self.dtype if dtype is None else dtype, copy=False)


Named = tuple[str, Tensor]
"""A tensor with its name in a file."""


class FileTensor(Tensor):
    """A tensor whose bytes lie in one piece in a file.

    It is read by a descriptor that stays open, or else the file is opened for each chunk: a
    folder may hold more files than a process may open.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        file_range: FileRange,
        descriptor: Descriptor | None = None,
        seen: Callable[[int, memoryview], None] | None = None,
    ) -> None:
        """`seen` is shown every whole chunk that is read, with its place in the file."""
        super().__init__(shape, dtype)
        self.file_range = file_range
        self._descriptor = descriptor
        self._seen = seen

    def viewed(self, dtype: np.dtype[Any]) -> FileTensor:
        """The same bytes as elements of another dtype of the same size."""
        return FileTensor(self.shape, dtype, self.file_range, self._descriptor, self._seen)

    def read(self, start: int, stop: int) -> Array:
        """Elements `start` to `stop`; raises OSError where the file ends too early."""
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
                raise OSError(f"{self.file_range.path} ends before its weights do")
            done += count


def raw_bytes(file_range: FileRange, size: int, descriptor: Descriptor) -> FileTensor:
    """A part of a file as it is, to be copied in the same stream as tensors are."""
    return FileTensor((size,), np.dtype(np.uint8), file_range, descriptor)


class FunctionTensor(Tensor):
    """A tensor whose elements come from a function of the flat range."""

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], function: Callable[[int, int], Array]
    ) -> None:
        super().__init__(shape, dtype)
        self._function = function

    def read(self, start: int, stop: int) -> Array:
        """Elements `start` to `stop`."""
        return self._function(start, stop)


def constant(value: Array) -> Tensor:
    """A tensor of values that are in memory already."""
    flat = np.ascontiguousarray(value).reshape(-1)
    return FunctionTensor(value.shape, value.dtype, lambda start, stop: flat[start:stop])


def deferred(shape: tuple[int, ...], dtype: np.dtype[Any], make: Callable[[], Array]) -> Tensor:
    """A tensor whose elements are made all at once, when the first of them is read."""
    whole = Reduction(lambda _: np.ascontiguousarray(make(), dtype).reshape(-1), 0)
    return FunctionTensor(shape, dtype, lambda start, stop: whole.result()[start:stop])


class Reduction(Generic[Result]):
    """Something that must be known of whole tensors before they can be changed.

    It is computed once, when first asked for; `passes` is how often it reads them.
    """

    def __init__(self, compute: Callable[[Executor | None], Result], passes: int) -> None:
        self.passes = passes
        self._compute = compute
        self._lock = threading.Lock()
        self._found: list[Result] = []

    def result(self, pool: Executor | None = None) -> Result:
        """The result; the first call reads the tensors, in the pool's threads if one is given."""
        with self._lock:
            if not self._found:
                self._found.append(self._compute(pool))
            return self._found[0]


class Mapped(Tensor):
    """Another tensor with a function fused to it, chunk by chunk; nothing is stored.

    The function gets the chunk's elements, which it must not change, and the flat index of
    the first one.
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
        """How often writing this tensor reads the one in the file."""
        return self.before.passes + (self.using.passes if self.using else 0)

    def apply(self, values: Array, start: int) -> Array:
        """What the function makes of `values`, which stand at `start` in the tensor before."""
        return self._function(values, start).astype(self.dtype, copy=False)

    def read(self, start: int, stop: int) -> Array:
        """Elements `start` to `stop` of the result."""
        return self.apply(self.before.read(start, stop), start)

    def reductions(self) -> list[Reduction[Any]]:
        """All that must be known before this can be read, in the order it is found out."""
        earlier = self.before.reductions() if isinstance(self.before, Mapped) else []
        return [*earlier, self.using] if self.using else earlier


class Rearranged(Mapped):
    """A tensor made from other places of the one before; `gather` reads a flat range of it."""

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
        """Elements `start` to `stop` of the result."""
        return self._gather(self.before, start, stop)


class Spilled(Mapped):
    """The same tensor, kept in a temporary file without a name, to be read in any order.

    For what would be made anew again and again where it is read in many small pieces.
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
        """Elements `start` to `stop`; the first call writes the file."""
        item = self.dtype.itemsize
        data = pread(self._file.result().fileno(), (stop - start) * item, start * item)
        return np.frombuffer(data, np.uint8).view(self.dtype)


def in_pieces(tensor: Tensor) -> Tensor:
    """The tensor in a form that is quick to read in small pieces."""
    inner = tensor
    while isinstance(inner, Mapped):
        if isinstance(inner, Rearranged):
            return Spilled(tensor)
        inner = inner.shown if isinstance(inner, Observed) else inner.before
    return tensor


def in_blocks(size: int, function: ChunkFunction) -> Callable[[Tensor, int, int], Array]:
    """A `gather` whose function is given whole blocks of so many elements."""

    def gather(before: Tensor, start: int, stop: int) -> Array:
        first = start // size * size
        last = min(-(-stop // size) * size, before.size)
        return function(before.read(first, last), first)[start - first : stop - first]

    return gather


class Observed(Mapped):
    """A step's tensor, of which each chunk is shown to an observer beside the one before the step.

    Whole chunks only, however it is read: what is summed of them does not depend on it.
    """

    def __init__(
        self, before: Tensor, after: Tensor, observe: Callable[[int, Array, Array], None]
    ) -> None:
        super().__init__(before, lambda values, _: values, None, after.dtype, after.shape)
        self.shown = after
        self._observe = observe

    @property
    def passes(self) -> int:
        """As of the step's tensor itself."""
        return self.shown.passes

    def reductions(self) -> list[Reduction[Any]]:
        """Those of the step's tensor itself."""
        return self.shown.reductions() if isinstance(self.shown, Mapped) else []

    def read(self, start: int, stop: int) -> Array:
        """Elements `start` to `stop`, shown to the observer on their way."""
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
    """The elements at `start`, where those of the tensor that it may be made from are known."""
    if tensor is first:
        return values
    if type(tensor) is Mapped:
        return tensor.apply(_after(tensor.before, first, values, start), start)
    return tensor.read(start, start + values.size)
