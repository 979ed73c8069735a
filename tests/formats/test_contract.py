"""What holds for every format, whatever it is."""

import os
import zipfile

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import surgery
from surgery.architecture import Architecture
from surgery.errors import FormatError
from surgery.formats._h5_layout import H5Facts
from surgery.formats.base import format_of, formats
from surgery.testing.formats import CHECKS, small
from surgery.weights.model import Carried, Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight
from tests.conftest import dense_model, same_bytes, streamed_formats, values

ALL = streamed_formats()
KERAS_LAYOUT = ("checkpoint", "h5", "keras", "weights_h5", "weights_json")
BY_ADDRESS = [name for name in ALL if name not in KERAS_LAYOUT]
"""Those that name weights by their addresses, whatever these are."""

DTYPES = ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool"]


@pytest.fixture
def source(tmp_path):
    return dense_model(tmp_path, "source.keras")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ALL)
def test_contract(name, check, tmp_path):
    check(formats()[name], small(), tmp_path)


@pytest.mark.parametrize("name", ALL)
def test_recognised_by_content(name, source, tmp_path):
    surgery.save(surgery.open(source), **{name: tmp_path / "odd.name"})
    assert format_of(tmp_path / "odd.name").name == name


def normalized():
    """A Sequential of a BatchNormalization, whose config does not tell the shape of its weights."""
    places = {"module": "keras.layers", "registered_name": None}
    layer = {"class_name": "BatchNormalization", "config": {"name": "a"}, **places}
    config = {"name": "model", "layers": [layer]}
    return Architecture({"class_name": "Sequential", "config": config, "module": "keras"})


@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_shapes_and_dtypes_round_trip(name, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hypothesis")
    dense = surgery.open(dense_model(folder, "m.keras")).architecture
    architecture = normalized() if formats()[name].holds_architecture else dense
    weights = []
    for address in architecture.weight_order:
        shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=4)))
        dtype = data.draw(st.sampled_from([*DTYPES, *(["bfloat16"] if name != "h5" else [])]))
        dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
        raw = data.draw(st.binary(min_size=16, max_size=16))
        repeated = np.resize(np.frombuffer(raw, np.uint8), int(np.prod(shape)))
        weights.append(Weight(address, constant(repeated.reshape(shape).astype(dtype))))
    model = Model(tuple(weights), architecture, Carried(keras_version="3.10.0"))
    surgery.save(model, **{name: folder / "out"})
    assert same_bytes(surgery.open(folder / "out"), model)


NAMES = [
    "kernel",
    "a b",
    "ü/ß/кириллица",
    "deep/er/kernel",
    ".hidden/x",
    "a:0/b",
    "..x/y",
    "con/nul",
]


def test_npy_keeps_odd_names_apart_and_inside(tmp_path):
    weights = tuple(Weight(n, constant(np.full(2, i))) for i, n in enumerate(NAMES))
    surgery.save(Model(weights), npy=tmp_path / "out")
    back = surgery.open(tmp_path / "out")
    assert {w.address: w.tensor.numpy()[0] for w in back.weights} == dict(
        zip(NAMES, range(len(NAMES)), strict=True)
    )
    for weight in back.weights:
        assert (tmp_path / "out" / weight.stored[0]).resolve().is_relative_to(tmp_path / "out")


def test_numpy_reads_npy(source, tmp_path):
    surgery.save(surgery.open(source), npy=tmp_path / "out")
    for address, array in values(surgery.open(source)).items():
        assert np.array_equal(np.load(tmp_path / "out" / f"{address}.npy"), array)


def test_zipfile_finds_nothing_wrong(source, tmp_path):
    surgery.save(surgery.open(source), keras=tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]


def test_a_compressed_archive_is_read(source, tmp_path):
    packed = tmp_path / "packed.keras"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert same_bytes(surgery.open(packed), surgery.open(source))


@pytest.mark.parametrize(
    "options",
    [{"chunks": True}, {"compression": "gzip"}, {"chunks": (1, 2), "shuffle": True}],
)
def test_chunked_and_compressed_datasets_are_read(options, source, tmp_path):
    surgery.save(surgery.open(source), h5=tmp_path / "plain.h5")
    with h5py.File(tmp_path / "plain.h5") as old, h5py.File(tmp_path / "packed.h5", "w") as new:
        old.copy("model_weights", new)
        new.attrs.update(old.attrs)
        for path in ("model_weights/a/a/kernel", "model_weights/b/b/kernel"):
            array = new[path][()]
            del new[path]
            new.create_dataset(path, data=array, **options)
    assert same_bytes(surgery.open(tmp_path / "packed.h5"), surgery.open(source))


def test_big_endian_datasets_are_read(source, tmp_path):
    surgery.save(surgery.open(source), h5=tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        array = file["model_weights/a/a/kernel"][()]
        del file["model_weights/a/a/kernel"]
        file.create_dataset("model_weights/a/a/kernel", data=array.astype(">f4"))
    assert same_bytes(surgery.open(tmp_path / "m.h5"), surgery.open(source))


@pytest.mark.parametrize("kind", ["soft", "external"])
def test_links_out_of_a_file_are_refused(kind, source, tmp_path):
    surgery.save(surgery.open(source), weights_h5=tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "r+") as file:
        group = file["layers/dense/vars"]
        del group["0"]
        group["0"] = (
            h5py.SoftLink("/layers/dense_1/vars/0")
            if kind == "soft"
            else h5py.ExternalLink("other.h5", "/x")
        )
    with pytest.raises(FormatError, match="links out of a model file are not followed"):
        surgery.open(tmp_path / "m.weights.h5")


def test_values_in_other_files_are_refused(source, tmp_path):
    surgery.save(surgery.open(source), weights_h5=tmp_path / "m.weights.h5")
    (tmp_path / "secret").write_bytes(os.urandom(48))
    with h5py.File(tmp_path / "m.weights.h5", "r+") as file:
        group = file["layers/dense/vars"]
        del group["0"]
        external = [(str(tmp_path / "secret"), 0, 48)]
        group.create_dataset("0", shape=(4, 3), dtype="f4", external=external)
    with pytest.raises(FormatError, match="has its values in other files"):
        surgery.open(tmp_path / "m.weights.h5")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"hello world, no model", "does not match its suffix")],
)
def test_what_is_no_model(content, message, tmp_path):
    (tmp_path / "x.keras").write_bytes(content)
    with pytest.raises(FormatError, match=message):
        surgery.open(tmp_path / "x.keras")
    with pytest.raises(FormatError, match="no such file or folder"):
        surgery.open(tmp_path / "missing")


def test_long_name_lists_are_split_as_keras_does(tmp_path):
    layer = "layer_with_a_rather_long_name_" * 20
    many = tuple(Weight(f"{layer}/{'x' * 400}{i}", constant(np.float32([i]))) for i in range(200))
    weights_only = Model(many, None, format="h5", format_facts=H5Facts((layer,)))
    surgery.save(weights_only, h5=tmp_path / "many.h5")
    with h5py.File(tmp_path / "many.h5") as file:
        (group,) = [g for g in file.values() if "weight_names0" in g.attrs]
        assert "weight_names" not in group.attrs
    assert len(surgery.open(tmp_path / "many.h5").weights) == 200


@pytest.mark.parametrize("name", ALL)
def test_more_weights_than_open_files(name, tmp_path):
    """A limit of 60 open files, and 120 weights."""
    import resource

    from tests.conftest import many_layers

    model = many_layers(60)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, hard))
    try:
        surgery.save(model, **{name: tmp_path / "out"})
        assert same_bytes(surgery.open(tmp_path / "out"), model)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


PARTS = st.one_of(
    st.text(min_size=1, max_size=8),
    st.sampled_from(["kernel", ".", "..", "a b", "ü", "x.npy", "C:"]),
)


@pytest.mark.parametrize("name", BY_ADDRESS)
@example(names=[["\\"]])
@example(names=[["a\\"], ["a", "b"]])
@given(names=st.lists(st.lists(PARTS, min_size=1, max_size=3), min_size=1, max_size=4))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_names_round_trip_or_are_refused(name, names, tmp_path_factory):
    """What a format cannot hold it says; it never writes what it cannot read."""
    addresses = dict.fromkeys("/".join(parts) for parts in names)
    weights = (Weight(a, constant(np.full(2, i, np.float32))) for i, a in enumerate(addresses))
    model = Model(tuple(weights))
    path = tmp_path_factory.mktemp("names") / "out"
    if formats()[name].problems(model):
        with pytest.raises(FormatError):
            surgery.save(model, **{name: path})
        return
    surgery.save(model, **{name: path})
    back = surgery.open(path)
    assert same_bytes(back, model)
    assert sorted(w.address for w in back.weights) == sorted(addresses)
