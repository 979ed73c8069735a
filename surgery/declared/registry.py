"""Registries of ops, formats, expectations, kinds of data, sources and commands by name.

surgery's own are registered by importing a package's modules; those of other installed packages
by their entry points, which are looked up only for words that surgery itself does not know.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Generic, TypeVar

from surgery.declared.fields import hints_of
from surgery.errors import SurgeryError

T = TypeVar("T")


class PluginError(SurgeryError):
    """An extension in another package that cannot be used; `word` is its name in recipes."""

    def __init__(self, message: str, word: str = "") -> None:
        super().__init__(message)
        self.word = word


@dataclass(frozen=True)
class Plugin:
    """An entry point of an installed package; `name` is its word in recipes."""

    name: str
    package: str
    version: str
    place: metadata.EntryPoint

    def error(self, reason: str) -> PluginError:
        """Make an error that names the package, the entry point and the reason."""
        what = f"{self.place.group.removeprefix('surgery.')}: {self.name} = {self.place.value}"
        return PluginError(
            f"the package {self.package} {self.version} ({what}) {reason}; fix or uninstall it",
            self.name,
        )

    def load(self) -> Any:
        """Import the object of the entry point; raises PluginError if that fails."""
        try:
            return self.place.load()
        except Exception as error:
            raise self.error(f"cannot be imported: {_in_a_line(error)}") from error


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


@functools.cache
def plugins(group: str) -> tuple[Plugin, ...]:
    """Return the entry points of a group in all installed packages, without importing them."""
    return tuple(sorted(_plugins(group), key=lambda each: (each.name, each.package)))


def _plugins(group: str) -> Iterator[Plugin]:
    for place in metadata.entry_points(group=group):
        if place.dist is not None:
            yield Plugin(place.name, place.dist.name, place.dist.version, place)


class Registry(Generic[T]):
    """The registered classes of one kind, by name.

    `group` is the entry points' group, `home` the package or module that holds surgery's own,
    `base` their base class, and `attribute` the class attribute with the name. `made` maps a
    class to the registered value; `first` is the name that lists begin with.
    """

    def __init__(
        self,
        group: str,
        home: str,
        base: type,
        made: Callable[[Any], T],
        attribute: str = "name",
        first: str = "",
    ) -> None:
        self.group, self._home, self._base, self._attribute = group, home, base, attribute
        self._made, self._first = made, first
        self._own: dict[str, T] = {}
        self._found: dict[Plugin, T] = {}

    def register(self, declared: type) -> None:
        """Register one of surgery's own classes; others are found by entry points."""
        if declared.__module__.startswith(self._home):
            self._own[getattr(declared, self._attribute)] = self._made(declared)

    def own(self) -> Mapping[str, T]:
        """Return surgery's own, sorted by name."""
        import_all(self._home)
        return dict(sorted(self._own.items(), key=lambda i: (i[0] != self._first, i[0])))

    def named(self, words: Collection[str]) -> Mapping[str, T]:
        """Return surgery's own, and those of other packages with these names.

        Raises PluginError if one of them cannot be used.
        """
        return {**self.own(), **{name: self._plugin(name) for name in sorted(self.others(words))}}

    def find(self, name: str) -> T | None:
        """Return the one with that name, or None; raises PluginError."""
        return self.own().get(name) or self.named([name]).get(name)

    def others(self, words: Collection[str] | None = None) -> set[str]:
        """Return the names, among `words` or all, that only other packages have."""
        import_all(self._home)
        if words is not None and not set(words) - self._own.keys():
            return set()
        names = {plugin.name for plugin in plugins(self.group)} - self._own.keys()
        return names if words is None else names & set(words)

    def packages(self, words: Iterable[str]) -> dict[str, str]:
        """Return {package: version} of the packages that provide the words."""
        if not (names := self.others(frozenset(words))):
            return {}
        return {p.package: p.version for p in plugins(self.group) if p.name in names}

    def everything(self) -> tuple[Mapping[str, T], list[PluginError]]:
        """Return all, including those of other packages, and the errors of unusable ones."""
        found, problems = dict(self.own()), []
        for plugin in plugins(self.group):
            if plugin.name in self._own:
                problems.append(plugin.error(f"has the name of surgery's own {plugin.name!r}"))
        for name in sorted(self.others()):
            try:
                found[name] = self._plugin(name)
            except PluginError as error:
                problems.append(error)
        return found, problems

    def _plugin(self, name: str) -> T:
        first, *others = (plugin for plugin in plugins(self.group) if plugin.name == name)
        if others:
            raise first.error(f"has a name that {others[0].package} has too")
        if first not in self._found:
            declared = first.load()
            try:
                self._check(name, declared)
                self._found[first] = self._made(declared)
            except (NameError, TypeError, ValueError) as error:
                raise first.error(f"does not fit: {_in_a_line(error)}") from error
        return self._found[first]

    def _check(self, name: str, declared: Any) -> None:
        """Raise TypeError or ValueError if a class does not fit this registry."""
        if not (isinstance(declared, type) and issubclass(declared, self._base)):
            raise TypeError(f"{declared!r} is not a subclass of {self._base.__name__}")
        if not dataclasses.is_dataclass(declared) or inspect.isabstract(declared):
            raise TypeError(f"{declared.__name__} is not a dataclass, or lacks a method")
        if (own := getattr(declared, self._attribute, None)) != name:
            raise ValueError(f"{declared.__name__}.{self._attribute} is {own!r}, not {name!r}")
        hints_of(declared)


@functools.cache
def import_all(package: str) -> None:
    """Import every module of a package, which registers their classes."""
    module = importlib.import_module(package)
    for info in pkgutil.iter_modules(getattr(module, "__path__", ())):
        importlib.import_module(f"{package}.{info.name}")
