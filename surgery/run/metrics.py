"""What is known of metrics by their names."""

from __future__ import annotations

import re
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


def is_lower_better(metric: str) -> bool | None:
    """Whether a smaller value of the metric is a better one; None where its name does not tell.

    Where words of a name disagree (`accuracy_loss`), the last word that tells decides.
    """
    told = [word in _LOWER for word in map(str.lower, _WORD.findall(metric))
            if word in _LOWER | _HIGHER]  # fmt: skip
    return told[-1] if told else None


def objective_problems(file: RecipeFile) -> list[Problem]:
    """What is not said of a recipe's objective."""
    objective = file.objective
    if objective is None or objective.direction or is_lower_better(objective.metric) is not None:
        return []
    message = (
        f"whether less of {objective.metric} is better is not known; give direction: minimize (or "
        "maximize)"
    )
    return [file.document.problem(("objective", "metric"), message)]
