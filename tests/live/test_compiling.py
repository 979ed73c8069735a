"""The names that recipes may give are those that Keras has."""

import inspect
import typing
from pathlib import Path

import pytest

from surgery.declared import compiling
from surgery.declared.callbacks import Callbacks
from surgery.declared.compiling import KerasMetric, Loss, Optimizer
from tests.live import signatures


def subclasses(module, base):
    return {
        name for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base
    }  # fmt: skip


def test_the_lists_are_those_of_keras():
    import keras

    wrappers = {"LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"}
    unknown = {"Lamb", "CategoricalGeneralizedCrossEntropy"}  # to Keras's own `get`
    optimizers = subclasses(keras.optimizers, keras.Optimizer)
    assert set(compiling.OPTIMIZERS) == optimizers - wrappers - unknown
    assert set(compiling.LOSSES) == subclasses(keras.losses, keras.Loss) - unknown
    general = {"Mean", "MeanMetricWrapper", "Sum", "Accuracy"}
    assert set(compiling.METRICS) == subclasses(keras.metrics, keras.Metric) - general


@pytest.mark.parametrize(
    ("kind", "get"),
    [(Optimizer, "optimizers"), (Loss, "losses"), (KerasMetric, "metrics")],
    ids=["optimizer", "loss", "metric"],
)
def test_keras_knows_every_name(kind, get):
    import keras

    module = getattr(keras, get)
    needs_arguments = {"MeanIoU", "IoU", "OneHotIoU", "OneHotMeanIoU", "PrecisionAtRecall",
                       "RecallAtPrecision", "SensitivityAtSpecificity",
                       "SpecificityAtSensitivity"}  # fmt: skip
    for name, class_name in kind.names.items():
        if class_name not in needs_arguments and name not in (
            "keep",
            "accuracy",
            "acc",
            "crossentropy",
            "ce",
        ):
            assert module.get(name) is not None, name
        if class_name[0].isupper() and class_name not in needs_arguments:
            assert module.get({"class_name": class_name, "config": {}}) is not None


def test_callbacks_have_keras_s_arguments_and_defaults():
    import keras

    declared = [typing.get_args(hint)[0] for hint in typing.get_type_hints(Callbacks).values()]
    assert len(declared) == 5
    for callback in declared:
        hints = typing.get_type_hints(callback)
        signature = inspect.signature(getattr(keras.callbacks, callback.__name__).__init__)
        made = callback(**{name: Path("x") for name, hint in hints.items() if hint is Path})
        for name, hint in hints.items():
            if hint is not Path:
                assert getattr(made, name) == signature.parameters[name].default, (callback, name)


def test_the_table_of_arguments_is_what_keras_says():
    assert signatures.as_text(signatures.ask()) == signatures.PLACE.read_text()
