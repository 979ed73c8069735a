"""A small model in every form that is read, and the table of what each can be written as.

`python -m tests.formats.pairs` writes the table into docs/formats.md.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import surgery
from surgery.formats.base import formats
from tests.conftest import ROOT, dense_model, streamed_formats

PAGE = ROOT / "docs/formats.md"
BEGIN, END = "<!-- pairs: begin -->\n", "<!-- pairs: end -->"
BY_KERAS = {"savedmodel", "tflite", "onnx"}
COPIES = [name for name in streamed_formats() if name not in ("checkpoint", "keras")]
"""The formats that a copy of one model is written in, to be read."""

MAKERS = {
    "savedmodel (Keras 2)": """
import numpy as np, tf_keras as keras
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a"),
                          keras.layers.Dense(2, name="b")])
model.compile("adam", "mse")
model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
model.save(path, save_format="tf")
""",
    "savedmodel (tf.Module)": """
import tensorflow as tf
class Module(tf.Module):
    def __init__(self):
        self.w = tf.Variable(tf.random.stateless_normal((4, 3), (1, 2)))
        self.steps = tf.Variable(3)
    @tf.function(input_signature=[tf.TensorSpec((None, 4))])
    def __call__(self, x):
        return x @ self.w
module = Module()
tf.saved_model.save(module, path, module.__call__)
""",
    "graphdef": """
import numpy as np, tensorflow as tf
with tf.Graph().as_default() as graph:
    x = tf.compat.v1.placeholder(tf.float32, (None, 4), "x")
    kernel = tf.constant(np.arange(12, dtype=np.float32).reshape(4, 3), name="a/kernel")
    bias = tf.constant(0.5, shape=(3,), name="a/bias")
    tf.add(x @ tf.identity(kernel, "a/kernel/read"), tf.identity(bias, "a/bias/read"), "y")
open(path, "wb").write(graph.as_graph_def().SerializeToString())
""",
    "checkpoint (TF1, first format)": """
import os, tensorflow as tf
os.mkdir(path)
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    tf.compat.v1.get_variable("a/kernel", initializer=tf.ones((4, 3)) / 3, use_resource=False)
    session.run(tf.compat.v1.global_variables_initializer())
    saver = tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V1)
    saver.save(session, path + "/model.ckpt", write_meta_graph=False)
""",
}


def make_by_tensorflow(paths):
    """Run the makers, all in one process; tf_keras wants other settings than Keras 3."""
    script = "".join(f"path = {str(path)!r}\n{MAKERS[name]}" for name, path in paths.items())
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, env=environment)


def sources(folder):
    """A path for every form, by its name."""
    whole = dense_model(folder, "whole.keras")
    found = {"keras": whole}
    for name in COPIES:
        found[name] = folder / f"copy.{name}"
        surgery.save(surgery.open(whole), **{name: found[name]})
    found["checkpoint (by objects)"] = folder / "objects"
    surgery.save(surgery.open(whole), checkpoint=folder / "objects")
    found["checkpoint (by names)"] = folder / "names"
    surgery.save(surgery.open(found["npz"]), checkpoint=folder / "names")
    made = {name: folder / f"tensorflow{number}" for number, name in enumerate(MAKERS)}
    make_by_tensorflow(made)
    found |= made
    return dict(sorted(found.items()))


def table(found):
    """The table in Markdown, with the reasons as notes below it."""
    names = list(formats())
    reasons = {}
    lines = ["| from \\ to | " + " | ".join(f"`{n}`" for n in names) + " |",
             "| --- |" + " --- |" * len(names)]  # fmt: skip
    for source, path in found.items():
        model = surgery.open(path)
        cells = [_cell(model, formats()[name], reasons) for name in names]
        lines.append(f"| {source} | " + " | ".join(cells) + " |")
    notes = [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join([*lines, "", *notes]) + "\n"


def _cell(model, form, reasons):
    problems = form.problems(model)
    if problems:
        return str(reasons.setdefault(problems[0], len(reasons) + 1))
    return "Keras" if form.is_foreign(model) else "yes"


def main():
    with tempfile.TemporaryDirectory() as folder:
        new = table(sources(Path(folder)))
    page = PAGE.read_text()
    head, rest = page.split(BEGIN)
    PAGE.write_text(head + BEGIN + new + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
