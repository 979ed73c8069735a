"""One variable of a 2 GB SavedModel and checkpoint edited: ours against TensorFlow and cp.

    python benchmarks/in_place.py                 both, three runs
    python benchmarks/in_place.py --only ours,cp  without TensorFlow

Built by seed. Each job is a process of its own, in turn; ratios are medians of paired ratios.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from run import QUIET, measured

WIDTH, COUNT = 8192, 8
BUILD = f"""
import sys, tensorflow as tf
class Module(tf.Module):
    def __init__(self):
        self.layers = [
            tf.Variable(tf.random.stateless_uniform(({WIDTH}, {WIDTH}), (1, n)), name=f"w{{n}}")
            for n in range({COUNT})
        ]
    @tf.function(input_signature=[tf.TensorSpec((None, {WIDTH}))])
    def __call__(self, x):
        for w in self.layers:
            x = x @ w
        return x
module = Module()
tf.saved_model.save(module, sys.argv[1] + "/savedmodel", signatures=module.__call__)
tf.train.Checkpoint(module=module).write(sys.argv[1] + "/checkpoint")
"""
BY_TENSORFLOW = {
    "savedmodel": """
import sys, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
loaded.layers[3].assign(loaded.layers[3] * 2)
tf.saved_model.save(loaded, sys.argv[2], signatures=loaded.signatures)
""",
    "checkpoint": f"""
import sys, tensorflow as tf
module = tf.Module()
module.layers = [tf.Variable(tf.zeros(({WIDTH}, {WIDTH}))) for n in range({COUNT})]
checkpoint = tf.train.Checkpoint(module=module)
checkpoint.read(sys.argv[1]).assert_consumed()
module.layers[3].assign(module.layers[3] * 2)
checkpoint.write(sys.argv[2] + "/ckpt")
""",
}
RECIPE = """surgery: 1
load: {folder}/{kind}
steps: [{{scale: {{select: "**/layers/3", by: 2}}}}]
export: [{{{kind}: {folder}/out}}]
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="ours,bare,cp,tensorflow")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        subprocess.run([sys.executable, "-c", BUILD, temporary], check=True, env=QUIET)
        for kind in ("savedmodel", "checkpoint"):
            compare(kind, arguments, temporary)


def compare(kind, arguments, folder):
    out, recipe = Path(folder) / "out", Path(folder) / f"{kind}.yaml"
    text = RECIPE.format(folder=folder, kind=kind)
    recipe.write_text(text.replace("**/layers/3", "layers/3" if kind == "savedmodel" else "**/3"))
    ours = [sys.executable, "-m", "surgery", "run", "-q", "--force", recipe]
    source = f"{folder}/{kind}"
    jobs = {
        "ours": ours,
        "bare": [*ours, "--no-manifest"],
        "cp": ["sh", "-c", f"mkdir {out} && cp -r {source}* {out} && sync"],
        "tensorflow": [sys.executable, "-c", BY_TENSORFLOW[kind], source, out],
    }
    jobs = {name: job for name, job in jobs.items() if name in arguments.only.split(",")}
    found = {name: [] for name in jobs}
    for _ in range(arguments.runs):
        for name, job in jobs.items():
            shutil.rmtree(out, ignore_errors=True)
            found[name].append(measured(job))
    print(f"{kind}, {WIDTH * WIDTH * COUNT * 4 / 1e9:.1f} GB")
    for name, runs in found.items():
        seconds = statistics.median(s for s, _ in runs)
        ratio = statistics.median(s / o for (s, _), (o, _) in zip(runs, found["ours"], strict=True))
        peak = max(megabytes for _, megabytes in runs)
        print(f"  {name:12} {seconds:6.2f} s  {peak:7,.0f} MB   {ratio:5.2f} x ours")


if __name__ == "__main__":
    main()
