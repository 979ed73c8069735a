"""Models of keras.applications: their architecture, built without memory for the weights."""

from __future__ import annotations

import contextlib
import io
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from surgery.architecture import Architecture
from surgery.architecture.sharing import numbered
from surgery.declared.fields import key, keys_of, recipe_path
from surgery.errors import SurgeryError, did_you_mean
from surgery.live.quiet import import_keras
from surgery.live.symbolic import without_memory
from surgery.storage.cache import Cached
from surgery.storage.keras_home import keras_home, keras_settings

_INCLUDE = ("include_preprocessing",)
_V3 = ("alpha", "minimalistic", "dropout_rate", "include_preprocessing")
_COMMON = (
    "include_top", "input_shape", "pooling", "classes", "classifier_activation", "name",
)  # fmt: skip
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    **{f"ConvNeXt{size}": _INCLUDE for size in ("Base", "Large", "Small", "Tiny", "XLarge")},
    **{f"DenseNet{depth}": () for depth in (121, 169, 201)},
    **{f"EfficientNetB{number}": () for number in range(8)},
    **{f"EfficientNetV2{s}": _INCLUDE for s in ("B0", "B1", "B2", "B3", "L", "M", "S")},
    "InceptionResNetV2": (),
    "InceptionV3": (),
    "MobileNet": ("alpha", "depth_multiplier", "dropout"),
    "MobileNetV2": ("alpha",),
    "MobileNetV3Large": _V3,
    "MobileNetV3Small": _V3,
    "NASNetLarge": (),
    "NASNetMobile": (),
    **{f"ResNet{depth}{v}": () for depth in (50, 101, 152) for v in ("", "V2")},
    "VGG16": (),
    "VGG19": (),
    "Xception": (),
}
"""Each application's arguments besides the common ones; a test compares them with Keras."""

_FORMAT = 1


class _Unset:
    def __repr__(self) -> str:
        return "unset"


_UNSET: Any = _Unset()


@dataclass(frozen=True)
class WeightsOf:
    """The weights of an application: `none`, `imagenet`, or a weights file."""

    text: str
    path: Path | None = None

    @classmethod
    def from_recipe(cls, value: object, folder: Path) -> WeightsOf:
        """Make the weights from "none", "imagenet", or a path relative to `folder`.

        Raises TypeError for anything but text.
        """
        if not isinstance(value, str):
            raise TypeError
        if value in ("none", "imagenet"):
            return cls(value)
        return cls(value, recipe_path(value, folder))

    @classmethod
    def schema(cls) -> Mapping[str, object]:
        """Return the JSON Schema of the recipe's text."""
        return {"type": "string", "minLength": 1}

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Application:
    """A model of keras.applications, with that function's own arguments."""

    application: str = key("A model of keras.applications.", "VGG16", enum=sorted(ARGUMENTS))
    weights: WeightsOf = key(
        "imagenet (Keras downloads them once), none (drawn from the layers' own initialisers and "
        "the recipe's seed), or a weights file.",
        "imagenet",
        default=WeightsOf("imagenet"),
        in_example=True,
    )
    include_top: bool = key("Whether to include the classifier.", False, default=_UNSET)
    include_preprocessing: bool = key(
        "Whether to include the rescaling layers.", True, default=_UNSET
    )
    input_shape: tuple[int, ...] = key(
        "The shape of an image: height, width, channels.", [96, 96, 3], default=_UNSET
    )
    pooling: Literal["avg", "max"] | None = key(
        "The pooling of the features if there is no classifier.", "avg", default=_UNSET
    )
    classes: int = key("The number of classes.", 10, default=_UNSET)
    classifier_activation: str | None = key(
        "The classifier's activation; null for logits.", "softmax", default=_UNSET
    )
    alpha: float = key("The width of a MobileNet.", 0.35, default=_UNSET)
    depth_multiplier: int = key("The depth multiplier of MobileNet.", 1, default=_UNSET)
    dropout: float = key("The dropout of MobileNet.", 0.001, default=_UNSET)
    dropout_rate: float = key("The dropout of MobileNetV3.", 0.2, default=_UNSET)
    minimalistic: bool = key("Whether MobileNetV3 is minimalistic.", False, default=_UNSET)
    name: str = key("The name of the model.", "body", default=_UNSET)

    def __post_init__(self) -> None:
        if self.application not in ARGUMENTS:
            hint = did_you_mean(self.application, ARGUMENTS)
            raise ValueError(f"keras.applications has no {self.application!r}{hint}")
        allowed = [*_COMMON, *ARGUMENTS[self.application]]
        for name in self.arguments:
            if name not in allowed:
                raise ValueError(
                    f"{self.application} has no argument {name!r}; it has {', '.join(allowed)}"
                )
        is_whole = self.arguments.get("include_top", True)
        if (
            self.weights.text == "imagenet"
            and is_whole
            and self.arguments.get("classes", 1000) != 1000
        ):
            raise ValueError(
                f"classes: {self.classes}, but weights: imagenet (the default) are for 1000 "
                "classes; write include_top: false to leave out the classifier, or weights: none"
            )

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments in the recipe for Keras's function, without the weights."""
        names = [name for name in keys_of(type(self)) if name not in ("application", "weights")]
        return {n: getattr(self, n) for n in names if getattr(self, n) is not _UNSET}

    @cached_property
    def identity(self) -> str:
        """Everything that determines what the application resolves to, as JSON."""
        decisive = {
            "format": _FORMAT,
            "application": self.application,
            "arguments": self.arguments,
            "imagenet": self.weights.text == "imagenet",
            "keras": metadata.version("keras"),
            "tensorflow": metadata.version("tensorflow"),
            "settings": keras_settings(),
        }
        return json.dumps(decisive, sort_keys=True)

    @property
    def _cached(self) -> Cached:
        return Cached("applications", self.identity, f"{self.application}-")

    @property
    def is_cached(self) -> bool:
        """True if it has been resolved before, so that TensorFlow is not needed."""
        return self._cached.read() is not None

    def resolve(self) -> Resolved:
        """Return the application's config and variables, from the cache or from Keras."""
        found = self._cached.read()
        if found is None:
            found = _from_keras(self)
            self._cached.write(found)
        return Resolved(**found)


@dataclass(frozen=True)
class Resolved:
    """A model's config, its variables in Keras's order, and the download of its weights.

    Each variable is a dict of name, shape, dtype and initializer; `download` has the arguments of
    Keras's `get_file`, or is None if there is nothing to download.
    """

    config: Mapping[str, Any]
    keras_version: str
    variables: list[dict[str, Any]]
    download: Mapping[str, Any] | None

    @property
    def architecture(self) -> Architecture:
        """The config as an architecture."""
        return Architecture(self.config)


def _from_keras(application: Application) -> dict[str, Any]:
    """Build the model symbolically, without allocating or downloading anything.

    Raises SurgeryError with Keras's message for arguments that Keras rejects.
    """
    from unittest import mock

    import_keras()
    import keras
    from keras.src.saving import serialization_lib
    from keras.src.utils import file_utils

    asked: list[dict[str, Any]] = []

    def note_file(fname: str, origin: str, **options: Any) -> str:
        asked.append({"fname": fname, "origin": origin, **options})
        return fname

    build = getattr(keras.applications, application.application)
    weights = "imagenet" if application.weights.text == "imagenet" else None
    try:
        with (
            without_memory(),
            mock.patch.object(file_utils, "get_file", note_file),
            mock.patch.object(keras.Model, "load_weights"),
        ):
            model = build(weights=weights, **application.arguments)
            with serialization_lib.ObjectSharingScope():
                config = json.loads(json.dumps(serialization_lib.serialize_keras_object(model)))
            variables = [variable_facts(variable) for variable in model.weights]
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise SurgeryError(f"keras.applications.{application.application}: {reason}") from None
    return {
        "config": numbered(config),
        "keras_version": keras.__version__,
        "variables": variables,
        "download": asked[0] if asked else None,
    }


def variable_facts(variable: Any) -> dict[str, Any]:
    """Return the name, shape, dtype and initializer of a variable without a value."""
    return {
        "name": variable.name,
        "shape": list(variable.shape),
        "dtype": variable.dtype,
        "initializer": _initializer_facts(variable._initializer),
    }


def _initializer_facts(initializer: Any) -> list[Any]:
    """Return [class name, config] of an initializer.

    For an LSTM with `unit_forget_bias`, which has a function instead of an initializer object,
    returns ["UnitForgetBias", {"bias_initializer": [class name, config]}].
    """
    if hasattr(initializer, "get_config"):
        return [type(initializer).__name__, initializer.get_config()]
    cell = initializer.__closure__[0].cell_contents
    return ["UnitForgetBias", {"bias_initializer": _initializer_facts(cell.bias_initializer)}]


def imagenet_file(application: Application, download: Mapping[str, Any]) -> Path:
    """Return the path of Keras's own weights file, downloaded if it is missing.

    Raises SurgeryError if the download fails.
    """
    path = keras_home() / str(download.get("cache_subdir", "models")) / str(download["fname"])
    if path.is_file():
        return path
    import_keras()
    from keras.src.utils import file_utils

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return Path(file_utils.get_file(**typing.cast(Any, dict(download))))
    except Exception as error:  # Keras raises a bare Exception for a failed download
        reason = " ".join(str(error).split())
        raise SurgeryError(
            f"the weights of {application.application} cannot be downloaded ({reason}); put "
            f"{download['fname']} from {download['origin']} into {path.parent}, or give "
            "weights: none or a weights file"
        ) from None
