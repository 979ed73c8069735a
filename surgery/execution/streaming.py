"""Pulling every chunk through: read once, changed, hashed, and given to all targets."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from surgery.execution.progress import Progress
from surgery.formats.base import Output, Sink
from surgery.weights.digest import Digest, HashingTensor
from surgery.weights.tensor import Array, Mapped, Tensor, chunk_ranges

Digests = dict[int, str]
"""The SHA-256 of tensors, by their id."""

Watch = Callable[[int, Array], None]
"""Is shown every chunk of a tensor, with the flat index of its first element."""


def stream(
    outputs: Sequence[Output],
    threads: int,
    progress: Progress,
    watchers: Mapping[int, Watch],
    summing: bool,
) -> Digests:
    """Pull all tensors through to the outputs; returns their digests where they are wanted.

    `watchers` are shown the chunks of a tensor, by its id.
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
    """A pool that, on an error or a signal, does not begin what has not begun."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(tensors: Sequence[Tensor], pool: ThreadPoolExecutor, progress: Progress) -> None:
    """Find out what must be known of whole tensors, in the order the steps need it."""
    mapped = [tensor for tensor in tensors if isinstance(tensor, Mapped)]
    reductions = dict.fromkeys(r for tensor in mapped for r in tensor.reductions())
    for reduction in reductions:
        progress.phase("ranking", 0)
        reduction.result(pool)


class _Stream:
    """A tensor, and all the places it goes to."""

    def __init__(self, tensor: Tensor, watch: Watch | None) -> None:
        self.tensor = tensor
        self.sinks: list[Sink] = []
        self.watch = watch
        self.digest = tensor.digest if isinstance(tensor, HashingTensor) else Digest(tensor.size)


def _streams(outputs: Sequence[Output], watchers: Mapping[int, Watch]) -> list[_Stream]:
    """Each tensor once."""
    streams: dict[int, _Stream] = {}
    for output in outputs:
        for tensor, sink in output.tensors:
            new = _Stream(tensor, watchers.get(id(tensor)))
            streams.setdefault(id(tensor), new).sinks.append(sink)
    return list(streams.values())


def _pump(
    streams: Sequence[_Stream],
    pool: ThreadPoolExecutor,
    threads: int,
    advance: Callable[[int], None],
    summing: bool,
) -> None:
    """Pull every chunk through, in as many threads; the first error stops them all."""
    jobs = ((stream, span) for stream in streams for span in chunk_ranges(stream.tensor.size))
    lock = threading.Lock()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with lock:
                job = next(jobs, None)
            if job is None:
                return
            stream, (start, end) = job
            try:
                values = stream.tensor.read(start, end)
                for sink in stream.sinks:
                    sink(start, values)
                if stream.watch is not None:
                    stream.watch(start, values)
                if summing:
                    stream.digest.update(start, values)
            except BaseException:
                stop.set()
                raise
            advance(values.nbytes)

    workers = [pool.submit(work) for _ in range(threads)]
    try:
        for worker in workers:
            worker.result()
    finally:
        stop.set()
