"""`concat` and `stack`: several weights become one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from surgery.declared.fields import key
from surgery.errors import SelectorError, nearest
from surgery.ops._tables import axis_of
from surgery.ops.base import Op, op
from surgery.weights.model import Model
from surgery.weights.naming import renamed, stars
from surgery.weights.slicing import joined
from surgery.weights.tables import named_slots, with_slots_attached, with_table
from surgery.weights.tensor import Mapped, Tensor
from surgery.weights.weight import Weight

Parts = Mapping[str, tuple[Weight, ...]]
"""By the address of a new weight those that it is made of."""


@dataclass(frozen=True, kw_only=True)
class JoiningOp(Op):
    """An op that makes one weight of several, with their optimizer state."""

    changes_table = True

    from_: tuple[str, ...] = key(
        "The addresses of the weights, in order; with *, one weight is made for each text that it "
        "matches.",
        ["block_*/q/kernel", "block_*/k/kernel"],
        minItems=1,
    )
    to: str = key("The address of the new weight.", "block_*/qk/kernel", minLength=1)

    @property
    def title(self) -> str:
        return f"{self.name} {self.to}"

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return 0

    def matched(self, model: Model) -> tuple[Weight, ...]:
        return tuple(weight for parts in self._parts(model).values() for weight in parts)

    def renames(self, model: Model) -> Mapping[str, str]:
        return {w.address: to for to, parts in self._parts(model).items() for w in parts}

    def apply(self, model: Model) -> Model:
        found = {to: [w.address for w in parts] for to, parts in self._parts(model).items()}
        for to, addresses in found.items():
            model = with_slots_attached(model)
            parts = [model[address] for address in addresses]
            model = with_table(model, parts, [self._made(to, parts)], f"{self.name} to {to}")
        return model

    @abstractmethod
    def joined(self, tensors: Sequence[Tensor], to: str) -> Tensor:
        """Return the tensors as one; raises SelectorError, which names `to`."""

    def _made(self, to: str, parts: Sequence[Weight]) -> Weight:
        """Return the new weight, with slots if all parts have the same ones in their shapes."""
        tensor = self.joined([part.tensor for part in parts], to)
        slots = [named_slots(part) for part in parts]
        follow = all(
            own.keys() == slots[0].keys() and all(s.shape == w.shape for _, s in own.values())
            for own, w in zip(slots, parts, strict=True)
        )
        made = tuple(
            (name, self.joined([own[key][1] for own in slots], to))
            for key, (name, _) in (slots[0].items() if follow else ())
        )
        trains = all(part.variable_trains for part in parts)
        return Weight(to, tensor, (), trains, parts[0].trainable, slots=made)

    def _parts(self, model: Model) -> Parts:
        return model.once(self._found)

    def _found(self, model: Model) -> Parts:
        columns = [self._column(model, pattern) for pattern in self.from_]
        for pattern, column in zip(self.from_, columns, strict=True):
            if lacking := [to for to in columns[0] if to not in column]:
                raise SelectorError(f"{pattern} has no weight for {lacking[0]}")
            if more := [to for to in column if to not in columns[0]]:
                raise SelectorError(f"{self.from_[0]} has no weight for {more[0]}")
        found = {to: tuple(column[to] for column in columns) for to in columns[0]}
        for to, parts in found.items():
            if other := next((p for p in parts if p.dtype != parts[0].dtype), None):
                raise SelectorError(
                    f"{to}: {other.address} is {other.dtype.name}, and {parts[0].address} is "
                    f"{parts[0].dtype.name}; cast one of them"
                )
            if len({part.address for part in parts}) < len(parts):
                raise SelectorError(f"{to} would be made of {parts[0].address} twice")
        return found

    def _column(self, model: Model, pattern: str) -> dict[str, Weight]:
        """Return the weights of a pattern, by the address of the new one; raises SelectorError."""
        if not pattern.startswith("re:") and stars(pattern) != stars(self.to):
            raise SelectorError(
                f"{pattern} has {stars(pattern)} * and {self.to} has {stars(self.to)}; each takes "
                "what the one in its place matched"
            )
        found: dict[str, Weight] = {}
        for weight in model.weights:
            try:
                to = renamed(pattern, self.to, weight.address)
            except ValueError as error:
                raise SelectorError(str(error)) from None
            if to in found:
                raise SelectorError(f"{pattern} matches {found[to].address} and {weight.address}")
            if to is not None:
                found[to] = weight
        if not found:
            close = nearest(pattern, [weight.address for weight in model.weights], 3)
            hint = f"; the nearest are {', '.join(close)}" if close else ""
            raise SelectorError(f"{pattern} matches no weight{hint}")
        return found


@op
@dataclass(frozen=True, kw_only=True)
class Concat(JoiningOp):
    """Concatenate weights, and their optimizer state, along an axis; they become one."""

    axis: int = key("The axis; -1 is the last.", -1, default=-1)

    def joined(self, tensors: Sequence[Tensor], to: str) -> Tensor:
        axis = axis_of(tensors[0].shape, self.axis, to)
        _check_alike(tensors, to, lambda shape: (*shape[:axis], *shape[axis + 1 :]))
        return joined(tensors, axis)


@op
@dataclass(frozen=True, kw_only=True)
class Stack(JoiningOp):
    """Stack weights of one shape, and their optimizer state, along a new axis."""

    axis: int = key("The new axis; -1 is the last.", 0, default=0)

    def joined(self, tensors: Sequence[Tensor], to: str) -> Tensor:
        shape = tensors[0].shape
        axis = axis_of((*shape, 1), self.axis, to)
        _check_alike(tensors, to, lambda shape: shape)
        new = (*shape[:axis], 1, *shape[axis:])
        return joined([Mapped(t, lambda values, _: values, shape=new) for t in tensors], axis)


def _check_alike(
    tensors: Sequence[Tensor], to: str, held: Callable[[tuple[int, ...]], tuple[int, ...]]
) -> None:
    """Raise SelectorError if shapes differ in what must agree."""
    first = tensors[0].shape
    for tensor in tensors[1:]:
        if len(tensor.shape) != len(first) or held(tensor.shape) != held(first):
            raise SelectorError(f"{to}: {list(first)} and {list(tensor.shape)} do not go together")
