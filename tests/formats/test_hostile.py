"""A file from a stranger ends in one clear error: no code, no other file, no memory, no wait."""

import json
import zipfile

import numpy as np
import pytest

import surgery
from tests.conftest import command, same_bytes
from tests.formats.hostile import CASES, members, model, rezip

MEGABYTES = 300
LIMITS = {"RLIMIT_CPU": 5, "RLIMIT_FSIZE": 200 << 20}


def run(*arguments, cwd):
    """A process with limits; its exit code, output, errors, and peak memory in MB."""
    done = command(*arguments, cwd=cwd, limits=LIMITS)
    return done.returncode, done.stdout, done.stderr, done.megabytes


def test_there_are_enough():
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_one_clear_error(name, tmp_path):
    make, message = CASES[name]
    (tmp_path / "made").mkdir()
    path = make(tmp_path / "made")
    (tmp_path / "r.yaml").write_text(f"surgery: 1\nload: {path}\nexport: [{{npy: out/w}}]\n")
    before = sorted(f.name for f in tmp_path.rglob("*"))
    code, out, err, megabytes = run("run", "r.yaml", cwd=tmp_path)
    assert code == 1, (code, err)
    assert out == ""
    assert message.format(path=path) in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1
    assert megabytes < MEGABYTES
    assert sorted(f.name for f in tmp_path.rglob("*")) == before
    code, _, err, megabytes = run("inspect", path, "--stats", cwd=tmp_path)
    assert (code, len(err.splitlines())) == (1, 1)
    assert megabytes < MEGABYTES


@pytest.mark.parametrize("name", [n for n in CASES if "crc" in n or "flipped" in n])
@pytest.mark.parametrize("shown", ["--values", "--hash"])
def test_no_value_is_shown_that_a_checksum_denies(shown, name, tmp_path):
    make, message = CASES[name]
    path = make(tmp_path)
    code, out, err, _ = run("inspect", path, shown, cwd=tmp_path)
    assert (code, out) == (1, "")
    assert message.format(path=path) in err


def test_a_lambda_s_code_is_carried_and_never_run(tmp_path):
    path = model(tmp_path / "m.keras")
    entries = members(path)
    config = json.loads(entries["config.json"])
    config["config"]["layers"].append(
        {"module": "os", "class_name": "system", "registered_name": "system",
         "config": {"name": "evil", "command": "touch hacked"}}
    )  # fmt: skip
    config["config"]["layers"].append(
        {"module": "keras.layers", "class_name": "Lambda", "registered_name": None,
         "config": {"name": "code", "function": {"class_name": "__lambda__", "config": {
             "code": "4wEAAAAAAAAAAAAAAAEAAAABAAAAQwAAAA=="}}}}
    )  # fmt: skip
    rezip(path, {**entries, "config.json": json.dumps(config)}.items())
    (tmp_path / "r.yaml").write_text(
        "surgery: 1\nload: m.keras\nsteps: [{freeze: {select: a}}]\nexport: [{keras: out.keras}]\n"
    )
    code, _, err, _ = run("run", "r.yaml", cwd=tmp_path)
    assert code == 0, err
    assert not (tmp_path / "hacked").exists()
    assert same_bytes(surgery.open(tmp_path / "out.keras"), surgery.open(path))
    with zipfile.ZipFile(tmp_path / "out.keras") as archive:
        kept = json.loads(archive.read("config.json"))["config"]["layers"]
    assert kept[-2:] == config["config"]["layers"][-2:]


def test_a_large_crc_is_checked_while_it_is_read(tmp_path):
    from tests.conftest import dense_layers

    surgery.save(dense_layers(["a", "b"], [1200, 1100, 900]), keras=tmp_path / "m.keras")
    data = bytearray((tmp_path / "m.keras").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m.keras").write_bytes(data)
    for steps in ("[]", '[{zero: {select: "*/kernel", lowest: 10%}}]'):
        (tmp_path / "r.yaml").write_text(
            f"surgery: 1\nload: m.keras\nsteps: {steps}\nexport: [{{keras: out/m.keras}}]\n"
        )
        code, _, err, _ = run("run", "r.yaml", cwd=tmp_path)
        assert (code, "the CRC of model.weights.h5" in err) == (1, True)
        assert not (tmp_path / "out").exists()
    assert run("inspect", "m.keras", cwd=tmp_path)[0] == 0  # headers only
    assert run("inspect", "--hash", "m.keras", cwd=tmp_path)[0] == 1


def test_a_thousand_small_weights_in_a_compressed_archive(tmp_path):
    arrays = {f"layer_{i}/kernel": np.full(3, i, np.float32) for i in range(1000)}
    np.savez_compressed(tmp_path / "m.npz", **arrays)
    code, out, err, _ = run("inspect", "m.npz", "--json", cwd=tmp_path)
    assert code == 0, err
    assert len(json.loads(out)["weights"]) == 1000
