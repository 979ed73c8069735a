"""The process that the tests' commands are forked from."""

import os

import pytest

from tests import forking


@pytest.fixture
def server():
    server = forking.Server()
    yield server
    server.kill()


@pytest.fixture
def run(server, tmp_path):
    """Has the server run a command whose output goes to the file `out`."""

    def run(*arguments, seconds=300):
        with open(os.devnull) as nothing, open(tmp_path / "out", "w") as out:
            files = [file.fileno() for file in (nothing, out, out)]
            return server.run(
                files, seconds, arguments=arguments, cwd=str(tmp_path), environment=dict(os.environ)
            )

    return run


def test_after_one_that_hangs_the_next_gets_its_own_answer(run, tmp_path):
    os.mkfifo(tmp_path / "wait.yaml")  # nobody ever writes into it
    with pytest.raises(TimeoutError, match="takes longer than 2 s"):
        run("validate", "wait.yaml", seconds=2)
    assert run("validate", "missing.yaml")[0] == 2
    assert run("--version")[0] == 0
    assert "version" in (tmp_path / "out").read_text()
