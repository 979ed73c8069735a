"""`fold_batchnorm`: BatchNormalization layers go into the kernels beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from surgery.architecture import Architecture
from surgery.architecture.entries import join
from surgery.architecture.graph.nodes import graph_of, nodes
from surgery.declared.fields import key
from surgery.errors import SelectorError
from surgery.ops._folding import Folding
from surgery.ops._folds import Direction
from surgery.ops.base import op
from surgery.ops.structure import VerifiedOp
from surgery.weights.layer_selectors import SelectLayers
from surgery.weights.matching import names
from surgery.weights.model import Model
from surgery.weights.weight import prefixes

_NORM = "BatchNormalization"


@op
@dataclass(frozen=True, kw_only=True)
class FoldBatchnorm(VerifiedOp):
    """Fold BatchNormalization layers into the kernels beside them, for inference.

    A layer that stands after a Dense or convolution without an activation, or before one that
    does not pad, goes; the kernel and the bias do what it did with its moving statistics.
    """

    select: SelectLayers = key(
        "The layers; those of other classes than BatchNormalization are left alone.",
        "**",
        default=SelectLayers("**"),
    )
    direction: Literal["both", "after", "before"] = key(
        "Where a BatchNormalization may stand: after its kernel, before it, or either.",
        "after",
        default="both",
    )
    others: Literal["skip", "error"] = key(
        "What becomes of those that cannot be folded: they stay, and a note says why; or an error.",
        "error",
        default="skip",
    )

    @property
    def title(self) -> str:
        return f"{self.name} {self.select}"

    def apply(self, model: Model) -> Model:
        architecture = self.architecture(model)
        chosen: dict[str, list[str]] = {}
        for node in self.select.layers(model):
            if node.class_name == _NORM:
                chosen.setdefault(node.parent, []).append(node.name)
        if not chosen and self.others == "error":
            raise SelectorError(f"{self.select} names no {_NORM}")
        shared = _shared(architecture)
        folded: list[str] = []
        left: dict[str, list[str]] = {}
        rescaled = 0
        for parent, norms in chosen.items():
            if trained := _called_with_training(architecture, parent):
                reason = f"{trained} is called with training"
                left.setdefault(reason, []).extend(join(parent, norm) for norm in norms)
                continue
            graph = graph_of(model.need_architecture("it folds layers"), parent)
            own = frozenset(name for name in graph.layers if _is_in(join(parent, name), shared))
            done = Folding(model, graph, parent, own)
            for norm, reason in done.run(norms, self._directions()).items():
                left.setdefault(reason, []).append(join(parent, norm))
            folded += [join(parent, name) for name in done.folded]
            rescaled += done.rescaled()
            model = done.model()
        return self._noted(model, folded, left, rescaled)

    def _directions(self) -> tuple[Direction, ...]:
        return ("after", "before") if self.direction == "both" else (self.direction,)

    def _noted(
        self,
        model: Model,
        folded: Sequence[str],
        left: Mapping[str, Sequence[str]],
        rescaled: int,
    ) -> Model:
        """Return the model with notes of what was done; raises SelectorError for what was not."""
        why = "; ".join(f"{names(norms)} ({reason})" for reason, norms in left.items())
        if self.others == "error" and left:
            raise SelectorError(f"{why}: cannot be folded; say others: skip, or narrow select")
        count = sum(map(len, left.values()))
        said = f"{self.name}: {len(folded)} {_NORM} layers are folded"
        model = model.with_note(f"{said}, {count} stay: {why}" if left else said)
        if not rescaled:
            return model
        return model.with_note(
            f"the optimizer's state of {rescaled} weights that {self.name} rescales begins anew"
        )


def _called_with_training(architecture: Architecture, model: str) -> str | None:
    """Return the model, or one that it is in, that a graph calls as in training; else None."""
    for node in nodes(architecture):
        if node.address == model:
            calls = graph_of(architecture, node.parent).calls
            if any(
                name == node.name and c.kwargs.get("training") for (name, _), c in calls.items()
            ):
                return model
            return _called_with_training(architecture, node.parent)
    return None


def _shared(architecture: Architecture) -> frozenset[str]:
    """Return the addresses of layers that several models have."""
    places: dict[Any, list[str]] = {}
    for node in nodes(architecture):
        if node.entry.get("shared_object_id") is not None:
            places.setdefault(node.entry["shared_object_id"], []).append(node.address)
    return frozenset(a for same in places.values() if len(same) > 1 for a in same)


def _is_in(address: str, shared: frozenset[str]) -> bool:
    """Return whether a layer, or a model that it is in, is shared."""
    return any(part in shared for part in prefixes(address))
