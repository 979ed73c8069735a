"""One tensor of a model, with its address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from surgery.weights.tensor import Array, Named, Tensor

State = Literal["weight", "optimizer", "other"]
STATES: tuple[str, ...] = get_args(State)


def prefixes(address: str) -> Iterator[str]:
    """Yield the address itself, then those of its enclosing layers, innermost first."""
    yield address
    while "/" in address:
        address = address.rpartition("/")[0]
        yield address


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor of a model.

    Attributes:
       address: the layers' names from the root down, then the variable's; unique.
       tensor: its lazy elements.
       stored: its names inside the file; a file may store a tensor more than once.
       variable_trains: whether an unfrozen layer trains it (a kernel, not a moving mean).
       trainable: whether it is in the `trainable_weights` of the model as Keras loads it;
           None if there is no architecture to tell.
       named: False if the file stores no name and the address is a numbered path.
       slots: the optimizer's variables for it (momentum, velocity...), each with its name.
       reshaped: whether its shape is no longer the one in its layer's config, or it has none there.
       state: its kind; optimizer variables and counters are not weights, and are selected only
           by the fact `state`.
    """

    address: str
    tensor: Tensor
    stored: tuple[str, ...] = ()
    variable_trains: bool = True
    trainable: bool | None = None
    named: bool = True
    slots: tuple[Named, ...] = ()
    reshaped: bool = False
    state: State = "weight"

    def with_tensor(self, tensor: Tensor) -> Weight:
        """Return this weight with another tensor, and the same slots."""
        return Weight(  # `replace` takes twice as long, and a run does this to every weight
            self.address, tensor, self.stored, self.variable_trains, self.trainable, self.named,
            self.slots, self.reshaped, self.state,
        )  # fmt: skip

    def with_tensors(self, change: Callable[[Tensor], Tensor]) -> Weight:
        """Return this weight with its tensor and its slots changed in the same way."""
        slots = tuple((name, change(slot)) for name, slot in self.slots)
        tensor = change(self.tensor)
        reshaped = self.reshaped or tensor.shape != self.tensor.shape
        return replace(self, tensor=tensor, slots=slots, reshaped=reshaped)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, known without reading it."""
        return self.tensor.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype, known without reading it."""
        return self.tensor.dtype

    def numpy(self) -> Array:
        """Return its elements as an array, read and computed now."""
        return self.tensor.numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.tensor.__array__(dtype, copy)

    def __repr__(self) -> str:
        return f"<Weight {self.address} {self.shape} {self.dtype.name}>"

    @property
    def layer(self) -> str:
        """The address of the layer that owns it."""
        return self.address.rpartition("/")[0]

    @property
    def variable(self) -> str:
        """Its own name in Keras: kernel, bias, gamma..."""
        return self.address.rpartition("/")[2]
