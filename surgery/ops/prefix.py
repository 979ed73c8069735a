"""`prefix`: other names for all layers at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from surgery.architecture.graph.editing import prefixed
from surgery.declared.fields import key
from surgery.ops.base import op
from surgery.ops.structure import StructureOp
from surgery.weights.model import Model
from surgery.weights.restructuring import restructured


@op
@dataclass(frozen=True, kw_only=True)
class Prefix(StructureOp):
    """Put text before the names of all layers, of nested ones and of the model itself."""

    with_: str = key(
        "What the names begin with.", "teacher_", pattern="^[A-Za-z0-9.][A-Za-z0-9_.-]*$"
    )

    @property
    def title(self) -> str:
        return f"{self.name} {self.with_}"

    def apply(self, model: Model) -> Model:
        return self._prefixed(model)[0]

    def renames(self, model: Model) -> Mapping[str, str]:
        return self._prefixed(model)[1]

    def _prefixed(self, model: Model) -> tuple[Model, Mapping[str, str]]:
        return model.once(self._made)

    def _made(self, model: Model) -> tuple[Model, Mapping[str, str]]:
        config, names = prefixed(self.architecture(model).config, self.with_)
        return restructured(model, config, names), names
