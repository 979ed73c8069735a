"""`surgery diff`: by hand, against NumPy on published models, and as git's driver."""

import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import surgery
from surgery.weights.comparison import of_block
from surgery.weights.difference import differences
from tests.conftest import (
    command,
    config_of,
    dense_layers,
    dense_model,
    model_path,
    published_models,
)


def diff(*arguments):
    done = command("diff", "--json", *arguments)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_by_hand():
    a = np.array([1, 2, 0, -4, 0, 5], np.float32)
    b = np.array([1, 0, 3, -4, 0, 6], np.float32)
    found = of_block(a, b)
    assert (found.count, found.changed, found.zeros) == (6, 3, (2, 2))
    assert (found.largest, found.mean) == (3, 1)
    assert found.relative_norm == math.sqrt(14 / 46)
    assert found.cosine == pytest.approx(47 / math.sqrt(46 * 62), abs=1e-15)


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "int8", "uint32", "bool"]
)
def test_against_numpy(dtype):
    from surgery.weights.tensor import dtype_named

    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 9, 20_001).astype(dtype_named(dtype)) for _ in range(2))
    found = of_block(a, b)
    x, y = a.astype(np.float64), b.astype(np.float64)
    assert found.changed == (a != b).sum()
    assert found.largest == np.abs(y - x).max()
    assert found.mean == pytest.approx(np.abs(y - x).mean(), rel=1e-5)
    assert found.relative_norm == pytest.approx(np.linalg.norm(y - x) / np.linalg.norm(x))
    assert found.cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert found.zeros == ((x == 0).sum(), (y == 0).sum())


def test_what_is_not_finite_is_left_out_of_the_sums():
    a = np.array([1, np.nan, 2, np.inf, 0], np.float32)
    b = np.array([1, np.nan, 4, 3, -0.0], np.float32)
    found = of_block(a, b)
    assert (found.changed, found.largest, found.mean) == (3, 2, 2 / 3)  # -0.0 has other bytes
    zero = np.zeros(3, np.float32)
    assert math.isnan(of_block(zero, zero + 1).cosine)
    assert of_block(zero, zero + 1).relative_norm == math.inf
    assert of_block(zero, zero + 1).as_dict()["cosine"] is None


def changed(tmp_path, name="b.keras", **steps):
    """The small model after steps."""
    source = tmp_path / "model.keras"
    if not source.exists():
        dense_model(tmp_path)
    recipe = {
        "surgery": 1,
        "load": str(source),
        "steps": [{op: keys} for op, keys in steps.items()],
        "export": [{"keras": str(tmp_path / name)}],
    }
    surgery.run(recipe)
    return source, tmp_path / name


def test_the_same(tmp_path):
    a, b = changed(tmp_path)
    code, facts = diff(a, b)
    assert code == 0
    assert facts["same"] == ["a/kernel", "a/bias", "b/kernel", "b/bias"]
    assert not any(facts[key] for key in facts.keys() - {"a", "b", "same"})
    assert command("diff", a, b).stdout.endswith("4 weights, all the same\n")


def test_changed_weights(tmp_path):
    a, b = changed(tmp_path, scale={"select": "a/kernel", "by": 2}, zero={"select": "b/bias"})
    code, facts = diff(a, b)
    assert code == 1
    kernel, bias = facts["changed"]
    values = surgery.open(a)["a/kernel"].tensor.numpy()
    assert kernel["address"] == "a/kernel"
    assert kernel["relative_norm"] == pytest.approx(1)
    assert kernel["max_abs"] == np.abs(values).max()
    assert (bias["zeros_before"], bias["zeros_after"], bias["cosine"]) == (0, 2, None)
    text = command("diff", a, b).stdout
    assert "all of these" in text
    assert text.endswith("2 weights the same, 2 changed\n")


def test_layers_config_and_renames(tmp_path):
    a, b = changed(tmp_path, freeze={"select": "a"}, rename={"select": "b", "to": "c"})
    code, facts = diff(a, b)
    assert code == 1
    assert facts["renamed"] == [{"a": "b/kernel", "b": "c/kernel"}, {"a": "b/bias", "b": "c/bias"}]
    assert not facts["only_in_a"] + facts["only_in_b"] + facts["changed"]
    assert facts["config"] == [
        "layer a: trainable True -> False",
        "layer b (Dense) only in the first",
        "layer c (Dense) only in the second",
    ]


def test_other_shapes_and_dtypes(tmp_path):
    surgery.save(dense_layers(["a", "b"], [4, 3, 2]), keras=tmp_path / "a.keras")
    surgery.save(dense_layers(["a", "b", "z"], [4, 3, 5, 6]), keras=tmp_path / "b.keras")
    code, facts = diff(tmp_path / "a.keras", tmp_path / "b.keras")
    assert code == 1
    assert facts["shape_changed"] == [
        {"address": "b/kernel", "shapes": [[3, 2], [3, 5]]},
        {"address": "b/bias", "shapes": [[2], [5]]},
    ]
    assert facts["only_in_b"] == ["z/kernel", "z/bias"]
    assert "layer b: units 2 -> 5" in facts["config"]
    _, half = changed(tmp_path, "half.keras", cast={"select": "a", "to": "float16"})
    code, facts = diff(tmp_path / "model.keras", half)
    assert [each["dtypes"] for each in facts["changed"]] == [["float32", "float16"]] * 2


def test_any_two_forms(tmp_path):
    """What holds weights only gets its names from the other one."""
    source, _ = changed(tmp_path)
    model = surgery.open(source)
    targets = {"h5": "m.h5", "weights_h5": "m.weights.h5", "npz": "m.npz", "npy": "m_npy",
               "safetensors": "m.safetensors", "checkpoint": "ckpt"}  # fmt: skip
    for form, name in targets.items():
        surgery.save(model, **{form: tmp_path / name})
        code, facts = diff(tmp_path / name, source)
        assert (code, len(facts["same"])) == (0, 4), (form, facts)


def test_what_only_one_of_them_is_compiled_with(tmp_path):
    found = [
        p.values
        for p in published_models()
        if p.values[0] and p.values[0]["slug"] == "deeplc-keras"
    ]
    if not found:
        pytest.skip("the published models are not here")
    model = surgery.open(model_path(found[0][1]))
    surgery.save(model.without_optimizer(), keras=tmp_path / "bare.keras")
    code, facts = diff(model_path(found[0][1]), tmp_path / "bare.keras")
    assert code == 1
    assert facts["config"] == [
        "compile config only in the first", "optimizer state only in the first",
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "longdouble"])
def test_wide_dtypes(dtype, tmp_path):
    values = np.arange(5).astype(dtype)
    np.savez(tmp_path / "a.npz", w=values)
    np.savez(tmp_path / "b.npz", w=values * 2)
    done = command("diff", tmp_path / "a.npz", tmp_path / "b.npz")
    assert done.returncode in (1, 2), done.stderr  # some are no weights of a .npz here
    assert "Traceback" not in done.stderr


def test_several_give_a_matrix(tmp_path):
    a, b = changed(tmp_path, scale={"select": "**", "by": 2})
    _, c = changed(tmp_path, "c.keras")
    done = command("diff", a, b, c)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].split()[-3:] == ["1", "2", "3"]
    assert lines[1].split()[-3:] == ["-", "1", "same"]
    assert len(diff(a, b, c)[1]) == 3


def test_trouble(tmp_path):
    a, _ = changed(tmp_path)
    code, said = diff(a, tmp_path / "no.keras")
    assert code == 2
    assert "no such file" in said
    assert command("diff", a).returncode == 2
    (tmp_path / "odd.keras").write_bytes(b"PK odd")
    assert command("diff", a, tmp_path / "odd.keras").returncode == 2


def test_the_same_with_any_number_of_threads(tmp_path):
    a, b = (dense_layers(["a"], [1500, 1500]) for _ in range(2))
    surgery.save(surgery.noise(b, "a/kernel", std=0.1, seed=5), keras=tmp_path / "b.keras")
    found = [differences(a, surgery.open(tmp_path / "b.keras"), threads) for threads in (1, 2, 7)]
    assert found[0].changed["a/kernel"].changed > 2_000_000
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("entry", "golden"), published_models())
def test_published_models_against_numpy(entry, golden, tmp_path):
    """A published model against itself with noise on it: what NumPy makes of both."""
    model = surgery.open(model_path(golden))
    floats = [w for w in model.weights if w.tensor.dtype.name == "float32" and w.tensor.size][:3]
    assert differences(model, model, 2).is_none
    for weight in floats:
        noisy = surgery.noise(model, weight.address.replace("[", "?"), std=0.01)
        found = differences(model, noisy, 2).changed[weight.address]
        x, y = (m[weight.address].tensor.numpy().astype(np.float64) for m in (model, noisy))
        assert found.largest == np.abs(y - x).max()
        assert found.mean == pytest.approx(np.abs(y - x).mean(), rel=1e-5)
        if np.any(x):
            expected = np.linalg.norm(y - x) / np.linalg.norm(x)
            assert found.relative_norm == pytest.approx(expected, rel=1e-5)


def test_as_git_s_driver(tmp_path):
    """The two lines of docs/diff.md, in a repository with two versions of a model."""
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    a, b = changed(tmp_path, scale={"select": "a", "by": 2})
    repository = tmp_path / "repository"
    repository.mkdir()
    environment = {
        **os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b", "PYTHON": sys.executable, "GIT_CONFIG_GLOBAL": os.devnull,
    }  # fmt: skip

    def git(*arguments):
        done = subprocess.run(
            ["git", *arguments], cwd=repository, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    git("init", "-q")
    (repository / ".gitattributes").write_text("*.keras diff=surgery\n")
    git("config", "diff.surgery.command", f"{sys.executable} -m surgery diff --git")
    shutil.copy(a, repository / "model.keras")
    git("add", ".")
    git("commit", "-qm", "one")
    shutil.copy(b, repository / "model.keras")
    text = git("diff")
    assert text.startswith("diff --surgery model.keras\n")
    assert text.endswith("2 weights the same, 2 changed\n")
    git("commit", "-qam", "two")
    assert "only in the second: a/kernel" in git("log", "-p", "--ext-diff", "--format=")
    assert config_of(repository / "model.keras")
