"""Changes of a model's table of weights: other addresses, weights that go, weights that are new."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from surgery.errors import SelectorError
from surgery.weights.matching import following
from surgery.weights.model import Model
from surgery.weights.slot_names import owner, with_owner
from surgery.weights.tensor import Named, Tensor
from surgery.weights.weight import Weight

_HOLE = "\0"
"""The placeholder for the weight's address in the name of a slot in a checkpoint."""


def with_addresses(model: Model, names: Mapping[str, str]) -> Model:
    """Return a model of weights only with other addresses, {old: new}; slots follow their weights.

    Raises SelectorError if two variables would have one address.
    """
    if all(old == new for old, new in names.items()):
        return model
    found: dict[str, Weight] = {}
    for weight in model.weights:
        new = names.get(weight.address, weight.address)
        if new in found:
            raise SelectorError(f"{found[new].address} and {weight.address} get one name: {new}")
        found[new] = weight
    try:
        slots = following(found, model.weights, model.states)
    except ValueError as error:
        raise SelectorError(str(error)) from None
    weights, states = (
        tuple(replace(weight, address=name, stored=()) for name, weight in each.items())
        for each in (found, slots)
    )
    return replace(model.to_be_laid_out(), weights=weights, states=states)


def owned_slots(model: Model) -> dict[str, list[Weight]]:
    """Return by weight the optimizer's variables in a checkpoint that belong to it."""
    addresses = {weight.address for weight in model.weights}
    slots: dict[str, list[Weight]] = {}
    for state in model.states:
        of = owner(state.address, addresses) if state.state == "optimizer" else None
        if of is not None:
            slots.setdefault(of, []).append(state)
    return slots


def with_slots_attached(model: Model) -> Model:
    """Return a model of weights only in which the slots of a checkpoint are with their weights.

    `with_table` makes them variables again, under the addresses that the weights then have.
    """
    slots = owned_slots(model) if model.architecture is None else {}
    if not slots:
        return model
    weights = (
        replace(w, slots=tuple((with_owner(s.address, w.address, _HOLE), s.tensor)
                               for s in slots.get(w.address, ())))
        for w in model.weights
    )  # fmt: skip
    attached = {state.address for each in slots.values() for state in each}
    states = tuple(state for state in model.states if state.address not in attached)
    return replace(model, weights=tuple(weights), states=states)


def named_slots(weight: Weight) -> dict[str, Named]:
    """Return a weight's slots as `with_slots_attached` names them, by what they are for.

    That is the name without the weight's address, or else the number.
    """
    return {
        name if _HOLE in name else str(number): (name, slot)
        for number, (name, slot) in enumerate(weight.slots)
    }


def with_moved(
    model: Model, weights: Iterable[Weight], change: Callable[[Tensor], Tensor]
) -> Model:
    """Return the model with the weights' tensors changed, and their slots of the same shape."""
    slots = owned_slots(model)
    changed = []
    for weight in weights:
        own = slots.get(weight.address, ())
        changed.append(weight.with_tensors(change))
        changed += [
            slot.with_tensor(change(slot.tensor))
            for slot in own
            if slot.tensor.shape == weight.tensor.shape
        ]
    return model.with_moved(changed)


def with_table(model: Model, gone: Iterable[Weight], made: Sequence[Weight], step: str) -> Model:
    """Return the model without some weights and with others, in the place of the first that goes.

    `step` says in a message what took a weight that an architecture needs. Raises SelectorError if
    two variables would have one address.
    """
    left = dict.fromkeys(weight.address for weight in gone)
    made = [_as_before(model, weight) for weight in made]
    _check_apart(model, left, made)
    weights = [weight for weight in model.weights if weight.address not in left]
    places = [place for place, each in enumerate(model.weights) if each.address in left]
    place = places[0] if places else len(weights)
    weights[place:place] = made
    removed = {**model.removed, **{a: (model[a], step) for a in left if model.architecture}}
    removed = {a: found for a, found in removed.items() if a not in {w.address for w in made}}
    table = replace(model.to_be_laid_out(), weights=tuple(_in_order(model, weights)))
    table = replace(table, removed=removed, states=tuple(_states(model, left)))
    return _with_slots_detached(table).without_raw_state(
        "which of it belongs to the changed weights does not follow from the compile config"
    )


def _as_before(model: Model, weight: Weight) -> Weight:
    """Return a new weight with the flags of the one that an architecture has at its address.

    It is marked as unlike its config if the shape is another one, or if there is none.
    """
    before = model.by_address.get(weight.address)
    if before is None and weight.address in model.removed:
        before = model.removed[weight.address][0]
    if model.architecture is None:
        return weight
    if before is None:
        return replace(weight, reshaped=True)
    changed = before.reshaped or weight.tensor.shape != before.tensor.shape
    return replace(before, tensor=weight.tensor, slots=weight.slots, stored=(), reshaped=changed)


def _check_apart(model: Model, left: Collection[str], made: Sequence[Weight]) -> None:
    taken = model.by_address.keys() - set(left)
    for weight in made:
        if weight.address in taken:
            raise SelectorError(f"{weight.address} is already a variable of {model.origin}")
        taken.add(weight.address)


def _states(model: Model, left: Collection[str]) -> Iterator[Weight]:
    """Yield the variables that are not weights, without the slots of weights that go."""
    addresses = {weight.address for weight in model.weights}
    for state in model.states:
        if state.address not in left and owner(state.address, addresses) not in left:
            yield state


def _in_order(model: Model, weights: Sequence[Weight]) -> Sequence[Weight]:
    """Return the weights in Keras's order, as far as an architecture tells it."""
    if model.architecture is None:
        return weights
    order = model.architecture.weight_order
    if any(weight.address not in order for weight in weights):
        return weights
    return sorted(weights, key=lambda weight: order[weight.address])


def _with_slots_detached(model: Model) -> Model:
    """Return the model with slots in a weights-only file as variables of their own again."""
    if model.architecture is not None:
        return model
    states = [
        Weight(name.replace(_HOLE, weight.address), tensor, state="optimizer")
        for weight in model.weights
        for name, tensor in weight.slots
        if _HOLE in name
    ]
    if not states:
        return model
    taken = {each.address for each in (*model.weights, *model.states)}
    if twice := next((state.address for state in states if state.address in taken), None):
        raise SelectorError(f"{twice} is already a variable of {model.origin}")
    weights = tuple(
        replace(w, slots=tuple(slot for slot in w.slots if _HOLE not in slot[0]))
        for w in model.weights
    )
    return replace(model, weights=weights, states=(*model.states, *states))
