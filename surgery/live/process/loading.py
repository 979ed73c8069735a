"""A config made a model, without memory for its weights, to see whether Keras takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from surgery.errors import SurgeryError
from surgery.live.loading import LoadCheck
from surgery.live.permission import may_run_code
from surgery.live.process import models
from surgery.live.symbolic import reason, symbolic_model

_CODE = "a Lambda layer, whose code runs only with --allow-code"


def check(tell: Callable[..., None], check: LoadCheck) -> dict[str, Any]:
    """Compare the model that Keras makes of a config with the variables that are to be in it.

    `refusal` says why Keras would not load it, `unknown` why that could not be found out.
    """
    import keras

    objects = check.code.custom_objects() if check.code and may_run_code() else {}
    try:
        with keras.saving.custom_object_scope(objects):
            with symbolic_model(check.config) as model:
                refusal = _difference(model, check)
            refusal = refusal or _not_compiled(check.config.get("compile_config"))
        return {"refusal": refusal, "unknown": ""}
    except SurgeryError as error:
        if "--allow-code" in str(error):
            return {"refusal": "", "unknown": _CODE}
        return {"refusal": str(error), "unknown": ""}


def _difference(model: Any, check: LoadCheck) -> str:
    """The first way in which the model's variables are others than those expected."""
    weights = {id(variable) for variable in model.weights}
    places = {p: v for p, v in models.variables(model).items() if id(v) in weights}
    made = {place: (list(v.shape), _dtype(v)) for place, v in places.items()}
    wanted = {place: (list(s), dtype) for place, (s, dtype) in check.variables.items()}
    for place in [*wanted, *made]:
        if wanted.get(place) != made.get(place):
            return (
                f"Keras builds another model than the weights are of: {_shown(place, model)} would "
                f"be {_variable(made.get(place))} there, and is {_variable(wanted.get(place))} here"
            )
    order = [id(variable) for variable in model.weights]
    numbers = [order.index(id(places[place])) for place in wanted]
    if _unique(numbers) != sorted(set(numbers)):
        return "Keras has the model's weights in another order"
    return ""


def _unique(numbers: list[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


def _dtype(variable: Any) -> str:
    return str(getattr(variable, "dtype", "")).rpartition(".")[2]


def _variable(facts: Any) -> str:
    return f"{facts[1]} {facts[0]}" if facts else "missing"


def _shown(place: str, model: Any) -> str:
    """The name of the layer that a place belongs to, where Keras has one."""
    names: Mapping[str, str] = models.owners(model)
    name = names.get(place.rpartition("/vars/")[0])
    return f"a variable of {name} ({place})" if name else place


def _not_compiled(config: Any) -> str:
    """What is wrong with a compile config; any model will do, as nothing is built."""
    import keras

    if not config:
        return ""
    try:
        keras.Sequential().compile(**keras.saving.deserialize_keras_object(config))
    except Exception as error:  # Keras raises whatever a loss or a metric does
        why = reason(error)
        return f"Keras does not take the compile config: {why}; optimizer: drop leaves it out"
    return ""
