"""`rename`: layers, with all that refers to them."""

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
"""What TensorFlow takes as the name of a scope, without the slash that Keras refuses."""

_BY_OUTPUT = ("loss", "loss_weights", "metrics", "weighted_metrics")


@op
@dataclass(frozen=True, kw_only=True)
class Rename(WeightOp):
    """Rename layers, or the model: in the config, what refers to them, and weights' addresses."""

    changes_weights = False

    select: Select = key(
        "The layer's address; with * it stands for several (no list, no mapping). The model's own "
        "name stands for the model.",
        "block1_*",
    )
    to: str = key("The new name; each * stands for what it matched.", "b1_*", minLength=1)

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
            told = model.format_facts.renamed(model, names)
        except ValueError as error:
            raise SelectorError(str(error)) from None
        except (LookupError, TypeError):
            raise SelectorError(
                f"{', '.join(names)}: the config does not hold these layers by name"
            ) from None
        weights = tuple(
            replace(weight, address=new_address(before, names, weight.address))
            for weight in told.weights
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
        return replace(told, architecture=architecture, weights=weights, carried=carried)

    def _names(self, model: Model) -> Mapping[str, str]:
        """Return the selected layers' addresses, each with its new name."""
        return model.once(self._found_names)

    def _found_names(self, model: Model) -> Mapping[str, str]:
        architecture = model.need_architecture("rename acts on layers")
        pattern = self.select.value
        if not isinstance(pattern, str) or pattern.startswith("re:") or "{" in pattern:
            raise SelectorError("rename takes one address, in which * may stand; no braces or re:")
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
            raise SelectorError(f"{pattern} is no layer of the model; the nearest are {close}")
        after = Counter(new_address(architecture, names, address) for address in layers)
        for address, count in after.items():
            if count > 1:
                raise SelectorError(f"two layers would be called {address}")
        return names


def _check(name: str) -> None:
    if not _ACCEPTED.fullmatch(name):
        raise SelectorError(
            f"{name!r} is no name that Keras and TensorFlow take; use letters, digits, . _ and -, "
            "with a letter, a digit or . first"
        )


def _renamed_outputs(config: Any, names: Mapping[str, str]) -> Any:
    """Losses and metrics that are given by the output's name."""
    if not isinstance(config, Mapping):
        return config
    return {
        key: {names.get(k, k): v for k, v in value.items()}
        if key in _BY_OUTPUT and isinstance(value, Mapping) and "class_name" not in value
        else value
        for key, value in config.items()
    }
