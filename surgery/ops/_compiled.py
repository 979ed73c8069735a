"""The optimizer that a model is compiled with, and whether its state can be used further."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from surgery.architecture.upgrades.compiling import upgraded_compile_config
from surgery.errors import SurgeryError
from surgery.weights.model import Carried, Model


@dataclass(frozen=True)
class OwnCompile:
    """The model's own optimizer: its class and arguments.

    `problem` is the reason if its state cannot be used further. `name` is empty if Keras 3 has no
    equivalent of the compile config.
    """

    name: str
    config: Mapping[str, Any]
    problem: str = ""

    def need_state(self) -> None:
        """Raise SurgeryError if the optimizer's state cannot be used further."""
        if self.problem:
            raise SurgeryError(
                f"the state of the model's own optimizer, {self.name}, cannot be used: "
                f"{self.problem}; give optimizer, to start with a new one"
            )


def own_compile(model: Model) -> OwnCompile | None:
    """Return the optimizer that a model is compiled with; None if it is not compiled."""
    given = model.carried.compiled
    if not given:
        return None
    if model.carried.is_keras3:
        return _of(given, _lost(model.carried))
    try:
        made = upgraded_compile_config(given)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return OwnCompile("", {}, str(error))
    has_state = model.has_slots or any(s.state == "optimizer" for s in model.states)
    problem = f"it was saved by Keras {model.carried.keras_version}" if has_state else ""
    return _of(made, _lost(model.carried) or problem)


def with_new_optimizer(model: Model, name: str, own: OwnCompile | None) -> Model:
    """Return the model as compiled with a new optimizer, as far as that can be predicted."""
    bare = model.without_optimizer()
    if own is not None:
        old = own.name or "the model's own optimizer"
        bare = bare.with_note(f"train: {name} replaces {old}, without its state")
    compiled = {"optimizer": {"class_name": name, "config": {}}}
    # Keras 3 cannot load the state of older optimizers.
    carried = replace(
        bare.carried, compile_config=compiled, lost_optimizer=not model.carried.is_keras3
    )
    return replace(bare, carried=carried)


def _lost(carried: Carried) -> str:
    return "an earlier step has dropped it" if carried.lost_optimizer else ""


def _of(given: Mapping[str, Any], problem: str) -> OwnCompile:
    optimizer = given.get("optimizer", given.get("optimizer_config"))
    if not isinstance(optimizer, Mapping):
        return OwnCompile(str(optimizer), {}, problem)
    config = optimizer.get("config")
    config = config if isinstance(config, Mapping) else {}
    if isinstance(inner := config.get("inner_optimizer"), Mapping):  # of a LossScaleOptimizer
        config = inner.get("config") or {}
    return OwnCompile(str(optimizer.get("class_name")), config, problem)


def outputs(model: Model) -> int:
    """Return the number of a model's outputs; 1 if its config does not tell."""
    config = model.architecture.root.config if model.architecture else {}
    return max(1, _tensors(config.get("output_layers")))


def _tensors(value: Any) -> int:
    """Count the tensors in a nested structure; Keras writes one as [layer, node, tensor]."""
    if isinstance(value, Mapping):
        return sum(map(_tensors, value.values()))
    if not isinstance(value, list | tuple):
        return 0
    return 1 if value and isinstance(value[0], str) else sum(map(_tensors, value))
