"""SIGKILL at every call that matters: all targets are new afterwards, or all old."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from surgery.execution import proof
from surgery.recipe.reading import read_recipe
from surgery.storage.replacing import lock
from tests.conftest import command

RECIPE = """surgery: 1
params: {by: 2}
load: m.npz
steps: [{scale: {select: "*", by: "${by}"}}]
export: [{npz: out/x.npz}, {npy: out/w}, {npz: more/y.npz}]
"""
CALLS = "write,pwrite64,link,linkat,rename,renameat,renameat2,unlink,unlinkat,rmdir,fsync"
FORKING = """
import ctypes, os, signal, sys
from pathlib import Path
from surgery.recipe.reading import read_recipe
from surgery.execution.execute import execute
from surgery.execution.planning import make_plan
from surgery.execution.proof import verify
from surgery.recipe.schema import recipe_schema
recipe_schema()  # imports all that a run asks for
for line in sys.stdin:
    what, path = line.split()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))  # anybody may trace it
        os.kill(os.getpid(), signal.SIGSTOP)
        if what == "run":
            execute(make_plan(read_recipe(Path(path), {"by": "3"}), 1))
        else:
            list(verify(Path(path), 1))
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def traced():
    """Runs something under strace: gives its exit code and its calls."""
    if shutil.which("strace") is None:
        pytest.skip("strace, which kills between system calls, is not installed")
    forking = subprocess.Popen(
        [sys.executable, "-c", FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def run(what, path, *options):
        print(what, path, file=forking.stdin, flush=True)
        pid = int(forking.stdout.readline())
        await_(pid, "State:\tT")
        log = path.parent / "calls"
        tracer = subprocess.Popen(
            ["strace", "-qq", "-y", "-o", log, "-e", f"trace={CALLS}", *options, "-p", str(pid)],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while tracer.poll() is None and not status(pid, f"TracerPid:\t{tracer.pid}"):
            time.sleep(0.001)
        os.kill(pid, signal.SIGCONT)
        code = int(forking.stdout.readline())
        said = tracer.communicate()[1]
        if "ttach" in said:
            pytest.skip(f"strace may not trace here: {said.strip()}")
        return code, log.read_text().splitlines()

    yield run
    forking.stdin.close()
    forking.wait()


def status(pid, line):
    return line in Path(f"/proc/{pid}/status").read_text()


def await_(pid, line):
    while not status(pid, line):
        time.sleep(0.001)


def places(calls, begin):
    """Every call from the first that matches, as strace counts it: its name and its number."""
    counts, found = {}, []
    for call in calls:
        name = call.partition("(")[0]
        counts[name] = counts.get(name, 0) + 1
        if found or re.search(begin, call):
            found.append(f"{name}:signal=SIGKILL:when={counts[name]}")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    np.savez(folder / "m.npz", a=np.ones(6, np.float32), b=np.ones(4, np.float32))
    (folder / "r.yaml").write_text(RECIPE)
    return folder


def reset(folder, old):
    for name in ("out", "more"):
        shutil.rmtree(folder / name, ignore_errors=True)
        if old is not None:
            shutil.copytree(old / name, folder / name)


def factors(folder):
    """What each target was multiplied by; None for one that is not there."""
    files = [folder / "out/x.npz", folder / "out/w/a.npy", folder / "more/y.npz"]
    loaded = [np.load(file) if file.exists() else None for file in files]
    return {float((a["a"] if isinstance(a, np.lib.npyio.NpzFile) else a)[0]) if a is not None
            else None for a in loaded}  # fmt: skip


def litter(folder):
    return list(folder.rglob(".*surgery*"))


def checked(folder, had_old):
    """What all targets are, as verify says too; a manifest of none is none."""
    path = folder / "out/r.run.json"
    done = command("verify", path)
    assert done.returncode == (0 if path.exists() else 1), done.stdout + done.stderr
    (factor,) = factors(folder)
    assert (factor is None) == (not path.exists())
    if factor is None:
        assert not had_old
        assert command("run", "-q", folder / "r.yaml").returncode == 0
    else:
        assert proof.is_current(read_recipe(folder / "r.yaml", {"by": f"{factor:g}"}), 1)
    assert litter(folder) == []
    return factor


@pytest.fixture(scope="module")
def old(folder, tmp_path_factory):
    assert command("run", folder / "r.yaml").returncode == 0
    kept = tmp_path_factory.mktemp("old")
    shutil.copytree(folder / "out", kept / "out")
    shutil.copytree(folder / "more", kept / "more")
    return kept


@pytest.mark.parametrize("had_old", [True, False])
def test_sigkill_at_every_call_after_the_last_chunk(had_old, folder, old, traced):
    before = old if had_old else None
    reset(folder, before)
    code, calls = traced("run", folder / "r.yaml")
    assert code == 0
    assert checked(folder, had_old) == 3
    kills = places(calls, r'^write.*run\.json\.surgery-\d+>, "')
    assert {k.partition(":")[0] for k in kills} >= {"write", "fsync", "rename", "unlink"}
    ended = []
    for kill in kills:
        reset(folder, before)
        code, _ = traced("run", folder / "r.yaml", "-e", f"inject={kill}")
        assert code == -signal.SIGKILL, kill
        ended.append(checked(folder, had_old))
    first = ended.index(3)
    assert ended[:first] == [2.0 if had_old else None] * first
    assert ended[first:] == [3] * (len(kills) - first)
    assert 5 < first < len(kills) - 10  # from the journal on


def test_sigkill_while_threads_end_the_targets(folder, old, traced):
    for number in (1, 2, 3):
        reset(folder, old)
        kill = f"inject=fsync:signal=SIGKILL:when={number}"
        code, _ = traced("run", folder / "r.yaml", "-f", "-e", kill)
        assert code == -signal.SIGKILL
        assert checked(folder, True) == 2


def half_way(folder, old, traced):
    """After the folder, the second of the targets, has been renamed."""
    reset(folder, old)
    code, _ = traced("run", folder / "r.yaml", "-e", "inject=rename:signal=SIGKILL:when=4")
    assert code == -signal.SIGKILL
    assert len(factors(folder)) == 2


@pytest.mark.parametrize("forward", [True, False])
def test_sigkill_while_a_killed_run_is_ended(forward, folder, old, traced):
    """Forward where all temporaries are there, else back."""

    def begin():
        half_way(folder, old, traced)
        if not forward:
            (new,) = (folder / "more").glob(".y.npz.surgery-*[0-9]")
            new.unlink()

    manifest = folder / "out/r.run.json"
    begin()
    code, calls = traced("verify", manifest)
    assert code == 0
    assert checked(folder, True) == (3 if forward else 2)
    for kill in places(calls, "rename|unlink|fsync"):
        begin()
        code, _ = traced("verify", manifest, "-e", f"inject={kill}")
        assert code == -signal.SIGKILL, kill
        assert checked(folder, True) == (3 if forward else 2)


def test_any_command_that_writes_there_ends_it_first(folder, old, traced):
    half_way(folder, old, traced)
    assert command("convert", folder / "m.npz", folder / "out/other.npz").returncode == 0
    assert factors(folder) == {3}
    half_way(folder, old, traced)
    assert "up to date" in command("run", folder / "r.yaml", "-p", "by=3").stdout
    assert factors(folder) == {3}
    (folder / "out/other.npz").unlink(missing_ok=True)


def test_what_a_live_run_does_is_left_alone(folder, old, traced):
    import contextlib

    half_way(folder, old, traced)
    with contextlib.ExitStack() as undo:
        lock(folder / "out/r.run.json", undo)
        done = command("verify", folder / "out/r.run.json")
        assert (done.returncode, "a run is putting its targets in place" in done.stdout) == (
            1,
            True,
        )
        assert len(factors(folder)) == 2
    assert checked(folder, True) == 3


@pytest.fixture
def closing(tmp_path):
    """A folder, and what makes it one that may not be written to; a superuser mounts it."""
    place = tmp_path / "closed"
    place.mkdir()
    if os.geteuid() != 0:
        yield place, lambda: (place / "out").chmod(0o555)
        (place / "out").chmod(0o755)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", place]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a small tmpfs to close it")
    yield place, lambda: subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    subprocess.run(["umount", place], check=True)


def test_a_folder_that_may_not_be_written_to(folder, old, traced, closing):
    place, close = closing
    shutil.copytree(old, place, dirs_exist_ok=True)
    shutil.copy(folder / "m.npz", place)
    (place / "r.yaml").write_text(RECIPE)
    code, _ = traced("run", place / "r.yaml", "-e", "inject=rename:signal=SIGKILL:when=4")
    assert code == -signal.SIGKILL
    close()
    done = command("verify", place / "out/r.run.json")
    assert done.returncode == 1
    assert "out/r.run.json is unfinished: a run was killed while" in done.stdout
    assert "Traceback" not in done.stderr
