"""A training is skipped only where nothing that it read or wrote has changed: each thing tried."""

import shutil
import struct
import zlib

import numpy as np
import pytest

from surgery.execution import proof
from surgery.recipe.reading import read_recipe
from tests.execution.test_stale import changed, problems
from tests.live.conftest import command, recipe

DATA = {"npz": "train.npz", "x": "x", "y": "y"}
CALLBACKS = {
    "csv_logger": {"filename": "logs/history.csv"},
    "model_checkpoint": {"filepath": "logs/epoch-{epoch:02d}.keras"},
}


def png(path, grey):
    """A picture of 8x8 in one grey."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(bytes([0, *[grey] * 8]) * 8)), (b"IEND", b"")
    chunks = (struct.pack(">I", len(data)) + kind + data
              + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.fixture(scope="module")
def ran(small_net, digits, tmp_path_factory):
    """A training with validation data, a mask and callbacks, of which an expectation has data."""
    folder = tmp_path_factory.mktemp("ran")
    shutil.copy(small_net, folder / "net.keras")
    x, y = digits["x_test"][:40].astype(np.float32), digits["y_test"][:40]
    for name in ("train", "validation", "expected"):
        np.savez(folder / f"{name}.npz", x=x, y=y)
    np.save(folder / "mask.npy", np.eye(12, 10))
    for name in ("0/a", "0/b", "1/a"):
        png(folder / f"pictures/{name}.png", 40)
    (folder / "logs").mkdir()
    (folder / "logs/epoch-07.keras").write_text("of another run")
    path = recipe(
        folder,
        {
            "train": {
                "data": DATA,
                "loss": "sparse_categorical_crossentropy",
                "validation": {**DATA, "npz": "validation.npz"},
                "keep": [{"select": "digit/kernel", "mask": "mask.npy"}],
                "callbacks": CALLBACKS,
            }
        },
        {
            "evaluate": {
                "data": {"images": "pictures", "size": [8, 8], "channels": 1},
                "loss": "sparse_categorical_crossentropy",
            }
        },
        expect=[
            {"output_change": {"on": "data", "data": {**DATA, "npz": "expected.npz"}, "at_most": 1}}
        ],
    )
    done = command("run", path)
    assert done.returncode == 0, done.stderr
    return path


def is_current(folder, **how):
    return proof.is_current(read_recipe(folder / "r.yaml"), 1, **how)


CHANGES = {
    "data": lambda f: changed(f / "train.npz"),
    "validation data": lambda f: changed(f / "validation.npz"),
    "data of an expectation": lambda f: changed(f / "expected.npz"),
    "mask": lambda f: changed(f / "mask.npy"),
    "picture": lambda f: changed(f / "pictures/0/a.png"),
    "picture more": lambda f: png(f / "pictures/1/b.png", 40),
    "picture less": lambda f: (f / "pictures/0/b.png").unlink(),
    "log": lambda f: changed(f / "logs/history.csv"),
    "log gone": lambda f: (f / "logs/history.csv").unlink(),
    "checkpoint gone": lambda f: (f / "logs/epoch-01.keras").unlink(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_noticed(name, ran, tmp_path):
    folder = shutil.copytree(ran.parent, tmp_path / "copy")
    assert is_current(folder)
    CHANGES[name](folder)
    assert not is_current(folder)
    done = command("verify", folder / "out/r.run.json")
    assert (done.returncode, len(problems(done))) == (1, 1), done.stdout


def test_no_callback_writes_into_what_is_read(ran, tmp_path):
    folder = shutil.copytree(ran.parent, tmp_path / "copy")
    text = (folder / "r.yaml").read_text()
    (folder / "r.yaml").write_text(text.replace("logs/history.csv", "pictures/history.csv"))
    done = command("plan", folder / "r.yaml")
    assert done.returncode == 2
    assert f"is in {folder}/pictures, which is never written to" in done.stderr


def test_what_callbacks_of_another_run_wrote_is_not_this_one_s(ran, tmp_path):
    folder = shutil.copytree(ran.parent, tmp_path / "copy")
    (folder / "logs/epoch-07.keras").unlink()
    assert is_current(folder)


CODE = """from parts.numbers import COUNT
import keras, numpy as np
def make():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="d")])
def batches():
    x = np.ones((COUNT, 4), "float32")
    yield x, x[:, :2]
"""


@pytest.fixture(scope="module", params=["edited", "trained"])
def coded(request, tmp_path_factory):
    """A training on batches of the user's code, which imports another file of theirs."""
    folder = tmp_path_factory.mktemp("coded")
    (folder / "parts").mkdir()
    (folder / "parts/__init__.py").write_text("")
    (folder / "parts/numbers.py").write_text("COUNT = 8\n")
    (folder / "mine.py").write_text(CODE)
    (folder / "not_imported.py").write_text("1 / 0\n")
    train = {"train": {"data": {"generator": "mine:batches"}, "loss": "mse"}}
    made = {"build": "mine:make"}
    if request.param == "edited":
        export = [{"weights_h5": "out/w.weights.h5"}]
        path = recipe(folder, load=made, export=export)
    else:
        path = recipe(folder, train, load=made, export=[{"npz": "out/w.npz"}])
    done = command("--allow-code", "run", path)
    assert done.returncode == 0, done.stderr
    return path


def test_code_that_was_imported(coded, tmp_path):
    """A run is done again in any case; of a sweep, where a file with code is another."""
    folder = shutil.copytree(coded.parent, tmp_path / "copy")
    assert not is_current(folder)
    assert is_current(folder, trusts_code=True)
    (folder / "not_imported.py").write_text("2 / 0\n")
    assert is_current(folder, trusts_code=True)
    assert command("verify", folder / "out/r.run.json").returncode == 0
    (folder / "parts/numbers.py").write_text("COUNT = 9\n")
    assert not is_current(folder, trusts_code=True)
    assert problems(command("verify", folder / "out/r.run.json")) == [
        f"{folder}/parts/numbers.py: ../parts/numbers.py differs"
    ]


SHARED = """import keras
def make():
    start = keras.initializers.GlorotUniform(seed=3)
    layers = [keras.layers.Dense(4, kernel_initializer=start) for _ in range(2)]
    return keras.Sequential([keras.Input((4,)), *layers])
"""


def test_a_build_is_the_same_bytes_every_time(tmp_path):
    """Keras numbers what layers share by where it lies in memory, and says when it saved."""
    (tmp_path / "mine.py").write_text(SHARED)
    path = recipe(tmp_path, load={"build": "mine:make"})
    written = []
    for _ in range(2):
        done = command("--allow-code", "run", path)
        assert done.returncode == 0, done.stderr
        written.append((tmp_path / "out/model.keras").read_bytes())
    assert written[0] == written[1]
