"""What training has made of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from surgery.weights.model import Model
from surgery.weights.tensor import Array, Mapped, Tensor


def tied(trained: Model, model: Model, compile_config: Mapping[str, Any] | None) -> Model:
    """What training made, with the optimizer's state tied to the weights.

    The file of a model that code has built holds variables alone.
    """
    if trained.carried.compile_config is not None:
        return trained
    there = trained.by_address
    weights = tuple(
        replace(weight, tensor=there[weight.address].tensor, slots=()) for weight in model.weights
    )
    carried = replace(trained.carried, compile_config=compile_config)
    return replace(trained, weights=weights, carried=carried).with_slots()


def taken(model: Model, trained: Model, is_old: bool) -> Model:
    """The model with what training made of its weights, its optimizer and its seeds.

    Of an old model the optimizer's state is not kept on.
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
        lost_optimizer=is_old,
        state={**model.carried.state, **new.state},
    )
    return replace(model, weights=weights, carried=carried)


def _read_from(tensor: Tensor) -> Any:
    def read(before: Array, start: int) -> Array:
        return tensor.read(start, start + before.size)

    return read
