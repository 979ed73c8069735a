"""Metrics by their names: those of a run, and which of two values is the better one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

_LOWER_IS_BETTER = (
    "loss", "error", "mse", "mae", "mape", "msle", "kld", "divergence", "crossentropy", "hinge",
    "poisson", "log_cosh", "false_",
)  # fmt: skip


def is_lower_better(metric: str) -> bool:
    """Whether a smaller value of the metric is a better one, by its name."""
    return any(word in metric.rpartition("/")[2] for word in _LOWER_IS_BETTER)


def named(found: Iterable[tuple[str, str | None, Mapping[str, float]]]) -> dict[str, float]:
    """All metrics of a run, from each step's op, name and metrics.

    Each is called as the last step that found it says, and `name/metric` by its step: by the
    step's name, or by its op and number where several steps of that op have no name.
    """
    steps = list(found)
    unnamed = Counter(op for op, name, _ in steps if not name)
    seen: Counter[str] = Counter()
    metrics: dict[str, float] = {}
    last: dict[str, float] = {}
    for op, name, own in steps:
        seen[name or op] += 1
        number = seen[name or op]
        called = name if name and number == 1 else f"{name or op} {number}"
        if name or unnamed[op] > 1:
            metrics |= {f"{called}/{metric}": value for metric, value in own.items()}
        last |= own
    return {**metrics, **last}
