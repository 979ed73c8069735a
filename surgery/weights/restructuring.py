"""A model with another architecture: every weight that still has a place keeps its values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace
from typing import Any

from surgery.architecture import Architecture, Layer
from surgery.architecture.entries import class_of, join
from surgery.architecture.graph.model import refs
from surgery.architecture.graph.reading import parse
from surgery.architecture.shapes import RULE_ERRORS, model_shapes
from surgery.architecture.shapes.fitting import Given, given, misfit
from surgery.errors import SelectorError
from surgery.weights.model import Carried, Model, trained_flag
from surgery.weights.weight import Weight, prefixes

_BY_OUTPUT = ("loss", "loss_weights", "metrics", "weighted_metrics")


def restructured(
    model: Model,
    config: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
    new: Iterable[Weight] = (),
    outputs: Mapping[str, str] | None = None,
) -> Model:
    """Return the model with that config, its weights in Keras's order.

    `names` gives the new address of each layer that has another one; what is inside goes with it.
    `new` are weights that take the place of the model's own, or that it does not have. `outputs`
    says which new output stands for an old one. Weights of layers that are gone are left out.
    Optimizer slots stay with their weights; a new weight begins with slots of its own. Raises
    SelectorError where a variable of the config has no weight, and where a layer would get an input
    that its weights do not fit.
    """
    before = model.need_architecture("the step changes layers")
    after = Architecture(config, before.shares_layers)
    addresses = Addresses(names or {})
    weights = {addresses.new(w.address): w for w in model.weights}
    weights = {address: replace(w, address=address) for address, w in weights.items()}
    added = {w.address: w for w in new}
    weights |= added
    had = {addresses.new(address) for address in before.weight_order}
    if lost := [a for a in after.weight_order if a not in weights and a not in had]:
        raise SelectorError(f"{lost[0]} would be a new variable, and the step gives it no value")
    kept = tuple(
        replace(w, trainable=trained_flag(after, w), reshaped=w.reshaped and w.address not in added)
        for w in _in_order(after, weights)
    )
    state, assets = moved_state(model, after, addresses.names)
    carried = replace(model.carried, state=state, assets=assets)
    removed = {
        addresses.new(address): step
        for address, step in model.removed.items()
        if addresses.new(address) in after.weight_order and addresses.new(address) not in added
    }
    made = replace(
        model, weights=kept, architecture=after, carried=carried, removed=removed
    ).to_be_laid_out()
    if [w.address for w in kept if w.trainable] != [
        addresses.new(w.address) for w in model.weights if w.trainable
    ]:
        made = made.without_raw_state("which of it belongs to which weight is not known")
    _check_inputs(model, made, addresses, set(_layers_of(after, added)))
    return _with_outputs(made, before, after, {**addresses.names, **(outputs or {})})


def _layers_of(architecture: Architecture, weights: Iterable[str]) -> Iterator[str]:
    """Yield the layers that own weights, and the layers (not the models) that those are in."""
    for address in weights:
        for layer in prefixes(architecture.owner(address).address):
            found = architecture.by_address.get(layer)
            if found is not None and found.class_name in ("Functional", "Sequential"):
                break
            yield layer


def _check_inputs(before: Model, after: Model, addresses: Addresses, new: Set[str]) -> None:
    """Raise SelectorError for a layer whose weights do not fit what it would be given."""
    now = _given(after)
    owners = {layer for w in after.weights for layer in prefixes(w.address)}
    for address, old in _given(before).items():
        place = addresses.new(address)
        if place not in now or place in new:
            continue
        if why := misfit(old, now[place], place in owners):
            raise SelectorError(f"{place} ({class_of(old.entry)}) would not fit: {why}")


def _given(model: Model) -> Mapping[str, Given]:
    return model.need_architecture("its layers are called").once(_inputs_of)


def _inputs_of(architecture: Architecture) -> Mapping[str, Given]:
    try:
        shapes = model_shapes(architecture.config)
    except RULE_ERRORS:
        return {}
    return given(architecture.config, shapes)


class Addresses:
    """The new addresses of layers and of what is inside them."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def new(self, address: str) -> str:
        """Return the new address of a layer or weight: the old one if no layer of it is renamed."""
        known, rest = address, ""
        while known:
            if known in self.names:
                return join(self.names[known], rest)
            known, _, last = known.rpartition("/")
            rest = join(last, rest)
        return address


def _in_order(architecture: Architecture, weights: Mapping[str, Weight]) -> Iterator[Weight]:
    """Yield the weights that the architecture has a place for, in Keras's order."""
    custom: dict[str, list[str]] = {}
    for address in weights:
        if address not in architecture.weight_order:
            custom.setdefault(architecture.owner(address).address, []).append(address)
    for address in dict.fromkeys(_addresses(architecture.root, custom)):
        if address in weights:
            yield weights[address]


def _addresses(layer: Layer, custom: Mapping[str, list[str]]) -> Iterator[str]:
    for variable in sorted(layer.variables or (), key=lambda variable: variable.position):
        yield variable.address
    if layer.variables is None:
        yield from custom.get(layer.address, ())
    if layer.config.get("lora_rank"):  # `.h5` has the matrices apart
        names = (f"lora_{name}_{side}" for name in ("kernel", "embeddings") for side in "ab")
        yield from (join(layer.address, name) for name in names)
    for child in layer.children:
        yield from _addresses(child, custom)


def moved_state(
    model: Model, after: Architecture, names: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a model's state and assets by the places that their layers have in another one.

    `names` is as in `restructured`. What belonged to layers that are gone is left out.
    """
    groups = _groups(model.need_architecture("state is moved"), after, Addresses(names))
    return _moved(model.carried.state, groups), _moved(model.carried.assets, groups, "assets/")


def _groups(
    before: Architecture, after: Architecture, addresses: Addresses
) -> Mapping[str, str | None]:
    """Return the places of layers in a weights file, each with its new one; None for one gone."""
    new = {layer.address: layer.group for layer in after.root.walk()}
    return {layer.group: new.get(addresses.new(layer.address)) for layer in before.root.walk()}


def _moved(
    files: Mapping[str, Any], groups: Mapping[str, str | None], beginning: str = ""
) -> dict[str, Any]:
    """Return what is kept by layers' places under the new places, without that of lost layers."""
    moved = {}
    for name, value in files.items():
        known, rest = name.removeprefix(beginning).replace("\\", "/"), ""
        while known and known not in groups:
            known, _, last = known.rpartition("/")
            rest = join(last, rest)
        place = groups.get(known) if known else name.removeprefix(beginning)
        if place is not None:
            moved[beginning + (join(place, rest) if known else place)] = value
    return moved


def _output_names(outputs: Any) -> list[str]:
    """Return the names by which Keras's compile configs refer to a graph's outputs."""
    if isinstance(outputs, Mapping):
        return sorted(outputs)
    return [ref.layer for ref in refs(outputs)]


def _with_outputs(
    model: Model, before: Architecture, after: Architecture, names: Mapping[str, str]
) -> Model:
    """Return the model with losses and metrics for its outputs; not compiled if one lacks them."""
    if not model.carried.compiled:
        return model
    was, now = (parse(architecture.config).outputs for architecture in (before, after))
    if isinstance(was, Mapping):
        names = {}  # outputs with names of their own keep them, whatever their layers are called
    old, new = _output_names(was), _output_names(now)
    renamed = {name: names.get(name, name) for name in old}
    if [renamed[name] for name in old] == new and all(a == b for a, b in renamed.items()):
        return model
    gone = [name for name in old if renamed[name] not in new]
    added = [name for name in new if name not in renamed.values()]
    if len(old) == len(new) == 1 and not _is_by_name(model.carried):
        return model
    if added or not set(new) & set(renamed.values()):
        return model.without_compile_config(
            f"its outputs are now {', '.join(new)}, and it is for {', '.join(old)}"
        )
    keep = [index for index, name in enumerate(old) if name not in gone]
    order = [old[index] for index in keep]
    if [renamed[name] for name in order] != new:
        return model.without_compile_config("its outputs stand in another order")
    return replace(model, carried=_for_outputs(model.carried, keep, len(old), renamed, set(new)))


def _is_by_name(carried: Carried) -> bool:
    return any(_names_outputs((carried.compiled or {}).get(key)) for key in _BY_OUTPUT)


def _names_outputs(value: Any) -> bool:
    return isinstance(value, Mapping) and "class_name" not in value


def _for_outputs(
    carried: Carried, keep: list[int], count: int, names: Mapping[str, str], new: set[str]
) -> Carried:
    def kept(key: str, value: Any) -> Any:
        if key not in _BY_OUTPUT:
            return value
        if _names_outputs(value):
            return {names.get(k, k): v for k, v in value.items() if names.get(k, k) in new}
        if isinstance(value, list) and len(value) == count and count > 1:
            return [value[index] for index in keep]
        return value

    def changed(config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        return config and {key: kept(key, value) for key, value in config.items()}

    return replace(
        carried,
        compile_config=changed(carried.compile_config),
        training_config=changed(carried.training_config),
    )
