"""What is made for other engines: held by Kubernetes' schema, and run by bash as Slurm would."""

import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from surgery.recipe.cluster import Cluster
from surgery.scratch import scratch
from tests.conftest import command

BIN = Path(sys.executable).parent


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
@pytest.mark.parametrize(
    "flags", [[], ["--cluster", "mem=8GB", "--cluster", "cpus=4", "--cluster", "gpus=1"]]
)
def test_a_job_is_what_kubernetes_says_it_is(version, flags, sweep, tmp_path):
    image = ["--cluster", "image=registry.example/surgery:1"]
    done = command("sweep", "recipe.yaml", "--emit", "kubernetes", *image, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    job = yaml.safe_load(done.stdout)
    kubernetes_validate.validate(job, version, strict=True)
    spec = job["spec"]
    assert (spec["completions"], spec["completionMode"]) == (6, "Indexed")
    container = spec["template"]["spec"]["containers"][0]
    assert container["command"] == [
        "surgery", "run", "recipe.yaml", "--threads", "4" if flags else "1", "--dir", "recipe.sweep"
    ]  # fmt: skip
    assert spec["template"]["spec"]["activeDeadlineSeconds"] == 3600
    assert container["resources"]["limits"]["memory"].endswith("i")
    if flags:
        assert container["resources"]["limits"] == {
            "cpu": "4", "memory": "8192Mi", "nvidia.com/gpu": "1"
        }  # fmt: skip


def test_a_job_needs_an_image_and_a_recipe_on_its_volume(sweep, tmp_path):
    done = command("sweep", "recipe.yaml", "--emit", "kubernetes", cwd=tmp_path)
    assert done.returncode == 2
    assert "--cluster image=NAME" in done.stderr
    (tmp_path / "inner").mkdir()
    done = command("sweep", "../recipe.yaml", "--emit", "kubernetes", "--cluster", "image=x",
                   cwd=tmp_path / "inner")  # fmt: skip
    assert done.returncode == 2
    assert "is outside of this folder" in done.stderr


def test_an_array_script_runs_as_it_is(sweep, tmp_path):
    flags = ["--cluster", "time=1:30:00", "--cluster", "partition=gpu", "-p", "by=2"]
    done = command("sweep", "recipe.yaml", "--emit", "sbatch", *flags, cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert "#SBATCH --array=0-1%256" in lines
    assert "#SBATCH --open-mode=append" in lines
    assert "#SBATCH --time=90" in lines
    assert "#SBATCH --signal=B:USR1@90" in lines
    for index in range(2):
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(index),
                       "PATH": f"{BIN}:{os.environ['PATH']}"}  # fmt: skip
        subprocess.run(["bash"], input=done.stdout, text=True, check=True, cwd=tmp_path,
                       env=environment, capture_output=True)  # fmt: skip
    status = command("sweep", "status", tmp_path / "recipe.sweep")
    assert status.stdout.splitlines()[0] == "2 runs: 2 done"


def test_an_array_script_of_a_recipe_with_blanks_and_without_a_matrix(small, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "my recipe.yaml").write_text(
        "surgery: 1\nload: ../model.keras\nexport: [{npz: out.npz}]\n"
    )
    flags = ["--cluster", 'sbatch={comment: "two words", requeue: false}', "--threads", "2"]
    done = command("sweep", "my recipe.yaml", "--emit", "sbatch", *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "#SBATCH --output='my recipe.sweep/logs/%a.log'" in lines
    assert f"#SBATCH --chdir='{folder}'" in lines
    assert "#SBATCH --comment='two words'" in lines
    assert "#SBATCH --no-requeue" in lines
    assert any(line.startswith("#SBATCH --mem=") for line in lines)
    assert any("--threads 2" in line for line in lines)
    subprocess.run(["bash"], input=done.stdout, text=True, check=True, cwd=folder,
                   env={**os.environ, "SLURM_ARRAY_TASK_ID": "0"}, capture_output=True)  # fmt: skip
    status = command("sweep", "status", folder / "my recipe.sweep")
    assert status.stdout.splitlines()[0] == "1 run: 1 done"


def test_only_an_expectation_ends_an_index(sweep, tmp_path):
    """Exit code 2 may be that of a file which is not there yet, so its pod is tried again."""
    done = command("sweep", "recipe.yaml", "--emit", "kubernetes", "--cluster", "image=x",
                   cwd=tmp_path)  # fmt: skip
    rules = yaml.safe_load(done.stdout)["spec"]["podFailurePolicy"]["rules"]
    (codes,) = [rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule]
    assert codes == [3]
    (tmp_path / "recipe.yaml").rename(tmp_path / "away.yaml")
    gone = command("run", "recipe.yaml", "--index", "0", cwd=tmp_path)
    assert gone.returncode not in codes


def test_what_is_emitted_is_planned_first(sweep, tmp_path):
    (tmp_path / "model.keras").unlink()
    for form in ("sbatch", "kubernetes"):
        done = command("sweep", "recipe.yaml", "--emit", form, "--cluster", "image=x", cwd=tmp_path)
        assert done.returncode == 1
        assert "model.keras: no such file" in done.stderr


@pytest.mark.parametrize(
    ("mem", "expected"),
    [("8GB", 8192), ("1.5 G", 1536), ("4000", 4000), ("500K", 1), ("0", 0), (None, 125)],
)
def test_memory_in_mebibytes(mem, expected):
    """0 is all that a node has, to Slurm; so what is less than one MiB must not become that."""
    assert Cluster(mem=mem).mebibytes(100 << 20) == expected


@pytest.mark.parametrize(("value", "expected"), [("/scratch", "/scratch"), ("", None)])
def test_where_temporary_files_go(value, expected, monkeypatch):
    monkeypatch.setenv("SLURM_TMPDIR", value)
    assert scratch() == expected
