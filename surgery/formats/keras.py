"""`.keras`: Keras 3's whole model, a zip archive (or a folder of the same files)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats import _configs, _hdf5, _outputs, _store
from surgery.formats._misfits import misfits
from surgery.formats.base import NEEDS_ARCHITECTURE, Output, register
from surgery.formats.upgrading import MOST_NOTES, Config, WithConfig, config_key
from surgery.storage import disk, zipfiles
from surgery.weights import lora
from surgery.weights.model import Carried, Model

CONFIG = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"
_NO_DATE = "1980-01-01@00:00:00"
"""The date of a model without one: Keras's tools need it, and today's is not reproducible."""


@register
@dataclass(frozen=True, kw_only=True)
class Keras(WithConfig):
    """A whole model as Keras 3 saves it."""

    name = "keras"
    suffix = ".keras"
    holds_architecture = True

    config: Config = config_key("upgrade")

    def sniff(self, path: Path, head: bytes) -> bool:
        if path.is_dir():
            return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()
        return head.startswith(zipfiles.MAGIC) and CONFIG in zipfiles.Archive(path).members

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        if path.is_dir():
            for name in (CONFIG, METADATA, WEIGHTS):
                if (path / name).is_symlink():
                    raise FormatError(f"{path / name} is a link, which is not followed")
            files = {CONFIG: disk.small(path / CONFIG)}
            if (path / METADATA).is_file():
                files[METADATA] = disk.small(path / METADATA)
            assets = {
                file.relative_to(path).as_posix(): disk.small(file)
                for file in sorted((path / "assets").rglob("*"))
                if file.is_file() and not file.is_symlink()
            }
            with _hdf5.Reader(path / WEIGHTS) as reader:
                return _open(path, files, assets, reader)
        archive = zipfiles.Archive(path)
        if WEIGHTS not in archive.members:
            raise FormatError(f"{path} has no {WEIGHTS}; it was saved without weights or as .npz")
        names = [name for name in (CONFIG, METADATA) if name in archive.members]
        files = {name: archive.read(name) for name in names}
        assets = {
            name: archive.read(name)
            for name in archive.members
            if name.startswith("assets/") and not name.endswith("/")
        }
        place = archive.place(WEIGHTS)
        check = archive.check(WEIGHTS, place)
        with _hdf5.Reader(path, place, check.seen if check else None) as reader:
            model = _open(path, files, assets, reader)
        return replace(model, checks=(check,)) if check else model

    def prepared(self, model: Model) -> Model:
        return lora.without_adapters(self.upgraded(model))

    def problems(self, model: Model) -> Sequence[str]:
        if model.architecture is None:
            return [NEEDS_ARCHITECTURE]
        if refused := self.config_problems(model) or lora.problems(model):
            return refused
        return [*misfits(model), *_store.store_problems(self.prepared(model))]

    def notes(self, model: Model) -> Sequence[str]:
        merged = [] if lora.without_adapters(model) is model else lora.notes(model)
        return [*self.config_notes(model), *merged[:MOST_NOTES]]

    def create(self, model: Model, path: Path) -> Output:
        model = self.prepared(model)
        carried = model.carried
        if model.architecture is None:
            raise FormatError(f"{path}: {self.problems(model)[0]}")
        config = _configs.as_keras3(model.architecture.config, carried)
        config.pop("compile_config", None)
        if compiled := _configs.compile_config(carried):
            config["compile_config"] = compiled
        else:
            model = model.without_optimizer()
        metadata = {
            "keras_version": carried.keras_version or "3",
            "date_saved": carried.date_saved or _NO_DATE,
        }
        members = {
            METADATA: _configs.dump(metadata),
            CONFIG: _configs.dump(config),
            **carried.assets,
        }
        descriptor = disk.create(path)
        writer = zipfiles.ArchiveWriter(descriptor, members, {WEIGHTS: None})
        start = writer.starts[WEIGHTS]
        places = _hdf5.lay_out(descriptor, start, lambda h5: _store.write_store(h5, model))
        return _outputs.output(descriptor, places, writer.seen, writer.finish)


def _open(
    path: Path, files: dict[str, bytes], assets: dict[str, bytes], reader: _hdf5.Reader
) -> Model:
    config = _configs.parse(files[CONFIG], path, CONFIG)
    metadata = _configs.parse(files.get(METADATA, b"{}"), path, METADATA)
    architecture = Architecture(config)
    store = _store.read_store([reader], architecture)
    carried = Carried(
        keras_version=str(metadata.get("keras_version") or ""),
        backend="tensorflow",
        date_saved=str(metadata.get("date_saved") or ""),
        compile_config=config.get("compile_config") or None,
        assets=assets,
    )
    model = Model(
        weights=store.weights,
        architecture=architecture,
        carried=_store.carried_from(store, carried),
        format="keras",
        format_facts=store.facts,
        origin=str(path),
        inputs=(path,),
    )
    return _configs.check_shapes(model).with_slots()
