"""A model of 1 GB in a bucket: what is moved to inspect it, and to edit one of its layers.

    python benchmarks/remote.py

The bucket is moto's S3 server, a process on the loopback, which counts the bytes that it sends. The
peer is a whole download, which is what any tool moves that takes files only.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.conftest import dense_layers  # noqa: E402

LAYERS = [f"d{number}" for number in range(16)]
RECIPE = """surgery: 1
load: {path: "s3://lab/large.keras", select: d3}
steps:
  - scale: {select: d3/kernel, by: 2}
export:
  - npz: s3://lab/d3.npz
"""


def main():
    import surgery

    command = [sys.executable, "-m", "tests.sweeps.s3_server", "0"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
    os.environ |= {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
                   "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "large.keras"
            surgery.save(dense_layers(LAYERS, [4096] * 17), keras=path)
            import boto3

            bucket = boto3.client("s3")
            bucket.create_bucket(Bucket="lab")
            bucket.upload_file(str(path), "lab", path.name)
            print(f"the model: {path.stat().st_size / 1e6:,.1f} MB")
            compare(url, Path(folder))
    finally:
        server.kill()


def compare(url, folder):
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    surgery = [sys.executable, "-m", "surgery"]
    inspect = [*surgery, "inspect", "s3://lab/large.keras"]
    jobs = {"inspect": inspect, "edit one layer": [*surgery, "run", recipe]}
    for job, command in jobs.items():
        before = count(url)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = count(url)
        sent, asked = after["sent"] - before["sent"], after["requests"] - before["requests"]
        taken = after["taken"] - before["taken"]
        print(f"{job}: {sent / 1e6:.2f} MB read, {taken / 1e6:.2f} MB written, {asked} requests")


def count(url):
    with urllib.request.urlopen(url + "/_count") as answer:
        return json.loads(answer.read())


if __name__ == "__main__":
    main()
