"""The errors a user can cause, each with the exit code the command ends with."""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from types import FrameType

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str, keep: str = "") -> str:
    """Text of which a terminal acts on nothing: what a file calls a layer may be anything.

    Controls, invisible characters, marks that turn the direction of writing, and half
    characters are shown by their escapes.
    """
    if text.isprintable():  # nearly all is, and that is told in no time
        return text
    return _UNPRINTABLE.sub(
        lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text
    )


class SurgeryError(Exception):
    """Something the user can put right: a broken file, a full disk, a wrong recipe.

    The message says where, what, and what to do instead, in that order.
    """

    exit_code = 1
    has_lines = True

    def __init__(self, message: object) -> None:
        super().__init__(printable(str(message), "\n" if self.has_lines else ""))


class FormatError(SurgeryError):
    """A model file that cannot be read, or a model that a format cannot hold."""

    has_lines = False


class UsageError(SurgeryError):
    """A wrong command line."""

    exit_code = 2


class SelectorError(SurgeryError):
    """A selector that is malformed or matches nothing."""

    exit_code = 2
    has_lines = False


class Terminated(BaseException):
    """SIGTERM, as an exception, so that what is half-written is removed."""


def terminate(number: int, _frame: FrameType | None) -> None:
    """Handle SIGTERM by raising Terminated; what then cleans up is not interrupted by another."""
    signal.signal(number, signal.SIG_IGN)
    raise Terminated


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a recipe, with the place it stands at (1-based line and column)."""

    line: int
    column: int
    where: str
    message: str

    def text(self, file: str) -> str:
        """The line that is printed: `recipe.yaml:7:12: steps[2].scale.select: ...`."""
        place = f"{file}:{self.line}:{self.column}: "
        return printable(place + (f"{self.where}: " if self.where else "") + self.message)


class RecipeError(SurgeryError):
    """All mistakes of one recipe, in the order they stand in the file."""

    exit_code = 2

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(problem.text(file) for problem in self.problems))


class ExpectationError(RecipeError):
    """Expectations of a recipe that do not hold; nothing was written.

    `result` is what the run did, where it has got so far.
    """

    exit_code = 3
    result: object = None


def nearest(word: str, allowed: Iterable[str], count: int = 1) -> list[str]:
    """The allowed words that `word` may have been meant as, the closest first."""
    return difflib.get_close_matches(word, list(allowed), n=count, cutoff=0.5)


_SYNONYMS = {
    "assert": "expect", "assign": "set", "check": "expect", "checks": "expect", "clamp": "clip",
    "ema": "average", "eval": "evaluate", "features": "activations", "fill": "set",
    "fine_tune": "train", "finetune": "train", "fit": "train", "folder": "path", "file": "path",
    "inference": "predict", "init": "reinitialize", "input": "load", "layers": "select",
    "load_weights": "copy", "lock": "freeze", "mask": "zero", "merge": "average", "model": "load",
    "multiply": "scale", "operations": "steps", "ops": "steps", "out": "export",
    "output": "export", "outputs": "export", "parameters": "params", "prune": "zero",
    "quantize": "quantize_values", "reset": "reinitialize", "save": "export", "score": "evaluate",
    "source": "load", "sparsify": "zero", "target": "export", "targets": "export",
    "test": "evaluate", "validate": "evaluate", "variables": "params", "weights": "select",
    "write": "export",
}  # fmt: skip
"""What people call things elsewhere, and what they are called here."""


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return ` (did you mean 'scale'?)`; nothing if no allowed word is close or means the same."""
    known = list(allowed)
    close = nearest(word, known)
    meant = synonym(word, known) or (close[0] if close else None)
    return f" (did you mean {meant!r}?)" if meant else ""


def synonym(word: str, allowed: Collection[str]) -> str | None:
    """Return the allowed word for what is called so elsewhere; else None."""
    meant = _SYNONYMS.get(word.lower().replace("-", "_"))
    return meant if meant in allowed else None
