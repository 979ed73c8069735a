"""Where a system lacks what Linux has, another way is taken."""

import subprocess
import sys

from tests.conftest import ROOT


def test_formats_where_much_is_hidden():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-n", "0", "-p", "tests.storage.without_linux",
         "-k", "recognised or replaced or failing or zipfile or compressed",
         "tests/formats/test_contract.py"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
