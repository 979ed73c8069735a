"""Sweeps for other engines: an array script for sbatch, and an Indexed Job for Kubernetes."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from surgery.errors import UsageError
from surgery.recipe.cluster import Cluster, need_one_line
from surgery.recipe.reading import RecipeFile
from surgery.sweeps.planning import SweepPlan


def sbatch(
    plan: SweepPlan, folder: Path, params: Sequence[str], cluster: Cluster, threads: int
) -> str:
    """Return a Slurm array script for all runs, for `sbatch SCRIPT`.

    Raises UsageError for paths that cannot be put into a script.
    """
    file, count = plan.file, len(plan.runs)
    need_one_line(file.file, str(folder), str(Path.cwd()))
    options: dict[str, Any] = {
        "job-name": _name(file),
        "array": f"0-{count - 1}%{cluster.array_parallelism}",
        "chdir": Path.cwd(),
        "output": str(folder / "logs").replace("%", "%%") + "/%a.log",
        "open-mode": "append",
        "time": cluster.time.minutes,
        "partition": cluster.partition,
        "mem": f"{cluster.mebibytes(plan.memory)}M",
        "cpus-per-task": cluster.cpus,
        "gpus": cluster.gpus,
        "account": cluster.account,
        "qos": cluster.qos,
        "signal": f"B:USR1@{cluster.notice}" if cluster.notice else None,  # B: only to the script
        **cluster.options,
    }
    lines = [
        f"#SBATCH --{name}" + ("" if value is True else f"={shlex.quote(str(value))}")
        for name, value in options.items()
        if value is not None
    ]
    python = [sys.executable, "-m", "surgery"]
    run = shlex.join([*python, *_run(file.file, str(folder), params, threads)])
    made = f"mkdir -p {shlex.quote(str(folder / 'logs'))}"
    return "\n".join(
        [
            "#!/bin/bash",
            f"# {count} runs; before sbatch: {made}",
            *lines,
            *(f"export {name}={shlex.quote(text)}" for name, text in file.env.items()),
            *cluster.setup,
            f'{run} --index "$SLURM_ARRAY_TASK_ID" &',
            "run=$!",
            "# Before the time limit: stop cleanly, and requeue the job, which resumes.",
            "stop() {",
            '  kill "$run"; wait "$run"; code=$?',
            f'  [ "${{SLURM_RESTART_COUNT:-0}}" -lt {cluster.requeues} ] || exit "$code"',
            '  scontrol requeue "$SLURM_JOB_ID"; exit',
            "}",
            "trap stop USR1",
            'wait "$run"',
        ]
    )


def kubernetes(
    plan: SweepPlan, folder: Path, params: Sequence[str], cluster: Cluster, threads: int
) -> str:
    """Return an Indexed Job (batch/v1) for all runs, for `kubectl apply -f FILE`.

    A failed pod is retried, except after exit code 3 (a failed expectation): other failures may
    come from a file that is not there yet. Raises UsageError.
    """
    if cluster.image is None:
        raise UsageError("a Job needs an image with surgery: --cluster image=NAME")
    file, count = plan.file, len(plan.runs)
    need_one_line(str(Path.cwd()))
    command = ["surgery", *_run(_inside(file.file), _inside(str(folder)), params, threads)]
    resources: dict[str, Any] = {
        "cpu": str(cluster.cpus or 1),
        "memory": f"{cluster.mebibytes(plan.memory)}Mi",
    }
    if cluster.gpus:
        resources["nvidia.com/gpu"] = str(cluster.gpus)
    container: dict[str, Any] = {
        "name": "surgery",
        "image": str(cluster.image),
        "command": [_literal(word) for word in command],
        **_environment(file.env),
        "workingDir": "/work",
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
        "resources": {"limits": resources, "requests": dict(resources)},
    }
    faults = {"containerName": "surgery", "operator": "In", "values": [3]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": _name(file)},
        "spec": {
            "completions": count,
            "parallelism": min(count, cluster.array_parallelism),
            "completionMode": "Indexed",
            "backoffLimitPerIndex": cluster.requeues,
            "maxFailedIndexes": count,
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailIndex", "onExitCodes": faults},
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "activeDeadlineSeconds": cluster.time.minutes * 60,
                    "containers": [container],
                    "volumes": [
                        {"name": "work", "persistentVolumeClaim": {"claimName": "work"}},
                    ],
                }
            },
        },
    }
    unused = [name for name in ("partition", "account", "qos", "setup", "sbatch")
              if getattr(cluster, name)]  # fmt: skip
    head = (
        f"# The volume claim `work` (ReadWriteMany) must contain the files of {Path.cwd()}:\n"
        "# the recipe and all that it reads; outputs go there, too. For Kubernetes 1.29 or later.\n"
    )
    head += f"# Keys of cluster only for Slurm: {', '.join(unused)}\n" if unused else ""
    return head + yaml.safe_dump(job, sort_keys=False).rstrip("\n")


FORMS: Mapping[str, Callable[[SweepPlan, Path, Sequence[str], Cluster, int], str]] = {
    "sbatch": sbatch,
    "kubernetes": kubernetes,
}


def _name(file: RecipeFile) -> str:
    """Return a name that is valid in Kubernetes (RFC 1123)."""
    name = str(file.document.value.get("name") or Path(file.file).stem).lower()
    return re.sub(r"[^a-z0-9-]+", "-", name).strip("-")[:50].strip("-") or "surgery"


def _run(recipe: str, folder: str, params: Sequence[str], threads: int) -> list[str]:
    """Return the command of a run, without its index."""
    given = [part for text in params for part in ("-p", text)]
    return ["run", recipe, *given, "--threads", str(threads), "--dir", folder]


def _environment(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the container's `env`, if there are variables."""
    listed = [{"name": name, "value": _literal(text)} for name, text in variables.items()]
    return {"env": listed} if listed else {}


def _literal(text: str) -> str:
    """Escape text for Kubernetes, which expands $(NAME) and $$."""
    return text.replace("$", "$$")


def _inside(path: str) -> str:
    """Return a path relative to the volume; raises UsageError if it is outside."""
    inside = os.path.relpath(path)
    if inside.startswith(".."):
        raise UsageError(f"{path} is outside of this folder, which the volume contains")
    return inside
