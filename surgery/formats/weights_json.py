"""`.weights.json`: Keras 3's weights in several files, and a map from groups to files."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from surgery.architecture import Architecture
from surgery.declared.fields import key
from surgery.errors import FormatError
from surgery.formats import _hdf5, _outputs, _store
from surgery.formats.base import Format, Output, register
from surgery.storage import disk
from surgery.weights import lora
from surgery.weights.model import Carried, Model
from surgery.weights.tensor import Tensor

MAP = "model.weights.json"


@register
@dataclass(frozen=True, kw_only=True)
class WeightsJson(Format):
    """A folder with Keras 3's weights in shards, and their map `model.weights.json`."""

    name = "weights_json"
    suffix = "a folder with .weights.json"
    is_folder = True

    max_shard_size: float = key(
        "The most GB (2^30 bytes) a file, as in Keras's save_weights.",
        1.0,
        default=5.0,
        exclusiveMinimum=0,
    )

    def sniff(self, path: Path, head: bytes) -> bool:
        if path.is_dir():
            return len(list(path.glob("*.weights.json"))) == 1
        return path.name.endswith(".json") and b'"weight_map"' in disk.beginning(path)

    def owns(self, folder: Path) -> bool:
        names = {file.name for file in folder.iterdir()}
        return MAP in names and all(
            name == MAP or re.fullmatch(r"model_\d{5}\.weights\.h5", name) for name in names
        )

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        index = next(path.glob("*.weights.json")) if path.is_dir() else path
        files = list(_files_of(index))
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(_hdf5.Reader(file)) for file in files]
            store = _store.read_store(readers, architecture)
        return Model(
            weights=store.weights,
            architecture=architecture,
            carried=_store.carried_from(store, Carried(backend="tensorflow")),
            format="weights_json",
            format_facts=store.facts,
            origin=str(path),
            inputs=(index, *files),
        )

    def prepared(self, model: Model) -> Model:
        return _store.in_todays_layout(lora.without_adapters(model))

    def problems(self, model: Model) -> Sequence[str]:
        return lora.problems(model) or _store.store_problems(self.prepared(model))

    def create(self, model: Model, path: Path) -> Output:
        model = self.prepared(model)
        model = model.without_optimizer()
        path.mkdir()
        shards = _sharded(model, self.max_shard_size * 2**30)
        places = {
            f"/{g}": f"model_{n:05}.weights.h5" for n, part in enumerate(shards) for g in part
        }
        total = sum(size for part in shards for size in part.values())
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (path / MAP).write_text(json.dumps(index, indent=4), encoding="utf-8")
        outputs = []
        for number, groups in enumerate(shards):
            descriptor = disk.create(path / f"model_{number:05}.weights.h5")
            elsewhere = [g for part in shards if part is not groups for g in part]
            build = partial(_write_part, model=model, groups=groups, elsewhere=elsewhere)
            laid = _hdf5.lay_out(descriptor, 0, build)
            outputs.append(_outputs.output(descriptor, laid))
        return _outputs.together(outputs, path)


def _files_of(index: Path) -> Iterator[Path]:
    """Yield the files listed in a map, each once; raises FormatError."""
    try:
        places = json.loads(disk.small(index))["weight_map"].values()
        names = [
            name for given in places for name in ([given] if isinstance(given, str) else given)
        ]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{index} is not a map of weights: {error!r}") from None
    for name in dict.fromkeys(names):
        if not isinstance(name, str) or Path(name).name != name:
            raise FormatError(f"{index}: {name!r} lies outside the folder")
        yield index.parent / name


def _sharded(model: Model, most: float) -> list[dict[str, int]]:
    """Return {group: size in bytes} for each file; a group is never split."""
    sizes: dict[str, int] = {}
    stored = {
        p: model[a].tensor for a, places in _store.stored_names(model).items() for p in places
    }
    for place, tensor in {**stored, **model.carried.state}.items():
        group = place.rpartition("/")[0]
        sizes[group] = sizes.get(group, 0) + tensor.nbytes
    shards: list[dict[str, int]] = [{}]
    for group, size in sizes.items():
        if shards[-1] and sum(shards[-1].values()) + size > most:
            shards.append({})
        shards[-1][group] = size
    return shards


def _write_part(
    writer: _hdf5.Writer, model: Model, groups: Collection[str], elsewhere: Collection[str]
) -> None:
    _store.write_store(_Part(writer, groups, elsewhere), model)


class _Part(_hdf5.Writer):
    """A writer that writes only the groups of one of several files.

    Groups that contain only a layer's name are written to all files.
    """

    def __init__(
        self, whole: _hdf5.Writer, groups: Collection[str], elsewhere: Collection[str]
    ) -> None:
        super().__init__(whole.file)
        self._whole = whole
        self._groups = groups
        self._elsewhere = elsewhere

    def group(self, path: str) -> Any:
        """Return the group, or a dummy if it belongs to another file."""
        return _Nowhere() if path in self._elsewhere else self._whole.group(path)

    def dataset(self, path: str, tensor: Tensor) -> None:
        """Create the dataset if its group belongs to this file."""
        if path.rpartition("/")[0] in self._groups:
            self._whole.dataset(path, tensor)


class _Nowhere:
    def __init__(self) -> None:
        self.attrs: dict[str, Any] = {}
