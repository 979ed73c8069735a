"""What a person is told who does the next best thing wrong."""

import json
import os
import pty
import subprocess
import sys

import pytest

from tests.conftest import command, dense_model


def recipe(folder, name="r.yaml", **parts):
    base = {"surgery": 1, "load": "model.keras", "export": [{"keras": "out/m.keras"}]}
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({**base, **parts}))
    return name


def test_a_path_of_the_command_line_that_lies_in_the_shell_s_folder(tmp_path):
    dense_model(tmp_path)
    steps = [{"copy": {"from": "${model}"}}]
    for name, parts in {
        "loads": {"load": "${model}"},
        "copies": {"load": str(tmp_path / "model.keras"), "steps": steps},
    }.items():
        params = {"model": "m.keras"}
        path = recipe(tmp_path, f"recipes/{name}.yaml", params=params, **parts)
        done = command("plan", path, "-p", "model=model.keras", cwd=tmp_path)
        assert done.returncode in (1, 2)
        assert done.stderr.endswith(
            "; relative paths start at the recipe's folder, recipes, and model.keras is in the "
            "shell's: write -p model=../model.keras\n"
        )
        done = command("plan", path, "-p", "model=../model.keras", cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_paths_are_shown_as_short_as_they_are(tmp_path):
    dense_model(tmp_path)
    path = recipe(tmp_path, "recipes/r.yaml", load="../no.keras",
                  export=[{"keras": "../out/../out/m.keras"}])  # fmt: skip
    done = command("plan", path, cwd=tmp_path)
    assert "load: no.keras: no such file" in done.stderr
    (tmp_path / "elsewhere/inner").mkdir(parents=True)
    os.symlink(tmp_path / "elsewhere/inner", tmp_path / "link")
    dense_model(tmp_path / "elsewhere", "other.keras")
    path = recipe(tmp_path, "r.yaml", load="link/../other.keras")  # not the other.keras here
    assert command("plan", path, cwd=tmp_path).returncode == 0


PROBLEMS = [
    ({"expect": [{"metric": {"name": "accuracy", "at_least": 1}}]}, "no step measures a metric"),
    ({"export": [{"npz": "o"}, {"h5": "o"}]}, "o is already a target (export[0])"),
    ({"export": [{"npy": "o"}, {"h5": "o/x.h5"}]}, "o/x.h5 and export[0] contain one another"),
    (
        {"steps": [{"freeze": {"select": "a"}}], "export": [{"npz": "o"}]},
        "no step affects a target",
    ),
    ({"objective": {"metric": "mine"}}, "it is unknown which values of mine are better; give"),
    ({"load": {"application": "VGG16", "classes": 3}}, "classes: 3, but weights: imagenet (the"),
]


@pytest.mark.parametrize(("parts", "said"), PROBLEMS, ids=[said for _, said in PROBLEMS])
def test_validate_tells_all_that_the_recipe_alone_does(parts, said, tmp_path):
    done = command("validate", recipe(tmp_path, **parts), cwd=tmp_path)
    assert done.returncode == 2
    assert f" {said}" in done.stderr
    assert done.stderr.startswith("r.yaml:1:")


def test_in_a_terminal_messages_break_between_words(tmp_path):
    """A shell's window of 60 columns; a pipe gets each message as one line."""
    path = recipe(tmp_path, steps=[{"scael": {}}])
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60"}
    done = subprocess.run([sys.executable, "-m", "surgery", "validate", path], stderr=theirs,
                          cwd=tmp_path, env=environment, check=False)  # fmt: skip
    os.close(theirs)
    lines = os.read(ours, 10_000).decode().split("\r\n")
    os.close(ours)
    assert done.returncode == 2
    assert len(lines) > 2
    assert all(len(line) < 60 for line in lines)
    piped = command("validate", path, cwd=tmp_path).stderr.splitlines()
    assert len(piped) == 1
    assert " ".join(line.strip() for line in lines).strip() == piped[0]
