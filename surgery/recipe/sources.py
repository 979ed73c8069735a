"""The sources of models: files, applications, configs, code, TF Hub."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from surgery.architecture import Architecture
from surgery.architecture.renaming import without_slashes
from surgery.architecture.sharing import numbered
from surgery.architecture.upgrades import upgraded
from surgery.declared.fields import key
from surgery.declared.sources import source
from surgery.errors import FormatError, SurgeryError
from surgery.formats.base import open_model
from surgery.live.applications import Application, Resolved, WeightsOf, imagenet_file
from surgery.live.code import Code, CodeName, Input
from surgery.live.configs import cached, resolved
from surgery.live.permission import need_permission
from surgery.live.session import Session, session
from surgery.recipe.hub import module_folder
from surgery.recipe.joining import joined, part, placed, renamed
from surgery.storage import locations
from surgery.storage.temporary import new_folder
from surgery.weights.initializers import initialized
from surgery.weights.matching import NameMap
from surgery.weights.model import Carried, Model
from surgery.weights.npyfile import open_npy
from surgery.weights.selectors import Select
from surgery.weights.sources import Donor, Source
from surgery.weights.tensor import constant, dtype_named
from surgery.weights.weight import Weight


@source
@dataclass(frozen=True, kw_only=True)
class FromPath(Source):
    """A model file or folder, whose format is recognised by its content."""

    kind = "path"

    path: Path = key(
        "A model file or folder, or the common prefix of a checkpoint's files.", "model.keras"
    )
    architecture: Donor | None = key(
        "The model whose weights are in the path: a model file, or a mapping as in load.",
        {"application": "VGG16", "weights": "none"},
        default=None,
    )
    select: Select | None = key(
        "Only these weights of the path, by their addresses there, before map.",
        "block1_*",
        default=None,
    )
    map: NameMap | None = key(
        "For names that differ: patterns of the path's addresses, and the addresses here (one, a "
        "list, or null to leave out); each * is replaced by what it matched, and after re: "
        r"\1 by a group.",
        {"net/layer_*/**": "block_*/**"},
        default=None,
    )
    mismatch: Literal["error", "skip", "report"] = key(
        "With architecture: what to do if one of its weights is not in the path, or has "
        "another shape there.",
        "report",
        default="error",
    )
    custom_objects: tuple[CodeName, ...] = key(
        "Modules with the model's custom classes, for live steps; needs --allow-code.",
        ["my_package.layers"],
        default=(),
    )
    inputs: tuple[Input, ...] = key(
        "Inputs for one forward pass of a model that was saved before it was called, so that "
        "its variables exist; they are drawn by the recipe's seed.",
        {"shape": [1, 10], "dtype": "float32"},
        default=(),
    )

    def __post_init__(self) -> None:
        if self.architecture is None and self.mismatch != "error":
            raise ValueError("mismatch requires architecture")
        if self.architecture is not None and self.inputs:
            raise ValueError("inputs go with a whole model, without architecture")

    def open(self, seed: int) -> Model:
        model = self._named(seed)
        if self.custom_objects:
            carried = replace(model.carried, code=Code(self.custom_objects))
            model = replace(model, carried=carried)
        return model

    def _selected(self, model: Model) -> Model:
        return model if self.select is None else part(model, self.select.weights(model))

    def _named(self, seed: int) -> Model:
        """Return the selected weights, under the names by `map` and `architecture`."""
        if self.architecture is None:
            model = self._completed(seed) if self.inputs else open_model(self.path)
            model = self._selected(model)
            return renamed(model, self.map.pairs) if self.map else model
        source = self.architecture.source
        if isinstance(source, FromApplication) and self.mismatch == "error":
            source = replace(source, weights=WeightsOf("none"))  # its own weights are not used
        base = source.open(seed)
        donor = self._selected(open_model(self.path, base.architecture))
        advice = "give map if names differ, or write mismatch: skip"
        is_part = self.select is not None
        patterns = self.map.pairs if self.map else {}
        return joined(base, donor, patterns, self.mismatch, advice, is_part)

    def _completed(self, seed: int) -> Model:
        """Return the model after a forward pass, with the variables that it created."""
        locations.download(self.path)  # Keras itself reads it
        code = Code(self.custom_objects)
        with new_folder() as folder, _session() as live:
            to = Path(folder) / "complete"
            made = live.call(
                "complete", path=self.path, code=code, inputs=self.inputs, to=to, seed=seed
            )
            model = _steady(open_model(made["path"]))
        return replace(model, inputs=(self.path,), origin=str(self.path))

    @property
    def is_view(self) -> bool:
        return self.select is not None or self.map is not None

    @property
    def is_part(self) -> bool:
        return self.select is not None

    @property
    def is_made(self) -> bool:
        return bool(self.inputs)

    @property
    def needs_tensorflow(self) -> bool:
        if self.inputs:
            return True
        return self.architecture is not None and self.architecture.source.needs_tensorflow


@source
@dataclass(frozen=True, kw_only=True)
class FromApplication(Application, Source):
    """A model of keras.applications, with that function's own arguments."""

    kind = "application"

    def open(self, seed: int) -> Model:
        resolved = self.resolve()
        model = _drawn(self.application, resolved, seed)
        if self.weights.path is not None:
            return joined(model, open_model(self.weights.path, model.architecture))
        if resolved.download is not None:
            file = imagenet_file(self, resolved.download)
            return joined(model, open_model(file, model.architecture))
        return model

    @property
    def needs_tensorflow(self) -> bool:
        return not self.is_cached


@source
@dataclass(frozen=True, kw_only=True)
class FromConfig(Source):
    """A model's config, as saved by Keras's `to_json`."""

    kind = "config"

    config: Path = key("A .json file with a model's config.", "cnn.json")
    weights: WeightsOf = key(
        "none (drawn from the layers' own initialisers and the recipe's seed), or a weights file.",
        "none",
        default=WeightsOf("none"),
    )

    def __post_init__(self) -> None:
        if self.weights.text == "imagenet":
            raise ValueError("weights: imagenet requires application")

    def open(self, seed: int) -> Model:
        found = resolved(self._keras3)
        # Targets upgrade the original config.
        own = None if self._is_keras3 else Architecture(self._config)
        drawn = _drawn(str(self.config), found, seed, own)
        carried = replace(drawn.carried, keras_version=self._version or found.keras_version)
        model = replace(drawn, carried=carried, origin=str(self.config), inputs=(self.config,))
        if self.weights.path is None:
            return model
        return joined(model, open_model(self.weights.path, model.architecture))

    @cached_property
    def _found(self) -> Mapping[str, Any]:
        """The contents of the file; with `json.dump(model.to_json())` it is JSON inside JSON.

        Raises FormatError.
        """
        locations.download(self.config)
        try:
            found = json.loads(self.config.read_bytes())
            found = json.loads(found) if isinstance(found, str) else found
        except OSError as error:
            raise FormatError(f"{self.config}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{self.config} is not readable JSON: {error}") from None
        if not isinstance(found, Mapping) or not isinstance(found.get("config"), Mapping | list):
            raise FormatError(
                f"{self.config} is not a config of a Keras model, as to_json returns it"
            )
        return found

    @property
    def _config(self) -> Mapping[str, Any]:
        own = {name: self._found.get(name) for name in ("module", "class_name", "registered_name")}
        given = {name: value for name, value in own.items() if value is not None or self._is_keras3}
        return {**given, "config": self._found["config"]}

    @property
    def _version(self) -> str:
        """The Keras version that wrote it, "2" if unknown; empty for Keras 3."""
        return str(self._found.get("keras_version") or ("" if self._found.get("module") else "2"))

    @property
    def _is_keras3(self) -> bool:
        return self._version.partition(".")[0] in ("", "3")

    @cached_property
    def _keras3(self) -> Mapping[str, Any]:
        """The config for Keras 3; raises FormatError if it has no equivalent."""
        if self._is_keras3:
            return self._config
        renamed, _ = without_slashes(Architecture(self._config))
        config, changes = upgraded(renamed.config, self._version)
        if changes.refused:
            raise FormatError(f"{self.config}: {changes.refused[0]}")
        return config

    @property
    def needs_tensorflow(self) -> bool:
        return cached(self._keras3).read() is None


@source
@dataclass(frozen=True, kw_only=True)
class FromBuild(Source):
    """A model that Python code builds; needs --allow-code."""

    kind = "build"

    build: CodeName = key(
        "A function that returns a keras.Model; modules beside the recipe are found, too.",
        "my_package.models:make_model",
    )
    arguments: Mapping[str, Any] | None = key(
        "The function's arguments.", {"units": 32}, default=None
    )
    weights: WeightsOf = key(
        "none (as the code initialises them, by the recipe's seed), or a weights file.",
        "trained.weights.h5",
        default=WeightsOf("none"),
    )
    inputs: tuple[Input, ...] = key(
        "Inputs for one forward pass, so that the variables of a subclassed model exist.",
        {"shape": [1, 10], "dtype": "float32"},
        default=(),
    )
    custom_objects: tuple[CodeName, ...] = key(
        "Modules with the model's custom classes.", ["my_package.layers"], default=()
    )

    def __post_init__(self) -> None:
        if self.weights.text == "imagenet":
            raise ValueError("weights: imagenet requires application")

    @cached_property
    def code(self) -> Code:
        """The code that the live model needs."""
        return Code(self.custom_objects, self.build, dict(self.arguments or {}), self.inputs)

    def open(self, seed: int) -> Model:
        model = self._built(seed)
        if self.weights.path is None:
            return model
        donor = placed(open_model(self.weights.path, model.architecture), model)
        advice = "give weights that were saved from this model"
        made = joined(model, donor, advice=advice)
        return replace(made, format=model.format, format_facts=model.format_facts)

    def _built(self, seed: int) -> Model:
        need_permission(self.build.text)
        with new_folder() as folder, _session() as live:
            made = live.call("build", code=self.code, to=Path(folder) / "built", seed=seed)
            model = _steady(open_model(Path(made["path"])))
            others = [
                Weight(address, constant(open_npy(path).numpy()), variable_trains=False,
                       trainable=False)
                for address, path in made["others"].items()
            ]  # fmt: skip
        facts = {weight.address: made["weights"][weight.stored[-1]] for weight in model.weights}
        ordered = sorted(model.weights, key=lambda weight: facts[weight.address][1])
        weights = [_as_built(weight, *facts[weight.address]) for weight in ordered]
        code = replace(self.code, objects=made["objects"], files=tuple(live.imported))
        carried = replace(model.carried, code=code, compile_config=made["compile_config"])
        return replace(
            model,
            weights=(*weights, *others),
            carried=carried,
            inputs=(),
            origin=self.build.text,
        ).with_slots()

    @property
    def is_made(self) -> bool:
        return True

    @property
    def needs_tensorflow(self) -> bool:
        return True


def _session() -> contextlib.AbstractContextManager[Session]:
    """Return a session with Keras that runs the user's code."""
    return session(1, lambda _event, _facts: None, runs_code=True)


def _steady(model: Model) -> Model:
    """Return a model just saved by Keras, without contents that differ from save to save."""
    known = model.architecture
    config, compiled = numbered([known and known.config, model.carried.compile_config])
    architecture = known and replace(known, config=config)
    carried = replace(model.carried, date_saved="", compile_config=compiled)
    return replace(model, architecture=architecture, carried=carried)


def _as_built(weight: Weight, address: str, _place: int, trainable: bool) -> Weight:
    """Return a weight under the name from the code, if its config does not give one."""
    if weight.named and weight.trainable is not None:
        return weight
    return replace(
        weight, address=address, named=True, trainable=trainable, variable_trains=trainable
    )


@source
@dataclass(frozen=True, kw_only=True)
class FromHub(Source):
    """A TF Hub module, from Hub's cache (TFHUB_CACHE_DIR) or downloaded to it."""

    kind = "hub"

    hub: str = key("The module's handle.", "https://tfhub.dev/google/nnlm-en-dim50/2")

    def open(self, seed: int) -> Model:
        return open_model(module_folder(self.hub))

    @property
    def needs_tensorflow(self) -> bool:
        return False


def _drawn(
    name: str, resolved: Resolved, seed: int, architecture: Architecture | None = None
) -> Model:
    """Return the model with weights drawn by its layers' own initialisers.

    `architecture` is the one before an upgrade. Raises SurgeryError.
    """
    architecture = architecture or resolved.architecture
    own_variables = list({own.address: own for _, own in architecture.root.weights()}.values())
    named = [variable["name"] for variable in resolved.variables]
    # Keras's own LayerScale does not name its variable.
    same = [
        s.name == n or n.startswith("variable") for s, n in zip(own_variables, named, strict=False)
    ]
    if len(own_variables) != len(named) or not all(same):
        raise SurgeryError(
            f"this version of Keras ({resolved.keras_version}) creates variables for {name} that "
            "surgery does not expect; please report it"
        )
    weights = []
    for own, variable in zip(own_variables, resolved.variables, strict=True):
        class_name, config = variable["initializer"]
        dtype, shape = dtype_named(variable["dtype"]), tuple(variable["shape"])
        tensor = initialized(class_name, config, shape, dtype, seed, "load", own.address)
        trainable = architecture.is_trained(own.address, own.trainable)
        weights.append(Weight(own.address, tensor, (), own.trainable, trainable))
    carried = Carried(keras_version=resolved.keras_version, backend="tensorflow")
    return Model(tuple(weights), architecture, carried, origin=f"keras.applications.{name}")
