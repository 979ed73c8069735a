"""The report of `inspect`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from surgery.errors import printable
from surgery.report.tables import number, plural, size, table
from surgery.weights.arithmetic import compute_dtype
from surgery.weights.digest import sha256
from surgery.weights.model import Model
from surgery.weights.statistics import of_tensor
from surgery.weights.table import layer_facts, weight_facts
from surgery.weights.tensor import Array, Tensor, dtype_name
from surgery.weights.weight import Weight


def model_facts(
    model: Model, path: str, weights: Sequence[Weight], stats: bool = False, hashes: bool = False
) -> dict[str, Any]:
    """Return a model as plain data, for `inspect --json`: path, format, layers, weights.

    `stats` and `hashes` add statistics and SHA-256 of each weight, which reads it.
    """
    return {
        "path": path,
        "format": model.format,
        "layers": layer_facts(model),
        **({"signatures": list(signatures)} if (signatures := model.carried.signatures) else {}),
        "weights": [
            {
                **weight_facts(weight),
                **({"stats": of_tensor(weight.tensor).as_dict()} if stats else {}),
                **({"sha256": sha256(weight.tensor)} if hashes else {}),
            }
            for weight in weights
        ],
    }


def model_text(
    model: Model, weights: Sequence[Weight], stats: bool = False, hashes: bool = False
) -> str:
    """Return the weights of a model as a table, with totals.

    `stats` and `hashes` add statistics and SHA-256 of each weight, which reads it.
    """
    return "\n".join(_model_lines(model, weights, stats, hashes))


def _model_lines(
    model: Model, weights: Sequence[Weight], stats: bool, hashes: bool
) -> Iterator[str]:
    header = ["weight", "shape", "dtype", "trained", "parameters"]
    if stats:
        header = ["weight", "min", "max", "mean", "std", "zeros", "nonfinite"]
    if hashes:
        header.append("sha256")
    rows = [_row(model, weight, stats, hashes) for weight in weights]
    numbers = range(1, 7) if stats else (4,)
    yield table(header, rows, right=numbers)
    yield ""
    trained = sum(w.tensor.size for w in weights if w.trainable)
    yield (
        f"{model.format}: {plural(len(weights), 'weight')}, "
        f"{plural(sum(w.tensor.size for w in weights), 'parameter')}"
        + (f" ({trained:,} trained)" if model.architecture is not None else "")
        + f", {size(sum(w.tensor.nbytes for w in weights))}"
        + ("; optimizer state" if model.optimizer else "")
    )
    for state, what in (("optimizer", "of the optimizer"), ("other", "besides weights")):
        if count := sum(weight.state == state for weight in model.states):
            yield f"and {plural(count, 'variable')} {what}: --select '{{state: {state}}}'"
    for signature in model.carried.signatures:
        yield from _signature_lines(signature)
    if any(not weight.named for weight in weights):
        yield "* the file stores no names; these are Keras's numbered ones"


def _signature_lines(signature: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines of a SavedModel's signature: names, shapes and dtypes of inputs and outputs."""
    tags = ", ".join(signature["tags"]) or "no tags"
    yield printable(f"signature {signature['name']} ({tags})")
    for kind in ("inputs", "outputs"):
        for name, facts in signature[kind].items():
            dims = facts["shape"]
            shape = "any shape" if dims is None else "x".join(str(n or "?") for n in dims)
            yield printable(f"  {kind[:-1]} {name}: {shape or 'scalar'} {facts['dtype']}")


_TRAINED = {None: "?", True: "yes", False: "no"}


def _row(model: Model, weight: Weight, stats: bool, hashes: bool) -> list[str]:
    name = weight.address + ("" if weight.named else " *")
    if stats:
        found = of_tensor(weight.tensor)
        values = [found.low, found.high, found.mean, found.std]
        row = [name, *(number(v) if found.finite else "-" for v in values)]
        row += [f"{found.zeros:,}", f"{found.nonfinite:,}"]
    else:
        tensor = weight.tensor
        shape = "x".join(map(str, tensor.shape)) or "scalar"
        row = [name, shape, dtype_name(tensor.dtype), _TRAINED[weight.trainable]]
        row.append(f"{tensor.size:,}")
    return [*row, sha256(weight.tensor)] if hashes else row


def values_text(weight: Weight, index: tuple[slice | int, ...]) -> str:
    """Return the values of a weight, or of a part of it, as NumPy prints arrays."""
    values = part(weight.tensor, index)
    shown = values.astype(compute_dtype(values.dtype), copy=False)
    with np.printoptions(threshold=1000, linewidth=80):
        name = printable(weight.address)
        return f"{name} {list(values.shape)} {values.dtype.name}\n{shown}"


def part(tensor: Tensor, index: tuple[slice | int, ...]) -> Array:
    """Return a part of a tensor; only the rows of the first index are read."""
    if not index or not tensor.shape:
        return tensor.numpy()
    first, rest = index[0], index[1:]
    rows = tensor.shape[0]
    row = tensor.size // rows if rows else 0
    wanted = range(rows)[first] if isinstance(first, slice) else [range(rows)[first]]
    read = [tensor.read(i * row, (i + 1) * row).reshape(tensor.shape[1:]) for i in wanted]
    stacked = np.stack(read) if read else np.empty((0, *tensor.shape[1:]), tensor.dtype)
    picked: Array = stacked[(slice(None) if isinstance(first, slice) else 0, *rest)]
    return picked
