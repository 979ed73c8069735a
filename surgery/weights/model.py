"""The model: an architecture, an ordered table of weights, and what rides along untouched."""

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
    """What a file holds besides architecture and weights; written again untouched.

    Attributes:
        keras_version, backend, date_saved: as the file says.
        compile_config: Keras 3's `compile_config`, or None.
        training_config: the `training_config` of an `.h5` model, or None.
        optimizer: the optimizer's variables in order, each with its name in the file, where
            it is not known which weight they belong to.
        layout: else, how they are made from the weights' slots.
        lost_optimizer: whether a step has dropped the optimizer's variables.
        state: variables that are not weights (seed generators, metrics), by stored name.
        assets: files that belong to layers (vocabularies), by name inside the archive.
        signatures: a SavedModel's, each with its tags, inputs and outputs.
        metadata: what the header of a safetensors file says besides its weights.
        code: what a live model of it needs of the user's code.
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

    @property
    def is_keras3(self) -> bool:
        """Whether Keras 3 wrote it; it cannot read a compile config of Keras 1 or 2."""
        return self.keras_version.partition(".")[0] in ("3", "")

    @property
    def compiled(self) -> Mapping[str, Any] | None:
        """The compile config in the form that it was read in; empty or None where there is none."""
        return self.compile_config or self.training_config


class FormatFacts:
    """Facts about a file that only its format uses; a format has its own subclass.

    They go with the model from step to step. Ops pass them on and tell them of renamed layers;
    no other room looks into them. A format `edits_in_place` whose target is its source with
    other values.
    """

    edits_in_place: ClassVar[bool] = False

    def renamed(self, model: Model, names: Mapping[str, str]) -> Model:
        """Return the model with the stored names that it has once its layers are renamed.

        `names` maps addresses of layers to their new names; the architecture and the weights'
        addresses are still the old ones. Raises ValueError or LookupError for a config that does
        not hold these layers by name.
        """
        return model


@dataclass(frozen=True)
class Model:
    """An immutable model; every change gives a new one that shares the rest.

    `origin` names what it was read from, `format` how that is laid out, `format_facts` is what
    only that format uses, and `inputs` are the files that must not be written to. `checks` raise
    FormatError where what was read in the meantime is not what the file's own checksums say.
    `states` are a checkpoint's variables that are no weights.
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

    @cached_property
    def by_address(self) -> Mapping[str, Weight]:
        """The weights by their addresses, and the variables that are none."""
        return {weight.address: weight for weight in (*self.states, *self.weights)}

    @cached_property
    def layer_order(self) -> Mapping[str, int]:
        """The layers' addresses, each with its place in layer order."""
        layers: Iterable[str]
        if self.architecture is not None and self.architecture.is_graph:
            layers = (layer.address for layer in self.architecture.layers)
        else:
            layers = (p for w in self.weights for p in list(prefixes(w.address))[:0:-1])
        return {address: place for place, address in enumerate(dict.fromkeys(layers))}

    def once(self, make: Callable[[Model], Made]) -> Made:
        """Return `make(model)`, computed once for this model, which never changes."""
        made: dict[Any, Any] = self.__dict__.setdefault("_made", {})
        if make not in made:
            made[make] = make(self)
        return cast(Made, made[make])

    def check_read(self) -> None:
        """Raise FormatError where what was read is not what its file's own checksums say."""
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
        """The model's own name, where its config gives one."""
        config = self.architecture.root.config if self.architecture else {}
        return str(config.get("name") or "")

    def with_weights(self, changed: Iterable[Weight]) -> Model:
        """This model with the weights of those addresses in place of its own."""
        new = {weight.address: weight for weight in changed}
        return self._with_each(lambda weight: new.get(weight.address, weight))

    def _with_each(self, change: Callable[[Weight], Weight]) -> Model:
        """This model with every variable changed, those that are no weights included."""
        weights, states = (tuple(map(change, each)) for each in (self.weights, self.states))
        return replace(self, weights=weights, states=states)

    def hashed(self) -> Model:
        """Return this model with the SHA-256 of every weight taken while it is read."""
        return self._with_each(lambda weight: weight.with_tensor(HashingTensor(weight.tensor)))

    def map_each(self, weights: Iterable[Weight], make: Callable[[Weight], ChunkFunction]) -> Model:
        """Return this model with a chunk function, made for each of those weights, fused to it."""
        return self.with_weights(w.with_tensor(Mapped(w.tensor, make(w))) for w in weights)

    def map(self, weights: Iterable[Weight], function: ChunkFunction) -> Model:
        """This model with one chunk function fused to each of those weights."""
        return self.map_each(weights, lambda _: function)

    def with_architecture(self, architecture: Architecture) -> Model:
        """This model with another config; its weights' trainable flags follow.

        Where it is not known which optimizer state belongs to which weight, it is dropped if
        the set of trainable weights changes, as Keras does when it loads such a file.
        """
        weights = tuple(replace(w, trainable=_flag(architecture, w)) for w in self.weights)
        model = replace(self, weights=weights, architecture=architecture)
        if [w.trainable for w in weights] == [w.trainable for w in self.weights]:
            return model
        return model._without_raw_state(
            "the set of trainable weights changes, and which state belongs to which weight does "
            "not follow from the compile config"
        )

    def with_slots(self) -> Model:
        """This model with the optimizer's variables tied to the weights they belong to."""
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
        """The optimizer's variables in Keras's order, for the weights that are trained now."""
        layout = self.carried.layout
        if layout is None:
            return self.carried.optimizer
        return layout.variables([weight for weight in self.weights if weight.trainable])

    @property
    def has_slots(self) -> bool:
        """Whether the optimizer has variables for weights, beside its numbers."""
        return any(tensor.shape for _, tensor in self.optimizer)

    def without_optimizer(self) -> Model:
        """This model as if it had never been compiled."""
        weights = tuple(replace(weight, slots=()) for weight in self.weights)
        states = tuple(state for state in self.states if state.state != "optimizer")
        carried = replace(
            self.carried, optimizer=(), layout=None, lost_optimizer=False,
            compile_config=None, training_config=None,
        )  # fmt: skip
        return replace(self, weights=weights, states=states, carried=carried)

    def is_frozen(self, weight: Weight) -> bool:
        """Return whether its layer is frozen by the config, which Keras may not restore."""
        if weight.trainable is False or self.architecture is None:
            return weight.trainable is False
        return not self.architecture.configured_owner(weight.address).trainable

    def with_moved(self, changed: Sequence[Weight]) -> Model:
        """Return this model with weights whose elements were moved, or cast to another dtype.

        Their slots have been changed in the same way; where it is not known which optimizer state
        belongs to which weight, all of it is dropped.
        """
        model = self.with_weights(changed)
        if all(weight.trainable is False for weight in changed):
            return model
        return model._without_raw_state(
            "which of it belongs to the changed weights does not follow from the compile config"
        )

    def _without_raw_state(self, why: str) -> Model:
        """Return this model without optimizer state of which it is not known whose it is."""
        if not self.carried.optimizer or not self.has_slots:
            return self
        carried = replace(self.carried, optimizer=(), lost_optimizer=True)
        return replace(self, carried=carried).with_note(f"the optimizer state is dropped: {why}")

    def to_be_laid_out(self) -> Model:
        """Return this model without what is known of its file: a format lays it out anew."""
        return replace(self, format="", format_facts=FormatFacts())

    def not_in_place(self) -> Model:
        """Return this model for a new file, where its format would only edit the one it is from."""
        if not self.format_facts.edits_in_place:
            return self
        return replace(self, format_facts=FormatFacts())

    def with_note(self, note: str) -> Model:
        """This model with one more line for the plan."""
        return replace(self, notes=(*self.notes, note))

    def need_architecture(self, why: str) -> Architecture:
        """The architecture; raises SelectorError where the file holds weights only."""
        if self.architecture is None:
            raise SelectorError(
                f"{self.origin} holds weights only, and {why}; "
                "load the whole model (.keras, .h5) or an application with these weights"
            )
        return self.architecture


def _flag(architecture: Architecture, weight: Weight) -> bool | None:
    """Return whether Keras trains the weight; where the config cannot tell, a True stays."""
    trained = architecture.is_trained(weight.address, weight.variable_trains)
    return True if trained is None and weight.trainable else trained
