"""The process that the tests' commands are forked from."""

import os
import subprocess

import pytest

from tests.conftest import command, forking_server
from tests.forking import Forked


def test_one_that_hangs_keeps_no_other_waiting(tmp_path):
    os.mkfifo(tmp_path / "wait.yaml")  # nobody ever writes into it
    arguments = ["surgery.cli.main", "validate", str(tmp_path / "wait.yaml")]
    process = Forked(forking_server().address, arguments, subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    assert command("validate", tmp_path / "missing.yaml").returncode == 2
    assert "version" in command("--version").stdout
    process.kill()
    assert process.wait() == -9
