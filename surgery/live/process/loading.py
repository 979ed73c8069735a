"""The job that builds a config's model without memory, to check that Keras accepts it."""

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
    """Compare the model that Keras builds from a config with the expected variables.

    Returns `refusal`, why Keras would not load it, and `unknown`, why that cannot be determined;
    both are empty if it is right.
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
    """Return the first difference between the model's and the expected variables, or ""."""
    weights = {id(variable) for variable in model.weights}
    places = {p: v for p, v in models.variables(model).items() if id(v) in weights}
    made = {place: (list(v.shape), _dtype(v)) for place, v in places.items()}
    wanted = {place: (list(s), dtype) for place, (s, dtype) in check.variables.items()}
    for place in [*wanted, *made]:
        if wanted.get(place) != made.get(place):
            return (
                f"Keras builds a model that the weights do not fit: {_shown(place, model)} would "
                f"be {_variable(made.get(place))} there, and is {_variable(wanted.get(place))} here"
            )
    order = [id(variable) for variable in model.weights]
    numbers = [order.index(id(places[place])) for place in wanted]
    if _unique(numbers) != sorted(set(numbers)):
        return "Keras orders the model's weights differently"
    return ""


def _unique(numbers: list[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


def _dtype(variable: Any) -> str:
    return str(getattr(variable, "dtype", "")).rpartition(".")[2]


def _variable(facts: Any) -> str:
    return f"{facts[1]} {facts[0]}" if facts else "missing"


def _shown(place: str, model: Any) -> str:
    """Return a path with the name of its layer, if Keras has one."""
    names: Mapping[str, str] = models.owners(model)
    name = names.get(place.rpartition("/vars/")[0])
    return f"a variable of {name} ({place})" if name else place


def _not_compiled(config: Any) -> str:
    """Return why Keras refuses a compile config, or ""; it is tried on an empty model."""
    import keras

    if not config:
        return ""
    try:
        keras.Sequential().compile(**keras.saving.deserialize_keras_object(config))
    except Exception as error:  # losses and metrics may raise any exception
        why = reason(error)
        return f"Keras refuses the compile config: {why}; leave it out with optimizer: drop"
    return ""
