"""Names from a stranger's file: none reaches the terminal as what it would act on."""

import json
import re

import h5py
import numpy as np
import pytest

from surgery.errors import FormatError, printable
from tests.conftest import command

NAMES = [
    "esc\x1b[2Jape",
    "bell\x07",
    "line\nbreak",
    "tab\tbed",
    "c1\x9b31m",
    "turned\u202egpj.exe",
    "isolate\u2066x\u2069",
    "mark\u200f",
    "hidden\u200bspace",
]
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u200f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def odd(tmp_path):
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        for number, name in enumerate(NAMES):
            file[f"{name}/kernel"] = np.full(2, number, np.float32)
    return tmp_path


RECIPE = """surgery: 1
load: odd.h5
steps:
  - scale: {select: "**", by: 2}
  - {name: "second \\e[1m", cast: {select: "esc*", to: float16}}
export: [{npy: out}]
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "odd.h5"],
        ["inspect", "odd.h5", "--stats"],
        ["inspect", "odd.h5", "--values"],
        ["inspect", "odd.h5", "--json"],
        ["inspect", "odd.h5", "--select", "esc"],
        ["inspect", "odd\x1b[31m.h5"],
        ["diff", "odd.h5", "other.h5"],
        ["convert", "odd.h5", "out.hdf5"],
        ["convert", "odd.h5", "out.npz"],
        ["plan", "r.yaml"],
        ["run", "r.yaml", "--verbose"],
        ["run", "bad.yaml"],
    ],
    ids=lambda arguments: "-".join(arguments).encode("ascii", "ignore").decode("ascii"),
)
def test_what_is_printed(arguments, odd):
    with h5py.File(odd / "other.h5", "w") as file:
        file[f"{NAMES[0]}/kernel"] = np.ones(2, np.float32)
    (odd / "r.yaml").write_text(RECIPE)
    (odd / "bad.yaml").write_text(RECIPE.replace('"esc*"', '"nothing\\e[0m"'))
    done = command(*arguments, cwd=odd)
    assert not ACTS.search(done.stdout + done.stderr)
    assert "Traceback" not in done.stderr
    if "--json" in arguments:
        found = {weight["address"] for weight in json.loads(done.stdout)["weights"]}
        assert found == {f"{name}/kernel" for name in NAMES}
    elif arguments[-1] in ("odd.h5", "--stats"):
        assert all(f"{printable(name)}/kernel" in done.stdout for name in NAMES)
    if "--json" not in arguments:
        assert not any(line.startswith("break") for line in done.stdout.splitlines())


def test_an_error_is_one_line():
    assert str(FormatError("a\nb\x1b")) == "a\\nb\\x1b"
    assert printable("ключ ü 日本 👩‍👧 a\\n") == "ключ ü 日本 👩‍👧 a\\n"
    assert printable("\ud800") == "\\ud800"
