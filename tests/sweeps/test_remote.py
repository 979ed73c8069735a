"""Models behind URLs: a real S3 server process counts what is moved."""

import functools
import hashlib
import json
import urllib.request

import fsspec
import numpy as np
import pytest

import surgery
from surgery.errors import SurgeryError
from surgery.execution.execute import execute
from surgery.execution.planning import make_plan
from surgery.recipe.reading import read_recipe
from surgery.storage import locations
from tests.conftest import command as any_command
from tests.conftest import dense_layers, dense_model, same_bytes, values

command = functools.partial(any_command, imported=["s3fs"])
WIDE = ["first", "wide", "narrow", "last"]


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """A model of 41 MB of which one kernel has 40 MB."""
    folder = tmp_path_factory.mktemp("large")
    model = dense_layers(WIDE, [16, 1000, 10_000, 8, 4])
    surgery.save(model, keras=folder / "m.keras", h5=folder / "m.h5", checkpoint=folder / "m",
                 safetensors=folder / "m.safetensors", npz=folder / "m.npz")  # fmt: skip
    return folder


def moved(environment):
    with urllib.request.urlopen(environment["AWS_ENDPOINT_URL"] + "/_count") as answer:
        return json.loads(answer.read())


def put(bucket, path, key):
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            inner = f"{key}/{file.relative_to(path)}" if path.is_dir() else key
            bucket.upload_file(str(file), "lab", inner)


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.safetensors", "m.npz", "m"])
def test_a_large_model_is_read_by_ranges(name, s3, large, tmp_path):
    environment, bucket = s3
    put(bucket, large / name, f"large/{name}")
    url = f"s3://lab/large/{name}"
    before = moved(environment)["sent"]
    done = command("inspect", url, "--json", **environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == url
    headers = moved(environment)["sent"] - before
    assert headers < 2_500_000  # of 41 MB
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f'surgery: 1\nname: part\nload: {{path: "{url}", select: "narrow"}}\n'
        "steps: [{scale: {select: narrow/kernel, by: 2}}]\n"
        f'export: [{{npz: "s3://lab/out/{name}.npz"}}]\n'
    )
    before = moved(environment)["sent"]
    done = command("run", recipe, **environment)
    assert done.returncode == 0, done.stderr
    assert f"wrote s3://lab/out/{name}.npz" in done.stdout
    assert moved(environment)["sent"] - before < headers + 2_500_000
    bucket.download_file("lab", f"out/{name}.npz", str(tmp_path / "part.npz"))
    expected = values(surgery.open(large / name))["narrow/kernel"] * 2
    assert (values(surgery.open(tmp_path / "part.npz"))["narrow/kernel"] == expected).all()
    done = command("verify", "s3://lab/out/part.run.json", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    bucket.download_file("lab", "out/part.run.json", str(tmp_path / "part.run.json"))
    text = (tmp_path / "part.run.json").read_text()
    assert "surgery-remote-" not in text  # URLs, not where they lay meanwhile
    assert f'"{url}' in text


@pytest.mark.parametrize("form", ["keras", "npy", "checkpoint", "h5"])
def test_a_whole_model_goes_there_and_back(form, s3, tmp_path):
    environment, _bucket = s3
    path = dense_model(tmp_path)
    url = f"s3://lab/whole/{form}/model"
    sent = command("convert", path, url, "--to", form, **environment)
    assert sent.returncode == 0, sent.stderr
    back = command("convert", url, tmp_path / "back.npz", **environment)
    assert back.returncode == 0, back.stderr
    assert same_bytes(surgery.open(tmp_path / "back.npz"), surgery.open(path))


def test_an_object_is_seen_when_it_is_whole(s3, large):
    environment, bucket = s3
    done = command("convert", large / "m.keras", "s3://lab/seen/m.keras", **environment)
    assert done.returncode == 0, done.stderr
    found = bucket.list_objects_v2(Bucket="lab", Prefix="seen/")
    keys = [each["Key"] for each in found["Contents"]]
    assert keys == ["seen/m.keras"]  # and nothing unfinished beside it
    assert not bucket.list_multipart_uploads(Bucket="lab").get("Uploads")


def test_a_sweep_into_a_bucket(s3, sweep, tmp_path):
    environment, bucket = s3
    bucket.upload_file(str(tmp_path / "model.keras"), "lab", "swept/model.keras")
    text = sweep.read_text().replace("load: model.keras", 'load: "s3://lab/swept/model.keras"')
    sweep.write_text(text.replace('"out/', '"s3://lab/swept/out/'))
    done = command("sweep", sweep, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "6 runs: 6 done"
    taken = moved(environment)["taken"]
    again = command("sweep", sweep, **environment)
    assert again.stdout.splitlines()[0] == "6 runs: 6 done"
    assert moved(environment)["taken"] == taken  # nothing is sent twice
    bucket.delete_object(Bucket="lab", Key="swept/out/1-10%/model.npz")
    assert command("sweep", sweep, **environment).returncode == 0
    assert moved(environment)["taken"] > taken


def test_data_behind_a_url(s3, tmp_path):
    environment, bucket = s3
    np.save(tmp_path / "value.npy", np.full((4, 3), 7, np.float32))
    bucket.upload_file(str(tmp_path / "value.npy"), "lab", "data/value.npy")
    dense_model(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "surgery: 1\nload: model.keras\n"
        'steps: [{set: {select: a/kernel, npy: "s3://lab/data/value.npy"}}]\n'
        "export: [{npz: out.npz}]\n"
    )
    done = command("run", recipe, **environment)
    assert done.returncode == 0, done.stderr
    assert (values(surgery.open(tmp_path / "out.npz"))["a/kernel"] == 7).all()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://lab/none/model.keras", "s3://lab/none/model.keras: no such file or folder"),
        ("s3://nolab/model.keras", "s3://nolab/model.keras: no such file or folder"),
        ("nos://lab/model.keras", "nos:// is not a scheme that fsspec knows"),
        ("http://127.0.0.1:1/model.keras", "http://127.0.0.1:1/model.keras: "),
    ],
)
def test_what_is_not_there(url, said, s3):
    environment, _bucket = s3
    done = command("inspect", url, **environment)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "surgery-remote-" not in done.stderr


def test_a_file_that_changes_meanwhile(s3, tmp_path, monkeypatch):
    environment, bucket = s3
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bucket.upload_file(str(dense_model(tmp_path)), "lab", "changed/model.keras")
    path = locations.resolve("s3://lab/changed/model.keras")
    first = surgery.open("s3://lab/changed/model.keras")
    seen = locations.version(path)
    surgery.save(surgery.scale(first, "a", by=3), keras=tmp_path / "other.keras")
    bucket.upload_file(str(tmp_path / "other.keras"), "lab", "changed/model.keras")
    assert locations.version(path) != seen
    second = surgery.open("s3://lab/changed/model.keras")
    assert not (values(first)["a/kernel"] == values(second)["a/kernel"]).all()


def test_a_large_file_that_changes_is_not_mixed_with_what_it_was(s3, large, tmp_path, monkeypatch):
    environment, bucket = s3
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bucket.upload_file(str(large / "m.keras"), "lab", "mixed/m.keras")
    first = surgery.open("s3://lab/mixed/m.keras")
    surgery.save(surgery.scale(surgery.open(large / "m.keras"), "wide", by=3),
                 keras=tmp_path / "other.keras")  # fmt: skip
    bucket.upload_file(str(tmp_path / "other.keras"), "lab", "mixed/m.keras")
    with pytest.raises(SurgeryError, match=r"mixed/m\.keras was changed while it was read"):
        surgery.save(first, npz=tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
    second = surgery.open("s3://lab/mixed/m.keras")
    surgery.save(second, npz=tmp_path / "out.npz")
    expected = values(surgery.open(tmp_path / "other.keras"))["wide/kernel"]
    assert (values(surgery.open(tmp_path / "out.npz"))["wide/kernel"] == expected).all()


def test_a_large_output_is_verified_where_it_is(s3, large, tmp_path):
    environment, _bucket = s3
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"surgery: 1\nname: whole\nload: {large}/m.keras\n"
        'export: [{keras: "s3://lab/verified/m.keras"}]\n'
    )
    assert command("run", recipe, **environment).returncode == 0
    done = command("verify", "s3://lab/verified/whole.run.json", **environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_plan_says_that_urls_are_not_put_in_place_together(small, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        'surgery: 1\nload: model.keras\nexport: [{npz: a.npz}, {npz: "s3://lab/b.npz"}]\n'
    )
    done = command("plan", recipe)
    said = " ".join(done.stdout.split())
    assert "s3://lab/b.npz: a URL is not written atomically" in said


def test_arrays_in_fortran_s_order(s3, tmp_path, monkeypatch):
    environment, bucket = s3
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    arrays = {"a": np.asfortranarray(np.arange(3_000_000, dtype=np.float32).reshape(1500, 2000)),
              "b": np.arange(3_000_000, dtype=np.float32)}  # fmt: skip
    np.savez(tmp_path / "m.npz", **arrays)
    bucket.upload_file(str(tmp_path / "m.npz"), "lab", "fortran/m.npz")
    found = values(surgery.open("s3://lab/fortran/m.npz"))
    assert (found["a"] == arrays["a"]).all()


def test_over_http_without_ranges(slow):
    model = surgery.open(slow.url("model.keras"))
    assert model.origin == slow.url("model.keras")
    assert len(model.weights) == 4


def test_a_url_must_not_climb():
    with pytest.raises((SurgeryError, ValueError), match=r"has \.\. in it"):
        surgery.open("s3://lab/../../etc/passwd")


def test_a_file_that_tells_of_others_brings_them(s3, tmp_path):
    environment, bucket = s3
    path = dense_model(tmp_path)
    surgery.save(
        surgery.open(path), checkpoint=tmp_path / "c", weights_json=tmp_path / "w.weights.json"
    )
    put(bucket, tmp_path / "c", "beside/c")
    for file in tmp_path.glob("w*.weights.*"):
        put(bucket, file, f"beside/{file.name}")
    (index,) = (tmp_path / "c").glob("*.index")
    for url in (f"s3://lab/beside/c/{index.name}", "s3a://lab/beside/w.weights.json"):
        done = command("convert", url, tmp_path / "back.npz", **environment)
        assert done.returncode == 0, done.stderr
        assert len(surgery.open(tmp_path / "back.npz").weights) == 4


@pytest.mark.parametrize(
    ("url", "said"),
    [("s3://lab/a/../x", ".. in it"), ("s3://lab/dd//m.keras", "// in it"),
     ("s3://lab/./m.keras", ". in it")],
)  # fmt: skip
def test_urls_that_no_path_can_have(url, said, tmp_path):
    (tmp_path / "r.yaml").write_text(f'surgery: 1\nload: "{url}"\nexport: [{{npz: x.npz}}]\n')
    done = command("validate", tmp_path / "r.yaml")
    assert done.returncode == 2
    assert f"r.yaml:2:7: load.path: {url} has {said}, which a local path cannot have" in done.stderr
    done = command("inspect", "s3://lab/a/../x")
    assert done.returncode == 2
    assert "s3://lab/a/../x has .. in it" in done.stderr


def test_what_goes_to_a_url_is_hashed_before(small, tmp_path):
    (tmp_path / "r.yaml").write_text(
        'surgery: 1\nload: model.keras\nexport: [{npz: "memory://hashed/m.npz"}]\n'
    )
    execute(make_plan(read_recipe(tmp_path / "r.yaml")), hashes=True)
    with fsspec.open("memory://hashed/m.npz") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    with fsspec.open("memory://hashed/r.run.json") as file:
        (output,) = json.load(file)["outputs"]
    assert [file["sha256"] for file in output["files"]] == [digest]


@pytest.mark.parametrize(
    "arguments",
    [
        ["diff", "file://broken.keras", "file://broken.keras"],
        ["inspect", "file://broken.keras"],
        ["run", "r.yaml"],
        ["run", "r.yaml", "--log-format", "json"],
        ["run", "r.yaml", "--log-format", "text"],
        ["run", "sweep.yaml", "--index", "0"],
        ["validate", "twice.yaml"],
    ],
    ids=" ".join,
)
def test_messages_name_the_url_and_no_local_copy(arguments, tmp_path):
    (tmp_path / "broken.keras").write_text("no model")
    (tmp_path / "r.yaml").write_text(
        'surgery: 1\nload: "file://broken.keras"\nexport: [{npz: x.npz}]\n'
    )
    text = (tmp_path / "r.yaml").read_text()
    (tmp_path / "sweep.yaml").write_text(f"{text}matrix: {{by: [1, 2]}}\n")
    (tmp_path / "twice.yaml").write_text(
        "surgery: 1\nload: m.keras\n"
        'export: [{npz: "file://broken.keras"}, {h5: "file://broken.keras"}]\n'
    )
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert "file://broken.keras" in done.stderr
    assert "surgery-remote-" not in done.stderr


def test_one_bucket_by_two_schemes_is_one(s3, tmp_path):
    environment, bucket = s3
    bucket.upload_file(str(dense_model(tmp_path)), "lab", "alias/m.keras")
    given = ["s3://lab/alias/m.keras", "s3a://lab/alias/m.keras"]
    done = command("convert", *given, **environment)
    assert done.returncode != 0
    assert "never written to" in done.stderr


def test_a_signed_url_is_longer_than_a_file_s_name(slow):
    url = slow.url(f"quick-long?signature={'a' * 400}")
    done = command("inspect", url)
    assert done.returncode == 0, done.stderr
    assert "4 weights" in done.stdout
