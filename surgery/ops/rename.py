"""`rename`: rename layers, with all references to them, or weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from surgery.architecture import Architecture
from surgery.architecture.renaming import new_address, parent_of, with_names
from surgery.declared.fields import key
from surgery.errors import SelectorError, nearest
from surgery.ops.base import Op, op
from surgery.weights.matching import NameMap, mapped
from surgery.weights.model import Model
from surgery.weights.naming import renamed, renamed_beginning
from surgery.weights.selectors import Select
from surgery.weights.tables import with_addresses
from surgery.weights.weight import Weight, prefixes

_ACCEPTED = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\>-]*")
"""The names of scopes in TensorFlow, without the slash, which Keras refuses."""

_BY_OUTPUT = ("loss", "loss_weights", "metrics", "weighted_metrics")


@op
@dataclass(frozen=True, kw_only=True)
class Rename(Op):
    """Rename layers or the model, in the config with all references, or weights of any file."""

    changes_weights = False
    changes_table = True

    select: Select | None = key(
        "The layer's address; * matches several (no list, no mapping). The model's own "
        "name selects the model. In a file of weights only: what addresses begin with, or are.",
        "block1_*",
        default=None,
        in_example=True,
    )
    to: str | None = key(
        "The new name; each * is replaced by what it matched. In a file of weights only, "
        "the new beginning of the address.",
        "b1_*",
        default=None,
        in_example=True,
        minLength=1,
    )
    map: NameMap | None = key(
        "Instead of select and to: patterns of weights' addresses as they are before the step, and "
        "the new addresses. The first match counts, and all are renamed at once, so two may swap "
        r"names; after re: \1 is a group. Where there are layers, only their names may change.",
        {r"re:(.*)/LayerNorm/(gamma|beta)": r"\1/layer_norm/\2"},
        default=None,
    )
    allow_empty: bool = key(
        "Let the step do nothing if select matches nothing.", True, default=False
    )

    def __post_init__(self) -> None:
        if (self.select is None) != (self.to is None):
            raise ValueError("select and to go together")
        if (self.select is None) == (self.map is None):
            raise ValueError("give either select and to, or map")
        for pattern, new in (self.map.pairs if self.map else {}).items():
            if not isinstance(new, str):
                raise ValueError(
                    f"map: {pattern!r} needs one new address; delete leaves weights out, and copy "
                    "makes several of one"
                )
        if self.map is not None and not self.map.pairs:
            raise ValueError("map is empty")

    @property
    def title(self) -> str:
        return f"{self.name} {self.select if self.map is None else self.map}"

    def changes(self, weights: Sequence[Weight]) -> int | None:
        return 0

    def renames(self, model: Model) -> Mapping[str, str]:
        architecture, names = model.architecture, self._names(model)
        if architecture is None:
            return {old: new for old, new in names.items() if old != new}
        return {
            address or model.name: new_address(architecture, names, address) or names[""]
            for address in names
        }

    def matched(self, model: Model) -> tuple[Weight, ...]:
        before, names = model.architecture, self._names(model)
        if before is None:
            return tuple(w for w in model.weights if names[w.address] != w.address)
        return tuple(w for w in model.weights if new_address(before, names, w.address) != w.address)

    def apply(self, model: Model) -> Model:
        before, names = model.architecture, self._names(model)
        if before is None:
            return with_addresses(model, names)
        try:
            architecture = with_names(before, names)
            restored = model.format_facts.renamed(model, names)
        except ValueError as error:
            raise SelectorError(str(error)) from None
        except (LookupError, TypeError):
            raise SelectorError(
                f"{', '.join(names)}: the config has no layers of these names"
            ) from None
        weights = tuple(
            replace(weight, address=new_address(before, names, weight.address))
            for weight in restored.weights
        )
        if len({weight.address for weight in weights}) < len(weights):
            raise SelectorError("two weights would have one address")
        carried = model.carried
        top = {old: new for old, new in names.items() if not parent_of(before, old)}
        carried = replace(
            carried,
            compile_config=_renamed_outputs(carried.compile_config, top),
            training_config=_renamed_outputs(carried.training_config, top),
        )
        return replace(restored, architecture=architecture, weights=weights, carried=carried)

    def _names(self, model: Model) -> Mapping[str, str]:
        """Return {address: new name} of layers, or without an architecture {old: new address}.

        Raises SelectorError.
        """
        if model.architecture is None:
            return model.once(self._new_addresses)
        return model.once(self._found_names if self.map is None else self._mapped_names)

    def _new_addresses(self, model: Model) -> Mapping[str, str]:
        """Return the new address of each weight of a model without an architecture."""
        if self.map is not None:
            return _mapped(model, self.map)
        pattern, to = _glob(self.select), self.to or ""
        names = {w.address: _renamed(pattern, to, w.address) for w in model.weights}
        if not self.allow_empty and all(old == new for old, new in names.items()):
            close = nearest(pattern, [*model.layer_order, *names], 3) or list(names)[:3]
            raise SelectorError(
                f"{pattern} matches no weight of {model.origin or 'the model'}; the nearest are "
                f"{', '.join(close)}"
            )
        return names

    def _mapped_names(self, model: Model) -> Mapping[str, str]:
        """Return the new names of layers that give each weight its new address."""
        assert self.map is not None
        architecture = model.need_architecture("rename acts on layers")
        names: dict[str, str] = {}
        for old, new in _mapped(model, self.map).items():
            if new.rpartition("/")[2] != old.rpartition("/")[2]:
                raise SelectorError(
                    f"{old} -> {new}: the last part is the variable, which Keras names; only names "
                    "of layers can change"
                )
            for layer, name in _layer_names(architecture, old, new).items():
                if names.setdefault(layer, name) != name:
                    raise SelectorError(
                        f"{layer} would be {names[layer]} and, for {old}, {name}: map all weights "
                        "of a layer, for example by layer/**"
                    )
        changed = {
            layer: name
            for layer, name in names.items()
            if name != architecture.by_address[layer].name
        }
        for name in changed.values():
            _check(name)
        _check_apart(architecture, changed)
        return changed

    def _found_names(self, model: Model) -> Mapping[str, str]:
        architecture = model.need_architecture("rename acts on layers")
        pattern, to = _glob(self.select), self.to or ""
        names: dict[str, str] = {}
        layers = [layer.address for layer in architecture.layers]
        for address in layers:
            try:
                new = renamed(pattern, to, address)
            except ValueError as error:
                raise SelectorError(str(error)) from None
            if new is not None:
                _check(new)
                names[address] = new
        if not names and pattern == model.name:
            _check(to)
            return {"": to}
        if not names and not self.allow_empty:
            close = ", ".join(nearest(pattern, [*layers, model.name], 3)) or ", ".join(layers[:3])
            raise SelectorError(f"{pattern} is not a layer of the model; the nearest are {close}")
        _check_apart(architecture, names)
        return names


def _glob(select: Select | None) -> str:
    """Return the one pattern that a selector is; raises SelectorError for any other."""
    pattern = select.value if select is not None else None
    if not isinstance(pattern, str) or pattern.startswith("re:") or "{" in pattern:
        raise SelectorError("rename takes one address, which may contain *, but no braces or re:")
    return pattern


def _renamed(pattern: str, to: str, address: str) -> str:
    """Return an address whose longest matching beginning is renamed; raises SelectorError."""
    try:
        new = renamed_beginning(pattern, to, address)
    except ValueError as error:
        raise SelectorError(str(error)) from None
    return address if new is None else new


def _mapped(model: Model, names: NameMap) -> Mapping[str, str]:
    """Return {old: new address} of all weights by a map; raises SelectorError."""
    try:
        found = mapped(model.weights, names.pairs)
    except ValueError as error:
        raise SelectorError(f"map: {error}") from None
    return {weight.address: name for name, weight in found.items()}


def _layer_names(architecture: Architecture, old: str, new: str) -> dict[str, str]:
    """Return {layer: name} of the layers around a weight that would give it its new address.

    Raises SelectorError if the addresses have different numbers of parts.
    """
    parts, names = new.split("/")[:-1], {}
    layers = [address for address in prefixes(old) if address in architecture.by_address]
    for layer in layers:
        count = architecture.by_address[layer].name.count("/") + 1
        names[layer] = "/".join(parts[-count:])
        del parts[-count:]
    if parts or not all(names.values()):
        raise SelectorError(
            f"{old} -> {new}: a layer stays in the model that it is in; the new address needs as "
            "many parts as the old one"
        )
    return names


def _check_apart(architecture: Architecture, names: Mapping[str, str]) -> None:
    """Raise SelectorError if two layers would have one address."""
    layers = (layer.address for layer in architecture.layers)
    after = Counter(new_address(architecture, names, address) for address in layers)
    for address, count in after.items():
        if count > 1:
            raise SelectorError(f"two layers would be called {address}")


def _check(name: str) -> None:
    if not _ACCEPTED.fullmatch(name):
        raise SelectorError(
            f"{name!r} is not a name that Keras and TensorFlow accept; use letters, digits, . _ -, "
            "beginning with a letter, a digit or ."
        )


def _renamed_outputs(config: Any, names: Mapping[str, str]) -> Any:
    """Rename outputs in a compile config's losses and metrics by output name."""
    if not isinstance(config, Mapping):
        return config
    return {
        key: {names.get(k, k): v for k, v in value.items()}
        if key in _BY_OUTPUT and isinstance(value, Mapping) and "class_name" not in value
        else value
        for key, value in config.items()
    }
