"""`freeze` and `unfreeze`: whether Keras trains a layer; changed in the config only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from surgery.architecture import Architecture, Layer
from surgery.architecture.freezing import with_frozen, with_unfrozen
from surgery.errors import SelectorError
from surgery.ops.base import WeightOp, op
from surgery.weights.model import Model
from surgery.weights.weight import Weight


@dataclass(frozen=True, kw_only=True)
class _Freezing(WeightOp):
    changes_weights = False

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return 0

    def layers(self, model: Model) -> tuple[Architecture, list[str]]:
        """Return the architecture, and the addresses of the selected layers.

        Raises SelectorError if only some of a layer's trainable weights are selected.
        """
        architecture = model.need_architecture(f"{self.name} acts on layers")
        selected = {weight.address for weight in self.matched(model)}
        whole: dict[str, list[str]] = {}
        for weight in model.weights:
            if weight.variable_trains:
                owner = architecture.configured_owner(weight.address).address
                whole.setdefault(owner, []).append(weight.address)
        layers = []
        for layer, addresses in whole.items():
            chosen = [address for address in addresses if address in selected]
            if chosen and len(chosen) < len(addresses):
                raise SelectorError(
                    f"{self.select} selects {len(chosen)} of {len(addresses)} trainable weights "
                    f"of {layer or 'the model'}; Keras trains or freezes whole layers: "
                    f"select {layer or '**'}"
                )
            if chosen:
                layers.append(layer)
        if not layers and not self.allow_empty:
            raise SelectorError(f"{self.select} selects no weight that Keras could train")
        return architecture, layers


@op
@dataclass(frozen=True, kw_only=True)
class Freeze(_Freezing):
    """Stop Keras from training the selected layers."""

    def apply(self, model: Model) -> Model:
        architecture, layers = self.layers(model)
        model = model.with_architecture(with_frozen(architecture, layers))
        forgetful = [name for name in layers if _forgets(architecture.by_address[name], model)]
        if forgetful:
            note = (
                f"{', '.join(forgetful)}: Keras forgets that an attention or custom layer is "
                "frozen when it loads a file (its inner layers come back trainable); "
                "set layer.trainable = False after loading"
            )
            model = model.with_note(note)
        return model


def _forgets(layer: Layer, model: Model) -> bool:
    """Return whether Keras creates a layer's inner layers anew, and trainable, on loading."""
    own = {weight.layer for weight in model.weights if layer.owns(weight.address)}
    return layer.forgets_freeze or (layer.variables is None and own != {layer.address})


@op
@dataclass(frozen=True, kw_only=True)
class Unfreeze(_Freezing):
    """Let Keras train the selected layers, and unfreeze the models that contain them."""

    def apply(self, model: Model) -> Model:
        architecture, layers = self.layers(model)
        return model.with_architecture(with_unfrozen(architecture, layers))
