"""Upgrade of Keras 1 and 2 models for targets of Keras 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from surgery.architecture import Architecture
from surgery.architecture.gates import TO_KERAS_2, TO_KERAS_3, ScaledColumns, scaled_gates
from surgery.architecture.renaming import new_address, without_slashes
from surgery.declared.fields import key
from surgery.errors import FormatError
from surgery.formats import _configs, _store
from surgery.formats._configs import compile_config
from surgery.formats._old_places import moved_asset
from surgery.formats.base import Format
from surgery.live.loading import LoadCheck
from surgery.live.permission import may_run_code
from surgery.weights.arithmetic import scaled_columns
from surgery.weights.model import Model

Config = Literal["upgrade", "keep"]

_KERAS_3 = "3"
"""The Keras version in an upgraded file, so that it is not upgraded again."""


MOST_NOTES = 5


def config_key(default: Config) -> Any:
    """Declare the key that chooses between upgrading and keeping a config of Keras 1 or 2."""
    return key(
        "A config of Keras 1 or 2: upgrade (to Keras 3, checked by Keras before anything is "
        "written), or keep (unchanged, for the Keras version that wrote it).",
        default,
        default=default,
    )


@dataclass(frozen=True, kw_only=True)
class WithConfig(Format):
    """A format that stores a config, which it upgrades or keeps."""

    config: Config = config_key("keep")
    check: Literal["always", "never"] = key(
        "Whether Keras must load an upgraded config before anything is written.",
        "never",
        default="always",
    )

    def upgraded(self, model: Model) -> Model:
        """Return the model with the config to write; raises FormatError if it has no equivalent."""
        done = for_keras3(model) if self.config == "upgrade" else Upgraded(model)
        if done.refused:
            raise FormatError(done.refused[0])
        return done.model

    def restored(self, made: Model, model: Model) -> Model:
        return _restored(made, model) if self.config == "upgrade" else made

    def config_problems(self, model: Model) -> list[str]:
        """Return why the model has no equivalent in Keras 3, by layer."""
        refused = for_keras3(model).refused if self.config == "upgrade" else ()
        return [
            f"{why}; config: keep writes it unchanged, for its own Keras version" for why in refused
        ]

    def config_notes(self, model: Model) -> list[str]:
        """Return notes on the upgrade of a config of Keras 1 or 2."""
        if model.architecture is None or model.carried.is_keras3:
            return []
        if self.config == "keep":
            return [f"the config is kept as Keras {model.carried.keras_version} wrote it"]
        return _upgrade_notes(for_keras3(model))

    def load_check(self, model: Model) -> LoadCheck | None:
        carried = model.carried
        is_old = not carried.is_keras3 and self.config == "upgrade"
        if model.architecture is None or not (is_old or carried.is_upgraded):
            return None
        return _load_check(self.upgraded(model), self.check == "never")


def _load_check(model: Model, is_skipped: bool) -> LoadCheck:
    """Return the check that Keras can build the upgraded model; `is_skipped` by `check: never`."""
    architecture = model.need_architecture("the check")
    places = _store.stored_names(model)
    variables = {
        place: (weight.tensor.shape, weight.tensor.dtype.name)
        for weight in model.weights
        for place in places[weight.address]
    }
    code = model.carried.code
    custom = next((layer for layer in architecture.root.walk() if layer.variables is None), None)
    skipped = "check: never" if is_skipped else ""
    if custom is not None and not (code and may_run_code()):
        skipped = f"{custom.address or 'the model'} is of a custom class, {custom.class_name}"
    built = _configs.as_keras3(architecture.config, model.carried)
    compiled = compile_config(model.carried)
    return LoadCheck({**built, "compile_config": compiled}, variables, code, skipped)


@dataclass(frozen=True)
class Upgraded:
    """A model upgraded for Keras 3, with notes; `refused` has the reasons if it cannot be."""

    model: Model
    notes: Sequence[str] = ()
    refused: Sequence[str] = ()


def for_keras3(model: Model) -> Upgraded:
    """Upgrade a model to Keras 3, to be laid out anew; a Keras 3 model is returned unchanged."""
    return model.once(_for_keras3)


def _upgrade_notes(done: Upgraded) -> list[str]:
    """Return the first notes of an upgrade, and how many more there are."""
    notes = [f"the config is upgraded: {change}" for change in done.notes]
    more = len(notes) - MOST_NOTES
    return notes[:MOST_NOTES] + ([f"{more} more of this kind"] if more > 0 else [])


def as_keras3(model: Model) -> Model:
    """Return the model as Keras 3 loads it; raises FormatError, by layer, where it has no equal.

    A note on the model says what was done to one of Keras 1 or 2.
    """
    done = for_keras3(model)
    if done.refused:
        raise FormatError(done.refused[0])
    if done.model is model:
        return model
    why = f"a step changes layers, so the config of Keras {model.carried.keras_version} is upgraded"
    return replace(done.model, notes=(*done.model.notes, why, *_upgrade_notes(done)))


def _for_keras3(model: Model) -> Upgraded:
    from surgery.architecture.upgrades import upgraded

    if model.architecture is None or model.carried.is_keras3:
        return Upgraded(model)
    renamed, names = _without_slashes(model)
    assert renamed.architecture is not None
    shapes = {weight.address: weight.tensor.shape for weight in renamed.weights}
    config, changes = upgraded(renamed.architecture.config, model.carried.keras_version, shapes)
    if changes.refused:
        return Upgraded(model, refused=changes.refused)
    gates = scaled_gates(renamed.architecture, TO_KERAS_3)
    scaled = with_scaled_gates(renamed, gates)
    compiled, compile_notes = _compiled(model)
    bare = scaled.without_optimizer()
    as_new = replace(bare.carried, keras_version=_KERAS_3, is_upgraded=True)
    carried = replace(as_new, compile_config=compiled, state={})
    architecture = Architecture(config, renamed.architecture.shares_layers)
    new = replace(bare.to_be_laid_out(), architecture=architecture, carried=carried)
    if isinstance(model.format_facts, _store.StoreFacts) and carried.assets:
        new = replace(new, carried=replace(carried, assets=_moved_assets(new)))
    called = ", ".join(f"{old} is {new_name}" for old, new_name in names.items())
    notes = [f"layers whose names contain a / are renamed: {called}"] if names else []
    return Upgraded(new, [*notes, *_of_gates(renamed, gates), *compile_notes, *changes.done])


def _restored(made: Model, like: Model) -> Model:
    """Return a model that Keras 3 trained, with names and gates as before the upgrade."""
    if like.architecture is None or like.carried.is_keras3:
        return made
    renamed, _ = _without_slashes(like)
    assert renamed.architecture is not None
    names = {n.address: o.address for n, o in zip(renamed.weights, like.weights, strict=True)}
    back = with_scaled_gates(made, scaled_gates(renamed.architecture, TO_KERAS_2))
    weights = tuple(replace(w, address=names.get(w.address, w.address)) for w in back.weights)
    return replace(back, weights=weights)


def _without_slashes(model: Model) -> tuple[Model, Mapping[str, str]]:
    """Return the model with `_` for `/` in layer names, and {address: new name}."""
    assert model.architecture is not None
    renamed, names = without_slashes(model.architecture)
    if not names:
        return model, {}
    weights = tuple(
        replace(weight, address=new_address(model.architecture, names, weight.address))
        for weight in model.weights
    )
    return replace(model, architecture=renamed, weights=weights), names


def with_scaled_gates(model: Model, gates: Mapping[str, ScaledColumns]) -> Model:
    """Return the model with the gates' columns scaled; `gates` is by weight address."""
    weights = [weight for weight in model.weights if weight.address in gates]
    return model.map_each(
        weights,
        lambda weight: scaled_columns(
            weight.tensor.shape[-1], gates[weight.address].columns, gates[weight.address].factor
        ),
    )


_ACTING = ("kernel_regularizer", "bias_regularizer", "recurrent_regularizer", "_constraint")


def _moved_assets(model: Model) -> Mapping[str, bytes]:
    """Return the assets under the names that Keras 3 expects."""
    groups = {
        _store.with_slashes(old).rpartition("/vars/")[0]: new.rpartition("/vars/")[0]
        for address, places in _store.stored_names(model).items()
        for old, new in zip(model[address].stored, places, strict=False)
    }
    return {
        moved_asset(_store.with_slashes(name), groups): data
        for name, data in model.carried.assets.items()
    }


def _of_gates(model: Model, gates: Mapping[str, ScaledColumns]) -> list[str]:
    """Return notes on scaled gates, and on what scaling does not preserve."""
    there = [weight for weight in model.weights if weight.address in gates]
    if not there or model.architecture is None:
        return []
    notes = [
        f"{there[0].address} and {len(there) - 1} more: the columns of gates with hard_sigmoid are "
        "scaled by 1.2, so that Keras 3 computes the same"
    ]
    if any(weight.tensor.dtype.itemsize < 4 for weight in there):
        notes.append("gates of 16 bits are rounded again: outputs agree to about three digits")
    for address in sorted({model.architecture.configured_owner(w.address).address for w in there}):
        config = model.architecture.by_address[address].config
        if acting := [key for key in config if key.endswith(_ACTING) and config[key]]:
            notes.append(f"{address}: {', '.join(acting)} now act on the scaled values")
    return notes


def _compiled(model: Model) -> tuple[Mapping[str, object] | None, list[str]]:
    """Return the compile config for Keras 3 or None, and notes on parts left out."""
    from surgery.architecture.upgrades.compiling import upgraded_compile_config

    carried = model.carried
    given = carried.compiled
    if not given:
        return None, []
    version = f"Keras {carried.keras_version}"
    try:
        compiled = upgraded_compile_config(given)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return None, [
            f"the compile config of {version} is left out ({error}), and the optimizer state; "
            "compile the model after loading"
        ]
    return compiled, [f"the optimizer state of {version} is left out"] if model.optimizer else []
