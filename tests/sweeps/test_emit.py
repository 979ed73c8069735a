"""What is made for other engines: held by Kubernetes' schema, and run by bash as Slurm would."""

import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from surgery.recipe.cluster import Cluster, TimeLimit
from surgery.storage.temporary import scratch
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


HOSTILE = [
    ('account: "lab\\ntouch PWNED #"', "cluster.account"),
    ('partition: "gpu\\rx"', "cluster.partition"),
    ('qos: "a\\u202eb"', "cluster.qos"),
    ('image: "a\\tb"', "cluster.image"),
    ('setup: ["module load cuda\\nrm x"]', "cluster.setup"),
    ('sbatch: {comment: "a\\nb"}', "sbatch: comment contains a line break"),
    ('sbatch: {"comment=x\\ntouch PWNED": true}', "sbatch: 'comment=x\\ntouch PWNED'"),
    ("sbatch: {comment: [a]}", "the value of comment must be text"),
]


@pytest.mark.parametrize(("cluster", "said"), HOSTILE, ids=[said for _, said in HOSTILE])
@pytest.mark.parametrize("given", ["recipe", "profile"])
def test_a_value_that_would_end_its_line_is_refused(given, cluster, said, sweep, tmp_path):
    text = f"cluster: {{{cluster}}}\n"
    if given == "recipe":
        sweep.write_text(sweep.read_text() + text)
    (tmp_path / "profile.yaml").write_text(text if given == "profile" else "{}")
    flags = ["--emit", "sbatch", "--profile", "profile.yaml"]
    done = command("--allow-code", "sweep", "recipe.yaml", *flags, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_with_a_line_break_goes_into_no_script(sweep, tmp_path):
    flags = ["--emit", "sbatch", "--dir", "x\ntouch PWNED"]
    done = command("sweep", "recipe.yaml", *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert "a control character" in done.stderr


def test_the_shell_of_a_recipe_needs_permission_and_that_of_a_user_does_not(sweep, tmp_path):
    (tmp_path / "mine.yaml").write_text("setup: [echo mine]\n")
    sweep.write_text(sweep.read_text() + "cluster: {setup: [echo theirs]}\n")
    emit = ["sweep", "recipe.yaml", "--emit", "sbatch"]
    done = command(*emit, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "recipe.yaml: cluster.setup is code, which runs only with --allow-code" in done.stderr
    assert "echo theirs" in command("--allow-code", *emit, cwd=tmp_path).stdout.splitlines()
    mine = command(*emit, "--profile", "mine.yaml", cwd=tmp_path).stdout.splitlines()
    assert "echo mine" in mine
    assert "echo theirs" not in mine
    # Nothing of it runs here, so nothing is asked.
    assert command("sweep", "recipe.yaml", "--dry-run", cwd=tmp_path).returncode == 0


def test_variables_of_a_shell_need_permission_too(sweep, tmp_path):
    sweep.write_text(sweep.read_text() + "cluster: {sbatch: {export: BASH_ENV=/tmp/x}}\n")
    emit = ["sweep", "recipe.yaml", "--emit", "sbatch"]
    done = command(*emit, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cluster.sbatch.export is code, which runs only with --allow-code" in done.stderr
    assert "--export=BASH_ENV=/tmp/x" in command("--allow-code", *emit, cwd=tmp_path).stdout


def test_kubernetes_is_to_put_no_variables_into_the_command(sweep, tmp_path):
    sweep.write_text(sweep.read_text().replace("seed: 3", "seed: 3\nparams: {name: x}"))
    flags = ["-p", "name=$(HOME)-$$x", "--cluster", "image=x", "--emit", "kubernetes"]
    done = command("sweep", "recipe.yaml", *flags, cwd=tmp_path)
    container = yaml.safe_load(done.stdout)["spec"]["template"]["spec"]["containers"][0]
    assert "name=$$(HOME)-$$$$x" in container["command"]


@pytest.mark.parametrize(
    ("mem", "expected"),
    [("8GB", 8192), ("1.5 G", 1536), ("4000", 4000), ("500K", 1), ("0", 0), (None, 125)],
)
def test_memory_in_mebibytes(mem, expected):
    """0 is all that a node has, to Slurm; so what is less than one MiB must not become that."""
    assert Cluster(mem=mem).mebibytes(100 << 20) == expected


@pytest.mark.parametrize(
    ("given", "minutes"),
    [
        (45, 45), ("90m", 90), ("2h", 120), ("1d", 1440), ("30:00", 30), ("0:30", 1), ("90:01", 91),
        ("1:30:00", 90), ("01:00:01", 61), ("1-12", 2160), ("1-6:30", 1830), ("1-00:00:01", 1441),
    ],
)  # fmt: skip
def test_a_time_limit_is_what_slurm_reads(given, minutes):
    assert TimeLimit.from_recipe(given, Path()) == TimeLimit(minutes)


@pytest.mark.parametrize("given", ["0", "0:00", "1:2:3:4", "1-", "1-2h", "soon"])
def test_what_is_no_time_limit(given):
    with pytest.raises(ValueError, match="time"):
        TimeLimit.from_recipe(given, Path())


def test_options_of_sbatch_that_are_nought_are_given_and_false_ones_are_not():
    given = {"mem": 0, "exclusive": True, "hold": False, "nice": None}
    assert Cluster(sbatch=given).options == {"requeue": True, "mem": 0, "exclusive": True}


@pytest.mark.parametrize(("value", "expected"), [("/scratch", "/scratch"), ("", None)])
def test_where_temporary_files_go(value, expected, monkeypatch):
    monkeypatch.setenv("SLURM_TMPDIR", value)
    assert scratch() == expected
