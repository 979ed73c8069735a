"""What every format is: it recognises its files, opens them lazily, and writes models."""

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
    "it needs the architecture, and the source holds weights only; load the whole model, or an "
    "application with these weights"
)
"""Why a format cannot hold a model without an architecture."""

Sink = Callable[[int, Array], None]
"""Takes the elements of a chunk and the flat index of the first; called from many threads."""


@dataclass
class Output:
    """A file or folder being written beside its place, and the tensors it waits for.

    `finish` is called when all tensors have been given to their sinks; `close` always.
    """

    tensors: Sequence[tuple[Tensor, Sink]]
    finish: Callable[[], None]
    close: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True, kw_only=True)
class Format(ABC):
    """A file format; a target may give its keys, if it declares any.

    `name` is the target's name in a recipe, `suffix` what its files usually end with. A format
    `by_prefix` may be named by what its files' names begin with; one that `holds_states` has
    room for variables that are no weights.
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
        """Whether that is one of its files, by content; `head` is a file's first bytes."""

    @abstractmethod
    def open(self, path: Path, architecture: Architecture | None = None) -> Model:
        """The model in it; `architecture` names the weights of a file that holds no config."""

    @abstractmethod
    def problems(self, model: Model) -> Sequence[str]:
        """Why it cannot hold that model; empty where it can."""

    def prepared(self, model: Model) -> Model:
        """The model as it goes into the file, if it has no problems."""
        return model

    def restored(self, made: Model, model: Model) -> Model:
        """Return what Keras made of the prepared model, by the names and values of `model`."""
        return made

    def compile_config(self, model: Model) -> Mapping[str, Any] | None:
        """Return how Keras 3 compiles the model, or None where that is not known."""
        return compile_config(model.carried)

    def load_check(self, model: Model) -> LoadCheck | None:
        """What Keras is asked to build before that model is written, where that is in doubt."""
        return None

    def refusals(self, model: Model) -> Sequence[str]:
        """Why that model is not written: what no file is of use with, then `problems`."""
        if not model.weights and not (self.holds_states and model.states):
            return [NO_WEIGHTS]
        if "" in model.by_address:
            return ["a weight has an empty name; rename it, or select the others"]
        return self.problems(model)

    def notes(self, model: Model) -> Sequence[str]:
        """What it leaves out of the model, beyond what the format is known not to hold."""
        return []

    def needs_tensorflow(self, model: Model) -> bool:
        """Whether writing that model imports TensorFlow."""
        return False

    def memory(self, model: Model) -> int:
        """The bytes that writing takes, beyond what a stream of chunks does."""
        return 0

    def is_foreign(self, model: Model) -> bool:
        """Whether another program writes that model, of whose bytes nothing is promised."""
        return not self.can_read

    def owns(self, folder: Path) -> bool:
        """Whether a folder holds nothing but what this format wrote, so that it may go."""
        return False

    @abstractmethod
    def create(self, model: Model, path: Path) -> Output:
        """Start writing the model to a path that nothing stands at."""


def odd_names(model: Model) -> list[str]:
    """The first address that does not do as a path in a file, where there is one."""
    for weight in model.weights:
        parts = weight.address.replace("\\", "/").split("/")
        controls = any(ord(character) < 32 for character in weight.address)
        if controls or not {"", ".", ".."}.isdisjoint(parts) or re.match("[A-Za-z]:", parts[0]):
            return [f"it has no place for the name {weight.address!r}; rename it, or write npy"]
    return []


_HDF5 = b"\x89HDF\r\n\x1a\n"
_SMALLEST_USER_BLOCK = 512

FORMATS: Registry[Format] = Registry(
    "surgery.formats", "surgery.formats", Format, lambda declared: declared()
)


def register(declared: type[Format]) -> type[Format]:
    """Class decorator: make the format known."""
    FORMATS.register(declared)
    return declared


def formats() -> Mapping[str, Format]:
    """Return surgery's own formats by name."""
    return FORMATS.own()


def format_of(path: Path) -> Format:
    """The format of a file or folder, by its content; raises FormatError for an unknown one."""
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
    said = mistaken(path, endings) or f"is no model that surgery reads ({', '.join(names)})"
    raise FormatError("; ".join([f"{path} {said}", *map(str, problems)]))


def _behind_user_block(path: Path) -> bytes | None:
    """The first bytes of HDF5 in a file that has bytes of somebody else before it."""
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
    """The name of the format that writes files of such a name; None where it does not tell."""
    ends = [known for known in formats().values() if path.name.endswith(known.suffix)]
    if not ends:
        others = FORMATS.everything()[0].values()
        ends = [known for known in others if path.name.endswith(known.suffix)]
    best = max(ends, key=lambda known: len(known.suffix), default=None)
    return best.name if best else None


def open_model(path: Path, architecture: Architecture | None = None) -> Model:
    """The model in a file or folder of any format; a URL is one too."""
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
    """Raise FormatError for whatever a damaged file makes h5py, json or us stumble over."""
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
        raise FormatError(f"{path} is damaged, or not what it seems ({what})") from error
