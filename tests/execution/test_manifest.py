"""The manifest: what it says, what it proves, and when a run is not needed."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import surgery
from surgery.formats.base import formats
from tests.conftest import command, dense_layers, dense_model, streamed_formats, values
from tests.formats.hostile import members

RECIPE = """surgery: 1
seed: 7
params: {by: 2}
load: m.keras
steps:
  - scale: {select: a/kernel, by: "${by}"}
  - freeze: {select: b}
export:
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    dense_model(tmp_path, "m.keras")
    lines = [f"  - {name}: out/{name}{ending(name)}\n" for name in streamed_formats()]
    (tmp_path / "r.yaml").write_text(RECIPE + "".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ending(name):
    form = formats()[name]
    return "" if form.is_folder else form.suffix


WRITTEN_BEFORE = Path(__file__).parent / "written_by_0_1_0"


def test_a_manifest_of_version_0_1_0_is_still_verified(tmp_path):
    shutil.copytree(WRITTEN_BEFORE, tmp_path, dirs_exist_ok=True)
    manifest = tmp_path / "scaled.run.json"
    assert json.loads(manifest.read_text())["versions"]["surgery"] == "0.1.0"
    done = command("verify", str(manifest))
    assert (done.returncode, done.stdout.count("2 weights as written")) == (0, 2)
    with zipfile.ZipFile(tmp_path / "after.npz", "a") as archive:
        archive.writestr("more.npy", b"")
    assert command("verify", str(manifest)).returncode == 1


def files(folder):
    found = sorted(f for f in Path(folder).rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in found
            if not f.name.endswith(".run.json")}  # fmt: skip


def test_what_it_says(folder):
    assert command("run", "r.yaml", "-p", "by=3", "--hash").returncode == 0
    facts = json.loads(Path("out/r.run.json").read_text())
    assert facts["params"] == {"by": 3}
    assert facts["seed"] == 7
    assert facts["recipe"]["steps"][0] == {"scale": {"select": "a/kernel", "by": 3}}
    assert facts["versions"]["surgery"]
    assert facts["steps"][0]["matched"] == ["a/kernel"]
    assert facts["steps"][0]["changed"] == 12
    before = values(surgery.open("m.keras"))
    (given,) = facts["inputs"]
    assert given["path"] == "../m.keras"
    assert {w["address"]: w["sha256"] for w in given["weights"]} == {
        name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in before.items()
    }
    before["a/kernel"] *= 3
    for output in facts["outputs"]:
        assert {w["address"]: w["sha256"] for w in output["weights"]} == {
            name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in before.items()
        }
        for file in output["files"]:
            data = (Path("out") / file["path"]).read_bytes()
            assert file["bytes"] == len(data)
            assert file["sha256"] == hashlib.sha256(data).hexdigest()


def test_the_same_bytes_whatever_the_threads_the_folder_and_the_times(folder, tmp_path_factory):
    outputs = []
    for run in range(5):
        where = folder if run % 2 else tmp_path_factory.mktemp("elsewhere")
        if where != folder:
            shutil.copy(folder / "r.yaml", where)
            shutil.copy(folder / "m.keras", where)
        os.utime(where / "m.keras", (run * 1e8, run * 1e8))
        done = command("run", "-q", "--force", where / "r.yaml", "--threads", (1, 4)[run % 2])
        assert done.returncode == 0, done.stderr
        outputs.append(files(where / "out"))
    assert len(outputs[0]) >= len(streamed_formats())
    assert all(output == outputs[0] for output in outputs)


@pytest.mark.parametrize("name", streamed_formats())
def test_a_single_flipped_bit_is_found_and_its_weight_named(name, folder):
    assert command("run", "-q", "r.yaml").returncode == 0
    assert command("verify", "-q", "out/r.run.json").stdout == ""
    path = Path("out") / f"{name}{ending(name)}"
    for file in [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file()):
        whole = file.read_bytes()
        kernel = values(surgery.open("m.keras"))["b/kernel"].tobytes()
        places = {0, len(whole) // 3, len(whole) // 2, len(whole) - 1}
        if kernel in whole:
            places.add(whole.index(kernel) + 5)
        for place in sorted(places):
            changed = bytearray(whole)
            changed[place] ^= 0x10
            file.write_bytes(changed)
            done = command("verify", "out/r.run.json")
            assert done.returncode == 1, (file, place)
            assert "Traceback" not in done.stderr
            assert str(path) in done.stdout
            if kernel in whole and place == whole.index(kernel) + 5:
                assert f"{path}: b/kernel differs" in done.stdout
        file.write_bytes(whole)
    assert command("verify", "-q", "out/r.run.json").returncode == 0


def test_verify_says_what_is_missing_or_wrong(folder):
    assert command("run", "-q", "r.yaml").returncode == 0
    Path("out/h5.h5").unlink()
    Path("out/npy/a/bias.npy").unlink()
    with Path("out/keras.keras").open("ab") as file:
        file.write(b"x")
    done = command("verify", "out/r.run.json")
    assert done.returncode == 1
    assert "out/h5.h5: h5.h5 is missing" in done.stdout
    assert "out/npy: npy/a/bias.npy is missing" in done.stdout
    size = Path("out/keras.keras").stat().st_size
    assert f"out/keras.keras: keras.keras has {size} bytes, not {size - 1}" in done.stdout
    Path("m.keras").write_bytes(Path("out/weights_h5.weights.h5").read_bytes())
    assert "m.keras: ../m.keras has" in command("verify", "out/r.run.json").stdout
    Path("m.keras").unlink()  # an input may be gone
    assert "m.keras" not in command("verify", "out/r.run.json").stdout.replace("keras.keras", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.run.json is not a manifest (NAME.run.json)"),
        ("[]", "x.run.json is not the manifest of a run"),
        ('{"manifest": 99, "outputs": []}', "is of version 99 of the manifest"),
        ('{"manifest": 1, "outputs": [3], "inputs": []}', "x.run.json is damaged"),
    ],
)
def test_what_is_no_manifest(text, message, tmp_path):
    (tmp_path / "x.run.json").write_text(text)
    done = command("verify", tmp_path / "x.run.json")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def ran(*arguments):
    done = command("run", "r.yaml", *arguments)
    assert done.returncode == 0, done.stderr
    return "up to date" not in done.stdout


def test_a_run_that_is_up_to_date_is_skipped(folder):
    assert ran()
    assert not ran()
    assert json.loads(command("run", "r.yaml", "--json").stdout)["up_to_date"] is True
    assert ran("--force")
    assert not ran()
    os.utime("m.keras")  # another time, the same contents
    os.utime("out/h5.h5")
    assert not ran()
    assert ran("-p", "by=4")
    assert not ran("-p", "by=4")
    Path("out/npy/a/bias.npy").unlink()
    assert ran("-p", "by=4")
    surgery.save(surgery.scale(surgery.open("m.keras"), "a", by=2), keras="other.keras")
    os.replace("other.keras", "m.keras")
    assert ran("-p", "by=4")
    data = bytearray(Path("out/keras.keras").read_bytes())
    data[-1] ^= 1
    Path("out/keras.keras").write_bytes(data)
    assert ran("-p", "by=4")
    Path("out/r.run.json").write_text("{")
    assert ran("-p", "by=4")
    assert ran("--no-manifest", "--force")


def test_what_is_no_weight_counts_too(folder):
    """Another epsilon in the config, of the same length: run again; and verify says so."""
    assert ran()
    whole = Path("m.keras").read_bytes()
    old, new = b'"activation": "linear"', b'"activation": "relu6!"'
    entries = members(Path("m.keras"))
    entries["config.json"] = entries["config.json"].replace(old, new)
    assert entries["config.json"].count(new) == 2
    rewritten = bytearray(whole)
    place = whole.index(old)
    while place >= 0:
        rewritten[place : place + len(old)] = new
        place = whole.find(old, place + 1)
    import struct
    import zlib

    crc = struct.pack("<I", zlib.crc32(entries["config.json"]))
    with zipfile.ZipFile("m.keras") as archive:
        was = struct.pack("<I", archive.getinfo("config.json").CRC)
    Path("m.keras").write_bytes(bytes(rewritten).replace(was, crc))
    assert "m.keras: bytes other than weights differ" in command("verify", "out/r.run.json").stdout
    assert ran()
    assert not ran()


def test_hashes_are_added_where_they_are_asked_for(folder):
    assert ran()
    assert ran("--hash")
    assert not ran("--hash")


def test_a_foreign_file_in_an_output(folder):
    assert ran()
    Path("out/npy/mine.txt").write_text("x")
    verified = command("verify", "out/r.run.json").stdout
    assert "out/npy: npy/mine.txt is new: it is not in the manifest" in verified
    done = command("run", "r.yaml")
    assert (done.returncode, "did not write" in done.stderr) == (2, True)


def test_a_target_in_the_manifest_s_place_is_refused(folder):
    Path("r.yaml").write_text("surgery: 1\nload: m.keras\nexport: [{keras: out/r.run.json}]\n")
    done = command("run", "r.yaml")
    assert (done.returncode, "is the path of the run's manifest" in done.stderr) == (2, True)


def test_an_application_with_a_weights_file(tmp_path):
    """Its names may be others than the file's own; the file is summed whole."""
    first = {"surgery": 1, "load": {"application": "MobileNet", "alpha": 0.25},
             "export": [{"weights_h5": str(tmp_path / "w.weights.h5")}]}  # fmt: skip
    first["load"]["weights"] = "none"
    surgery.run(first)
    (tmp_path / "r.yaml").write_text(
        "surgery: 1\nload: {application: MobileNet, alpha: 0.25, weights: w.weights.h5}\n"
        "export: [{keras: out.keras}]\n"
    )
    assert command("run", "r.yaml", cwd=tmp_path).returncode == 0
    assert command("verify", "r.run.json", cwd=tmp_path).returncode == 0
    assert "up to date" in command("run", "r.yaml", cwd=tmp_path).stdout
    data = bytearray((tmp_path / "w.weights.h5").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "w.weights.h5").write_bytes(data)
    assert "w.weights.h5 differs" in command("verify", "r.run.json", cwd=tmp_path).stdout
    assert "up to date" not in command("run", "r.yaml", cwd=tmp_path).stdout


def test_a_folder_in_the_manifest_s_place_is_refused(folder):
    Path("out/r.run.json").mkdir(parents=True)
    done = command("run", "r.yaml")
    assert done.returncode == 2
    assert "out/r.run.json, for the manifest, is a folder" in done.stderr


CHANGES = [
    'os.utime("m.keras", (1, 1))',
    'os.utime("m.keras", ns=(found.st_atime_ns, found.st_mtime_ns))',
    'shutil.copy2("m.keras", "new"); os.replace("new", "m.keras")',
]


@pytest.mark.parametrize("change", CHANGES, ids=["mtime", "ctime", "inode"])
def test_an_input_that_changes_while_it_is_read(change, folder):
    script = f"""
import os, shutil, sys, surgery.execution.execute as e
old = e.checking.check_inputs
def late(plan):
    found = os.stat("m.keras")
    {change}
    old(plan)
e.checking.check_inputs = late
from surgery.cli.main import main
sys.argv = ["surgery", "run", "r.yaml"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "m.keras was changed while it was read; nothing was written\n"
    assert not Path("out").exists()


def test_two_runs_of_one_target(folder):
    script = """
import sys, time, surgery.execution.execute as e
e.checking.check_inputs = lambda plan: (print("now", flush=True), time.sleep(30))
from surgery.cli.main import main
sys.argv = ["surgery", "run", "-q", "r.yaml"]
main()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"now\n"
        done = command("run", "r.yaml")
        assert done.returncode == 1
        assert "another run is writing it" in done.stderr
        first.kill()
    assert ran()
    assert not list(Path().rglob(".*surgery*"))


def test_sigkill_at_any_moment(tmp_path, monkeypatch):
    """The next run ends as if nothing had been, and removes what was left."""
    monkeypatch.chdir(tmp_path)
    sizes = [600] * 6
    surgery.save(dense_layers([f"d{i}" for i in range(5)], sizes), keras="m.keras")
    Path("r.yaml").write_text(
        'surgery: 1\nload: m.keras\nsteps:\n  - zero: {select: "*/kernel", lowest: 30%}\n'
        "export: [{keras: out/m.keras}, {npy: out/w}]\n"
    )
    started = time.monotonic()
    assert command("run", "r.yaml").returncode == 0
    seconds = time.monotonic() - started
    expected = files("out")
    for number in range(12):
        run = subprocess.Popen(
            [sys.executable, "-m", "surgery", "run", "--force", "r.yaml"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(seconds * (0.4 + 0.05 * number))
        run.send_signal(signal.SIGKILL)
        run.wait()
        done = command("run", "r.yaml")
        assert done.returncode == 0, done.stderr
        assert files("out") == expected
        assert sorted(os.listdir("out")) == ["m.keras", "r.run.json", "w"]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of one megabyte; skips where this process may not make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("this process may not mount a small tmpfs to fill")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("name", [n for n in streamed_formats() if n != "csv"])
def test_a_disk_that_fills_up(name, checked, tiny_disk, tmp_path):
    """Refused at once where the free space says so; cleaned up where it is used up meanwhile."""
    surgery.save(dense_layers(["a", "b"], [400, 700, 500]), keras=tmp_path / "m.keras")
    (tmp_path / "r.yaml").write_text(
        f"surgery: 1\nload: m.keras\nexport: [{{{name}: {tiny_disk}/o{ending(name)}}}]\n"
    )
    script = "import surgery.execution.writing as e\n"
    script += "" if checked else "e._check_space = lambda targets: None\n"
    script += "import sys; from surgery.cli.main import main\n"
    script += f"sys.argv = ['surgery', 'run', {str(tmp_path / 'r.yaml')!r}]\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert ("the disk has 0.0 GB free" if checked else "No space left on device") in done.stderr
    assert done.stderr.rstrip().endswith("nothing was written")
    assert "Traceback" not in done.stderr
    assert list(tiny_disk.iterdir()) == []


def test_a_folder_that_may_not_be_written_to(tmp_path):
    """As a user without the right to; a superuser becomes nobody for it."""

    def nobody():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setuid(65534)

    def as_nobody(*arguments):
        return subprocess.run(
            [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False,
            cwd=tmp_path, preexec_fn=nobody,
        )  # fmt: skip

    dense_model(tmp_path, "m.keras")
    (tmp_path / "closed").mkdir()
    (tmp_path / "r.yaml").write_text(
        "surgery: 1\nload: m.keras\nexport: [{keras: closed/m.keras}, {npy: closed/deep/w}]\n"
    )
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    (tmp_path / "closed").chmod(0o555)
    try:
        done = as_nobody("surgery", "--version")
    except PermissionError:
        done = None
    if done is None or done.returncode:
        pytest.skip("another user may not run this Python")
    done = as_nobody("surgery", "run", "r.yaml")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stderr.endswith("Permission denied; nothing was written\n")
    assert list((tmp_path / "closed").iterdir()) == []
