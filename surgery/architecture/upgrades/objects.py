"""Objects inside a layer's config in Keras 3's form: initializers, policies, numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_INITIALIZERS = frozenset(
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones
    Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
    """.split()  # noqa: SIM905 - as a list it is a page
)
_REGULARIZERS = frozenset({"L1", "L1L2", "L2", "OrthogonalRegularizer"})
_CONSTRAINTS = frozenset({"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"})
_MODULES = {
    **dict.fromkeys(_INITIALIZERS, "keras.initializers"),
    **dict.fromkeys(_REGULARIZERS, "keras.regularizers"),
    **dict.fromkeys(_CONSTRAINTS, "keras.constraints"),
}
_OF_KERAS = (None, "builtins", "keras.activations", "keras.src.activations")
"""The modules whose functions are Keras's own in Keras 2's configs."""

_OLD_NAMES = {"IdentityV2": "Identity", "RandomNormalV2": "RandomNormal"}
_POLICIES = ("Policy", "PolicyV1", "DTypePolicy")


def as_keras3(value: Any) -> Any:
    """Convert a value in a layer's config to Keras 3; unknown values are kept."""
    if isinstance(value, list):
        return [as_keras3(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    class_name, config = value.get("class_name"), value.get("config")
    if class_name == "__numpy__" and isinstance(config, Mapping):
        return config.get("value")
    if class_name == "TensorShape":
        return value.get("items", config)
    if class_name == "function" and isinstance(config, str):
        return config if value.get("module") in _OF_KERAS else dict(value)
    if not isinstance(class_name, str) or not isinstance(config, Mapping):
        return {key: as_keras3(item) for key, item in value.items()}
    if class_name in _POLICIES:
        return keras_object("keras", "DTypePolicy", {"name": config.get("name")})
    class_name = _OLD_NAMES.get(class_name, class_name)
    if class_name in _MODULES:
        inner = {key: as_keras3(item) for key, item in config.items()}
        return keras_object(_MODULES[class_name], class_name, _arguments(class_name, inner))
    return dict(value)


def keras_object(module: str, class_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a serialised object of Keras's own in Keras 3's form."""
    return {
        "module": module,
        "class_name": class_name,
        "config": dict(config),
        "registered_name": None,
    }


def _arguments(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    if class_name in _INITIALIZERS:
        config.pop("dtype", None)  # TensorFlow 1's
        config.pop("partition_info", None)
    if class_name == "VarianceScaling" and config.get("distribution") == "normal":
        config["distribution"] = "truncated_normal"
    return config
