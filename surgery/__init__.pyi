"""The public names, and every op with its keys: made by `python -m tests.regenerate`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import ArrayLike

from surgery.api.inspection import Difference as Difference
from surgery.api.inspection import diff as diff
from surgery.api.inspection import inspect as inspect
from surgery.api.models import Layer as Layer
from surgery.api.models import Model as Model
from surgery.api.models import open as open
from surgery.api.recipes import Plan as Plan
from surgery.api.recipes import Result as Result
from surgery.api.recipes import Sweep as Sweep
from surgery.api.recipes import convert as convert
from surgery.api.recipes import plan as plan
from surgery.api.recipes import run as run
from surgery.api.recipes import sweep as sweep
from surgery.errors import ExpectationError as ExpectationError
from surgery.errors import FormatError as FormatError
from surgery.errors import RecipeError as RecipeError
from surgery.errors import SelectorError as SelectorError
from surgery.errors import SurgeryError as SurgeryError
from surgery.errors import UsageError as UsageError
from surgery.weights.model import Model as _Model
from surgery.weights.weight import Weight as Weight

__version__: str
_MODULES: dict[str, tuple[str, ...]]

_Selector = str | Sequence[Any] | Mapping[str, Any]
_Target = str | Path | Mapping[str, Any]

def save(
    model: _Model,
    path: str | Path | None = None,
    /,
    *,
    checkpoint: _Target = ...,
    csv: _Target = ...,
    graphdef: _Target = ...,
    h5: _Target = ...,
    hdf5: _Target = ...,
    keras: _Target = ...,
    npy: _Target = ...,
    npz: _Target = ...,
    onnx: _Target = ...,
    safetensors: _Target = ...,
    savedmodel: _Target = ...,
    tflite: _Target = ...,
    weights_h5: _Target = ...,
    weights_json: _Target = ...,
) -> None:
    """Write a model: all of its targets, or none."""

def activations(
    model: _Model,
    *,
    layers: Sequence[Any],
    data: str | Path | Mapping[str, Any],
    export: str | Path | None = ...,
    batch_size: int = 32,
    seed: int = 0,
    progress: bool = False,
    allow_code: bool = False,
) -> dict[str, Any]:
    """Measure the outputs of inner layers on data, and optionally save them as features."""

def append(
    model: _Model,
    *,
    layers: Sequence[Any],
    to: str | None = ...,
    dtype: str = "model",
    seed: int = 0,
) -> Model:
    """Put new layers behind an output of the model; the last one's is the output then."""

def average(
    model: _Model,
    select: _Selector = "**",
    *,
    from_: _Model | Sequence[Any] | str | Path,
    allow_empty: bool = False,
    weights: Sequence[Any] | None = ...,
    decay: float | None = ...,
    seed: int = 0,
) -> Model:
    """Average the selected weights with those of other models (checkpoints of one training)."""

def cast(
    model: _Model,
    select: _Selector,
    *,
    to: Literal["float16", "bfloat16", "float32", "float64"],
    allow_empty: bool = False,
    seed: int = 0,
) -> Model:
    """Cast the selected weights to another floating dtype, and their layers' dtype policy."""

def chain(
    model: _Model,
    *,
    with_: _Model | Mapping[str, Any],
    as_: str | None = ...,
    name: str = "chained",
    seed: int = 0,
) -> Model:
    """Feed this model's output to the next one, and so on: one model that calls them in order."""

def clip(
    model: _Model,
    select: _Selector,
    *,
    allow_empty: bool = False,
    slice: str | None = ...,
    min: float | None = ...,
    max: float | None = ...,
    seed: int = 0,
) -> Model:
    """Limit the selected weights to a range; NaN stays NaN."""

def compute(
    model: _Model,
    *,
    to: str,
    from_: Mapping[str, Any],
    expr: str | float,
    seed: int = 0,
) -> Model:
    """Compute weights from others by an expression, in float32 or wider, rounded once."""

def concat(model: _Model, *, from_: Sequence[Any], to: str, axis: int = -1, seed: int = 0) -> Model:
    """Concatenate weights, and their optimizer state, along an axis; they become one."""

def copy(
    model: _Model,
    select: _Selector = "**",
    *,
    from_: str | Mapping[str, Any],
    allow_empty: bool = False,
    slice: str | None = ...,
    map: Mapping[str, Any] | None = ...,
    match: Literal["name", "order", "shape"] = "name",
    create: bool = False,
    reshape: bool = False,
    mismatch: Literal["error", "skip", "report"] = "error",
    seed: int = 0,
) -> Model:
    """Take the values of the selected weights from another model."""

def create(
    model: _Model,
    *,
    to: str,
    shape: Sequence[Any],
    initializer: str = "zeros",
    arguments: Mapping[str, Any] | None = ...,
    dtype: str = "float32",
    seed: int = 0,
) -> Model:
    """Make a weight, with values by a Keras initialiser."""

def deepen(
    model: _Model,
    *,
    after: str,
    name: str,
    verify: Mapping[str, Any] | bool = True,
    seed: int = 0,
) -> Model:
    """Put a layer of the same class behind a layer, which returns what it is given at first."""

def delete(model: _Model, select: _Selector, *, allow_empty: bool = False, seed: int = 0) -> Model:
    """Take the selected weights, and their optimizer state, out of a file of weights only."""

def evaluate(
    model: _Model,
    *,
    data: str | Path | Mapping[str, Any],
    batch_size: int = 32,
    loss: str | Mapping[str, Any] | Sequence[Any] | None = ...,
    metrics: Sequence[Any] = ...,
    seed: int = 0,
    progress: bool = False,
    allow_code: bool = False,
) -> dict[str, Any]:
    """Measure the model's loss and metrics on data."""

def extract(
    model: _Model,
    *,
    at: str | Sequence[Any] | Mapping[str, Any],
    verify: Mapping[str, Any] | bool = False,
    inputs: Literal["keep", "used"] = "keep",
    seed: int = 0,
) -> Model:
    """Cut a model at inner layers, whose outputs become its outputs."""

def factorize(
    model: _Model,
    select: str | Sequence[Any] | Mapping[str, Any],
    *,
    rank: int | None = ...,
    energy: float | str | None = ...,
    kind: Literal["channel", "spatial"] = "channel",
    seed: int = 0,
) -> Model:
    """Replace layers by two each, whose kernels multiplied are close to the old one."""

def flatten(
    model: _Model,
    select: str | Sequence[Any] | Mapping[str, Any],
    *,
    names: str = "{outer}_{inner}",
    seed: int = 0,
) -> Model:
    """Put the layers of nested models in their places: one graph, the same outputs."""

def fold_batchnorm(
    model: _Model,
    select: str | Sequence[Any] | Mapping[str, Any] = "**",
    *,
    verify: Mapping[str, Any] | bool = True,
    direction: Literal["both", "after", "before"] = "both",
    others: Literal["skip", "error"] = "skip",
    seed: int = 0,
) -> Model:
    """Fold BatchNormalization layers into the kernels beside them, for inference."""

def freeze(model: _Model, select: _Selector, *, allow_empty: bool = False, seed: int = 0) -> Model:
    """Stop Keras from training the selected layers."""

def insert(
    model: _Model,
    *,
    layer: str | Mapping[str, Any],
    after: str | None = ...,
    before: str | None = ...,
    call: Literal["all", 0] = "all",
    dtype: str = "model",
    seed: int = 0,
) -> Model:
    """Put a new layer behind a layer, or before one."""

def join(
    model: _Model,
    *,
    models: _Model | Mapping[str, Any],
    as_: str | None = ...,
    inputs: Literal["shared", "apart"] = "shared",
    outputs: Literal["list", "average", "concatenate", "add"] = "list",
    name: str = "joined",
    seed: int = 0,
) -> Model:
    """Put other models beside this one: one model that calls each of them."""

def keep(model: _Model, select: _Selector, *, allow_empty: bool = False, seed: int = 0) -> Model:
    """Take all but the selected weights, with optimizer state, out of a file of weights only."""

def lora_merge(
    model: _Model,
    select: str | Sequence[Any] | Mapping[str, Any],
    *,
    seed: int = 0,
) -> Model:
    """Merge LoRA into the kernels of the selected layers, which are trainable again."""

def noise(
    model: _Model,
    select: _Selector,
    *,
    allow_empty: bool = False,
    slice: str | None = ...,
    std: float | None = ...,
    relative_std: float | None = ...,
    distribution: Literal["normal", "uniform"] = "normal",
    seed: int = 0,
) -> Model:
    """Add noise of mean zero to the selected weights."""

def normalize(
    model: _Model,
    select: _Selector,
    *,
    allow_empty: bool = False,
    norm: Literal["l1", "l2", "max"] = "l2",
    per: Literal["tensor", "output_channel"] = "tensor",
    to: float = 1.0,
    seed: int = 0,
) -> Model:
    """Divide the selected weights by their norm; a weight that is all zero stays zero."""

def pad(
    model: _Model,
    select: _Selector,
    *,
    to: Sequence[Any],
    allow_empty: bool = False,
    with_: str = "zero",
    arguments: Mapping[str, Any] | None = ...,
    seed: int = 0,
) -> Model:
    """Make the selected weights larger, behind their elements; optimizer state grows by zeros."""

def permute(
    model: _Model,
    select: _Selector,
    *,
    order: Sequence[Any],
    allow_empty: bool = False,
    axis: int = -1,
    seed: int = 0,
) -> Model:
    """Reorder the selected weights along an axis (RGB to BGR, heads, classes)."""

def predict(
    model: _Model,
    *,
    data: str | Path | Mapping[str, Any],
    export: str | Path = ...,
    batch_size: int = 32,
    seed: int = 0,
    progress: bool = False,
    allow_code: bool = False,
) -> dict[str, Any]:
    """Write the model's outputs for data to a .npz file."""

def prefix(model: _Model, *, with_: str, seed: int = 0) -> Model:
    """Put text before the names of all layers, of nested ones and of the model itself."""

def quantize_values(
    model: _Model,
    select: _Selector,
    *,
    allow_empty: bool = False,
    bits: int | None = ...,
    values: int | None = ...,
    per: Literal["tensor", "output_channel"] = "tensor",
    seed: int = 0,
) -> Model:
    """Round the selected weights to few distinct values, stored as floats (weight sharing)."""

def reinitialize(
    model: _Model,
    select: _Selector,
    *,
    allow_empty: bool = False,
    initializer: str | None = ...,
    arguments: Mapping[str, Any] | None = ...,
    seed: int = 0,
) -> Model:
    """Draw new values for the selected weights from a Keras initialiser."""

def remove(
    model: _Model,
    select: str | Sequence[Any] | Mapping[str, Any],
    *,
    keep_input: int | None = ...,
    allow_empty: bool = False,
    seed: int = 0,
) -> Model:
    """Take layers out: what read their output reads their input."""

def remove_channels(
    model: _Model,
    select: str | Sequence[Any] | Mapping[str, Any],
    *,
    amount: float | str | None = ...,
    keep: int | None = ...,
    indices: Sequence[Any] | None = ...,
    flops: float | str | None = ...,
    parameters: float | str | None = ...,
    bytes: float | str | None = ...,
    by: Literal["l1", "l2", "bn_scale", "random"] = "l1",
    scope: Literal["family", "global"] = "family",
    at_least: int = 1,
    round_to: int = 1,
    through_norms: Literal["refuse", "allow"] = "refuse",
    fixed: Literal["skip", "error"] = "skip",
    seed: int = 0,
) -> Model:
    """Remove the channels of layers that matter least, so that the model gets smaller."""

def rename(
    model: _Model,
    select: str | Sequence[Any] | Mapping[str, Any] | None = ...,
    *,
    to: str | None = ...,
    map: Mapping[str, Any] | None = ...,
    allow_empty: bool = False,
    seed: int = 0,
) -> Model:
    """Rename layers or the model, in the config with all references, or weights of any file."""

def replace(
    model: _Model,
    select: str | Sequence[Any] | Mapping[str, Any],
    *,
    layer: str | Mapping[str, Any],
    weights: Literal["keep", "new"] = "keep",
    dtype: str = "model",
    seed: int = 0,
) -> Model:
    """Put a new layer in the place of each selected one, under its name."""

def replace_head(
    model: _Model,
    *,
    after: str | Mapping[str, Any],
    classes: int,
    pool: Literal["average", "max", "flatten", "none"] = ...,
    layers: Sequence[Any] = ...,
    dropout: float | str | None = ...,
    activation: str | None = "softmax",
    name: str = "head",
    dtype: str = "model",
    outputs: Literal["keep", "drop"] = "keep",
    compile: Literal["keep", "drop"] = "keep",
    seed: int = 0,
) -> Model:
    """Cut behind a layer, and put new layers that end in a Dense there."""

def reshape(
    model: _Model,
    select: _Selector,
    *,
    to: Sequence[Any],
    allow_empty: bool = False,
    seed: int = 0,
) -> Model:
    """Give the selected weights, and their optimizer state, another shape of as many elements."""

def resize_input(
    model: _Model,
    *,
    input: str | None = ...,
    size: Sequence[Any] | None = ...,
    channels: int | None = ...,
    by: Literal["sum", "mean", "tile", "first"] = "sum",
    changed: Literal["error", "reinitialize"] = "error",
    seed: int = 0,
) -> Model:
    """Give an input another size or number of channels, and fit the kernels that read it."""

def scale(
    model: _Model,
    select: _Selector,
    *,
    by: float,
    allow_empty: bool = False,
    slice: str | None = ...,
    seed: int = 0,
) -> Model:
    """Multiply the selected weights by a number."""

def set(
    model: _Model,
    select: _Selector,
    *,
    allow_empty: bool = False,
    slice: str | None = ...,
    to: ArrayLike | float | bool | None = ...,
    npy: str | Path | None = ...,
    seed: int = 0,
) -> Model:
    """Set the selected weights to a number, or to the values of a .npy file."""

def set_config(
    model: _Model,
    select: str | Sequence[Any] | Mapping[str, Any],
    *,
    keys: Mapping[str, Any],
    seed: int = 0,
) -> Model:
    """Set keys in the configs of the selected layers, none that changes their variables."""

def shift(
    model: _Model,
    select: _Selector,
    *,
    by: float,
    allow_empty: bool = False,
    slice: str | None = ...,
    seed: int = 0,
) -> Model:
    """Add a number to the selected weights."""

def split(
    model: _Model,
    select: _Selector,
    *,
    into: Sequence[Any],
    allow_empty: bool = False,
    axis: int = -1,
    sizes: Sequence[Any] | None = ...,
    seed: int = 0,
) -> Model:
    """Split each selected weight, and its optimizer state, into several along an axis."""

def stack(model: _Model, *, from_: Sequence[Any], to: str, axis: int = 0, seed: int = 0) -> Model:
    """Stack weights of one shape, and their optimizer state, along a new axis."""

def train(
    model: _Model,
    *,
    data: str | Path | Mapping[str, Any],
    epochs: int = 1,
    batch_size: int = 32,
    optimizer: str | Mapping[str, Any] | None = ...,
    learning_rate: float | Mapping[str, Any] | None = ...,
    loss: str | Mapping[str, Any] | Sequence[Any] | None = ...,
    metrics: Sequence[Any] | None = ...,
    validation: str | Path | Mapping[str, Any] | None = ...,
    validation_split: float | str | None = ...,
    class_weight: Mapping[str, Any] | None = ...,
    shuffle: bool = True,
    callbacks: Mapping[str, Any] | None = ...,
    mixed_precision: Literal["mixed_float16", "mixed_bfloat16"] | None = ...,
    keep_zeros: bool = False,
    keep: Mapping[str, Any] | Sequence[Any] = ...,
    prune_schedule: Mapping[str, Any] | None = ...,
    seed: int = 0,
    progress: bool = False,
    allow_code: bool = False,
) -> Model:
    """Train the model on data, with Keras's own fit."""

def transpose(
    model: _Model,
    select: _Selector,
    *,
    allow_empty: bool = False,
    axes: Sequence[Any] | None = ...,
    seed: int = 0,
) -> Model:
    """Reorder the axes of the selected weights."""

def unfreeze(
    model: _Model,
    select: _Selector,
    *,
    allow_empty: bool = False,
    seed: int = 0,
) -> Model:
    """Let Keras train the selected layers, and unfreeze the models that contain them."""

def widen(
    model: _Model,
    select: str | Sequence[Any] | Mapping[str, Any],
    *,
    verify: Mapping[str, Any] | bool = True,
    by: float | None = ...,
    to: int | None = ...,
    noise: float = 0.0,
    seed: int = 0,
) -> Model:
    """Give layers more output channels, so that the model returns what it returned."""

def zero(
    model: _Model,
    select: _Selector,
    *,
    allow_empty: bool = False,
    slice: str | None = ...,
    lowest: float | str | None = ...,
    keep: float | str | None = ...,
    random: float | str | None = ...,
    channels: float | str | None = ...,
    norm: Literal["l1", "l2"] = "l2",
    with_norm: bool = False,
    n_of_m: str | None = ...,
    below: float | None = ...,
    above: float | None = ...,
    scope: Literal["tensor", "global"] = "tensor",
    seed: int = 0,
) -> Model:
    """Set the selected weights to zero: all elements, or those chosen by one key."""
