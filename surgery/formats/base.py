"""The base class of formats, which recognise files, open them lazily, and write models."""

from __future__ import annotations

import contextlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from surgery.architecture import Architecture
from surgery.architecture.checking import ConfigError
from surgery.declared.registry import Registry
from surgery.errors import FormatError, SurgeryError
from surgery.formats._configs import compile_config
from surgery.formats._mistaken import missing, mistaken
from surgery.live.loading import LoadCheck
from surgery.storage import locations
from surgery.weights.model import Model
from surgery.weights.selectors import NO_WEIGHTS
from surgery.weights.tensor import Array, Tensor

NEEDS_ARCHITECTURE = (
    "it needs the architecture, and the source has weights only; load the whole model, or an "
    "application with these weights"
)
"""The message for a model without an architecture, in a format that needs one."""

Sink = Callable[[int, Array], None]
"""A function `sink(start, elements)` that writes a chunk; called from many threads."""


@dataclass
class Output:
    """A file or folder being written under a temporary path, and (tensor, sink) for its tensors.

    `finish` is called after all tensors have been written; `close` in any case.
    """

    tensors: Sequence[tuple[Tensor, Sink]]
    finish: Callable[[], None]
    close: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True, kw_only=True)
class Format(ABC):
    """A file format; its keys, if any, can be given for a target.

    `name` is the word for a target in recipes, `suffix` the usual suffix of its files. A format
    `by_prefix` may be named by the common prefix of its files; one that `holds_states` can store
    variables that are not weights.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    is_folder: ClassVar[bool] = False
    holds_architecture: ClassVar[bool] = False
    holds_states: ClassVar[bool] = False
    by_prefix: ClassVar[bool] = False
    can_write: ClassVar[bool] = True
    can_read: ClassVar[bool] = True

    @abstractmethod
    def sniff(self, path: Path, head: bytes) -> bool:
        """Return whether a path is of this format, by content; `head` is a file's first bytes."""

    @abstractmethod
    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        """Open the model in a file; `architecture` gives addresses if the file has no config.

        The number of open files does not grow with that of the weights. Raises FormatError.
        """

    @abstractmethod
    def problems(self, model: Model) -> Sequence[str]:
        """Return why the format cannot store the model; empty if it can."""

    def prepared(self, model: Model) -> Model:
        """Return the model as it will be in the file, if it has no problems."""
        return model

    def restored(self, made: Model, model: Model) -> Model:
        """Undo `prepared` for `made`, which Keras trained: names and gates are `model`'s again."""
        return made

    def compile_config(self, model: Model) -> Mapping[str, Any] | None:
        """Return the compile config for Keras 3; None if it has none."""
        return compile_config(model.carried)

    def load_check(self, model: Model) -> LoadCheck | None:
        """Return the check that Keras can load the written model; None if it certainly can."""
        return None

    def refusals(self, model: Model) -> Sequence[str]:
        """Return why the model cannot be written: general reasons, then `problems`."""
        holds_others = self.holds_states and model.states
        is_whole = self.holds_architecture and _needs_none(model)
        if not model.weights and not holds_others and not is_whole:
            return [NO_WEIGHTS]
        if "" in model.by_address:
            return ["a weight has an empty name; rename it, or select the others"]
        return self.problems(model)

    def notes(self, model: Model) -> Sequence[str]:
        """Return notes on parts of the model that are changed or left out unexpectedly."""
        return []

    def needs_tensorflow(self, model: Model) -> bool:
        """Return whether writing the model imports TensorFlow."""
        return False

    def memory(self, model: Model) -> int:
        """Return the bytes of memory for writing, in addition to streaming."""
        return 0

    def is_foreign(self, model: Model) -> bool:
        """Return whether another program writes the file, so that its bytes may vary."""
        return not self.can_read

    def owns(self, folder: Path) -> bool:
        """Return whether a folder has only files of this format, so that it may be replaced."""
        return False

    @abstractmethod
    def create(self, model: Model, path: Path) -> Output:
        """Start writing the model to a path that does not exist yet."""


def _needs_none(model: Model) -> bool:
    """Return whether none of a model's layers has variables."""
    layers = model.architecture.root.walk() if model.architecture else ()
    return bool(layers) and all(layer.variables == () for layer in layers)


def odd_names(model: Model) -> list[str]:
    """Return a message about the first address that is not usable as a path, or nothing."""
    for weight in model.weights:
        parts = weight.address.replace("\\", "/").split("/")
        controls = any(ord(character) < 32 for character in weight.address)
        if controls or not {"", ".", ".."}.isdisjoint(parts) or re.match("[A-Za-z]:", parts[0]):
            return [f"it cannot store the name {weight.address!r}; rename it, or write npy"]
    return []


_HDF5 = b"\x89HDF\r\n\x1a\n"
_SMALLEST_USER_BLOCK = 512

FORMATS: Registry[Format] = Registry(
    "surgery.formats", "surgery.formats", Format, lambda declared: declared()
)


def register(declared: type[Format]) -> type[Format]:
    """Register a format; a class decorator."""
    FORMATS.register(declared)
    return declared


def formats() -> Mapping[str, Format]:
    """Return surgery's own formats, by name."""
    return FORMATS.own()


def format_of(path: Path) -> Format:
    """Return the format of a file or folder, by content; raises FormatError if it is unknown."""
    if not os.path.lexists(path):
        for known in formats().values():
            if known.by_prefix and known.sniff(path, b""):
                return known
        raise FormatError(f"{path}: {missing(path)}")
    head = b""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FormatError(f"{path} is neither a file nor a folder")
    if not path.is_dir():
        try:
            with path.open("rb") as file:
                head = file.read(16)
        except OSError as error:
            raise FormatError(f"{path}: {error.strerror}") from None
        if not head:
            raise FormatError(f"{path} is empty")
    for begins in (head, _behind_user_block(path)):
        for known in formats().values():
            if begins is not None and known.sniff(path, begins):
                return known
    plugins, problems = FORMATS.everything()
    for name in sorted(plugins.keys() - formats().keys()):
        if plugins[name].sniff(path, head):
            return plugins[name]
    names = [known.suffix for known in formats().values()]
    endings = [name for name in names if name.startswith(".")]
    advice = mistaken(path, endings) or f"is not a model that surgery reads ({', '.join(names)})"
    raise FormatError("; ".join([f"{path} {advice}", *map(str, problems)]))


def _behind_user_block(path: Path) -> bytes | None:
    """Return the first bytes of HDF5 data after a user block; None if there are none."""
    if path.is_dir():
        return None
    with path.open("rb") as file:
        size, place = path.stat().st_size, _SMALLEST_USER_BLOCK
        while place < size:
            file.seek(place)
            if (head := file.read(16)).startswith(_HDF5):
                return head
            place *= 2
    return None


def format_for(path: Path) -> str | None:
    """Return the name of the format for a file's name; None if its suffix does not tell."""
    ends = [known for known in formats().values() if path.name.endswith(known.suffix)]
    if not ends:
        others = FORMATS.everything()[0].values()
        ends = [known for known in others if path.name.endswith(known.suffix)]
    best = max(ends, key=lambda known: len(known.suffix), default=None)
    return best.name if best else None


def open_model(path: Path, architecture: Architecture | None = None) -> Model:
    """Open a model of any format, by path or URL; raises FormatError."""
    path = locations.resolve(path)
    locations.prepare(path)
    with refusing(path):
        model = format_of(path).open(path, architecture)
    if locations.url_of(path) is None:
        return model
    checks = (locations.unchanged(path), *model.checks)
    return replace(model, origin=locations.with_urls(model.origin), checks=checks)


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn errors that a damaged file causes inside the context into FormatError."""
    try:
        yield
    except SurgeryError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else f"{path}: "
        raise FormatError(f"{where}{error.strerror or error}") from error
    except ConfigError as error:
        raise FormatError(f"{path}: its config is damaged: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise FormatError(f"{path} is damaged, or has unexpected contents ({what})") from error
