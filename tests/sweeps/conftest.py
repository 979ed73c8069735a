import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from surgery.sweeps.folder import SweepFolder
from tests.conftest import ROOT, command, dense_model

RECIPE = """surgery: 1
name: prune
seed: 3
load: {load}
matrix:
  by: [1, 2, 3]
  lowest: [10%, 50%]
steps:
  - scale: {{select: a, by: "${{by}}"}}
  - zero: {{select: a/kernel, lowest: "${{lowest}}"}}
export:
  - keras: "out/${{by}}-${{lowest}}/model.keras"
  - npz: "out/${{by}}-${{lowest}}/model.npz"
"""


@pytest.fixture
def sweep(tmp_path):
    """A recipe of six runs beside its model."""
    dense_model(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(load="model.keras"))
    return path


def outputs(folder):
    """The bytes of every output, by its name; manifests say when they were made."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".run.json")
    }


def started(folder, index):
    """How often a run was begun, by its log."""
    log = log_of(folder, index)
    return log.read_text().count(": started ") if log.exists() else 0


def log_of(folder, index):
    sweep = SweepFolder(folder)
    return sweep.log(sweep.runs()[index].id)


def begin(*arguments, cwd=None, **environment):
    """Start `surgery` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "surgery", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(what, seconds=120, pause=0.02):
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(pause)
    return found


class SlowServer(ThreadingHTTPServer):
    """Serves one model under any name; one with `/slow` in it answers its second GET only later.

    The first is for the plan, and one that comes again finds it quick; so does a local sweep.
    """

    daemon_threads = True

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data = data
        self.gets = Counter()
        self.go_on = threading.Event()

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.data)))
        self.send_header("ETag", '"1"')
        self.end_headers()

    def do_GET(self):
        name = urllib.parse.unquote(self.path)
        self.server.gets[name] += 1
        if "/slow" in name and "/local/" not in name and self.server.gets[name] == 2:
            self.server.go_on.wait(600)
        self.do_HEAD()
        self.wfile.write(self.server.data)

    def log_message(self, *_):
        pass


@pytest.fixture
def slow(tmp_path):
    server = SlowServer(dense_model(tmp_path, "served.keras").read_bytes())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.go_on.set()
    server.shutdown()


SCRIPTS = ROOT.parent / "shared" / "slurm"


@contextlib.contextmanager
def _running_slurm(home, port, *options):
    """The environment of a Slurm that runs here; skips loudly where none can."""
    if not (SCRIPTS / "start-slurm.sh").exists():
        pytest.skip(f"Slurm is not started here: {SCRIPTS}/start-slurm.sh is missing")
    environment = {**os.environ, "SLURM_HOME": str(home), "DEVSLURM_PORT": str(port)}
    done = subprocess.run([SCRIPTS / "start-slurm.sh", *options], capture_output=True, text=True,
                          check=False, env=environment)  # fmt: skip
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-3:]
        pytest.skip(f"Slurm cannot be started here: {' / '.join(said)}")
    script = f'. "{home}/env.sh" && env -0'
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    given = dict(line.partition("=")[::2] for line in shown.stdout.split("\0") if line)
    yield {name: value for name, value in given.items() if name.startswith("SLURM")}
    subprocess.run([SCRIPTS / "stop-slurm.sh"], capture_output=True, check=False, env=environment)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    with _running_slurm(tmp_path_factory.mktemp("slurm"), 16817) as environment:
        yield environment


@pytest.fixture
def slurm_without_accounting(tmp_path_factory):
    home = tmp_path_factory.mktemp("slurm")
    with _running_slurm(home, 16827, "--no-accounting") as environment:
        yield environment


def states(folder, environment):
    """What `surgery sweep status` says of every run."""
    done = command("sweep", "status", folder, "--json", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["runs"]


def holder(folder, id):
    """Who does a run now."""
    (claim,) = (folder / "runs").glob(f"{id}.claim-*")
    return json.loads(claim.read_text())


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A real S3 server process on the loopback, with the bucket `lab`; gives its environment."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sweeps.s3_server", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    port = process.stdout.readline().strip()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    import boto3

    bucket = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    bucket.create_bucket(Bucket="lab")
    yield environment, bucket
    process.kill()
    process.wait()
