"""Streaming of weights: each chunk is read once, changed, hashed, and written to all targets."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from surgery.execution.progress import Progress
from surgery.formats.base import Output, Sink
from surgery.weights.digest import Digest, HashingTensor
from surgery.weights.tensor import CHUNK, Array, Mapped, Span, Tensor

Digests = dict[int, str]
"""The SHA-256 of tensors, by `id`."""

_SMALL = 1 << 14
"""Bytes of a tensor that take Python longer than the system; threads would only take turns."""

Watch = Callable[[int, Array], None]
"""A function `watch(start, elements)` that gets every chunk of a tensor."""


def stream(
    outputs: Sequence[Output],
    threads: int,
    progress: Progress,
    watchers: Mapping[int, Watch],
    summing: bool,
) -> Digests:
    """Stream all tensors to the outputs; with `summing`, return their digests.

    `watchers` get the chunks of tensors, by `id`.
    """
    streams = _streams(outputs, watchers)
    with _threads(threads) as pool:
        _prepare([stream.tensor for stream in streams], pool, progress)
        progress.phase("writing", sum(stream.tensor.nbytes for stream in streams))
        _pump(streams, pool, threads, progress.advance, summing)
        progress.phase("syncing", 0)
        finishing = [pool.submit(output.finish) for output in outputs]
        digests: Digests = {}
        if summing:
            partly = [stream for stream in streams if not stream.digest.is_complete]
            list(pool.map(lambda stream: stream.digest.finish(stream.tensor), partly))
            digests = {id(stream.tensor): stream.digest.hexdigest() for stream in streams}
        for done in finishing:
            done.result()
    return digests


@contextlib.contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a thread pool that cancels jobs not yet begun on an error or a signal."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(tensors: Sequence[Tensor], pool: ThreadPoolExecutor, progress: Progress) -> None:
    """Compute the reductions over whole tensors, in the order in which steps need them."""
    mapped = [tensor for tensor in tensors if isinstance(tensor, Mapped)]
    reductions = dict.fromkeys(r for tensor in mapped for r in tensor.reductions())
    for reduction in reductions:
        progress.phase("ranking", 0)
        reduction.result(pool)


class _Stream:
    """A tensor, and the sinks that it goes to."""

    def __init__(self, tensor: Tensor, watch: Watch | None) -> None:
        self.tensor = tensor
        self.sinks: list[Sink] = []
        self.watch = watch
        self.digest = tensor.digest if isinstance(tensor, HashingTensor) else Digest(tensor.size)
        self.next = 0
        """The flat index of the first element that no thread has taken."""
        self.taken: list[int] = []
        """The flat indices of the chunks in progress."""

    def pull(self, start: int, stop: int, summing: bool) -> int:
        """Read a chunk and pass it to sinks, watcher and digest (if `summing`); return its size."""
        values = self.tensor.read(start, stop)
        for sink in self.sinks:
            sink(start, values)
        if self.watch is not None:
            self.watch(start, values)
        if summing:
            self.digest.update(start, values)
        return values.nbytes


def _streams(outputs: Sequence[Output], watchers: Mapping[int, Watch]) -> list[_Stream]:
    """Return one stream for each distinct tensor."""
    streams: dict[int, _Stream] = {}
    for output in outputs:
        for tensor, sink in output.tensors:
            new = _Stream(tensor, watchers.get(id(tensor)))
            streams.setdefault(id(tensor), new).sinks.append(sink)
    return list(streams.values())


class _Queue:
    """A queue that hands out chunks to threads in nearly sequential order for each digest.

    A digest takes chunks in order, and early ones must be kept or read again. So a thread stays
    with its stream, the largest streams come first, and threads that share a stream stay close
    together. No thread waits while it has a chunk, so the oldest chunk of a stream is always in
    progress.
    """

    def __init__(self, streams: Sequence[_Stream], threads: int) -> None:
        self._most_ahead = (threads + 1) * CHUNK
        self._changed = threading.Condition()
        by_size = sorted(streams, key=lambda stream: -stream.tensor.nbytes)
        self._untouched = deque(by_size)
        self._begun: list[_Stream] = []
        self.is_stopped = False

    def take(self, last: _Stream | None) -> tuple[_Stream, Span] | None:
        """Return the next chunk for a thread, from its last stream if possible; None at the end."""
        with self._changed:
            while self._untouched or self._begun:
                if (stream := self._choose(last)) is not None:
                    return stream, self._taken_from(stream)
                self._changed.wait()
        return None

    def _choose(self, last: _Stream | None) -> _Stream | None:
        """Return the stream to continue; None if all are too far ahead of their oldest chunk."""
        if last in self._begun and self._is_close(last):
            return last
        if self._untouched:
            self._begun.append(self._untouched.popleft())
            return self._begun[-1]
        return next(filter(self._is_close, self._begun), None)

    def _is_close(self, stream: _Stream) -> bool:
        """Return whether a stream's next chunk is close to its oldest one in progress."""
        return stream.next - min(stream.taken, default=stream.next) < self._most_ahead

    def _taken_from(self, stream: _Stream) -> Span:
        start = stream.next
        stream.next = min(start + CHUNK, stream.tensor.size)
        stream.taken.append(start)
        if stream.next == stream.tensor.size:
            self._begun.remove(stream)
        return start, stream.next

    def done(self, stream: _Stream, start: int) -> None:
        """Mark the chunk at `start` as processed."""
        with self._changed:
            stream.taken.remove(start)
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out no more chunks."""
        with self._changed:
            self.is_stopped = True
            self._untouched.clear()
            self._begun.clear()
            self._changed.notify_all()


def _pump(
    streams: Sequence[_Stream],
    pool: ThreadPoolExecutor,
    threads: int,
    advance: Callable[[int], None],
    summing: bool,
) -> None:
    """Process all chunks in parallel threads; the first error stops them all.

    One thread begins with all small tensors. With `summing`, digests are computed.
    """
    small = [stream for stream in streams if 0 < stream.tensor.nbytes < _SMALL]
    queue = _Queue([stream for stream in streams if stream.tensor.nbytes >= _SMALL], threads)

    def pull_small() -> None:
        try:
            for stream in small:
                if queue.is_stopped:
                    return
                advance(stream.pull(0, stream.tensor.size, summing))
        except BaseException:
            queue.stop()
            raise

    def work() -> None:
        stream = None
        while (job := queue.take(stream)) is not None:
            stream, (start, end) = job
            try:
                size = stream.pull(start, end, summing)
            except BaseException:
                queue.stop()
                raise
            queue.done(stream, start)
            advance(size)

    workers = [pool.submit(job) for job in (pull_small, *[work] * threads)]
    try:
        for worker in workers:
            worker.result()
    finally:
        queue.stop()
