"""`.weights.h5`: weights only, in Keras 3's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from surgery.architecture import Architecture
from surgery.formats import _hdf5, _outputs, _store
from surgery.formats.base import Format, Output, register
from surgery.storage import disk
from surgery.weights import lora
from surgery.weights.model import Carried, Model


@register
class WeightsH5(Format):
    """Weights only, as Keras 3's `save_weights` saves them."""

    name = "weights_h5"
    suffix = ".weights.h5"

    def sniff(self, path: Path, head: bytes) -> bool:
        if not head.startswith(_hdf5.MAGIC):
            return False
        with _hdf5.Reader(path) as reader:
            return "layer_names" not in reader.file.attrs and reader.holds_variables()

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        with _hdf5.Reader(path) as reader:
            store = _store.read_store([reader], architecture)
        return Model(
            weights=store.weights,
            architecture=architecture,
            carried=_store.carried_from(store, Carried(backend="tensorflow")),
            format="weights_h5",
            format_facts=store.facts,
            origin=str(path),
            inputs=(path,),
        )

    def prepared(self, model: Model) -> Model:
        return _store.in_todays_layout(lora.without_adapters(model))

    def problems(self, model: Model) -> Sequence[str]:
        return lora.problems(model) or _store.store_problems(self.prepared(model))

    def create(self, model: Model, path: Path) -> Output:
        model = self.prepared(model)
        descriptor = disk.create(path)
        places = _hdf5.lay_out(descriptor, 0, lambda h5: _store.write_store(h5, model))
        return _outputs.output(descriptor, places)
