"""`rename`: rename layers, with all references to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from surgery.architecture.renaming import new_address, parent_of, with_names
from surgery.declared.fields import key
from surgery.errors import SelectorError, nearest
from surgery.ops.base import WeightOp, op
from surgery.weights.model import Model
from surgery.weights.naming import renamed
from surgery.weights.selectors import Select
from surgery.weights.weight import Weight

_ACCEPTED = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\>-]*")
"""The names of scopes in TensorFlow, without the slash, which Keras refuses."""

_BY_OUTPUT = ("loss", "loss_weights", "metrics", "weighted_metrics")


@op
@dataclass(frozen=True, kw_only=True)
class Rename(WeightOp):
    """Rename layers or the model: in the config with all references, and in weights' addresses."""

    changes_weights = False

    select: Select = key(
        "The layer's address; * matches several (no list, no mapping). The model's own "
        "name selects the model.",
        "block1_*",
    )
    to: str = key("The new name; each * is replaced by what it matched.", "b1_*", minLength=1)

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return 0

    def renames(self, model: Model) -> Mapping[str, str]:
        architecture, names = model.need_architecture("rename acts on layers"), self._names(model)
        return {
            address or model.name: new_address(architecture, names, address) or self.to
            for address in names
        }

    def matched(self, model: Model) -> tuple[Weight, ...]:
        before, names = model.need_architecture("rename acts on layers"), self._names(model)
        return tuple(w for w in model.weights if new_address(before, names, w.address) != w.address)

    def apply(self, model: Model) -> Model:
        before, names = model.need_architecture("rename acts on layers"), self._names(model)
        try:
            architecture = with_names(before, names)
            restored = model.format_facts.renamed(model, names)
        except ValueError as error:
            raise SelectorError(str(error)) from None
        except (LookupError, TypeError):
            raise SelectorError(
                f"{', '.join(names)}: the config has no layers of these names"
            ) from None
        weights = tuple(
            replace(weight, address=new_address(before, names, weight.address))
            for weight in restored.weights
        )
        if len({weight.address for weight in weights}) < len(weights):
            raise SelectorError("two weights would have one address")
        carried = model.carried
        top = {old: new for old, new in names.items() if not parent_of(before, old)}
        carried = replace(
            carried,
            compile_config=_renamed_outputs(carried.compile_config, top),
            training_config=_renamed_outputs(carried.training_config, top),
        )
        return replace(restored, architecture=architecture, weights=weights, carried=carried)

    def _names(self, model: Model) -> Mapping[str, str]:
        """Return {address: new name} of the selected layers; raises SelectorError."""
        return model.once(self._found_names)

    def _found_names(self, model: Model) -> Mapping[str, str]:
        architecture = model.need_architecture("rename acts on layers")
        pattern = self.select.value
        if not isinstance(pattern, str) or pattern.startswith("re:") or "{" in pattern:
            raise SelectorError(
                "rename takes one address, which may contain *, but no braces or re:"
            )
        names: dict[str, str] = {}
        layers = [layer.address for layer in architecture.layers]
        for address in layers:
            try:
                new = renamed(pattern, self.to, address)
            except ValueError as error:
                raise SelectorError(str(error)) from None
            if new is not None:
                _check(new)
                names[address] = new
        if not names and pattern == model.name:
            _check(self.to)
            return {"": self.to}
        if not names and not self.allow_empty:
            close = ", ".join(nearest(pattern, [*layers, model.name], 3)) or ", ".join(layers[:3])
            raise SelectorError(f"{pattern} is not a layer of the model; the nearest are {close}")
        after = Counter(new_address(architecture, names, address) for address in layers)
        for address, count in after.items():
            if count > 1:
                raise SelectorError(f"two layers would be called {address}")
        return names


def _check(name: str) -> None:
    if not _ACCEPTED.fullmatch(name):
        raise SelectorError(
            f"{name!r} is not a name that Keras and TensorFlow accept; use letters, digits, . _ -, "
            "beginning with a letter, a digit or ."
        )


def _renamed_outputs(config: Any, names: Mapping[str, str]) -> Any:
    """Rename outputs in a compile config's losses and metrics by output name."""
    if not isinstance(config, Mapping):
        return config
    return {
        key: {names.get(k, k): v for k, v in value.items()}
        if key in _BY_OUTPUT and isinstance(value, Mapping) and "class_name" not in value
        else value
        for key, value in config.items()
    }
