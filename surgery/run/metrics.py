"""What is known of metrics by their names."""

from __future__ import annotations

_LOWER_IS_BETTER = (
    "loss", "error", "mse", "mae", "mape", "msle", "kld", "divergence", "crossentropy", "hinge",
    "poisson", "log_cosh", "false_",
)  # fmt: skip


def is_lower_better(metric: str) -> bool:
    """Whether a smaller value of the metric is a better one, by its name."""
    return any(word in metric for word in _LOWER_IS_BETTER)
