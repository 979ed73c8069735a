"""Names from files and recipes are shown, and a terminal acts on nothing in them."""

import json

import numpy as np
import pytest

from tests.conftest import command

EVIL = "a\x1b[31m\u202eb\x7f\nc"
SHOWN = "a\\x1b[31m\\u202eb\\x7f\\nc"


@pytest.fixture
def evil(tmp_path):
    """A file whose own name, and the name of a weight in it, are hostile."""
    np.savez(tmp_path / f"{EVIL}.npz", **{EVIL: np.arange(3, dtype=np.float32)})
    recipe = {"surgery": 1, "name": "r", "params": {"file": f"{EVIL}.npz"}, "load": "${file}",
              "matrix": {"by": [EVIL]}, "steps": [{"scale": {"select": "**", "by": 2}}],
              "export": [{"hdf5": "o-${file}.hdf5"}]}  # fmt: skip
    (tmp_path / "matrix.yaml").write_text(json.dumps(recipe))
    del recipe["matrix"]
    (tmp_path / f"{EVIL}.yaml").write_text(json.dumps(recipe))
    return tmp_path


COMMANDS = [
    ["inspect", f"{EVIL}.npz"],
    ["inspect", f"{EVIL}.npz", "--values"],
    ["inspect", f"{EVIL}.npz", "--select", EVIL[:2]],
    ["inspect", f"no-{EVIL}"],
    ["validate", f"{EVIL}.yaml"],
    ["plan", f"{EVIL}.yaml"],
    ["run", f"{EVIL}.yaml", "--verbose", "--force"],
    ["run", f"{EVIL}.yaml", "--log-format", "text", "--force"],
    ["run", f"{EVIL}.yaml", "--log-format", "json", "--force"],
    ["run", f"{EVIL}.yaml", f"--{EVIL}"],
    ["diff", f"{EVIL}.npz", f"./{EVIL}.npz"],
    ["diff", "--git", EVIL, f"{EVIL}.npz", "0", "0", f"{EVIL}.npz", "0", "0"],
    ["sweep", "matrix.yaml", "--dry-run"],
    ["ops", EVIL],
    [EVIL],
]  # fmt: skip


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda a: f"{a[0][:8]}-{a[-1][:12]!a}")
def test_nothing_that_a_terminal_acts_on(arguments, evil):
    done = command(*arguments, cwd=evil)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    for character in "\x1b\u202e\x7f":
        assert character not in said
    for line in said.splitlines():
        assert not line.startswith("c"), "a name begins a line of its own"


def test_json_is_json(evil):
    facts = json.loads(command("inspect", f"{EVIL}.npz", "--json", cwd=evil).stdout)
    assert [weight["address"] for weight in facts["weights"]] == [EVIL]
