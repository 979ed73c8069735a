"""Combination of models: an architecture with a file's weights, a part of a model, other names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from surgery.errors import FormatError
from surgery.weights.matching import Patterns, following, mapped, matching, names, pairs_said
from surgery.weights.model import Model
from surgery.weights.tensor import Mapped, Tensor
from surgery.weights.weight import Weight

_CHECK_ARGUMENTS = "check the application's arguments (include_top, input_shape, classes, alpha...)"


def joined(
    model: Model,
    donor: Model,
    patterns: Patterns | None = None,
    mismatch: str = "error",
    advice: str = _CHECK_ARGUMENTS,
    is_part: bool = False,
) -> Model:
    """Return the model with the weights of a donor with the same architecture.

    `patterns` rename the donor's weights. With `is_part`, the donor is a part of its file, and if
    it does not cover the model, the result has no other weights. Raises FormatError.
    """
    try:
        known = model.by_address if mismatch == "error" else None
        found = matching(model.weights, donor.weights, patterns or {}, known)
    except ValueError as error:
        raise FormatError(f"map: {donor.origin}: {error}") from None
    if is_part and found.pairs:
        found.missing.clear()
    problems = list(found.problems())
    if found.left_over:
        problems.append(f"left over: {names(found.left_over)}")
    if problems and (mismatch == "error" or not found.pairs):
        raise FormatError(
            f"{donor.origin} does not fit {model.origin}: {'; '.join(problems)}; {advice}"
        )
    changed = [replace(weight, tensor=_as(given.tensor, weight)) for weight, given in found.pairs]
    joined = replace(
        model.without_optimizer().with_weights(changed).to_be_laid_out(),
        origin=donor.origin,
        inputs=(*donor.inputs, *model.inputs),
        checks=(*donor.checks, *model.checks),
    )
    if model.carried.compiled:
        joined = joined.with_note(
            f"the compile config of {model.origin} is left out: its optimizer state belongs to "
            "other weights"
        )
    if patterns:
        joined = _with_renames(
            joined, {given.address: weight.address for weight, given in found.pairs}
        )
    if problems and mismatch == "report":
        summary = f"{len(found.pairs)} weights from {donor.origin}"
        joined = joined.with_note("; ".join([f"load: {summary}", *problems]))
    return part(joined, changed) if is_part and len(changed) < len(model.weights) else joined


def part(model: Model, weights: Sequence[Weight]) -> Model:
    """Return a model with only these weights, without architecture; unchanged if they are all."""
    if len(weights) == len(model.weights) + len(model.states):
        has_states = model.states and model.architecture is None
        return replace(model, weights=tuple(weights), states=()) if has_states else model
    rest = replace(model.without_optimizer().not_in_place(), architecture=None, states=())
    carried = replace(rest.carried, state={}, assets={})
    return replace(rest, weights=tuple(weights), carried=carried)


def _as(tensor: Tensor, weight: Weight) -> Tensor:
    """Return the tensor cast to the weight's dtype."""
    dtype = weight.tensor.dtype
    return (
        tensor if tensor.dtype == dtype else Mapped(tensor, lambda values, _: values, None, dtype)
    )


def renamed(model: Model, patterns: Patterns) -> Model:
    """Return a model of weights only with addresses renamed by patterns; raises FormatError."""
    try:
        found = mapped(model.weights, patterns)
        slots = following(found, model.weights, model.states)
    except ValueError as error:
        raise FormatError(f"map: {model.origin}: {error}") from None
    if model.architecture is not None:
        raise FormatError(
            f"map: {model.origin} is a whole model, whose layers have names; use the step rename"
        )
    weights, states = (
        tuple(replace(weight, address=name) for name, weight in each.items())
        for each in (found, slots)
    )
    renamed = replace(model.not_in_place(), weights=weights, states=states)
    return _with_renames(renamed, {weight.address: name for name, weight in found.items()})


def _with_renames(model: Model, renames: Mapping[str, str]) -> Model:
    """Return the model with a note of old and new names."""
    changed = {old: new for old, new in renames.items() if old != new}
    return model.with_note(f"load: map: {pairs_said(changed)}") if changed else model


def placed(donor: Model, model: Model) -> Model:
    """Return the donor with the model's addresses, matched by stored paths; else unchanged."""
    addresses = {place: weight.address for weight in model.weights for place in weight.stored}
    named = {w.address: next((addresses[p] for p in w.stored if p in addresses), None)
             for w in donor.weights}  # fmt: skip
    if None in named.values() or len(set(named.values())) < len(named):
        return donor
    weights = (replace(w, address=str(named[w.address])) for w in donor.weights)
    return replace(donor, weights=tuple(weights))
