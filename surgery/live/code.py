"""The user's own code: named in a recipe as `package.module:function`, run only if allowed."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgery.declared.fields import key
from surgery.errors import SurgeryError
from surgery.live.permission import need_permission
from surgery.weights.tensor import dtype_named


@dataclass(frozen=True)
class CodeName:
    """The name of a function or a module; modules beside the recipe are found, too."""

    text: str
    folder: Path

    @classmethod
    def from_recipe(cls, value: object, folder: Path) -> CodeName:
        """Make the name from a recipe's text; raises ValueError if it is malformed."""
        if not isinstance(value, str):
            raise TypeError
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*(\.\w+)*)?", value):
            raise ValueError(f"{value!r} is not a name such as package.module:function")
        return cls(value, folder)

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Its JSON Schema."""
        return {"type": "string", "minLength": 1}

    @property
    def file(self) -> Path:
        """The file of the module, if it is beside the recipe."""
        return self.folder / f"{self.text.partition(':')[0].replace('.', '/')}.py"

    def load(self) -> Any:
        """Import the module or the object in it; raises SurgeryError if that fails.

        It fails, too, if the user has not permitted code to run.
        """
        need_permission(self.text)
        folder = str(self.folder.absolute())
        _FOLDERS.add(folder)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        module, _, name = self.text.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in name.split(".") if name else ():
                found = getattr(found, part)
        except Exception as error:  # the module may do anything
            raise SurgeryError(f"{self.text} cannot be imported: {failure(error)}") from error
        return found


_FOLDERS: set[str] = set()
"""The folders in which this process has looked for the user's code."""


def imported_files() -> list[Path]:
    """Return the user's own files that this process has imported, sorted.

    Installed packages are left out.
    """
    installed = tuple(sysconfig.get_paths().values())
    files = [
        str(getattr(module, "__file__", None) or "")
        for name, module in sys.modules.copy().items()
        if name.partition(".")[0] != "surgery"
    ]
    return sorted(
        Path(file)
        for file in files
        if not file.startswith(installed) and any(Path(file).is_relative_to(f) for f in _FOLDERS)
    )


def code_names(value: Any) -> Iterator[CodeName]:
    """Return all names of code in a declared part of a recipe."""
    return (part for part in _parts(value) if isinstance(part, CodeName))


def paths_in(value: Any) -> Iterator[Path]:
    """Return all paths in a declared part of a recipe."""
    return (part for part in _parts(value) if isinstance(part, Path))


def _parts(value: Any) -> Iterator[Any]:
    """Yield the values inside a declared part of a recipe, at any depth."""
    if isinstance(value, tuple):
        for item in value:
            yield from _parts(item)
    elif is_dataclass(value) and not isinstance(value, CodeName):
        for each in fields(value):
            yield from _parts(getattr(value, each.name))
    else:
        yield value


def called(name: str, function: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
    """Call a user's function and return its result; its errors become SurgeryError."""
    try:
        return function(*given, **named)
    except Exception as error:
        raise SurgeryError(f"{name} failed: {failure(error)}") from error


def failure(error: BaseException) -> str:
    """Return an exception of foreign code as one line: `ValueError: message`."""
    text = " ".join(str(error).split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return line if len(line) <= 500 else line[:500] + "..."


@dataclass(frozen=True, kw_only=True)
class Input:
    """An input of a model that code builds."""

    shape: tuple[int, ...] = key("Its shape, the batch's axis included.", [1, 10])
    dtype: str = key("Its dtype.", "int32", default="float32")

    def zeros(self) -> Any:
        """Return an array of zeros of this shape and dtype."""
        return np.zeros(self.shape, dtype_named(self.dtype))


@dataclass(frozen=True)
class Code:
    """The user's code that a model needs: modules with its classes, or a function to build it."""

    modules: tuple[CodeName, ...] = ()
    build: CodeName | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    objects: Any = None
    """The object graph of the built model (`live.objects.graph_of`), or None."""
    files: tuple[Path, ...] = ()
    """The user's own files that were imported to build it."""

    def custom_objects(self) -> dict[str, Any]:
        """Return the public classes and functions of the modules, by name."""
        found: dict[str, Any] = {}
        for module in self.modules:
            for name, value in vars(module.load()).items():
                if (inspect.isclass(value) or inspect.isfunction(value)) and name[0] != "_":
                    found[name] = value
        return found

    def model(self) -> Any:
        """Build the model, and call it once so that its variables exist; raises SurgeryError."""
        import keras

        assert self.build is not None
        self.custom_objects()
        made = called(self.build.text, self.build.load(), **self.arguments)
        if not isinstance(made, keras.Model):
            raise SurgeryError(
                f"{self.build.text} returned a {type(made).__name__}, not a keras.Model"
            )
        call_once(made, self.inputs, self.build.text)
        return made


def call_once(model: Any, inputs: Sequence[Input], name: str) -> None:
    """Call a model on zeros so that its variables exist; raises SurgeryError if that fails."""
    if inputs:
        given = [each.zeros() for each in inputs]
        called(f"a forward pass of {name}", model, given[0] if len(given) == 1 else given)
    if not model.built:
        raise SurgeryError(
            f"{name} is a model without variables; give inputs, so that it is called once: "
            "inputs: {shape: [1, 10]}"
        )
