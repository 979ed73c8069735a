import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import settings

from surgery.testing.models import dense_layers, same_bytes, values  # noqa: F401 - for the tests
from tests import forking

ROOT = Path(__file__).parents[1]
MODELS = Path(os.environ.get("SURGERY_MODELS", ROOT.parent / "shared" / "models"))
FORMS = {"keras_zip", "keras_dir", "h5_full", "h5_full_custom", "h5_weights_legacy"}
FORMS |= {"keras3_weights_h5", "keras3_weights_sharded"}
TENSORFLOW_FORMS = {
    "saved_model_keras2", "saved_model_keras3_export", "saved_model_tf2", "saved_model_tf_module",
    "saved_model_tf1", "saved_model_hub_tf1", "saved_model_hub_tf2", "tf2_object_checkpoint",
    "tf1_checkpoint_meta", "tf1_checkpoint_sharded", "tf1_v1_checkpoint", "frozen_graphdef",
}  # fmt: skip

# The same examples every time, so that a change is to blame for what fails;
# HYPOTHESIS_PROFILE=default looks for new ones.
settings.register_profile("same", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

THOROUGH = os.environ.get("SURGERY_TESTS") == "thorough"
"""Whether tests take every example, also those whose kin are there anyway."""

# Else every process that a test starts compiles all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


# What a shell starts with `&` ignores Ctrl-C, and so do all that it starts, but not in tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers():
    """One more than there are cores: what waits for Slurm's clock leaves one idle."""
    return (os.cpu_count() or 1) + 1


LONGEST = ["test_slurm.py", "test_local.py", "test_going_on.py", "test_old_files.py"]
FAST = {"weights", "ops", "recipe", "test_imports.py", "test_contract.py", "test_readme.py"}
"""The folders and files of `pytest -m fast`, for the daily loop: under a minute, no Keras."""
LONG = ["sweeps", "live", "keras", "formats", "execution"]


def pytest_collection_modifyitems(items):
    """What takes long begins first, so that all workers end at about the same time."""

    def place(item):
        folder = item.path.parent.name
        place = LONG.index(folder) if folder in LONG else len(LONG)
        return item.path.name not in LONGEST, place

    for item in items:
        if FAST & {item.path.parent.name, item.path.name}:
            item.add_marker("fast")
    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _keras_is_imported_once():
    """Processes with Keras are forked; those of the commands that are not start their own."""
    from surgery.live.session import Session

    Session._start = forking.session_of(lambda: forking_server("keras").address)


@pytest.fixture(scope="session")
def keras():
    import keras

    return keras


def streamed_formats():
    """Those that any model can be written to without Keras and TensorFlow having a say."""
    from surgery.formats.base import formats

    return [n for n in formats() if n not in ("graphdef", "onnx", "savedmodel", "tflite")]


def published_models(forms=FORMS):
    """The published models of those forms, with their golden facts; skips loudly."""
    index = MODELS / "models.json"
    if not index.is_file():
        reason = f"the published models are not at {MODELS}; set SURGERY_MODELS"
        return [pytest.param(None, None, id="missing", marks=pytest.mark.skip(reason=reason))]
    entries = [m for m in json.loads(index.read_text())["models"] if m["form"] in forms]
    goldens = [json.loads((MODELS / f"{m['slug']}.golden.json").read_text()) for m in entries]
    return [pytest.param(m, g, id=m["slug"]) for m, g in zip(entries, goldens, strict=True)]


def model_path(golden):
    """Where the model is; sharded files of TensorFlow's first format are named by a prefix."""
    return MODELS / golden["path"].partition("-?????")[0]


def many_layers(count):
    """A Sequential model of small Dense layers."""
    return dense_layers([f"layer_{number}" for number in range(count)], [2] * (count + 1))


def dense_model(tmp_path, name="model.keras", layers=("a", "b")):
    """A small .keras file of Dense layers, made without Keras."""
    import surgery

    surgery.save(dense_layers(layers, [4, 3, 2, 5, 4, 3]), keras=tmp_path / name)
    return tmp_path / name


@pytest.fixture
def small(tmp_path):
    """The path of a small .keras model: a (4x3) and b (3x2), with biases."""
    return dense_model(tmp_path)


def command(*arguments, cwd=None, limits=None, imported=(), **environment):
    """Run `surgery` as a user does, in a process of its own; also gives its peak memory in MB.

    The process is one that has those modules imported: Keras takes four seconds.
    """
    arguments = [str(argument) for argument in arguments]
    with (
        open(os.devnull) as nothing,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        process = forking.Forked(
            forking_server(*imported).address,
            ["surgery.cli.main", *arguments],
            files=[file.fileno() for file in (nothing, out, err)],
            cwd=str(cwd or Path.cwd()),
            environment={**os.environ, **environment},
            limits=limits or {},
        )
        try:
            code = process.wait(300)
        finally:
            process.kill()
        for file in (out, err):
            file.seek(0)
        done = subprocess.CompletedProcess(arguments, code, out.read(), err.read())
        done.megabytes = process.megabytes
        return done


@functools.cache
def forking_server(*imported):
    """What forks for every command."""
    return forking.Server(*imported)


def config_of(path):
    return json.loads(zipfile.ZipFile(path).read("config.json"))
