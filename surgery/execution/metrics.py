"""Metrics by their names: those of a run, and which of two values is the better one."""

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
"""Words in the names of metrics, by which values are better."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+\d?")


def is_lower_better(metric: str, direction: str | None = None) -> bool | None:
    """Return whether less of the metric is better; None where that is not known.

    A direction (`minimize` or `maximize`) decides, else the name; where words of a name disagree
    (`accuracy_loss`), the last word that tells.
    """
    if direction:
        return direction == "minimize"
    told = [word in _LOWER for word in map(str.lower, _WORD.findall(metric.rpartition("/")[2]))
            if word in _LOWER | _HIGHER]  # fmt: skip
    return told[-1] if told else None


def unknown_direction(metric: str, key: str) -> str:
    """Return the message that nobody knows whether less of a metric is better."""
    return f"whether less of {metric} is better is not known; give {key} minimize (or maximize)"


def named(found: Iterable[tuple[str, str | None, Mapping[str, float]]]) -> dict[str, float]:
    """Return all metrics of a run, from each step's op, name and metrics.

    `metric` is that of the last step that measured it. `step/metric` is that of one step, called
    by its name, or by its op and number where several steps of that op have no name.
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
    """Return the problem that a recipe does not say which values of its objective are better."""
    objective = file.objective
    if objective is None or is_lower_better(objective.metric, objective.direction) is not None:
        return []
    message = unknown_direction(objective.metric, "direction:")
    return [file.document.problem(("objective", "metric"), message)]
