"""The variables of each Keras layer class, in the order in which Keras stores them.

One line a class: the variables' names in the order of `save_own_variables`; a leading `-`
marks one that is never trained; `name?key` is there only if the layer's config has `key` true
(`!key`: only if it is false). Compared with the real Keras by
tests/keras/test_layer_variables.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True)
class VariableSpec:
    """A variable's own name in Keras, and whether an unfrozen layer trains it.

    `position` is its index among the layer's own variables in Keras's `layer.weights`.
    """

    name: str
    trainable: bool = True
    position: int = 0


_KERNEL_BIAS = "kernel bias?use_bias"
_RECURRENT = "kernel recurrent_kernel bias?use_bias"

_BATCH_NORMALIZATION = (
    "gamma?scale beta?center -moving_mean -moving_variance"
    " -moving_stddev?renorm -renorm_mean?renorm -renorm_stddev?renorm"
)

_SPECS = {
    "AdditiveAttention": "scale?use_scale",
    "Attention": "scale?use_scale concat_score_weight?score_mode=concat",
    "BatchNormalization": _BATCH_NORMALIZATION,
    "Conv1D": _KERNEL_BIAS,
    "Conv1DTranspose": _KERNEL_BIAS,
    "Conv2D": _KERNEL_BIAS,
    "Conv2DTranspose": _KERNEL_BIAS,
    "Conv3D": _KERNEL_BIAS,
    "Conv3DTranspose": _KERNEL_BIAS,
    "ConvLSTMCell": _RECURRENT,
    "Dense": _KERNEL_BIAS,
    "DepthwiseConv1D": _KERNEL_BIAS,
    "DepthwiseConv2D": _KERNEL_BIAS,
    "EinsumDense": "kernel bias?bias_axes",
    "Embedding": "embeddings",
    "GRUCell": _RECURRENT,
    "GroupNormalization": "gamma?scale beta?center",
    "LSTMCell": _RECURRENT,
    "LayerNormalization": "gamma?scale beta?center",
    # keras.applications' own layer in ConvNeXt.
    "LayerScale": "gamma",
    "Normalization": "-mean?!mean -variance?!mean -count?!mean",
    "PReLU": "alpha",
    "RMSNormalization": "scale",
    "ReversibleEmbedding": "embeddings reverse_embeddings?!tie_weights",
    "SeparableConv1D": "depthwise_kernel pointwise_kernel bias?use_bias",
    "SeparableConv2D": "depthwise_kernel pointwise_kernel bias?use_bias",
    "SimpleRNNCell": _RECURRENT,
    # Its kernel is the wrapped layer's own, stored a second time.
    "SpectralNormalization": "kernel -vector_u",
    # Keras 2's, which Keras 3 has as an argument of BatchNormalization.
    "SyncBatchNormalization": _BATCH_NORMALIZATION,
    "STFTSpectrogram": "real_kernel?!imag imag_kernel?!real",
}

WITHOUT_VARIABLES = frozenset(
    """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D
    Add AlphaDropout AugMix AutoContrast Average AveragePooling1D AveragePooling2D
    AveragePooling3D Bidirectional CategoryEncoding CenterCrop Concatenate ConvLSTM1D
    ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D CutMix Discretization Dot Dropout
    ELU Equalization Flatten Functional GRU GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D GroupedQueryAttention HashedCrossing Hashing
    Identity InputLayer IntegerLookup LSTM Lambda LeakyReLU Masking MaxNumBoundingBoxes
    MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Merge Minimum MixUp Model
    MultiHeadAttention Multiply Permute RNN RandAugment RandomBrightness
    RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale
    RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation
    RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom ReLU
    RepeatVector Rescaling Reshape Resizing Sequential SimpleRNN SlicingOpLambda Softmax
    Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D StackedRNNCells
    StringLookup Subtract TFOpLambda TextVectorization ThresholdedReLU TimeDistributed
    TorchModuleWrapper UnitNormalization UpSampling1D UpSampling2D UpSampling3D
    ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """.split()  # noqa: SIM905 - as a list it is a page
)
"""Classes without variables of their own; some have sublayers with variables."""

# Keras's defaults for keys that older configs leave out.
_DEFAULTS: dict[str, Any] = {
    "use_bias": True,
    "scale": True,
    "center": True,
    "tie_weights": True,
    "renorm": False,
    "use_scale": False,
}

# By quantization mode: the names of the variables, in stored order.
# The last ones are absent if the mode's config does not need them.
_QUANTIZED = {
    "int8": "kernel bias -kernel_scale",
    "int4": "kernel bias -kernel_scale -kernel_zero -g_idx",
    "float8": (
        "kernel bias inputs_scale inputs_amax_history kernel_scale kernel_amax_history"
        " outputs_grad_scale outputs_grad_amax_history"
    ),
    "gptq": "bias -quantized_kernel -kernel_scale -kernel_zero -g_idx",
    "awq": "bias -quantized_kernel -kernel_scale -kernel_zero -awq_scales -g_idx",
}
_QUANTIZED_EMBEDDINGS = {
    "int8": "-embeddings -embeddings_scale",
    "int4": "-embeddings -embeddings_scale -embeddings_zero -g_idx",
}
_QUANTIZED_REVERSE = {
    "int8": "-reverse_embeddings -reverse_embeddings_scale",
    "int4": "-reverse_embeddings -reverse_embeddings_scale -reverse_embeddings_zero",
}

_HARMLESS_ENDS = ("activation", "regularizer", "constraint", "initializer")
_HARMLESS = frozenset(
    [
        "alpha",
        "data_format",
        "dilation_rate",
        "dropout",
        "epsilon",
        "go_backwards",
        "interpolation",
        "mask_value",
        "max_value",
        "merge_mode",
        "momentum",
        "negative_slope",
        "noise_shape",
        "padding",
        "pool_size",
        "rate",
        "recurrent_dropout",
        "return_sequences",
        "seed",
        "stateful",
        "stddev",
        "strides",
        "threshold",
        "unroll",
    ]
)


def is_harmless(key: str) -> bool:
    """Return whether a key of a layer's config never adds, drops or reshapes a variable."""
    return key in _HARMLESS or key.endswith(_HARMLESS_ENDS)


def known_classes() -> frozenset[str]:
    """Return every layer class whose own variables are known."""
    return frozenset(_SPECS)


def own_variables(class_name: str, config: Config) -> tuple[VariableSpec, ...] | None:
    """Return the variables of a layer itself (not of its sublayers), in Keras's stored order.

    None for a class that is not Keras's, `()` for one without variables.
    """
    mode = quantization_mode(config)
    if class_name in ("Dense", "EinsumDense") and mode in _QUANTIZED:
        spec = _QUANTIZED[mode]
        if mode in ("int8", "int4"):
            spec = spec.replace("kernel ", "-kernel ", 1)
        has_bias = config.get("bias_axes") if class_name == "EinsumDense" else True
        if not (has_bias and config.get("use_bias", True)):
            spec = " ".join(name for name in spec.split() if name != "bias")
    elif class_name in ("Embedding", "ReversibleEmbedding") and mode in _QUANTIZED_EMBEDDINGS:
        spec = _QUANTIZED_EMBEDDINGS[mode]
        if class_name == "ReversibleEmbedding" and not config.get("tie_weights", True):
            spec += " " + _QUANTIZED_REVERSE[mode]
    elif class_name in _SPECS:
        spec = _SPECS[class_name]
    else:
        return None
    if class_name == "LayerNormalization" and config.get("rms_scaling"):
        spec = "gamma"
    items = [item for item in spec.split() if _is_there(class_name, item, config)]
    frozen = ("kernel", "embeddings") if config.get("lora_rank") else ()
    return _variables(items, mode == "float8", frozen)


def variables_by_count(
    class_name: str, count: int, quantized: bool = False
) -> tuple[VariableSpec, ...] | None:
    """Return the variables of a layer of which only the class and their number are known.

    None if the number is ambiguous, as for a LayerNormalization with one variable. `quantized`
    means that the first variable has an integer dtype.
    """
    spec = _SPECS.get(class_name)
    if spec is None:
        return None
    if quantized:
        for mode in ("int8", "int4"):
            config = {"dtype": f"{mode}_from_float32", "bias_axes": "a"}
            variables = own_variables(class_name, config) or ()
            if len(variables) == count:
                return variables
    items = [item for item in spec.split() if not item.endswith(("?renorm", "?!tie_weights"))]
    for candidate in (items, [item for item in items if "?" not in item]):
        if len(candidate) == count:
            return _variables(candidate)
    return None


def quantization_mode(config: Config) -> str | None:
    """Return `int8`, `int4`, `float8`, `gptq` or `awq`; None for a float layer."""
    policy = config.get("dtype")
    if isinstance(policy, str):
        mode = policy.partition("_from_")[0] if "_from_" in policy else None
    elif isinstance(policy, Mapping) and isinstance(policy.get("config"), Mapping):
        mode = policy["config"].get("mode")
    else:
        mode = None
    return mode.partition("/")[0] if isinstance(mode, str) else None


def _variables(
    items: Sequence[str], scales_first: bool = False, frozen: Sequence[str] = ()
) -> tuple[VariableSpec, ...]:
    """Return the specs of these items; in `layer.weights` Keras lists the trained ones first.

    `frozen` names those that LoRA freezes, which keep their positions. A float8 layer creates its
    scales before its kernel when it is loaded (`scales_first`).
    """
    names = [item.partition("?")[0] for item in items]

    def place(name: str) -> tuple[bool, bool]:
        return name.startswith("-"), scales_first and name in ("kernel", "bias")

    positions = {name: i for i, name in enumerate(sorted(names, key=place))}
    return tuple(
        VariableSpec(
            name.lstrip("-"), not name.startswith("-") and name not in frozen, positions[name]
        )
        for name in names
    )


def _is_there(class_name: str, item: str, config: Config) -> bool:
    condition = item.partition("?")[2]
    if not condition:
        return True
    if "=" in condition:
        key, _, value = condition.partition("=")
        return bool(config.get(key) == value)
    if class_name == "STFTSpectrogram":
        return config.get("mode") != condition.lstrip("!")
    key = condition.lstrip("!")
    if class_name == "Normalization":
        return config.get(key) is None
    default = True if class_name == "AdditiveAttention" else _DEFAULTS.get(key)
    return bool(config.get(key, default)) != condition.startswith("!")
