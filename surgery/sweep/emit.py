"""Sweeps for any other engine: an array script for sbatch, an Indexed Job for Kubernetes."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from surgery.errors import UsageError
from surgery.recipe.cluster import Cluster
from surgery.recipe.reading import RecipeFile


def sbatch(file: RecipeFile, folder: Path, params: Sequence[str], cluster: Cluster) -> str:
    """A script of Slurm's for all runs; submitted with `sbatch SCRIPT`."""
    options: dict[str, Any] = {
        "job-name": _name(file),
        "array": f"0-{_count(file) - 1}%{cluster.array_parallelism}",
        "output": f"{folder / 'logs' / '%a.log'}",
        "open-mode": "append",
        "time": cluster.time.minutes,
        "partition": cluster.partition,
        "mem": cluster.mem and cluster.mem.replace(" ", "").removesuffix("B"),
        "cpus-per-task": cluster.cpus,
        "gpus": cluster.gpus,
        "account": cluster.account,
        "qos": cluster.qos,
        "signal": f"B:USR1@{cluster.signal}" if cluster.signal else None,  # to the script alone
        **cluster.options,
    }
    lines = [
        f"#SBATCH --{name}" + ("" if value is True else f"={value}")
        for name, value in options.items()
        if value is not None
    ]
    run = shlex.join(["surgery", "run", file.file, *_given(params), "--dir", str(folder)])
    made = f"mkdir -p {shlex.quote(str(folder / 'logs'))}"
    return "\n".join(
        [
            "#!/bin/bash",
            f"# {_count(file)} runs; before sbatch: {made}",
            *lines,
            *cluster.setup,
            f'{run} --index "$SLURM_ARRAY_TASK_ID" &',
            "run=$!",
            "# Before the time limit: stop cleanly, and go on in the same job, begun again.",
            """trap 'kill "$run"; wait "$run"; scontrol requeue "$SLURM_JOB_ID"; exit' USR1""",
            'wait "$run"',
        ]
    )


def kubernetes(file: RecipeFile, folder: Path, params: Sequence[str], cluster: Cluster) -> str:
    """An Indexed Job (batch/v1) for all runs; submitted with `kubectl apply -f FILE`.

    A run's pod that fails is tried again, but not where the recipe made it fail.
    """
    if cluster.image is None:
        raise UsageError("a Job needs an image with surgery: --cluster image=NAME")
    count = _count(file)
    resources: dict[str, Any] = {}
    if cluster.cpus is not None:
        resources["cpu"] = str(cluster.cpus)
    if cluster.mem is not None:
        resources["memory"] = _quantity(cluster.mem)
    if cluster.gpus:
        resources["nvidia.com/gpu"] = str(cluster.gpus)
    container: dict[str, Any] = {
        "name": "surgery",
        "image": cluster.image,
        "command": ["surgery", "run", _inside(file.file), *_given(params), "--dir",
                    _inside(str(folder))],
        "workingDir": "/work",
        "volumeMounts": [{"name": "work", "mountPath": "/work"}],
    }  # fmt: skip
    if resources:
        container["resources"] = {"limits": resources, "requests": dict(resources)}
    faults = {"containerName": "surgery", "operator": "In", "values": [2, 3]}
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
                    "containers": [container],
                    "volumes": [
                        {"name": "work", "persistentVolumeClaim": {"claimName": "work"}},
                    ],
                }
            },
        },
    }
    head = "# The claim `work` is the volume with the recipe; its outputs go there too.\n"
    return head + yaml.safe_dump(job, sort_keys=False).rstrip("\n")


FORMS: Mapping[str, Callable[[RecipeFile, Path, Sequence[str], Cluster], str]] = {
    "sbatch": sbatch,
    "kubernetes": kubernetes,
}


def _count(file: RecipeFile) -> int:
    return len(file.runs or ({},))


def _name(file: RecipeFile) -> str:
    """A name as Kubernetes takes it (RFC 1123)."""
    name = str(file.document.value.get("name") or Path(file.file).stem).lower()
    return re.sub(r"[^a-z0-9-]+", "-", name).strip("-")[:50].strip("-") or "surgery"


def _given(params: Sequence[str]) -> list[str]:
    return [part for text in params for part in ("-p", text)]


def _inside(path: str) -> str:
    """The path on the volume, which stands for the working folder."""
    inside = os.path.relpath(path)
    if inside.startswith(".."):
        raise UsageError(f"{path} is outside of this folder, which is what the volume holds")
    return inside


def _quantity(mem: str) -> str:
    """Memory as Kubernetes writes it: 8GB in Slurm's sense is 8Gi."""
    found = re.fullmatch(r"([\d.]+)\s*([KMGT]?)B?", mem)
    return f"{found[1]}{found[2] + 'i' if found[2] else 'Mi'}" if found else mem
