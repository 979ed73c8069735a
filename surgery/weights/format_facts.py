"""What only the format that read a model knows of its file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from surgery.weights.model import Model


class FormatFacts:
    """Facts about a file that only its format uses; a format has its own subclass.

    They go with the model from step to step. Ops pass them on and tell them of renamed layers;
    no other room looks into them. A format `edits_in_place` whose target is its source with
    other values.
    """

    edits_in_place: ClassVar[bool] = False

    def renamed(self, model: Model, names: Mapping[str, str]) -> Model:
        """Return the model with the stored names that it has once its layers are renamed.

        `names` maps addresses of layers to their new names; the architecture and the weights'
        addresses are still the old ones. Raises ValueError or LookupError for a config that does
        not hold these layers by name.
        """
        return model
