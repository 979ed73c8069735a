"""Recognition of an optimizer's variables in a checkpoint by their names.

TensorFlow 1 names an optimizer's slots by their variable and the optimizer: `w/Adam` and
`w/Adam_1`. Others use words of their own: `w/m` and `w/v`, `w/adam_m` (BERT), `w_slot_vr`
(tensor2tensor); some put a scope first (`training/Adam/w/m`, `optim/w/Adam`), or the word in the
middle (`Adam/m/w`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

_CLASSES = "Adam|AdaMax|RMSProp|Adadelta|Ftrl|Momentum|Adagrad|Adafactor|LAMB|LARS"
_NAMED = re.compile(rf"(\w*?({_CLASSES})[A-Za-z]*)(?:_\d+)?", re.IGNORECASE)
_IN_PAIRS = ("adam", "adamax", "rmsprop", "adadelta", "ftrl")
"""The classes of TensorFlow 1 that keep two slots for a variable."""

_WORDS: Mapping[str, tuple[str, ...]] = {
    "m": ("m", "v"), "v": ("m", "v"), "vhat": ("m", "v"),
    "adam_m": ("adam_m", "adam_v"), "adam_v": ("adam_m", "adam_v"),
    "lamb_m": ("lamb_m", "lamb_v"), "lamb_v": ("lamb_m", "lamb_v"),
    "accum_grad": ("accum_grad", "accum_var"), "accum_var": ("accum_grad", "accum_var"),
    "linear": ("accumulator", "linear"), "accumulator": ("accumulator", "linear"),
    "velocity": ("momentum", "velocity"), "momentum": ("momentum", "velocity"),
    "rms": ("rms", "mg", "momentum"), "mg": ("rms", "mg", "momentum"),
}  # fmt: skip
"""Words for slots that layers use too, each with the words of the same optimizer."""

_SURE = re.compile(r"(.+)_slot_(?:vr|vc|v|m)")
_SCOPE = re.compile(
    rf"(?:[A-Za-z]*(?:{_CLASSES}|SGD|Nadam|Lion)[A-Za-z]*|optim|optimizers?|optimize_?loss)(?:_\d+)?",
    re.IGNORECASE,
)
_POWERS = re.compile(r"(?:.*/)?beta[12]_power(?:_\d+)?")
_NUMBERS = re.compile(
    r"(?:.*/)?(?:iter|iterations?|beta_[12]|decay|rho|epsilon|momentum|learning_rate)(?:_\d+)?"
)


def with_owner(name: str, of: str, to: str) -> str:
    """Return a slot's name with another variable in the place of its own."""
    own = rf"(?:(?<=/)|^){re.escape(of)}(?=/|$|_slot_)"
    return re.sub(own, lambda _: to, name, count=1)


class Shaped(Protocol):
    """An object with a shape: an entry of an index, or a tensor."""

    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class _Slot:
    """A possible slot.

    `of` is its variable, `word` its kind, `family` the optimizer's words, of which `needed` must
    occur for each variable; `is_sure` if no layer uses the word.
    """

    name: str
    of: str
    word: str
    scope: str
    family: str
    needed: int
    is_sure: bool

    @property
    def is_adams(self) -> bool:
        return "adam" in self.family or self.family == "m/v"


def of_optimizer(names: Mapping[str, Shaped], trains: Mapping[str, bool]) -> set[str]:
    """Return the names of the variables that belong to an optimizer, step counters included.

    `trains` has by name TensorFlow's own flag, if known. A word that layers use too counts if all
    variables with one of the optimizer's words have the others, if it is in an optimizer's scope,
    if TensorFlow marks the variable as not trained, or, for Adam, beside a `beta1_power`.
    """
    numbers = {name for name in names if names[name].shape == () and _is_number(name)}
    has_powers = any(map(_POWERS.fullmatch, numbers))
    candidates = [slot for name in names for slot in _candidates(name, names)]
    whole = _complete(candidates)
    found = [
        slot
        for slot in candidates
        if slot.is_sure
        or trains.get(slot.name) is False
        or (has_powers and slot.is_adams)
        or _is_scope(slot.scope)
        or (slot.scope, slot.family) in whole
    ]
    # A variable that has slots is trained, so it is a weight, whatever its name.
    return numbers | {slot.name for slot in found} - {slot.of for slot in found}


def owner(name: str, weights: Collection[str]) -> str | None:
    """Return the variable in `weights` to which a slot belongs; None if there is none."""
    parts = name.split("/")
    for start in range(len(parts)):
        for stop in range(len(parts), start, -1):
            inner = "/".join(parts[start:stop])
            sure = _SURE.fullmatch(inner)
            for of in (inner, sure[1] if sure else ""):
                if of in weights:
                    return of
    return None


def _is_number(name: str) -> bool:
    if _POWERS.fullmatch(name) or name.rpartition("/")[2] == "learning_rate":
        return True
    return bool(_NUMBERS.fullmatch(name)) and _is_scope(name.rpartition("/")[0])


def _is_scope(scope: str) -> bool:
    return any(map(_SCOPE.fullmatch, scope.split("/")))


def _candidates(name: str, names: Mapping[str, Shaped]) -> Iterator[_Slot]:
    if (sure := _SURE.fullmatch(name)) and (of := _ends(sure[1].split("/"), names)):
        yield _Slot(name, of, "", "", "", 0, True)
        return
    *parts, word = name.split("/")
    named = _NAMED.fullmatch(word)
    if (named or word in _WORDS) and (of := _ends(parts, names)):
        scope = "/".join(parts).removesuffix(of)
        slot = _worded(name, of, word, scope) if word in _WORDS else _named(name, of, scope, named)
        if names[of].shape == names[name].shape or "adafactor" in slot.family:
            yield slot
        return
    for place, part in enumerate(parts[1:], 1):  # Adam/m/w
        of, scope = "/".join([*parts, word][place + 1 :]), "/".join(parts[:place])
        if part in _WORDS and of in names and _is_scope(scope):
            yield _worded(name, of, part, scope)


def _ends(parts: list[str], names: Collection[str]) -> str:
    """Return the longest suffix of a path that is a variable's name; empty if there is none."""
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end in names), "")


def _named(name: str, of: str, scope: str, named: re.Match[str] | None) -> _Slot:
    assert named is not None
    is_class = named[2] != named[2].lower() and named[2].lower() not in _IN_PAIRS
    return _Slot(name, of, named[0], scope, named[1].lower(), 1 if is_class else 2, False)


def _worded(name: str, of: str, word: str, scope: str) -> _Slot:
    family = _WORDS[word]
    return _Slot(name, of, word, scope, "/".join(family), len(family), False)


def _complete(found: list[_Slot]) -> set[tuple[str, str]]:
    """Return (scope, family) pairs in which every variable with one word has all words."""
    words: dict[tuple[str, str], dict[str, set[str]]] = {}
    needed = {}
    for slot in found:
        key = slot.scope, slot.family
        words.setdefault(key, {}).setdefault(slot.of, set()).add(slot.word)
        needed[key] = slot.needed
    return {
        key
        for key, of in words.items()
        if all(len(of_one) >= needed[key] for of_one in of.values())
    }
