"""The model for Python code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.api._calls import as_a
from surgery.errors import UsageError, did_you_mean
from surgery.formats.base import open_model
from surgery.live import in_memory
from surgery.live.permission import code_allowed
from surgery.weights import model as core
from surgery.weights.table import layer_facts
from surgery.weights.weight import Weight


@dataclass(frozen=True, repr=False)
class Layer:
    """A layer of a model: `layer["kernel"]` is its weight of that name; iterating gives all.

    Attributes:
        address: the layers' names from the root down, this one's last.
        type: the class's name, such as Dense; None where the file holds weights only.
        trainable: whether Keras trains it; None where the file holds weights only.
        weights: its weights, those of the layers inside it included.
    """

    address: str
    type: str | None
    trainable: bool | None
    weights: tuple[Weight, ...]

    def __getitem__(self, name: str) -> Weight:
        known = {weight.address.removeprefix(f"{self.address}/"): weight for weight in self.weights}
        if name not in known:
            hint = did_you_mean(name, known)
            raise KeyError(f"the layer {self.address!r} has no weight {name!r}{hint}")
        return known[name]

    def __iter__(self) -> Iterator[Weight]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)

    def __repr__(self) -> str:
        return f"<Layer {self.address} ({self.type or 'of unknown type'}): {len(self)} weights>"


class Model(core.Model):
    """An immutable model; every op returns a new one that shares the rest.

    `model["dense"]` is a layer and `model["dense/kernel"]` a weight, by their addresses;
    iterating yields the weights in order, and `len` is their number.
    """

    def __getitem__(self, address: str) -> Any:
        if address in self.by_address:
            return self.by_address[address]
        for layer in self.layers:
            if layer.address == address:
                return layer
        hint = did_you_mean(str(address), [*self.layer_order, *self.by_address])
        raise KeyError(f"the model has no layer and no weight {address!r}{hint}")

    def __contains__(self, address: object) -> bool:
        return address in self.by_address or address in self.layer_order

    def __iter__(self) -> Iterator[Weight]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)

    def __bool__(self) -> bool:
        return True  # even without weights

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers in layer order, including nested ones."""
        return self.once(_layers)

    def summary(self, print_fn: Callable[[str], object] = print) -> None:
        """Print a table of the weights, as `surgery inspect` does."""
        from surgery.report.models import model_text

        print_fn(model_text(self, self.weights))

    def save(self, path: str | Path | None = None, /, **targets: Any) -> None:
        """Write the model; the same as `surgery.save(model, ...)`."""
        from surgery.api.saving import save

        save(self, path, **targets)

    def _ipython_key_completions_(self) -> list[str]:
        return [*self.layer_order, *self.by_address]


def _layers(model: core.Model) -> tuple[Layer, ...]:
    found = []
    for facts in layer_facts(model):
        inside = f"{facts['name']}/"
        weights = tuple(w for w in model.weights if w.address.startswith(inside))
        found.append(Layer(facts["name"], facts["type"], facts["trainable"], weights))
    return tuple(found)


def open(source: Any, *, seed: int = 0, allow_code: bool = False) -> Model:
    """Open a model lazily: headers are read, and no weights.

    Args:
        source: a file or folder of any format, recognised by its content; a mapping as
            `load` in a recipe (`{"application": "VGG16", "weights": "none"}`); or a
            keras.Model, in its current state.
        seed: the seed of weights that no file provides.
        allow_code: permit code in the mapping or the file to run.

    Raises FormatError if it is not a model, or damaged.
    """
    from surgery.recipe.parts import build_source

    with code_allowed(allow_code):
        if isinstance(source, core.Model):
            return as_model(source)
        if isinstance(source, str | Path):
            return as_model(open_model(Path(source)))
        if isinstance(source, Mapping):
            return as_model(build_source(source).open(seed))
        if in_memory.is_keras_model(source):
            return as_model(in_memory.opened(source, open_model))
    raise UsageError(
        f"surgery.open takes a path, a mapping as load in a recipe, or a keras.Model, and "
        f"this is a {type(source).__module__}.{type(source).__qualname__}"
    )


def as_model(model: core.Model) -> Model:
    """Return a model as one with the methods for Python code."""
    return model if isinstance(model, Model) else as_a(Model, model)
