"""Metrics of a run by name, and which of two values is better."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from surgery.errors import Problem

if TYPE_CHECKING:
    from surgery.recipe.reading import RecipeFile

_LOWER = {
    "brier", "cer", "cosh", "cross", "crossentropy", "divergence", "eer", "entropy", "err",
    "error", "errors", "false", "fid", "hamming", "hinge", "huber", "kld", "latency", "logcosh",
    "loss", "lpips", "mae", "mape", "mse", "msle", "nll", "perplexity", "poisson", "ppl", "rmse",
    "rmsle", "smape", "ter", "wer",
}  # fmt: skip
_HIGHER = {
    "acc", "accuracy", "auc", "auroc", "bleu", "concordance", "correlation", "dice", "f", "f1",
    "fbeta", "io", "iou", "kappa", "map", "mcc", "ndcg", "pearson", "precision", "psnr", "r",
    "r2", "recall", "rouge", "sensitivity", "similarity", "specificity", "ssim", "true",
}  # fmt: skip
"""Words in names of metrics that tell whether lower or higher values are better."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+\d?")


def is_lower_better(metric: str, direction: str | None = None) -> bool | None:
    """Return whether lower values of a metric are better; None if unknown.

    A direction (`minimize` or `maximize`) decides, else the name; if its words disagree
    (`accuracy_loss`), the last one counts.
    """
    if direction:
        return direction == "minimize"
    lower = [word in _LOWER for word in map(str.lower, _WORD.findall(metric.rpartition("/")[2]))
            if word in _LOWER | _HIGHER]  # fmt: skip
    return lower[-1] if lower else None


def unknown_direction(metric: str, key: str) -> str:
    """Return the message that it is unknown which values of a metric are better."""
    return f"it is unknown which values of {metric} are better; give {key} minimize (or maximize)"


def named(found: Iterable[tuple[str, str | None, Mapping[str, float]]]) -> dict[str, float]:
    """Return all metrics of a run, given (op, name, metrics) of each step.

    `metric` is the value of the last step that measured it. `step/metric` is that of one step,
    identified by its name, or by op and number if several steps of the op have no name.
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


def objective_problems(file: RecipeFile) -> list[Problem]:
    """Return a problem if it is unknown which values of the objective are better."""
    objective = file.objective
    if objective is None or is_lower_better(objective.metric, objective.direction) is not None:
        return []
    message = unknown_direction(objective.metric, "direction:")
    return [file.document.problem(("objective", "metric"), message)]
