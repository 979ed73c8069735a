"""Output channels of whole layers: the weights that share them, and the lowest ones."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from surgery.architecture import Layer
from surgery.architecture.norms import norms_behind
from surgery.errors import SelectorError
from surgery.live.requests import Hold
from surgery.weights.arithmetic import is_float, need_floats
from surgery.weights.channels import Norm, axes, norm_passes, norms, output_channels
from surgery.weights.matching import names
from surgery.weights.model import Model
from surgery.weights.tensor import Array, Mapped, Reduction
from surgery.weights.weight import Weight


@dataclass(frozen=True)
class Channelled:
    """A layer's kernels with the same output channels, and its other weights with them.

    `others` are the weights without an input axis, as the bias.
    """

    kernels: tuple[Weight, ...]
    others: tuple[Weight, ...]

    def lowest(self, model: Model, share: Fraction, norm: Norm) -> Reduction[Array]:
        """Return a boolean array, lazily: True for the `share` of channels of lowest norm.

        Norms are taken over all kernels together.
        """
        tensors = [kernel.tensor for kernel in self.kernels]
        channels = [output_channels(model, kernel) for kernel in self.kernels]

        def rank(pool: Executor | None) -> Array:
            chosen = np.zeros(channels[0].count, bool)
            order = norms(tensors, channels, norm, pool).order()
            chosen[order[: math.floor(share * chosen.size)]] = True
            return chosen

        return Reduction(rank, max(norm_passes(tensor, norm) for tensor in tensors))


def zeroed(weight: Weight, model: Model, chosen: Reduction[Array]) -> Weight:
    """Return the weight with the chosen channels set to zero."""
    channels = output_channels(model, weight)

    def zero(values: Array, start: int) -> Array:
        gone = channels.pick(chosen.result(), start, values.size)
        return np.where(gone, values.dtype.type(0), values)

    return weight.with_tensor(Mapped(weight.tensor, zero, chosen))


def channelled(model: Model, weights: Iterable[Weight]) -> Iterator[tuple[Weight, Channelled]]:
    """Yield each weight with the weights that share its channels.

    Raises SelectorError for a weight whose layer has no kernel with its channels.
    """
    known: dict[tuple[str, bool, int], Channelled] = {}
    for weight in weights:
        key = (_layer(weight), *_kind(model, weight))
        if key not in known:
            known[key] = _together(model, weight)
        yield weight, known[key]


def _by_layer(model: Model) -> Mapping[str, list[Weight]]:
    layers: dict[str, list[Weight]] = {}
    for weight in (*model.weights, *model.states):
        layers.setdefault(_layer(weight), []).append(weight)
    return layers


def _layer(weight: Weight) -> str:
    return weight.layer or weight.address


def _kind(model: Model, weight: Weight) -> tuple[bool, int]:
    """Return a key for weights that share channels; a depthwise kernel's are apart."""
    return weight.variable == "depthwise_kernel", output_channels(model, weight).count


def _together(model: Model, weight: Weight) -> Channelled:
    layer = model.once(_by_layer)[_layer(weight)]
    same = [each for each in layer if _kind(model, each) == _kind(model, weight)]
    kernels = tuple(each for each in same if axes(model, each).inputs)
    if not kernels:
        raise SelectorError(
            f"{weight.address} has no kernel by which its channels could be ranked; narrow "
            "the selector, for example with variable: kernel (with_norm: true adds the bias and "
            "the normalisation)"
        )
    need_floats(kernels, "zero")
    return Channelled(kernels, tuple(each for each in same if not axes(model, each).inputs))


def with_channels(
    model: Model, weights: Sequence[Weight], with_norm: bool
) -> list[tuple[Weight, Channelled]]:
    """Return the items of `channelled`; raises SelectorError if `with_norm` finds no norm."""
    layers = list(channelled(model, weights))
    if with_norm and layers and not any(norms_of(model, found) for _, found in layers):
        raise SelectorError(
            "with_norm: no BatchNormalization directly follows "
            f"{names(list(dict.fromkeys(w.layer for w in weights)))} as its only input; "
            "leave out with_norm"
        )
    return layers


def taken_along(model: Model, found: Channelled) -> list[Weight]:
    """Return the layer's bias, and the scale and offset of the normalisation behind it."""
    return [*found.others, *norms_of(model, found)]


def norms_of(model: Model, found: Channelled) -> list[Weight]:
    """Return the scale and offset of the batch normalisations directly behind the layer.

    With these zeroed, a channel of zeros stays zero. Without a scale, the moving mean is returned.
    """
    kernel = found.kernels[0]
    if model.architecture is None or kernel.variable == "depthwise_kernel":
        return []
    count = output_channels(model, kernel).count
    layer = model.architecture.owner(kernel.address).address
    behind = model.once(_norms).get(layer, ())
    weights = (each for norm in behind for each in _switches(model, norm.address))
    return [each for each in weights if output_channels(model, each).count == count]


def _norms(model: Model) -> Mapping[str, list[Layer]]:
    return norms_behind(model.architecture) if model.architecture else {}


def _switches(model: Model, norm: str) -> Iterator[Weight]:
    has_scale = f"{norm}/gamma" in model.by_address
    for variable in ("gamma" if has_scale else "moving_mean", "beta"):
        if (found := model.by_address.get(f"{norm}/{variable}")) is not None:
            yield found


def switched_off(model: Model) -> list[Hold]:
    """Return the holds that keep bias and norm at zero in channels whose kernels are zero."""
    kernels = [w for w in model.weights if is_float(w.tensor.dtype) and axes(model, w).inputs]
    holds: dict[str, Hold] = {}
    for kernel in kernels:
        with contextlib.suppress(SelectorError):  # its output axes are not adjacent
            ((_, found),) = channelled(model, [kernel])
            holds[found.kernels[0].address] = _hold(model, found)
    return [hold for hold in holds.values() if hold.addresses]


def _hold(model: Model, found: Channelled) -> Hold:
    """Return the hold for trainable weights along a layer's channels: bias and norm."""
    others = [w for w in taken_along(model, found) if w.trainable is not False]
    channels = {w.address: output_channels(model, w) for w in (*found.kernels, *others)}
    kernels = [kernel.address for kernel in found.kernels]
    return Hold([weight.address for weight in others], None, kernels, channels)
