"""The model: an architecture, an ordered table of weights, and other contents of its file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from surgery.architecture import Architecture
from surgery.errors import SelectorError
from surgery.weights.digest import HashingTensor
from surgery.weights.optimizer import Layout, layout_of
from surgery.weights.tensor import ChunkFunction, Mapped, Named, Tensor
from surgery.weights.weight import Weight, prefixes

Made = TypeVar("Made")


@dataclass(frozen=True)
class Carried:
    """The other contents of a model's file, written again unchanged.

    Attributes:
        keras_version, backend, date_saved: as in the file.
        compile_config: Keras 3's `compile_config`, or None.
        training_config: the `training_config` of an `.h5` model, or None.
        optimizer: the optimizer's variables in order, each with its name in the file, if it
            is unknown which weight they belong to.
        layout: otherwise, how they are made from the weights' slots.
        lost_optimizer: whether a step has dropped the optimizer's variables.
        state: variables that are not weights (seed generators, metrics), by stored name.
        assets: files that belong to layers (vocabularies), by name inside the archive.
        signatures: a SavedModel's signatures, each with its tags, inputs and outputs.
        metadata: the metadata in the header of a safetensors file.
        code: the user's code that a live model needs.
        is_upgraded: whether its config was one of Keras 1 or 2, and a step had it upgraded.
    """

    keras_version: str = ""
    backend: str = ""
    date_saved: str = ""
    compile_config: Mapping[str, Any] | None = None
    training_config: Mapping[str, Any] | None = None
    optimizer: tuple[Named, ...] = ()
    layout: Layout | None = None
    lost_optimizer: bool = False
    state: Mapping[str, Tensor] = field(default_factory=dict)
    assets: Mapping[str, bytes] = field(default_factory=dict)
    signatures: tuple[Mapping[str, Any], ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    code: Any = None
    is_upgraded: bool = False

    @property
    def is_keras3(self) -> bool:
        """True if Keras 3 wrote the file; it cannot read compile configs of Keras 1 or 2."""
        return self.keras_version.partition(".")[0] in ("3", "")

    @property
    def compiled(self) -> Mapping[str, Any] | None:
        """The compile config in the form of the file; empty or None if there is none."""
        return self.compile_config or self.training_config


class FormatFacts:
    """Facts about a file that only its format uses, in a subclass of each format.

    The model carries them from step to step. Ops pass them on and call `renamed`; no other room
    reads them. If `edits_in_place`, the format writes a target as a copy of its source with other
    values.
    """

    edits_in_place: ClassVar[bool] = False

    def renamed(self, model: Model, names: Mapping[str, str]) -> Model:
        """Return the model with its stored names changed as its layers are renamed.

        `names` maps addresses of layers to their new names; the architecture and the weights'
        addresses are still the old ones. Raises ValueError or LookupError if the config does not
        have these layers by name.
        """
        return model


@dataclass(frozen=True)
class Model:
    """An immutable model; every change returns a new one that shares the rest.

    `origin` is the path or name that it was read from, `format` the name of its format,
    `format_facts` are facts for that format alone, and `inputs` the files that must not be
    overwritten. `checks` raise FormatError if the bytes read so far do not match the file's own
    checksums. `states` are the variables of a checkpoint that are not weights. `removed`
    has by address each weight that the architecture needs and a step took, and that step.
    """

    weights: tuple[Weight, ...]
    architecture: Architecture | None = None
    carried: Carried = field(default_factory=Carried)
    format: str = ""
    format_facts: FormatFacts = FormatFacts()
    origin: str = ""
    inputs: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    checks: tuple[Callable[[], None], ...] = ()
    states: tuple[Weight, ...] = ()
    removed: Mapping[str, tuple[Weight, str]] = field(default_factory=dict)

    @cached_property
    def by_address(self) -> Mapping[str, Weight]:
        """The weights and the states by address."""
        return {weight.address: weight for weight in (*self.states, *self.weights)}

    @cached_property
    def layer_order(self) -> Mapping[str, int]:
        """The index of each layer in layer order, by address."""
        layers: Iterable[str]
        if self.architecture is not None and self.architecture.is_graph:
            layers = (layer.address for layer in self.architecture.layers)
        else:
            layers = (p for w in self.weights for p in list(prefixes(w.address))[:0:-1])
        return {address: place for place, address in enumerate(dict.fromkeys(layers))}

    def once(self, make: Callable[[Model], Made]) -> Made:
        """Return `make(model)`, computed once and cached, since a model never changes."""
        made: dict[Any, Any] = self.__dict__.setdefault("_made", {})
        if make not in made:
            made[make] = make(self)
        return cast(Made, made[make])

    def check_read(self) -> None:
        """Raise FormatError if the bytes read so far do not match the file's own checksums."""
        for check in self.checks:
            check()

    def __getitem__(self, address: str) -> Weight:
        return self.by_address[address]

    def __repr__(self) -> str:
        counts = f"{len(self.weights)} weights, {self.parameters:,} parameters"
        return f"<Model {self.name or self.origin!r}: {counts}>"

    @property
    def parameters(self) -> int:
        """The number of elements of all weights."""
        return sum(weight.tensor.size for weight in self.weights)

    @property
    def nbytes(self) -> int:
        """The number of bytes of all weights."""
        return sum(weight.tensor.nbytes for weight in self.weights)

    @property
    def name(self) -> str:
        """The model's own name in its config; empty if it has none."""
        config = self.architecture.root.config if self.architecture else {}
        return str(config.get("name") or "")

    def with_weights(self, changed: Iterable[Weight]) -> Model:
        """Return this model with the given weights in place of those of the same address."""
        new = {weight.address: weight for weight in changed}
        return self._with_each(lambda weight: new.get(weight.address, weight))

    def _with_each(self, change: Callable[[Weight], Weight]) -> Model:
        """Return this model with every weight and state changed."""
        weights, states = (tuple(map(change, each)) for each in (self.weights, self.states))
        return replace(self, weights=weights, states=states)

    def hashed(self) -> Model:
        """Return this model with weights that are hashed (SHA-256) while they are read."""
        return self._with_each(lambda weight: weight.with_tensor(HashingTensor(weight.tensor)))

    def map_each(self, weights: Iterable[Weight], make: Callable[[Weight], ChunkFunction]) -> Model:
        """Return this model with a chunk function, `make(weight)`, applied to each weight."""
        return self.with_weights(w.with_tensor(Mapped(w.tensor, make(w))) for w in weights)

    def map(self, weights: Iterable[Weight], function: ChunkFunction) -> Model:
        """Return this model with one chunk function applied to each of the weights."""
        return self.map_each(weights, lambda _: function)

    def with_architecture(self, architecture: Architecture) -> Model:
        """Return this model with another config; the weights' trainable flags follow it.

        Optimizer state that is not tied to weights is dropped if the set of trainable weights
        changes, as Keras does when it loads such a file.
        """
        weights = tuple(replace(w, trainable=trained_flag(architecture, w)) for w in self.weights)
        model = replace(self, weights=weights, architecture=architecture)
        if [w.trainable for w in weights] == [w.trainable for w in self.weights]:
            return model
        return model.without_raw_state(
            "the set of trainable weights changes, and which state belongs to which weight does "
            "not follow from the compile config"
        )

    def with_slots(self) -> Model:
        """Return this model with the optimizer's variables tied to their weights, if possible."""
        carried = self.carried
        config = (carried.compile_config or {}).get("optimizer")
        if config is None and carried.keras_version.startswith("3"):
            config = (carried.training_config or {}).get("optimizer_config")
        if not carried.optimizer or any(w.trainable is None for w in self.weights):
            return self
        if not isinstance(config, Mapping) or not isinstance(config.get("config"), Mapping):
            return self
        trained = [weight for weight in self.weights if weight.trainable]
        found = layout_of(config, carried.optimizer, trained)
        if found is None:
            return self
        layout, slots = found
        tied = (replace(w, slots=s) for w, s in zip(trained, slots, strict=True))
        carried = replace(carried, optimizer=(), layout=layout)
        return replace(self.with_weights(tied), carried=carried)

    @cached_property
    def optimizer(self) -> tuple[Named, ...]:
        """The optimizer's variables in Keras's order, for the weights trainable now."""
        layout = self.carried.layout
        if layout is None:
            return self.carried.optimizer
        return layout.variables([weight for weight in self.weights if weight.trainable])

    @property
    def has_slots(self) -> bool:
        """True if the optimizer has variables for weights, not only scalars."""
        return any(tensor.shape for _, tensor in self.optimizer)

    def without_optimizer(self) -> Model:
        """Return this model without optimizer state and compile config."""
        weights = tuple(replace(weight, slots=()) for weight in self.weights)
        states = tuple(state for state in self.states if state.state != "optimizer")
        carried = replace(
            self.carried, optimizer=(), layout=None, lost_optimizer=False,
            compile_config=None, training_config=None,
        )  # fmt: skip
        return replace(self, weights=weights, states=states, carried=carried)

    def without_compile_config(self, why: str) -> Model:
        """Return this model as if it had never been compiled, with a note that says why."""
        if not self.carried.compiled:
            return self
        return self.without_optimizer().with_note(f"the model is no longer compiled: {why}")

    def is_frozen(self, weight: Weight) -> bool:
        """Return whether the weight is frozen, even if Keras does not restore that on loading."""
        if weight.trainable is False or self.architecture is None:
            return weight.trainable is False
        return not self.architecture.configured_owner(weight.address).trainable

    def with_moved(self, changed: Sequence[Weight]) -> Model:
        """Return this model with weights whose elements were moved, or cast to another dtype.

        The weights' slots have been changed in the same way; optimizer state that is not tied to
        weights is dropped.
        """
        model = self.with_weights(changed)
        if all(weight.trainable is False for weight in changed):
            return model
        return model.without_raw_state(
            "which of it belongs to the changed weights does not follow from the compile config"
        )

    def without_raw_state(self, why: str) -> Model:
        """Drop the optimizer's variables unless all are scalars; `why` ends the note about it."""
        if not self.carried.optimizer or not self.has_slots:
            return self
        carried = replace(self.carried, optimizer=(), lost_optimizer=True)
        return replace(self, carried=carried).with_note(f"the optimizer state is dropped: {why}")

    def to_be_laid_out(self) -> Model:
        """Return this model without facts about its file: a format will lay it out anew."""
        return replace(self, format="", format_facts=FormatFacts())

    def not_in_place(self) -> Model:
        """Return this model for a new file, if its format would only edit its source."""
        if not self.format_facts.edits_in_place:
            return self
        return replace(self, format_facts=FormatFacts())

    def with_note(self, note: str) -> Model:
        """Return this model with one more note for the plan."""
        return replace(self, notes=(*self.notes, note))

    def need_architecture(self, why: str) -> Architecture:
        """Return the architecture; raises SelectorError if the file has weights only."""
        if self.architecture is None:
            raise SelectorError(
                f"{self.origin} holds weights only, and {why}; "
                "load the whole model (.keras, .h5) or an application with these weights"
            )
        return self.architecture


def trained_flag(architecture: Architecture, weight: Weight) -> bool | None:
    """Return whether Keras trains the weight; if the config cannot tell, its flag if True."""
    trained = architecture.is_trained(weight.address, weight.variable_trains)
    return True if trained is None and weight.trainable else trained
