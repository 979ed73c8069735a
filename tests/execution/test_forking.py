"""The process that the tests' commands are forked from."""

import os

import pytest

from tests import forking


@pytest.fixture
def server():
    server = forking.Server()
    yield server
    server.kill()


def request(folder, *arguments):
    """A command whose output goes to files in that folder."""
    for name in ("out", "err"):
        (folder / name).touch()
    paths = {name: str(folder / name) for name in ("out", "err")}
    return {"arguments": arguments, "cwd": str(folder), "environment": dict(os.environ),
            "limits": {}, **paths}  # fmt: skip


def test_after_one_that_hangs_the_next_gets_its_own_answer(server, tmp_path):
    os.mkfifo(tmp_path / "wait.yaml")  # nobody ever writes into it
    with pytest.raises(TimeoutError, match="takes longer than 2 s"):
        server.run(request(tmp_path, "validate", "wait.yaml"), seconds=2)
    assert server.run(request(tmp_path, "validate", "missing.yaml"))[0] == 2
    assert server.run(request(tmp_path, "--version"))[0] == 0
    assert "version" in (tmp_path / "out").read_text()
