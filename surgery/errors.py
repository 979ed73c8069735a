"""The errors that users can cause, each with the command's exit code."""

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
    """Escape the characters of a text that a terminal acts on; names in a file may be hostile.

    Control characters, invisible characters, marks that change the direction of writing, and lone
    surrogates are escaped, except those in `keep`.
    """
    if text.isprintable():  # nearly all is, and that is told in no time
        return text
    return _UNPRINTABLE.sub(
        lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text
    )


class SurgeryError(Exception):
    """An error that the user can fix: a damaged file, a full disk, a wrong recipe.

    The message says where, what, and what to do instead, in that order.
    """

    exit_code = 1
    has_lines = True

    def __init__(self, message: object) -> None:
        super().__init__(printable(str(message), "\n" if self.has_lines else ""))


class FormatError(SurgeryError):
    """A model file that cannot be read, or a model that a format cannot store."""

    has_lines = False


class UsageError(SurgeryError):
    """A wrong command line."""

    exit_code = 2


class SelectorError(SurgeryError):
    """A selector that is malformed or matches nothing."""

    exit_code = 2
    has_lines = False


class Terminated(BaseException):
    """SIGTERM as an exception, so that unfinished files are removed."""


def terminate(number: int, _frame: FrameType | None) -> None:
    """Handle SIGTERM by raising Terminated; further SIGTERMs are ignored during cleanup."""
    signal.signal(number, signal.SIG_IGN)
    raise Terminated


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a recipe, with its position (1-based line and column)."""

    line: int
    column: int
    where: str
    message: str

    def text(self, file: str) -> str:
        """Return the line that is printed, as `recipe.yaml:7:12: steps[2].scale.select: ...`."""
        place = f"{file}:{self.line}:{self.column}: "
        return printable(place + (f"{self.where}: " if self.where else "") + self.message)


class RecipeError(SurgeryError):
    """All mistakes in one recipe, in the order of their positions."""

    exit_code = 2

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(problem.text(file) for problem in self.problems))


class ExpectationError(RecipeError):
    """Expectations of a recipe that failed; nothing was written.

    `result` is the Result of the run as far as it got.
    """

    exit_code = 3
    result: object = None


def nearest(word: str, allowed: Iterable[str], count: int = 1) -> list[str]:
    """Return up to `count` allowed words similar to `word`, the closest first."""
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
"""Words that other tools use, and surgery's words for the same things."""


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return a hint as ` (did you mean 'scale'?)`; empty if no allowed word is close."""
    known = list(allowed)
    close = nearest(word, known)
    meant = synonym(word, known) or (close[0] if close else None)
    return f" (did you mean {meant!r}?)" if meant else ""


def synonym(word: str, allowed: Collection[str]) -> str | None:
    """Return the allowed word that means the same as a word used elsewhere; None if none does.

    `synonym("fit", ["train"])` is "train".
    """
    meant = _SYNONYMS.get(word.lower().replace("-", "_"))
    return meant if meant in allowed else None
