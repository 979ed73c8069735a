"""`.h5`: a model or its weights in the layout of Keras 1 and 2, which Keras 3 writes, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py

from surgery.architecture import Architecture, Layer
from surgery.declared.fields import key
from surgery.errors import FormatError
from surgery.formats import _configs, _hdf5, _keras2, _outputs, _shared
from surgery.formats._h5_layout import H5Facts
from surgery.formats._h5_reading import read_model
from surgery.formats._h5_writing import weights_by_layer, write_model
from surgery.formats._misfits import misfits
from surgery.formats.base import Output, register
from surgery.formats.upgrading import WithConfig
from surgery.storage import disk
from surgery.weights import lora
from surgery.weights.model import Model


@register
@dataclass(frozen=True, kw_only=True)
class H5(WithConfig):
    """A model, or its weights, in Keras's older HDF5 layout."""

    name = "h5"
    suffix = ".h5"
    holds_architecture = True

    for_: Literal["keras2"] | None = key(
        "Convert a model of Keras 3: keras2 is for tf_keras and TensorFlow 2.12 to 2.15.",
        "keras2",
        default=None,
    )

    def __post_init__(self) -> None:
        if self.for_ is not None and self.config == "upgrade":
            raise ValueError("for: keras2 and config: upgrade exclude each other")

    def sniff(self, path: Path, head: bytes) -> bool:
        if not head.startswith(_hdf5.MAGIC):
            return False
        with _hdf5.Reader(path) as reader:
            known = {"model_config", "layer_names", "layer_names0"} & set(reader.file.attrs)
            return bool(known) or isinstance(reader.file.get("model_weights"), h5py.Group)

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        with _hdf5.Reader(path) as reader:
            return read_model(reader, path, architecture)

    def prepared(self, model: Model) -> Model:
        if self.for_ is not None:
            return _keras2.for_keras2(model)[0]
        model = self.upgraded(model)
        return model if _is_own(model) else _shared.unshared(lora.merged(model))

    def problems(self, model: Model) -> Sequence[str]:
        if self.for_ is not None and (found := _keras2.for_keras2(model)[1]).problems:
            return found.problems
        if refused := self.config_problems(model):
            return refused
        model = self.prepared(model)
        problems = [
            f"{w.address} is bfloat16, which Keras cannot load from an .h5 file; write .keras, "
            "or weights_h5"
            for w in model.weights
            if w.tensor.dtype.name == "bfloat16"
        ][:1]
        problems += _hdf5.unheld(model)
        problems += misfits(model) if model.architecture is not None else []
        if model.architecture is not None and not _is_own(model):
            problems += _beyond(model.architecture.root)
        try:
            weights_by_layer(model)
        except FormatError as error:
            problems.append(str(error))
        return problems

    def notes(self, model: Model) -> Sequence[str]:
        if self.for_ is not None:
            return _keras2.for_keras2(model)[1].notes
        notes = self.config_notes(model)
        model = self.upgraded(model)
        if _is_own(model):
            return notes
        notes += [*lora.notes(model), *_shared.notes(model)]
        if model.carried.compile_config and not _configs.training_config(model.carried):
            notes.append(
                "the compile config is left out: it names no optimizer, which this format needs; "
                "compile the model after loading"
            )
        return notes

    def create(self, model: Model, path: Path) -> Output:
        model = self.prepared(model)
        groups = weights_by_layer(model)
        descriptor = disk.create(path)
        places = _hdf5.lay_out(descriptor, 0, lambda h5: write_model(h5, model, groups))
        return _outputs.output(descriptor, places)


def _is_own(model: Model) -> bool:
    """Return whether the model was read from a file of this format, and keeps its layout."""
    return isinstance(model.format_facts, H5Facts)


def _beyond(root: Layer) -> Iterator[str]:
    """Yield a message about a model that Keras cannot load from this layout."""
    if root.variables is None:
        yield f"{root.class_name} is a custom model class, which Keras stores in .keras only"
