"""Transfer of trained weights, optimizer state and seeds back into a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from surgery.weights.model import Model
from surgery.weights.tensor import Array, Mapped, Tensor


def tied(trained: Model, model: Model, compile_config: Mapping[str, Any] | None) -> Model:
    """Return the trained model with its optimizer state tied to the weights.

    A model that code builds is saved as variables only; its compile config is given.
    """
    if trained.carried.compile_config is not None:
        return trained
    there = trained.by_address
    weights = tuple(
        replace(weight, tensor=there[weight.address].tensor, slots=()) for weight in model.weights
    )
    carried = replace(trained.carried, compile_config=compile_config)
    return replace(trained, weights=weights, carried=carried).with_slots()


def taken(model: Model, trained: Model) -> Model:
    """Return the model with the trained weights, slots, compile config, optimizer and seeds.

    `lost_optimizer` is set for a model of Keras 1 or 2, whose format has no place for new state.
    """
    there = trained.by_address
    weights = tuple(
        replace(
            weight,
            tensor=Mapped(weight.tensor, _read_from(there[weight.address].tensor)),
            slots=there[weight.address].slots,
        )
        for weight in model.weights
    )
    new = trained.carried
    carried = replace(
        model.carried,
        compile_config=new.compile_config,
        training_config=None,
        optimizer=new.optimizer,
        layout=new.layout,
        lost_optimizer=not model.carried.is_keras3,
        state={**model.carried.state, **new.state},
    )
    return replace(model, weights=weights, carried=carried)


def _read_from(tensor: Tensor) -> Any:
    def read(before: Array, start: int) -> Array:
        return tensor.read(start, start + before.size)

    return read
