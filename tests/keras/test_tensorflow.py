"""What surgery writes, TensorFlow loads: equal predictions, and edits as TensorFlow makes them."""

import numpy as np
import pytest

import surgery
from surgery.errors import SurgeryError
from tests.conftest import (
    MODELS,
    TENSORFLOW_FORMS,
    command,
    model_path,
    published_models,
    same_bytes,
    values,
)  # fmt: skip

SAVED = pytest.mark.parametrize(
    ("entry", "golden"), published_models({f for f in TENSORFLOW_FORMS if f.startswith("saved")})
)
FACTOR = 1.25


@pytest.fixture(scope="session")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture
def published():
    if not (MODELS / "models.json").is_file():
        pytest.skip(f"the published models are not at {MODELS}; set SURGERY_MODELS")
    return MODELS


def predictions(tf, folder, golden, edit=lambda variables: None):
    """What a SavedModel's default signature says, after an edit of its variables by TensorFlow."""
    facts = golden["tf_prediction"]
    rng = np.random.default_rng(0)
    given = {i["name"]: rng.random(i["shape"], np.float32) for i in facts["inputs"]}
    if "tf1" in golden["form"]:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            tags = golden["info"]["meta_graphs"][0]["tags"]
            loaded = tf.compat.v1.saved_model.load(session, tags, str(folder))
            signatures = loaded.signature_def
            name = "serving_default" if "serving_default" in signatures else "default"
            edit({v.op.name: (lambda x, v=v: v.load(x, session), lambda v=v: session.run(v))
                  for v in tf.compat.v1.global_variables()})  # fmt: skip
            feed = {signatures[name].inputs[k].name: x for k, x in given.items()}
            outputs = {k: info.name for k, info in signatures[name].outputs.items()}
            return session.run(outputs, feed)
    loaded = tf.saved_model.load(str(folder))
    edit({v.name.removesuffix(":0"): (v.assign, v.numpy) for v in _variables(loaded)})
    found = loaded.signatures["serving_default"](**{k: tf.constant(x) for k, x in given.items()})
    return {k: x.numpy() for k, x in found.items()}


def _variables(loaded):
    """Those that the signature reads; Keras 3's export holds others of the same names."""
    return loaded.signatures["serving_default"].variables


@SAVED
def test_unchanged_copies_predict_the_golden_values(tf, entry, golden, tmp_path):
    surgery.save(surgery.open(model_path(golden)), savedmodel=tmp_path / "m")
    found = predictions(tf, tmp_path / "m", golden)
    for fact in golden["tf_prediction"]["outputs"]:
        first = found[fact["name"]].ravel()[: len(fact["first8"])]
        np.testing.assert_allclose(first, fact["first8"], rtol=1e-4, atol=1e-5)


@SAVED
def test_edits_are_what_tensorflow_makes_of_them(tf, entry, golden, tmp_path):
    model = surgery.open(model_path(golden))
    edited = [w for w in model.weights if w.tensor.dtype.kind == "f"][:3]
    changed = surgery.scale(model, [w.address for w in edited], by=FACTOR)
    surgery.save(changed, savedmodel=tmp_path / "m")
    count = []

    def edit(variables):
        wanted = [w.tensor.numpy() for w in edited]
        for assign, read in variables.values():
            now = read()
            if any(now.shape == x.shape and np.array_equal(now, x) for x in wanted):
                count.append(1)
                assign(now * np.float32(FACTOR))

    by_hand = predictions(tf, model_path(golden), golden, edit)
    ours = predictions(tf, tmp_path / "m", golden)
    assert count
    for name, expected in by_hand.items():
        np.testing.assert_allclose(ours[name], expected, rtol=1e-5, atol=1e-6)


def test_a_frozen_graph_predicts_as_edited_by_tensorflow(tf, published, tmp_path):
    source = published / "facemask-frozen/face_mask_detection.pb"
    model = surgery.open(source)
    surgery.save(surgery.scale(model, "**/kernel", by=0.5), graphdef=tmp_path / "m.pb")
    surgery.save(model, graphdef=tmp_path / "same.pb")

    def run(path, edit=False):
        graph = tf.compat.v1.GraphDef()
        graph.ParseFromString(path.read_bytes())
        for node in graph.node:
            if edit and node.op == "Const" and node.name.endswith("/kernel"):
                array = tf.make_ndarray(node.attr["value"].tensor) * np.float32(0.5)
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
        (given,) = [node.name for node in graph.node if node.op == "Placeholder"]
        used = {name.partition(":")[0] for node in graph.node for name in node.input}
        outputs = [f"{n.name}:0" for n in graph.node if n.name not in used and n.op != "Const"]
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            tf.import_graph_def(graph, name="")
            shape = [n or 1 for n in session.graph.get_tensor_by_name(f"{given}:0").shape.as_list()]
            shape = [max(n, 1) if n != 1 else n for n in shape]
            x = np.random.default_rng(0).random(shape, np.float32)
            return session.run(outputs, {f"{given}:0": x})

    for ours, theirs in zip(run(tmp_path / "m.pb"), run(source, edit=True), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(run(tmp_path / "same.pb"), run(source), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("slug", "prefix"),
    [("m3gnet-efs", "m3gnet"), ("gen-tf1-partitioned-sharded", "model.ckpt-290"),
     ("musicnn-mtt-vgg", "ckpt")],
)  # fmt: skip
def test_checkpoints_edited_in_place_are_read_by_tensorflow(tf, slug, prefix, published, tmp_path):
    model = surgery.open(published / slug)
    steps = surgery.scale(surgery.open(published / slug), "**", by=2)
    surgery.save(steps, checkpoint=tmp_path / "c")
    assert tf.train.latest_checkpoint(str(tmp_path / "c")) == str(tmp_path / "c" / prefix)
    reader = tf.train.load_checkpoint(str(tmp_path / "c"))
    for weight in (*model.weights, *model.states):
        factor = 2 if weight.state == "weight" else 1
        expected = weight.tensor.numpy() * weight.tensor.dtype.type(factor)
        np.testing.assert_array_equal(reader.get_tensor(weight.stored[0]), expected)


def test_the_first_format_is_rewritten_in_the_second(tf, published, tmp_path):
    model = surgery.open(published / "gen-tf1-v1-format")
    surgery.save(model, checkpoint=tmp_path / "c")
    reader = tf.train.load_checkpoint(str(tmp_path / "c"))
    old = tf.train.load_checkpoint(str(published / "gen-tf1-v1-format/model.ckpt-290"))
    assert reader.get_variable_to_shape_map() == old.get_variable_to_shape_map()
    for name in old.get_variable_to_shape_map():
        np.testing.assert_array_equal(reader.get_tensor(name), old.get_tensor(name))


def models(keras):
    """Models whose objects TensorFlow tracks in many ways."""
    layers = keras.layers
    given = keras.Input((4,))
    inner = keras.Sequential(
        [keras.Input((3,)), layers.Dense(3), layers.BatchNormalization()], name="inner"
    )
    x = inner(layers.Dropout(0.5)(layers.Dense(3, name="first")(given))) + 1
    yield keras.Model(given, layers.Dense(2)(x))
    image = keras.Input((8, 8, 3))
    x = layers.SeparableConv2D(4, 3)(layers.TimeDistributed(layers.Dense(3))(image))
    yield keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    sequence = keras.Input((5, 4))
    x = layers.MultiHeadAttention(2, 3)(sequence, sequence)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.RNN(layers.GRUCell(3))(layers.LayerNormalization()(x))
    yield keras.Model(sequence, layers.Dense(1)(x))
    compiled = keras.Sequential([keras.Input((4,)), layers.Dense(2), layers.Dense(1)])
    compiled.compile("adam", "mse")
    compiled.fit(np.ones((4, 4)), np.ones((4, 1)), verbose=0)
    yield compiled


@pytest.mark.parametrize("number", range(4))
def test_a_new_checkpoint_is_consumed(keras, tf, number, tmp_path):
    model = list(models(keras))[number]
    model.save(tmp_path / "m.keras")
    surgery.save(surgery.open(tmp_path / "m.keras"), checkpoint=tmp_path / "c")
    fresh = type(model).from_config(model.get_config())
    before = [w.numpy() for w in fresh.weights]
    path = tf.train.latest_checkpoint(str(tmp_path / "c"))
    tf.train.Checkpoint(model=fresh).read(path).assert_consumed()
    for old, new, wanted in zip(before, fresh.weights, model.weights, strict=True):
        np.testing.assert_array_equal(new.numpy(), wanted.numpy())
        assert old.shape == new.shape
    listed = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    assert len(listed) == len(model.weights) - _seeds(model) + 1  # and the graph of objects
    assert [w.address for w in surgery.open(tmp_path / "c").weights] == [
        w.address for w in surgery.open(tmp_path / "m.keras").weights
    ]
    if not getattr(model, "optimizer", None):
        tf.train.Checkpoint(model=model).write(str(tmp_path / "theirs"))
        for suffix in (".index", ".data-00000-of-00001"):
            theirs = (tmp_path / f"theirs{suffix}").read_bytes()
            assert (tmp_path / f"c/ckpt{suffix}").read_bytes() == theirs


def test_what_tensorflow_does_not_track_is_kept_by_name(keras, tf, tmp_path):
    given = keras.Input((5, 4))
    cells = [keras.layers.GRUCell(2), keras.layers.GRUCell(3)]
    model = keras.Model(given, keras.layers.Dense(1)(keras.layers.RNN(cells, name="rnn")(given)))
    model.save(tmp_path / "m.keras")
    done = command("convert", "m.keras", "c", "--to", "checkpoint", cwd=tmp_path)
    assert "note: checkpoint: TensorFlow does not track rnn/stacked_rnn_cells" in (
        done.stdout.replace("\n", " ")
    )
    path = tf.train.latest_checkpoint(str(tmp_path / "c"))
    tf.train.Checkpoint(model=keras.models.clone_model(model)).read(path).assert_consumed()
    whole, back = surgery.open(tmp_path / "m.keras"), surgery.open(tmp_path / "c")
    assert same_bytes(whole, back)


def _seeds(model):
    return sum("seed_generator" in weight.path for weight in model.weights)


@pytest.mark.parametrize("compiled", [False, True])
def test_keras_3_checkpoints_are_read_by_their_objects(keras, tf, compiled, tmp_path):
    """The weights of a compiled model are only kept below its optimizer."""
    *_, model = models(keras)
    if not compiled:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    tf.train.Checkpoint(model=model).write(str(tmp_path / "c"))
    by_itself = surgery.open(tmp_path / "c")
    assert bool(by_itself.states) == compiled
    with_config = surgery.open(tmp_path / "m.keras")
    for ours, theirs in zip(by_itself.weights, with_config.weights, strict=True):
        np.testing.assert_array_equal(ours.tensor.numpy(), theirs.tensor.numpy())


def test_a_keras_2_checkpoint_joins_an_architecture(keras, tf, tmp_path):
    """By its places in the model, whatever the layers were called when it was saved."""
    legacy = pytest.importorskip("tf_keras")
    old = legacy.Sequential([legacy.Input((4,)), legacy.layers.Dense(3, name="what"),
                             legacy.layers.Dense(2, name="ever")])  # fmt: skip
    old.save_weights(str(tmp_path / "w"))
    new = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="x"),
                            keras.layers.Dense(2, name="y")])  # fmt: skip
    new.save(tmp_path / "new.keras")
    surgery.run(
        {
            "surgery": 1,
            "load": {"path": str(tmp_path / "w"), "architecture": str(tmp_path / "new.keras")},
            "export": [{"keras": str(tmp_path / "joined.keras")}],
        }
    )
    joined = keras.models.load_model(tmp_path / "joined.keras")
    x = np.random.default_rng(0).random((3, 4), np.float32)
    np.testing.assert_allclose(joined(x).numpy(), old(x).numpy(), rtol=1e-6)


def test_users_examples(tf, published, tmp_path):
    """List a checkpoint's variables and read one; a signature's variables; save, load, equal."""
    prefix = published / "musicnn-mtt-vgg"
    model = surgery.open(prefix)
    reader = tf.compat.v1.train.NewCheckpointReader(f"{prefix}/")
    shapes = {w.address: list(w.tensor.shape) for w in (*model.weights, *model.states)}
    assert shapes == reader.get_variable_to_shape_map()
    kernel = model["dense/kernel"].tensor.numpy()
    np.testing.assert_array_equal(kernel, reader.get_tensor("dense/kernel"))
    folder = published / "gen-hub-tf2/1"
    loaded = tf.saved_model.load(str(folder))
    ours = [weight.tensor.numpy() for weight in surgery.open(folder).weights]
    for variable in loaded.signatures["serving_default"].variables:
        assert any(np.array_equal(variable.numpy(), array) for array in ours)


@pytest.mark.parametrize("suffix", ["tflite", "onnx", "savedmodel"])
def test_exports_predict_what_the_model_does(keras, tf, suffix, tmp_path):
    given = keras.Input((6,), name="given")
    x = keras.layers.Dense(4, activation="relu")(given)
    model = keras.Model(given, keras.layers.Dense(3)(keras.layers.BatchNormalization()(x)))
    model.save(tmp_path / "m.keras")
    out = tmp_path / ("out" if suffix == "savedmodel" else f"out.{suffix}")
    surgery.save(surgery.open(tmp_path / "m.keras"), **{suffix: out})
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["m.keras", out.name])
    x = np.random.default_rng(0).random((1, 6), np.float32)
    if suffix == "tflite":
        runner = tf.lite.Interpreter(str(out)).get_signature_runner()
        (found,) = runner(**{next(iter(runner.get_input_details())): x}).values()
    elif suffix == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(str(out))
        (found,) = session.run(None, {session.get_inputs()[0].name: x})
    else:
        (found,) = (
            tf.saved_model.load(str(out)).signatures["serving_default"](tf.constant(x)).values()
        )
        assert {w.address for w in surgery.open(out).weights} == set(
            values(surgery.open(tmp_path / "m.keras"))
        )
    np.testing.assert_allclose(found, model(x).numpy(), rtol=1e-5, atol=1e-6)


def test_code_in_a_file_runs_only_when_it_is_allowed(keras, published, tmp_path):
    source = published / "gen-nested-lambda/nested_lambda.keras"
    model = surgery.open(source)
    with pytest.raises(SurgeryError, match="only with --allow-code or SURGERY_ALLOW_CODE=1"):
        surgery.save(model, tflite=tmp_path / "out.tflite")
    assert list(tmp_path.iterdir()) == []
    done = command(
        "--allow-code", "convert", source, "out.tflite", cwd=tmp_path, imported=["keras"]
    )
    assert done.returncode == 0, done.stderr


def test_a_savedmodel_is_never_executed(tf, tmp_path):
    """Loading this one in TensorFlow writes a file; reading and editing it here does not."""
    trap = tmp_path / "trap"

    class Trap(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.AnonymousIterator(output_types=[tf.int32], output_shapes=[[]])

        def _initialize(self):
            tf.io.write_file(str(trap), "sprung")

        def _destroy_resource(self):
            pass

    class Module(tf.Module):
        def __init__(self):
            self.w = tf.Variable(tf.ones((2, 2)))
            self.trap = Trap()

        @tf.function(input_signature=[tf.TensorSpec((None, 2))])
        def __call__(self, x):
            self.trap.resource_handle  # noqa: B018 - it is saved with the function
            return x @ self.w

    module = Module()
    _ = module.trap.resource_handle
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.__call__)
    trap.unlink(missing_ok=True)
    for arguments in (["inspect", "m", "--hash"], ["convert", "m", "o.npz"]):
        assert command(*arguments, cwd=tmp_path).returncode == 0
    surgery.save(surgery.scale(surgery.open(tmp_path / "m"), "w", by=2), savedmodel=tmp_path / "o")
    assert not trap.exists()
    loaded = tf.saved_model.load(str(tmp_path / "o"))
    assert trap.exists()
    np.testing.assert_array_equal(loaded.w.numpy(), 2 * np.ones((2, 2)))


def test_a_keras_2_savedmodel_becomes_a_keras_3_model(keras, tf, tmp_path):
    from tests.formats import pairs

    pytest.importorskip("tf_keras")
    pairs.make_by_tensorflow({"savedmodel (Keras 2)": tmp_path / "old"})
    surgery.save(surgery.open(tmp_path / "old"), keras=tmp_path / "new.keras")
    x = np.random.default_rng(0).random((2, 4), np.float32)
    (old,) = (
        tf.saved_model.load(str(tmp_path / "old"))
        .signatures["serving_default"](tf.constant(x))
        .values()
    )
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "new.keras")(x), old, rtol=1e-6)


def test_weights_of_a_checkpoint_in_an_application(keras, tf, tmp_path):
    arguments = {"input_shape": [32, 32, 3], "classes": 3, "alpha": 0.35}
    model = keras.applications.MobileNetV2(weights=None, **arguments)
    tf.train.Checkpoint(model=model).write(str(tmp_path / "c"))
    surgery.run(
        {
            "surgery": 1,
            "load": {
                "path": str(tmp_path / "c"),
                "architecture": {"application": "MobileNetV2", **arguments},
            },
            "export": [{"keras": str(tmp_path / "m.keras")}],
        }
    )
    loaded = keras.models.load_model(tmp_path / "m.keras")
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def edited(tf, path, out, **steps):
    """A checkpoint scaled where that is asked for, written again, and read by TensorFlow."""
    model = surgery.open(path)
    for address, factor in steps.items():
        model = surgery.scale(model, address, by=factor)
    surgery.save(model, checkpoint=out)
    return tf.train.load_checkpoint(str(out))


def test_strings_between_tensors(tf, tmp_path):
    """Checksums of what is copied do not get into those of what is summed."""
    values = {"a": [1.0, 2.0], "b": ["x", "y"], "c": [5.0], "d": ["z"], "e": [7.0]}
    tracked = {name: tf.Variable(value) for name, value in values.items()}
    tf.train.Checkpoint(**tracked).write(str(tmp_path / "c"))
    surgery.save(surgery.open(tmp_path / "c"), checkpoint=tmp_path / "same")
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"same/c{suffix}").read_bytes() == (tmp_path / f"c{suffix}").read_bytes()
    reader = edited(tf, tmp_path / "c", tmp_path / "new", c=3)
    found = {n: reader.get_tensor(f"{n}/.ATTRIBUTES/VARIABLE_VALUE").tolist() for n in values}
    assert found == {**values, "b": [b"x", b"y"], "c": [15.0], "d": [b"z"]}


def test_variants_ride_along(tf, tmp_path):
    iterator = iter(tf.data.Dataset.range(10))
    next(iterator)
    tf.train.Checkpoint(it=iterator, w=tf.Variable([1.0, 2.0])).write(str(tmp_path / "c"))
    assert [weight.address for weight in surgery.open(tmp_path / "c").weights] == ["w"]
    edited(tf, tmp_path / "c", tmp_path / "new", w=2)
    fresh, w = iter(tf.data.Dataset.range(10)), tf.Variable([0.0, 0.0])
    tf.train.Checkpoint(it=fresh, w=w).read(str(tmp_path / "new/c")).assert_consumed()
    assert (next(fresh).numpy(), w.numpy().tolist()) == (1, [2.0, 4.0])


def test_names_of_attributes_that_keras_uses_too(tf, tmp_path):
    class Module(tf.Module):
        def __init__(self):
            self.root, self.w = tf.Variable([5.0]), tf.Variable([1.0])

    lists = {"variables": [tf.Variable([1.0, 1.0])], "_all_variables": [tf.Variable([1.0, 1.0])]}
    tf.train.Checkpoint(m=Module(), **lists).write(str(tmp_path / "c"))
    names = ["_all_variables/0", "m/root", "m/w", "variables/0"]
    assert sorted(weight.address for weight in surgery.open(tmp_path / "c").weights) == names


def test_the_folder_s_file_with_odd_names(tf, tmp_path):
    checkpoint = tf.train.Checkpoint(a=tf.Variable([1.0]))
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path / "c"), 2, None, 'a"ü')
    manager.save()
    surgery.save(surgery.open(tmp_path / "c"), checkpoint=tmp_path / "new")
    assert tf.train.latest_checkpoint(str(tmp_path / "new")) == str(tmp_path / 'new/a"ü-1')


def test_a_layer_without_weights_does_not_shift_the_others(tmp_path):
    legacy = pytest.importorskip("tf_keras")

    class Noop(legacy.layers.Layer):
        def call(self, x):
            return x * 1.0

    dense = [legacy.layers.Dense(4, name=f"d{number}") for number in range(3)]
    model = legacy.Sequential([legacy.Input((4,)), Noop(), *dense])
    model.save(tmp_path / "m.h5")
    for renamed in (False, True):
        if renamed:  # so that only their places tell
            dense = [legacy.layers.Dense(4, name=f"x{number}") for number in range(3)]
            model = legacy.Sequential([legacy.Input((4,)), Noop(), *dense])
        for number, variable in enumerate(model.weights):
            variable.assign(np.full(variable.shape, number, np.float32))
        model.save_weights(str(tmp_path / "w"))
        recipe = {
            "surgery": 1,
            "load": {"path": str(tmp_path / "w"), "architecture": str(tmp_path / "m.h5")},
            "export": [{"npz": str(tmp_path / "out.npz")}],
        }
        surgery.run(recipe)
        found = np.load(tmp_path / "out.npz")
        numbers = [found[f"d{n}/{v}"].flat[0] for n in range(3) for v in ("kernel", "bias")]
        assert numbers == [0, 1, 2, 3, 4, 5]


def test_an_export_of_two_models_with_the_same_names(keras, tf, tmp_path):
    def model():
        given = keras.Input((3,))
        return keras.Model(given, keras.layers.Dense(2, name="d")(given))

    archive, signature = keras.export.ExportArchive(), [tf.TensorSpec((None, 3))]
    both = [model(), model()]
    for name, each in zip(("one", "two"), both, strict=True):
        archive.track(each)
        archive.add_endpoint(name, each.call, input_signature=signature)
    archive.write_out(str(tmp_path / "m"), verbose=False)
    opened = surgery.open(tmp_path / "m")
    assert [len(weight.stored) for weight in opened.weights] == [2, 2, 2, 2]
    surgery.save(surgery.scale(opened, "**", by=2), savedmodel=tmp_path / "out")
    x = tf.ones((1, 3))
    old, new = (tf.saved_model.load(str(tmp_path / name)) for name in ("m", "out"))
    np.testing.assert_allclose(new.one(x), 2 * old.one(x), rtol=1e-6)
    np.testing.assert_allclose(new.two(x), 2 * old.two(x), rtol=1e-6)


def test_a_trained_variable_of_tensorflow_1_is_a_weight_whatever_it_is_called(tf, tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name in ("net/w", "net/w/m", "emb/Adam", "emb"):
            tf.compat.v1.get_variable(name, (2,), trainable=name != "emb/Adam", use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(tmp_path / "c"))
    model = surgery.open(tmp_path / "c")
    assert sorted(weight.address for weight in model.weights) == ["emb", "net/w", "net/w/m"]
    assert [weight.address for weight in model.states] == ["emb/Adam"]
    recipe = {
        "surgery": 1,
        "load": {"path": str(tmp_path / "c"), "map": {"net/w": "emb/Adam"}},
        "export": [{"checkpoint": str(tmp_path / "out")}],
    }
    with pytest.raises(surgery.SurgeryError, match="emb/Adam is already the name of another"):
        surgery.run(recipe)


def test_floats_do_not_go_into_a_quantised_layer(keras, tmp_path):
    given = keras.Input((3,))
    model = keras.Model(given, keras.layers.Dense(2, name="d")(given))
    model.save(tmp_path / "f.keras")
    model.quantize("int8")
    model.save(tmp_path / "i8.keras")
    recipe = {
        "surgery": 1,
        "load": {"path": str(tmp_path / "f.keras"), "architecture": str(tmp_path / "i8.keras")},
        "export": [{"npz": str(tmp_path / "out.npz")}],
    }
    with pytest.raises(surgery.SurgeryError, match=r"d/kernel \(float32, here int8\)"):
        surgery.run(recipe)


OPTIMIZERS = {
    "Momentum": lambda train: train.MomentumOptimizer(0.1, 0.9),
    "Adam": lambda train: train.AdamOptimizer(0.1),
    "RMSProp": lambda train: train.RMSPropOptimizer(0.1, centered=True),
    "Adagrad": lambda train: train.AdagradOptimizer(0.1),
    "Adadelta": lambda train: train.AdadeltaOptimizer(0.1),
    "Ftrl": lambda train: train.FtrlOptimizer(0.1),
    "by another name": lambda train: train.AdamOptimizer(0.1, name="Mine_Adam"),
}


@pytest.mark.parametrize("scope", [None, "optim"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_of_tensorflow_1_are_dropped(tf, name, scope, tmp_path):
    import contextlib

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        kernel = v1.get_variable("net/kernel", (3, 2), use_resource=False)
        bias = v1.get_variable("net/bias", (2,), use_resource=False)
        step = v1.train.get_or_create_global_step()
        with v1.variable_scope(scope) if scope else contextlib.nullcontext():
            optimizer = OPTIMIZERS[name](v1.train)
            loss = tf.reduce_sum(tf.ones((1, 3)) @ kernel + bias)
            train = optimizer.minimize(loss, global_step=step)
        average = v1.train.ExponentialMovingAverage(0.9)
        with tf.control_dependencies([train]):
            shadows = average.apply([kernel, bias])
        session.run([kernel.initializer, bias.initializer])  # which the shadows begin as
        session.run(v1.global_variables_initializer())
        session.run(shadows)
        v1.train.Saver().save(session, str(tmp_path / "c"), write_meta_graph=False)
        slots = {variable.op.name for variable in optimizer.variables()}
        every = {variable.op.name: session.run(variable) for variable in v1.global_variables()}
    assert slots
    drop = {"checkpoint": {"path": str(tmp_path / "out"), "optimizer": "drop"}}
    surgery.run({"surgery": 1, "load": str(tmp_path / "c"), "export": [drop]})
    reader = tf.train.load_checkpoint(str(tmp_path / "out"))
    assert set(reader.get_variable_to_shape_map()) == set(every) - slots
    for key in set(every) - slots:
        np.testing.assert_array_equal(reader.get_tensor(key), every[key])


def test_a_graph_of_tensorflow_1_goes_with_its_optimizer(tf, tmp_path):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        kernel = v1.get_variable("kernel", (3, 2), use_resource=False)
        v1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(kernel))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "c"))
        v1.saved_model.simple_save(session, str(tmp_path / "s"), {"x": kernel}, {"y": kernel})
    (tmp_path / "r.yaml").write_text(
        "surgery: 1\nload: c\nexport: [{checkpoint: {path: out, optimizer: drop}}]\n"
    )
    done = command("run", "r.yaml", cwd=tmp_path)
    assert "note: checkpoint: c.meta is left out: its graph would restore" in done.stdout
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "c.data-00000-of-00001", "c.index", "checkpoint",
    ]  # fmt: skip
    (tmp_path / "r.yaml").write_text(
        "surgery: 1\nload: s\nexport: [{savedmodel: {path: out, optimizer: drop}}]\n"
    )
    done = command("run", "r.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "its graph restores all of its variables, and kernel/Momentum was removed" in done.stderr


@pytest.mark.parametrize("old", [True, False])
def test_the_optimizer_of_an_object_graph_is_dropped(keras, tf, old, tmp_path):
    api = pytest.importorskip("tf_keras") if old else keras
    optimizers = api.optimizers.legacy if old else api.optimizers
    layers = api.layers

    def trained(optimizer):
        model = api.Sequential([layers.Input((3,)), layers.Dense(2), layers.Dense(1)])
        model.compile(optimizer, "mse")
        model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
        return model

    model = trained(optimizers.Adam(0.1))
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(tmp_path / "c"))
    drop = {"checkpoint": {"path": str(tmp_path / "out"), "optimizer": "drop"}}
    surgery.run({"surgery": 1, "load": str(tmp_path / "c"), "export": [drop]})
    keys = tf.train.load_checkpoint(str(tmp_path / "out")).get_variable_to_shape_map()
    left = [key for key in keys if "_CHECKPOINTABLE" not in key and "save_counter" not in key]
    assert len(left) == 4
    other = trained(optimizers.Adam(0.3))
    before = [np.array(variable) for variable in variables_of(other.optimizer)]
    checkpoint = tf.train.Checkpoint(model=other, optimizer=other.optimizer)
    checkpoint.restore(tf.train.latest_checkpoint(str(tmp_path / "out"))).expect_partial()
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for now, then in zip(variables_of(other.optimizer), before, strict=True):
        np.testing.assert_array_equal(np.array(now), then)
    plain = api.Sequential([layers.Input((3,)), layers.Dense(2), layers.Dense(1)])
    status = tf.train.Checkpoint(model=plain).restore(
        tf.train.latest_checkpoint(str(tmp_path / "out"))
    )
    status.expect_partial()  # of write, which counts no saves
    for ours, theirs in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def variables_of(optimizer):
    return optimizer.variables() if callable(optimizer.variables) else optimizer.variables


def saved_constants(tf, kind, folder):
    """A SavedModel without variables; returns what runs it."""
    rng = np.random.default_rng(0)
    kernel, same = rng.standard_normal((3, 2)).astype(np.float32), np.full(2, 0.5, np.float32)
    if kind == "tf.Module":
        module = tf.Module()
        module.kernel, module.same = tf.constant(kernel), tf.constant(same)
        given = [tf.TensorSpec((None, 3))]
        module.f = tf.function(lambda x: x @ module.kernel * module.same, input_signature=given)
        tf.saved_model.save(module, str(folder))
        return lambda path, x: tf.saved_model.load(str(path)).f(x).numpy()
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 3), name="x")
        y = x @ tf.constant(kernel, name="kernel") * tf.constant(same, name="same")
        y = tf.identity(y, name="y")
        v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})

    def run(path, x):
        with tf.Graph().as_default(), v1.Session() as session:
            v1.saved_model.load(session, ["serve"], str(path))
            return session.run("y:0", {"x:0": x})

    return run


@pytest.mark.parametrize("kind", ["tf.Module", "TensorFlow 1"])
def test_constants_of_a_savedmodel(tf, kind, tmp_path):
    run = saved_constants(tf, kind, tmp_path / "s")
    model = surgery.open(tmp_path / "s")
    assert sorted(w.tensor.shape for w in model.weights) == [(2,), (3, 2)]
    assert model.carried.signatures
    surgery.save(model, savedmodel=tmp_path / "same")
    for file in (tmp_path / "s").rglob("*"):
        twin = tmp_path / "same" / file.relative_to(tmp_path / "s")
        assert file.is_dir() or file.read_bytes() == twin.read_bytes(), file
    surgery.save(surgery.scale(model, "**", by=3), savedmodel=tmp_path / "out")
    assert not (tmp_path / "out/fingerprint.pb").exists()
    x = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "out", x), run(tmp_path / "s", x) * 9, rtol=1e-6)
    with pytest.raises(SurgeryError, match="in its graph, which cannot change"):
        surgery.save(surgery.cast(model, "**", to="float16"), savedmodel=tmp_path / "half")


@pytest.mark.parametrize("resource", [True, False])
def test_a_graph_that_is_not_frozen(tf, resource, tmp_path):
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 3))
        y = x @ v1.get_variable("fc/w", (3, 2), use_resource=resource)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "s"), {"x": x}, {"y": y})
        (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
        v1.train.Saver().save(session, str(tmp_path / "net.ckpt"))
    assert len(surgery.open(tmp_path / "net.ckpt.meta").weights) == 1
    with pytest.raises(SurgeryError, match=r"is not frozen: .*\(fc/w\) .* there is .*net.ckpt"):
        surgery.open(tmp_path / "graph.pb")
    for file in (tmp_path / "s/variables").iterdir():
        file.unlink()
    with pytest.raises(SurgeryError, match=r"saved_model.pb is not frozen: .* folder variables of"):
        surgery.open(tmp_path / "s")


def test_what_lookup_tables_hold_is_no_weight(tf, tmp_path):
    v1, lookup = tf.compat.v1, tf.lookup
    with tf.Graph().as_default() as graph, v1.Session() as session:
        keys, floats = tf.constant([1, 2, 3], tf.int64), tf.constant([0.5, 1.5, 2.5])
        lookup.StaticHashTable(lookup.KeyValueTensorInitializer(keys, floats), -1.0).lookup(keys)
        tf.constant([1.0, 2.0], name="kernel")
        (tmp_path / "table.pb").write_bytes(graph.as_graph_def().SerializeToString())
        table = lookup.experimental.MutableHashTable(tf.int64, tf.float32, [0.0, 0.0])
        v1.get_variable("w", (2,), use_resource=False)
        session.run([v1.global_variables_initializer(), table.insert(keys, tf.ones((3, 2)))])
        v1.train.Saver().save(session, str(tmp_path / "c"), write_meta_graph=False)
    assert [weight.address for weight in surgery.open(tmp_path / "table.pb").weights] == ["kernel"]
    model = surgery.open(tmp_path / "c")
    assert [weight.address for weight in model.weights] == ["w"]
    assert sorted(state.address.rpartition("-")[2] for state in model.states) == ["keys", "values"]
    surgery.save(surgery.scale(model, "w", by=2), checkpoint=tmp_path / "out")
    ours, theirs = (tf.train.load_checkpoint(str(tmp_path / name)) for name in ("out", "c"))
    for key in theirs.get_variable_to_shape_map():
        factor = 2 if key == "w" else 1
        np.testing.assert_array_equal(ours.get_tensor(key), theirs.get_tensor(key) * factor)


def test_tables_among_objects_are_no_weights(tf, tmp_path):
    module = tf.Module()
    module.w = tf.Variable([1.0, 2.0])
    module.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, [0.0, 0.0])
    module.table.insert(tf.constant([1, 2], tf.int64), tf.ones((2, 2)))
    module.f = tf.function(lambda: module.w + module.table.lookup(tf.constant(1, tf.int64)))
    module.f.get_concrete_function()
    tf.saved_model.save(module, str(tmp_path / "s"))
    model = surgery.open(tmp_path / "s")
    assert [weight.address for weight in model.weights] == ["w"]
    assert len(model.states) == 2
    surgery.save(surgery.scale(model, "w", by=2), savedmodel=tmp_path / "out")
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    np.testing.assert_array_equal(loaded.f(), [3.0, 5.0])
