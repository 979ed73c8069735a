"""A lock is held by one, and leaves nothing behind."""

import contextlib
import os
import subprocess
import sys

import pytest

from surgery.errors import SurgeryError
from surgery.storage import locks

HOLD = """
import contextlib, sys
from pathlib import Path
from surgery.storage import locks
if {hides}:
    sys.modules["fcntl"] = None
with contextlib.ExitStack() as undo:
    locks.hold(Path(sys.argv[1]), undo, "taken")
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def other_process(path, hides):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(hides=hides), path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


@pytest.fixture(params=[False, True], ids=["with fcntl", "without fcntl"])
def hides(request, monkeypatch):
    if request.param:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    return request.param


def test_a_lock_is_held_by_one_process(hides, tmp_path):
    path = tmp_path / "lock"
    with other_process(path, hides) as process, contextlib.ExitStack() as undo:
        with pytest.raises(SurgeryError, match=r"^taken") as refused:
            locks.hold(path, undo, "taken")
        if hides:
            hint = f"taken (if there is no process {process.pid} any more, remove {path})"
            assert str(refused.value) == hint
    with contextlib.ExitStack() as undo:
        locks.hold(path, undo, "taken")
        with pytest.raises(SurgeryError), contextlib.ExitStack() as other:
            locks.hold(path, other, "taken")
        assert path.exists()
    assert os.listdir(tmp_path) == []


def test_a_killed_process_leaves_no_lock(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    assert fcntl
    path = tmp_path / "lock"
    with other_process(path, hides=False) as process:
        process.kill()
        process.wait()
        with contextlib.ExitStack() as undo:
            locks.hold(path, undo, "taken")
    assert os.listdir(tmp_path) == []


def test_only_an_own_lock_is_removed(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "lock"
    with contextlib.ExitStack() as undo:
        locks.hold(path, undo, "taken")
        path.unlink()
        path.write_text("another run's")
    assert path.read_text() == "another run's"
