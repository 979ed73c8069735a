"""Many small variables in TensorFlow's forms: `inspect`, and a `run` that scales a tenth of them.

    python benchmarks/variables.py                  20,000 variables, medians of three
    python benchmarks/variables.py --counts 20000,80000
    python benchmarks/variables.py --make FOLDER    only make them there

The files are made without TensorFlow, by surgery's own writers and by hand; TensorFlow reads them.
"""

import argparse
import resource
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from run import measured

from surgery.formats._tensorflow.bundle import GRAPH
from surgery.formats._tensorflow.bundle_writer import new_bundle
from surgery.formats._tensorflow.objects import VALUE, CheckpointNode
from surgery.formats._tensorflow.objects_writer import put_graph
from surgery.formats._tensorflow.proto import put_bytes, put_integer
from surgery.weights.tensor import constant

KINDS = ("names", "slots", "objects", "savedmodel")
RECIPE = """surgery: 1
load: {path: %s}
steps: [{scale: {select: "**/layer_*1/**", by: 2}}]
export: [{%s: out}]
"""
PARTS = ("query/kernel", "query/bias", "key/kernel", "key/bias", "output/kernel", "output/bias",
         "norm/gamma", "norm/beta")  # fmt: skip
WIDTH = 16


def names(count):
    """The names of variables in a transformer of very many layers."""
    return [f"encoder/layer_{n // len(PARTS)}/{PARTS[n % len(PARTS)]}" for n in range(count)]


def values(keys):
    """A tensor for each key."""
    numbers = np.random.default_rng(0).standard_normal((len(keys), WIDTH)).astype(np.float32)
    return {key: constant(row) for key, row in zip(keys, numbers, strict=True)}


def by_names(folder, count):
    """As TensorFlow 1 saves them."""
    save(folder / "model.ckpt", names(count))


def by_names_with_slots(folder, count):
    """A third of them are weights, each with Adam's two slots."""
    owners = names(count // 3)
    save(folder / "model.ckpt", [f"{n}{slot}" for n in owners for slot in ("", "/Adam", "/Adam_1")])


def by_objects(folder, count):
    """As `tf.train.Checkpoint` saves them."""
    nodes, keys = graph(count)
    save(folder / "model.ckpt", keys, {GRAPH: put_graph(nodes)})


def savedmodel(folder, count):
    """As `tf.saved_model.save` does, without any function."""
    nodes, keys = graph(count)
    (folder / "variables").mkdir()
    save(folder / "variables/variables", keys, {GRAPH: put_graph(nodes)})
    user = put_bytes(4, put_bytes(1, b"_generic_user_object"))
    shape = put_bytes(2, put_bytes(2, put_integer(1, WIDTH)))
    variable = put_bytes(7, put_integer(1, 1) + shape + put_integer(3, 1))
    objects = b"".join(
        put_bytes(
            1,
            b"".join(
                put_bytes(1, put_integer(1, child) + put_bytes(2, name.encode()))
                for name, child in node.children
            )
            + (variable if node.attributes else user),
        )
        for node in nodes
    )
    meta = put_bytes(1, put_bytes(4, b"serve")) + put_bytes(2, b"") + put_bytes(7, objects)
    (folder / "saved_model.pb").write_bytes(put_integer(1, 1) + put_bytes(2, meta))


def graph(count):
    """Objects inside each other by the parts of the variables' names; their keys in order."""
    children, attributes = [{}], {}
    for name in names(count):
        number = 0
        for part in name.split("/"):
            if part not in children[number]:
                children[number][part] = len(children)
                children.append({})
            number = children[number][part]
        attributes[number] = ((VALUE, name, f"{name}/.ATTRIBUTES/{VALUE}"),)
    nodes = [
        CheckpointNode(tuple(c.items()), attributes.get(n, ()), ()) for n, c in enumerate(children)
    ]
    return nodes, [key for ((_, _, key),) in attributes.values()]


def save(prefix, keys, texts=None):
    """A bundle of those variables."""
    output = new_bundle(str(prefix), values(list(keys)), texts or {}).output()
    for tensor, sink in output.tensors:
        sink(0, tensor.read(0, tensor.size))
    output.finish()
    output.close()


MAKE = dict(zip(KINDS, (by_names, by_names_with_slots, by_objects, savedmodel), strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", default="20000")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default=",".join(KINDS))
    parser.add_argument("--make", type=Path, help="only make the files, in this folder")
    arguments = parser.parse_args()
    kinds = [kind for kind in KINDS if kind in arguments.only.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.make or Path(temporary)
        for count in map(int, arguments.counts.split(",")):
            for kind in kinds:
                source = folder / f"{kind}-{count}"
                source.mkdir(parents=True)
                MAKE[kind](source, count)
                if not arguments.make:
                    compare(source, kind, count, arguments.runs)


def compare(source, kind, count, runs):
    recipe, out = source.parent / "r.yaml", source.parent / "out"
    recipe.write_text(RECIPE % (source, "savedmodel" if kind == "savedmodel" else "checkpoint"))
    command = [sys.executable, "-m", "surgery"]
    jobs = {"inspect": [*command, "inspect", source], "run": [*command, "run", "-q", recipe]}
    print(f"{kind}, {count:,} variables")
    for name, job in jobs.items():
        found = []
        for _ in range(runs):
            shutil.rmtree(out, ignore_errors=True)
            (source.parent / "r.run.json").unlink(missing_ok=True)
            before = cpu()
            found.append((*measured(job), cpu() - before))
        seconds, _, busy = (statistics.median(column) for column in zip(*found, strict=True))
        peak = max(megabytes for _, megabytes, _ in found)
        print(f"  {name:8} {seconds:6.2f} s  {busy:6.2f} s of CPU  {peak:6,.0f} MB", flush=True)


def cpu():
    """Seconds that all jobs so far have computed, on all cores."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
