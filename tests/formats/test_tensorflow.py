"""Published checkpoints, SavedModels and frozen graphs agree with their golden facts."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

import surgery
from surgery.errors import FormatError, SurgeryError
from surgery.formats._tensorflow.farmhash import fingerprint64
from surgery.formats._tensorflow.proto import Message
from surgery.weights.digest import sha256
from tests.conftest import (
    MODELS,
    TENSORFLOW_FORMS,
    command,
    dense_model,
    model_path,
    published_models,
)  # fmt: skip

EVERY = pytest.mark.parametrize(("entry", "golden"), published_models(TENSORFLOW_FORMS))
SAVED = pytest.mark.parametrize(
    ("entry", "golden"), published_models({f for f in TENSORFLOW_FORMS if f.startswith("saved")})
)


@pytest.fixture
def published():
    if not (MODELS / "models.json").is_file():
        pytest.skip(f"the published models are not at {MODELS}; set SURGERY_MODELS")
    return MODELS


@EVERY
def test_all_variables_agree_with_the_golden_facts(entry, golden):
    model = surgery.open(model_path(golden))
    facts = {f["raw_path"]: f for f in golden["variables"] if f["kind"] != "object_graph"}
    states = {}
    for weight in (*model.weights, *model.states):
        for stored in weight.stored:
            fact = facts.pop(stored)
            assert list(weight.tensor.shape) == fact["shape"], stored
            assert weight.tensor.dtype.name == fact["dtype"], stored
            assert sha256(weight.tensor) == fact["sha256"], stored
            trainable = fact.get("trainable_in_object_graph", fact.get("trainable_in_meta"))
            if weight.state == "weight" and trainable is not None:
                assert weight.variable_trains == trainable or model.architecture is not None
            states.setdefault(fact["kind"], set()).add(weight.state)
    assert not facts
    assert states.get("optimizer", {"optimizer"}) == {"optimizer"}
    addresses = [weight.address for weight in (*model.weights, *model.states)]
    assert len(set(addresses)) == len(addresses)
    for check in model.checks:
        check()


COUNTS = {  # weights, of the optimizer, others
    "basic-pitch-icassp2022": (24, 41, 8),
    "facemask-frozen": (110, 0, 52),
    "gen-hub-tf1": (4, 0, 0),
    "gen-hub-tf2": (2, 0, 2),
    "gen-keras3-export": (4, 0, 0),
    "gen-tf1-partitioned-sharded": (4, 10, 1),
    "gen-tf1-v1-format": (4, 10, 1),
    "m3gnet-efs": (80, 0, 0),
    "musicnn-mtt-vgg": (36, 50, 0),
    "openmv-emoji": (137, 171, 8),
    "serving-half-plus-two-tf1": (5, 0, 0),
    "serving-half-plus-two-tf2": (3, 0, 0),
    "serving-session-bundle-v1": (2, 0, 0),
    "tfnet-lstm": (5, 12, 4),
}


@EVERY
def test_weights_slots_and_counters_are_told_apart(entry, golden):
    model = surgery.open(model_path(golden))
    kinds = [weight.state for weight in model.states]
    found = len(model.weights), kinds.count("optimizer"), kinds.count("other")
    assert found == COUNTS[entry["slug"]]


ADDRESSES = {
    "tfnet-lstm": [
        "lstm/lstm_cell/kernel", "lstm/lstm_cell/recurrent_kernel", "lstm/lstm_cell/bias",
        "dense/kernel", "dense/bias",
    ],
    "gen-keras3-export": ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"],
    "gen-hub-tf2": ["v/w", "v/b"],
    "serving-half-plus-two-tf2": ["a", "b", "c"],
    "gen-tf1-partitioned-sharded": ["hidden/bias", "hidden/kernel", "out/bias", "out/kernel"],
}  # fmt: skip


@EVERY
def test_names(entry, golden):
    wanted = ADDRESSES.get(entry["slug"])
    found = [weight.address for weight in surgery.open(model_path(golden)).weights]
    assert wanted is None or found == wanted
    assert not any("layer_with_weights" in name or ".ATTRIBUTES" in name for name in found)


@SAVED
def test_signatures(entry, golden):
    model = surgery.open(model_path(golden))
    found = {(tuple(s["tags"]), s["name"]): s for s in model.carried.signatures}
    for graph in golden["info"]["meta_graphs"]:
        for name, facts in graph["signatures"].items():
            if name == "__saved_model_init_op":
                continue
            ours = found.pop((tuple(graph["tags"]), name))
            assert ours["method"] == facts["method"]
            for kind in ("inputs", "outputs"):
                assert sorted(ours[kind]) == sorted(facts[kind])
                for key, info in facts[kind].items():
                    dims = [None if n < 0 else n for n in info["shape"]]
                    assert ours[kind][key]["shape"] in (dims, None)
    assert not found


@EVERY
def test_an_unchanged_copy_is_byte_identical(entry, golden, tmp_path):
    source = model_path(golden)
    model = surgery.open(source)
    if "v1" in entry["form"]:
        surgery.save(model, checkpoint=tmp_path / "copy")
        copy = surgery.open(tmp_path / "copy")
        assert {w.address: sha256(w.tensor) for w in (*copy.weights, *copy.states)} == {
            w.address: sha256(w.tensor) for w in (*model.weights, *model.states)
        }
        return
    surgery.save(model, **{model.format: tmp_path / "copy"})
    if model.format == "graphdef":
        assert source.read_bytes() == (tmp_path / "copy").read_bytes()
        return
    packed = golden.get("info", {}).get("index_error") == "compressed block"
    for file in source.parent.glob(f"{source.name}*") if not source.is_dir() else source.rglob("*"):
        if file.is_dir() or file.name in ("checkpoint", "m3gnet.json"):
            continue
        name = f"ckpt{file.name}" if file.name.startswith(".") else file.name
        inside = file.parent.relative_to(source) if source.is_dir() else Path()
        twin = tmp_path / "copy" / inside / name
        if not packed or file.name not in ("variables.index", "fingerprint.pb"):
            assert file.read_bytes() == twin.read_bytes(), file


@SAVED
def test_the_fingerprint_of_an_edited_copy_is_true(entry, golden, tmp_path):
    model = surgery.open(model_path(golden))
    surgery.save(surgery.scale(model, "**", by=2), savedmodel=tmp_path / "m")
    file = tmp_path / "m/fingerprint.pb"
    if not (model_path(golden) / "fingerprint.pb").is_file():
        assert not file.exists()
        return
    index = (tmp_path / "m/variables/variables.index").read_bytes()
    assert Message(file.read_bytes()).integer(5) == fingerprint64(index)
    old = Message((model_path(golden) / "fingerprint.pb").read_bytes())
    assert all(Message(file.read_bytes()).integer(n) == old.integer(n) for n in (1, 2, 3, 4))


def test_all_copies_of_a_variable_are_written_alike(published, tmp_path):
    model = surgery.open(published / "gen-keras3-export/1")
    assert [len(weight.stored) for weight in model.weights] == [2, 2, 2, 2]
    surgery.save(surgery.scale(model, "dense", by=3), savedmodel=tmp_path / "m")
    from surgery.formats._tensorflow.bundle import Bundle

    bundle = Bundle(str(tmp_path / "m/variables/variables"))
    for weight in model.weights:
        first, second = (bundle.tensor(key).numpy() for key in weight.stored)
        assert np.array_equal(first, second)
        factor = 3 if weight.layer == "dense" else 1
        assert np.array_equal(first, weight.tensor.numpy() * np.float32(factor))


def test_a_module_in_a_tar(published, tmp_path):
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as archive:
        for file in sorted((published / "gen-hub-tf1").rglob("*")):
            archive.add(file, file.relative_to(published / "gen-hub-tf1"))
    packed, plain = surgery.open(tmp_path / "m.tar.gz"), surgery.open(published / "gen-hub-tf1")
    assert [sha256(w.tensor) for w in packed.weights] == [sha256(w.tensor) for w in plain.weights]
    surgery.save(packed, savedmodel=tmp_path / "out")
    for file in (published / "gen-hub-tf1").rglob("*"):
        twin = tmp_path / "out" / file.relative_to(published / "gen-hub-tf1")
        assert file.is_dir() or file.read_bytes() == twin.read_bytes()


class TestHub:
    """TF Hub's cache, and a real server on the loopback that hands out a module."""

    RECIPE = "surgery: 1\nload: {hub: %s}\nexport: [{npz: out.npz}]\n"

    def test_from_its_cache(self, published, tmp_path, monkeypatch):
        handle = "https://tfhub.dev/someone/module/1"
        folder = tmp_path / "cache/b7fd0a2b5dbd25b0d0ee2fd0fe9a9b7b51a1e6a4"
        import hashlib
        import shutil

        folder = folder.with_name(hashlib.sha1(handle.encode()).hexdigest())
        shutil.copytree(published / "gen-hub-tf1", folder)
        monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
        (tmp_path / "r.yaml").write_text(self.RECIPE % handle)
        surgery.run(tmp_path / "r.yaml")
        assert len(np.load(tmp_path / "out.npz")) == 4

    def test_without_network(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
        (tmp_path / "r.yaml").write_text(self.RECIPE % "http://127.0.0.1:9/module/1")
        with pytest.raises(SurgeryError, match=r"not in TF Hub's cache and cannot be downloaded"):
            surgery.run(tmp_path / "r.yaml")
        (tmp_path / "r.yaml").write_text(self.RECIPE % "google/module")
        with pytest.raises(SurgeryError, match="a handle is a URL"):
            surgery.run(tmp_path / "r.yaml")

    def test_downloaded_once(self, published, tmp_path, monkeypatch):
        import http.server
        import threading

        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                with tarfile.open(fileobj=self.wfile, mode="w|gz") as archive:
                    archive.add(published / "gen-hub-tf1", ".")

            def log_message(self, *_):
                pass

        monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            handle = f"http://127.0.0.1:{server.server_port}/module/1"
            (tmp_path / "r.yaml").write_text(self.RECIPE % handle)
            for _ in range(2):
                surgery.run(tmp_path / "r.yaml")
            server.shutdown()
        assert asked == ["/module/1?tf-hub-format=compressed"]
        assert len(np.load(tmp_path / "out.npz")) == 4


def test_selectors_of_states(published, tmp_path):
    model = surgery.open(published / "musicnn-mtt-vgg")
    zeroed = surgery.zero(model, {"state": "optimizer", "path": "1CNN/**"})
    surgery.save(zeroed, checkpoint=tmp_path / "c")
    back = surgery.open(tmp_path / "c")
    for name, changed in (
        ("1CNN/kernel/Adam", True),
        ("1CNN/kernel", False),
        ("5CNN/kernel/Adam", False),
    ):
        if name in model.by_address:
            assert (sha256(back[name].tensor) != sha256(model[name].tensor)) == changed
    assert not back["1CNN/kernel/Adam"].tensor.numpy().any()
    with pytest.raises(SurgeryError, match="state: 'optimiser' is not among weight, optimizer"):
        surgery.zero(model, {"state": "optimiser"})
    assert not [
        w for w in surgery.zero(model, "**").states if w.tensor is not model[w.address].tensor
    ]


def test_a_step_that_reaches_no_target(published, tmp_path):
    (tmp_path / "r.yaml").write_text(
        f"surgery: 1\nload: {published}/musicnn-mtt-vgg\n"
        "steps: [{zero: {select: {state: optimizer}}}]\nexport: [{npz: o.npz}]\n"
    )
    done = command("plan", "r.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "r.yaml:3:16: steps[0].zero: it changes variables that are not weights, which no target"
    )


class TestLoad:
    """`load:` with an architecture, a map, a selector."""

    def run(self, published, tmp_path, load):
        dense_model(tmp_path, "m.keras", ("x", "y"))
        recipe = {"surgery": 1, "load": load, "export": [{"keras": "out.keras"}]}
        (tmp_path / "r.yaml").write_text(json.dumps(recipe))
        return command("run", "r.yaml", cwd=tmp_path)

    def test_a_tf1_checkpoint_into_a_keras_model(self, published, tmp_path):
        load = {
            "path": str(published / "gen-tf1-partitioned-sharded"),
            "architecture": "m.keras",
            "map": {"hidden/*": "x/*", "out/*": "y/*"},
        }
        from tests.conftest import dense_layers

        model = dense_layers(("x", "y"), [64, 30, 10])
        surgery.save(model, keras=tmp_path / "m.keras")
        recipe = {"surgery": 1, "load": load, "export": [{"keras": "out.keras"}]}
        (tmp_path / "r.yaml").write_text(json.dumps(recipe))
        done = command("run", "r.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        source, out = surgery.open(load["path"]), surgery.open(tmp_path / "out.keras")
        for ours, theirs in (("x/kernel", "hidden/kernel"), ("y/bias", "out/bias")):
            assert sha256(out[ours].tensor) == sha256(source[theirs].tensor)

    def test_what_does_not_fit_is_listed(self, published, tmp_path):
        load = {"path": str(published / "gen-tf1-partitioned-sharded"), "architecture": "m.keras"}
        done = self.run(published, tmp_path, load)
        assert done.returncode == 1
        assert (
            "not in the donor: x/kernel, x/bias, y/kernel, y/bias; left over: hidden/"
            in done.stderr
        )

    def test_mismatch_report(self, published, tmp_path):
        load = {
            "path": str(published / "gen-tf1-partitioned-sharded"),
            "architecture": "m.keras",
            "map": {"hidden/*": "x/*", "out/bias": "y/bias"},
            "mismatch": "report",
        }
        done = self.run(published, tmp_path, load)
        assert done.returncode == 1  # nothing fits
        surgery.save(surgery.open(tmp_path / "m.keras"), npz=tmp_path / "w.npz")
        load = {"path": "w.npz", "architecture": "m.keras", "map": {"y/bias": "z/bias"}}
        done = self.run(published, tmp_path, {**load, "mismatch": "report"})
        assert done.returncode == 0
        assert "note: load: 3 weights from" in done.stdout
        assert "not in the donor: y/bias; left over: y/bias" in done.stdout
        done = self.run(published, tmp_path, {**load, "mismatch": "skip"})
        assert done.returncode == 0
        assert "note" not in done.stdout

    def test_select(self, published, tmp_path):
        dense_model(tmp_path, "m.keras", ("x", "y"))
        done = command("convert", "m.keras", "o.npz", "--select", "x", cwd=tmp_path)
        assert done.returncode == 0
        assert sorted(np.load(tmp_path / "o.npz")) == ["x/bias", "x/kernel"]
        done = command("convert", "m.keras", "o.keras", "--select", "x", cwd=tmp_path)
        assert done.returncode == 2
        assert "it needs the architecture" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m.keras", "out.xyz"], "out.xyz has no suffix of a known format; give --to with one of"),
        (["m.keras", "out", "--to", "keraz"], "'keraz' is not a format (did you mean 'keras'?)"),
        (["missing", "out.npz"], "missing: no such file or folder"),
        (["m.keras", "m.keras"], "m.keras is an input of this recipe, which is never written to"),
    ],
)
def test_convert_says_what_is_wrong(arguments, message, tmp_path):
    dense_model(tmp_path, "m.keras")
    done = command("convert", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.strip().startswith(message)


def test_a_folder_of_checkpoints_without_its_file(published, tmp_path):
    for name in ("one", "two"):
        for suffix in ("index", "data-00000-of-00001"):
            source = published / f"m3gnet-efs/m3gnet.{suffix}"
            (tmp_path / f"{name}.{suffix}").write_bytes(source.read_bytes())
    with pytest.raises(FormatError, match=r"has several checkpoints or none .*one, .*two"):
        surgery.open(tmp_path)
    assert len(surgery.open(tmp_path / "two").weights) == 80
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/of/the/author/one"\n')
    assert surgery.open(tmp_path).inputs[0] == tmp_path / "one.index"


PATHS = [
    ("gen-tf1-partitioned-sharded", "model.ckpt-290"),
    ("gen-tf1-partitioned-sharded", "model.ckpt-290.index"),
    ("gen-tf1-partitioned-sharded", "model.ckpt-290.data-00001-of-00003"),
    ("serving-session-bundle-v1", "export-?????-of-00001"),
    ("serving-session-bundle-v1", "export-00000-of-00001"),
    ("serving-session-bundle-v1", "export@1"),
    ("serving-session-bundle-v1", "export.meta"),
    ("serving-session-bundle-v1", "export"),
]


@pytest.mark.parametrize(("slug", "name"), PATHS)
def test_every_way_to_name_a_checkpoint(slug, name, published):
    assert (published / slug).is_dir()
    model = surgery.open(published / slug / name)
    assert len(model.weights) == {"gen-tf1-partitioned-sharded": 4}.get(slug, 2)


def test_missing_parts_of_a_checkpoint(published, tmp_path):
    shard = (published / "serving-session-bundle-v1/export-00000-of-00001").read_bytes()
    (tmp_path / "e-00001-of-00002").write_bytes(shard)
    for name in ("e", "e@2", "e-?????-of-00002", "e-00001-of-00002"):
        with pytest.raises(FormatError, match="only 1 of its 2 shards are there"):
            surgery.open(tmp_path / name)
    (tmp_path / "m.data-00000-of-00001").write_bytes(b"1234")
    with pytest.raises(FormatError, match=r"neither .*m\.index nor .*m is there"):
        surgery.open(tmp_path / "m.data-00000-of-00001")
    (tmp_path / "g.pbtxt").write_text('node {\n  name: "x"\n}\n')
    with pytest.raises(FormatError, match="is a graph in text form; write it as binary"):
        surgery.open(tmp_path / "g.pbtxt")


def test_a_flipped_bit_is_not_saved_on(published, tmp_path):
    surgery.save(surgery.open(published / "m3gnet-efs"), checkpoint=tmp_path / "c")
    data = tmp_path / "c/m3gnet.data-00000-of-00001"
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    with pytest.raises(FormatError, match="is not that in the index"):
        surgery.save(surgery.open(tmp_path / "c"), npz=tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_verify_finds_a_flipped_bit(published, tmp_path):
    for form, source in (("checkpoint", "m3gnet-efs"), ("savedmodel", "tfnet-lstm"),
                         ("graphdef", "facemask-frozen/face_mask_detection.pb")):  # fmt: skip
        (tmp_path / "r.yaml").write_text(
            f"surgery: 1\nname: {form}\nload: {published}/{source}\n"
            f"steps: [{{scale: {{select: '**', by: 2}}}}]\nexport: [{{{form}: out-{form}}}]\n"
        )
        assert command("run", "r.yaml", cwd=tmp_path).returncode == 0
        done = command("verify", f"{form}.run.json", cwd=tmp_path)
        assert done.returncode == 0, done.stdout
        out = tmp_path / f"out-{form}"
        weight = surgery.open(out).weights[-1]
        extent = weight.tensor.file_range
        data = bytearray(extent.path.read_bytes())
        data[extent.offset] ^= 1
        extent.path.write_bytes(data)
        done = command("verify", f"{form}.run.json", cwd=tmp_path)
        assert done.returncode == 1
        assert f"{weight.address} differs" in done.stdout
