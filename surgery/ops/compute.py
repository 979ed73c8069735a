"""`compute`: arithmetic between weights, and between models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgery.declared.fields import key
from surgery.errors import SelectorError, did_you_mean
from surgery.ops.base import Op, op
from surgery.weights.arithmetic import is_float, need_floats
from surgery.weights.expressions import Expression, wide_dtype
from surgery.weights.matching import names
from surgery.weights.model import Model
from surgery.weights.naming import renamed
from surgery.weights.selectors import Select
from surgery.weights.sources import Donor, Operand
from surgery.weights.tables import with_slots_attached, with_table
from surgery.weights.tensor import Tensor
from surgery.weights.weight import Weight


@dataclass(frozen=True)
class Formula:
    """An expression as a recipe has it."""

    expression: Expression

    @classmethod
    def from_recipe(cls, value: object, _folder: Path) -> Formula:
        """Parse an expression; raises ValueError for what the grammar does not have."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError
        return cls(Expression.parse(str(value)))

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return its JSON Schema; the text is parsed when it is built."""
        return {"type": ["string", "number"], "minLength": 1}

    def __str__(self) -> str:
        return self.expression.text


@op
@dataclass(frozen=True, kw_only=True)
class Compute(Op):
    """Compute weights from others by an expression, in float32 or wider, rounded once."""

    changes_table = True

    to: str = key(
        "The address of the result, or a pattern: the expression is computed for each weight. One "
        "that is not there is made, in a file of weights only.",
        "a/kernel",
        minLength=1,
    )
    from_: Mapping[str, Operand] = key(
        "The operands by name: the address of a weight (each * is what it matched in to), a model "
        "as in load, whose weight is that of select, or else of the same address, or {step: "
        "before}, the same weight before the step.",
        {"x": "a/kernel", "y": {"path": "b.keras", "select": "a/kernel"}},
    )
    expr: Formula = key(
        "The expression: numbers, operands, + - * / ** @, abs, sqrt, exp, log, minimum, maximum, "
        "where(x > 0, x, y), clip(x, low, high), as in NumPy, with its broadcasting; transpose, "
        "sum, mean, max, min, std (axis=, keepdims=). @, transpose and what reduces hold an "
        "operand in memory.",
        "x + 0.5 * (y - x)",
    )

    def __post_init__(self) -> None:
        used = self.expr.expression.names
        if lacking := next((name for name in used if name not in self.from_), None):
            hint = did_you_mean(lacking, self.from_)
            raise ValueError(f"expr: {lacking} is not in from{hint}")
        if left := next((name for name in self.from_ if name not in used), None):
            raise ValueError(f"from: {left} is not in the expression")
        if not self.from_:
            raise ValueError("from has no operand; set assigns a number")

    @property
    def title(self) -> str:
        return f"{self.name} {self.to} = {self.expr}"

    def donors(self) -> tuple[Donor, ...]:
        return tuple(donor for each in self.from_.values() for donor in each.donors())

    def matched(self, model: Model) -> tuple[Weight, ...]:
        return tuple(w for address in self._targets(model) for w in [model.by_address.get(address)]
                     if w is not None)  # fmt: skip

    def apply(self, model: Model) -> Model:
        changed, made = [], []
        for address in self._targets(model):
            operands = {n: self._operand(model, n, address) for n in self.from_}
            before = model.by_address.get(address)
            if before is None:
                made.append(Weight(address, self._result(operands, address, _dtype(operands))))
                continue
            need_floats([before], self.name)
            result = self._result(operands, address, before.tensor.dtype)
            if result.shape != before.tensor.shape:
                raise SelectorError(
                    f"{address} is {list(before.tensor.shape)}, and the expression gives "
                    f"{list(result.shape)}"
                )
            changed.append(before.with_tensor(result))
        model = model.with_weights(changed)
        if not made:
            return model
        if model.architecture is not None:
            close = did_you_mean(made[0].address, model.by_address)
            raise SelectorError(
                f"{made[0].address} is not a weight of {model.origin or 'the model'}{close}; "
                "insert and append make layers"
            )
        return with_table(with_slots_attached(model), (), made, self.name)

    def _targets(self, model: Model) -> list[str]:
        """Return the addresses of the results; raises SelectorError if a pattern matches none."""
        if "*" not in self.to and "{" not in self.to and not self.to.startswith("re:"):
            return [self.to]
        return [weight.address for weight in Select(self.to).weights(model)]

    def _result(self, operands: Mapping[str, Weight], to: str, dtype: np.dtype[Any]) -> Tensor:
        for weight in operands.values():
            if weight.tensor.dtype.kind == "c":
                raise SelectorError(f"{weight.address} is {weight.tensor.dtype.name}")
        tensors = {name: weight.tensor for name, weight in operands.items()}
        try:
            return self.expr.expression.result(tensors, dtype)
        except ValueError as error:
            shapes = ", ".join(f"{name} {list(t.shape)}" for name, t in tensors.items())
            raise SelectorError(f"{to}: {self.expr} with {shapes}: {error}") from None

    def _operand(self, model: Model, name: str, to: str) -> Weight:
        """Return an operand for the result of that address; raises SelectorError."""
        operand = self.from_[name]
        if operand.address is not None:
            return _found(model, self._address(operand.address, to), name)
        donor = operand.of(model)
        if not operand.is_selected:
            return _found(donor, to, name)
        if len(donor.weights) != 1:
            found = names([weight.address for weight in donor.weights])
            raise SelectorError(f"{name}: select matches {found}; one weight is an operand")
        return donor.weights[0]

    def _address(self, pattern: str, to: str) -> str:
        if "*" not in pattern and not pattern.startswith("re:"):
            return pattern
        try:
            found = renamed(self.to, pattern, to)
        except ValueError as error:
            raise SelectorError(f"from: {error}") from None
        if found is None:
            raise SelectorError(f"from: {pattern} takes what * matched, and {self.to} matches {to} "
                                "by its beginning only")  # fmt: skip
        return found


def _found(model: Model, address: str, name: str) -> Weight:
    if address not in model.by_address:
        hint = did_you_mean(address, model.by_address)
        raise SelectorError(f"{name}: {address} is not in {model.origin or 'the model'}{hint}")
    return model.by_address[address]


def _dtype(operands: Mapping[str, Weight]) -> np.dtype[Any]:
    """Return the dtype of a result that is new: that of all operands, or a wider one."""
    dtypes = list(_dtypes(operands))
    if len(set(dtypes)) == 1 and is_float(dtypes[0]):
        return dtypes[0]
    return wide_dtype("0", {name: weight.tensor for name, weight in operands.items()})


def _dtypes(operands: Mapping[str, Weight]) -> Iterator[np.dtype[Any]]:
    return (weight.tensor.dtype for weight in operands.values())
