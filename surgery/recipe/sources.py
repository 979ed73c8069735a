"""Where a model comes from: a file, or a model of keras.applications."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from surgery.declaration import key, keys_of
from surgery.errors import FormatError, SurgeryError
from surgery.formats._base import open_model
from surgery.keras_bridge.applications import Application, Resolved, imagenet_file
from surgery.weights.initializers import initialized
from surgery.weights.model import Carried, Model
from surgery.weights.sources import Source
from surgery.weights.tensor import dtype_named
from surgery.weights.weight import Weight


@dataclass(frozen=True, kw_only=True)
class FromPath(Source):
    """A model file or folder, of a format that is found by its content."""

    path: Path = key("A model file or folder.", "model.keras")

    def open(self, seed: int) -> Model:
        return open_model(self.path)

    @property
    def needs_tensorflow(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class FromApplication(Application, Source):
    """A model of keras.applications, with that function's own arguments."""

    def open(self, seed: int) -> Model:
        resolved = self.resolve()
        model = _drawn(self.application, resolved, seed)
        if self.weights.path is not None:
            return _joined(model, self.weights.path)
        if resolved.download is not None:
            return _joined(model, imagenet_file(self, resolved.download))
        return model

    @property
    def needs_tensorflow(self) -> bool:
        return not self.is_cached


SOURCES: Mapping[str, type[Source]] = {"path": FromPath, "application": FromApplication}
"""By the key that tells them apart."""


def source_keys() -> Iterator[tuple[type[Source], str]]:
    """Every key of every source, with the source."""
    for declared in SOURCES.values():
        for name in keys_of(declared):
            yield declared, name


def _drawn(name: str, resolved: Resolved, seed: int) -> Model:
    """The application with weights from its layers' own initialisers."""
    architecture = resolved.architecture
    slots = [slot for _, slot in architecture.root.weights()]
    named = [variable["name"] for variable in resolved.variables]
    # Keras's own LayerScale leaves its variable without a name.
    same = [s.name == n or n.startswith("variable") for s, n in zip(slots, named, strict=False)]
    if len(slots) != len(named) or not all(same):
        raise SurgeryError(
            f"this version of Keras ({resolved.keras_version}) gives {name} other variables than "
            "surgery knows of; please report it"
        )
    weights = []
    for slot, variable in zip(slots, resolved.variables, strict=True):
        class_name, config = variable["initializer"]
        dtype, shape = dtype_named(variable["dtype"]), tuple(variable["shape"])
        tensor = initialized(class_name, config, shape, dtype, seed, "load", slot.address)
        trainable = architecture.is_trained(slot.address, slot.trainable)
        weights.append(Weight(slot.address, tensor, (), slot.trainable, trainable))
    carried = Carried(keras_version=resolved.keras_version, backend="tensorflow")
    return Model(tuple(weights), architecture, carried, origin=f"keras.applications.{name}")


def _joined(model: Model, path: Path) -> Model:
    """The model with the weights of a file that was saved from the same architecture."""
    donor = open_model(path, model.architecture)
    weights = []
    for weight in model.weights:
        found = donor.by_address.get(weight.address)
        if found is None:
            raise FormatError(
                f"{path} does not fit {model.origin}: it has no {weight.address}; check the "
                "application's arguments (include_top, classes, alpha...)"
            )
        if found.tensor.shape != weight.tensor.shape:
            raise FormatError(
                f"{path} does not fit {model.origin}: {weight.address} is "
                f"{list(found.tensor.shape)} there, not {list(weight.tensor.shape)}; check the "
                "application's arguments (input_shape, classes, alpha...)"
            )
        weights.append(replace(weight, tensor=found.tensor))
    if extra := [w.address for w in donor.weights if w.address not in model.by_address]:
        raise FormatError(f"{path} does not fit {model.origin}, which has no {extra[0]}")
    return replace(model, weights=tuple(weights), origin=str(path), inputs=donor.inputs)
