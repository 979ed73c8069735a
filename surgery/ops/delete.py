"""`delete` and `keep`: weights that are taken out of a file of weights only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from surgery.errors import SelectorError
from surgery.ops._tables import TableOp
from surgery.ops.base import op
from surgery.weights.model import Model
from surgery.weights.tables import with_table
from surgery.weights.weight import Weight


@op
@dataclass(frozen=True, kw_only=True)
class Delete(TableOp):
    """Take the selected weights, and their optimizer state, out of a file of weights only."""

    def apply(self, model: Model) -> Model:
        return _without(model, self.matched(model), self.name)


@op
@dataclass(frozen=True, kw_only=True)
class Keep(TableOp):
    """Take all but the selected weights, with optimizer state, out of a file of weights only."""

    def apply(self, model: Model) -> Model:
        kept = {weight.address for weight in self.matched(model)}
        gone = [weight for weight in model.weights if weight.address not in kept]
        return _without(model, gone, self.name)


def _without(model: Model, gone: Sequence[Weight], name: str) -> Model:
    if model.architecture is not None:
        raise SelectorError(
            f"{name} is for files of weights only, and {model.origin or 'the model'} has an "
            "architecture: remove takes layers out, extract keeps what some outputs depend on"
        )
    return with_table(model, gone, [], name) if gone else model
