"""`savedmodel`: TensorFlow's SavedModels, read and edited without running them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats import _outputs
from surgery.formats._exported import export_memory, export_problems, exported
from surgery.formats._tensorflow.bundle_writer import rewritten
from surgery.formats._tensorflow.graph import constant_problems
from surgery.formats._tensorflow.saved_constants import (
    SavedConstants,
    write_saved_constants,
)
from surgery.formats._tensorflow.saved_files import (
    FINGERPRINT,
    GRAPH,
    KERAS,
    VARIABLES,
    copied,
    other_files,
    write_fingerprint,
)
from surgery.formats._tensorflow.saved_model import SavedModelContainer, read_folder
from surgery.formats._tensorflow.variables import stored_tensors
from surgery.formats.base import Format, Output, register
from surgery.storage import disk, tarfiles
from surgery.weights.model import Model

_FOLDERS = ("variables", "assets", "assets.extra")
_FILES = (FINGERPRINT, KERAS, "tfhub_module.pb")


@register
class SavedModel(Format):
    """A TensorFlow SavedModel, whose graph, signatures and assets are kept byte for byte."""

    name = "savedmodel"
    suffix = "a folder with saved_model.pb"
    is_folder = True
    holds_states = True

    def sniff(self, path: Path, head: bytes) -> bool:
        if path.is_dir():
            return (path / GRAPH).is_file() or (path / "saved_model.pbtxt").is_file()
        is_packed = head.startswith(tarfiles.MAGIC)
        return path.name == GRAPH or (is_packed and tarfiles.holds(path, GRAPH))

    def owns(self, folder: Path) -> bool:
        return (folder / GRAPH).is_file() and all(
            file.is_dir() if file.name in _FOLDERS else file.name in (GRAPH, *_FILES)
            for file in folder.iterdir()
        )

    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        if path.name == GRAPH:
            path = path.parent
        if not path.is_dir():
            unpacked = tarfiles.unpacked(path)
            found = next(Path(unpacked.name).rglob(GRAPH)).parent
            model = read_folder(found, architecture, unpacked)
            return replace(model, origin=str(path), inputs=(path,))
        if not (path / GRAPH).is_file():
            raise FormatError(f"{path}: the text form (saved_model.pbtxt) is not read")
        return read_folder(path, architecture, None)

    def problems(self, model: Model) -> Sequence[str]:
        if self.is_foreign(model) and model.architecture is not None:
            return list(export_problems(model))[:1]
        return list(_problems(model))[:1]

    def is_foreign(self, model: Model) -> bool:
        return not isinstance(model.format_facts, SavedModelContainer | SavedConstants)

    def needs_tensorflow(self, model: Model) -> bool:
        return self.is_foreign(model)

    def memory(self, model: Model) -> int:
        return export_memory("savedmodel", model) if self.is_foreign(model) else 0

    def create(self, model: Model, path: Path) -> Output:
        container = model.format_facts
        if isinstance(container, SavedConstants):
            return write_saved_constants(container, model, path)
        if not isinstance(container, SavedModelContainer):
            return exported("savedmodel", model, path)
        path.mkdir()
        outputs = []
        for file in other_files(container.folder):
            outputs.append(copied(container.folder / file, path / file))
        (path / VARIABLES).parent.mkdir(exist_ok=True)
        tensors = stored_tensors(model, container)
        outputs.append(rewritten(container.bundle, str(path / VARIABLES), tensors).output())
        written = _outputs.together(outputs, path)

        def finish() -> None:
            written.finish()
            disk.sync((path / VARIABLES).parent)
            write_fingerprint(container.folder, path)
            disk.sync(path)

        return Output(written.tensors, finish, written.close)


def _problems(model: Model) -> Iterator[str]:
    container = model.format_facts
    if isinstance(container, SavedConstants):
        yield from constant_problems(model, container.graph)
        return
    if not isinstance(container, SavedModelContainer):
        yield (
            "it can be written if the source is a SavedModel, whose graph it keeps, or has an "
            "architecture; the source has neither, or a step added, removed or renamed variables"
        )
        return
    for address in container.left_out(model):
        why = "was removed or renamed"
        if container.states[address] != "weight":
            why = "was removed; keep the optimizer, or write a checkpoint without it"
        yield f"its graph restores all of its variables, and {address} {why}"
    for key, tensor in stored_tensors(model, container).items():
        entry = container.bundle.entries[key]
        if (entry.shape, entry.dtype) != (tensor.shape, tensor.dtype):
            yield (
                f"{key} is {list(entry.shape)} {entry.dtype} in its graph, which cannot change, "
                f"not {list(tensor.shape)} {tensor.dtype}"
            )
