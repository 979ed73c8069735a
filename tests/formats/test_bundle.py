"""TensorFlow's bundles: every entry of published checkpoints, and TensorFlow as the oracle."""

import json

import numpy as np
import pytest

from surgery.errors import FormatError
from surgery.formats._tensorflow.bundle import GRAPH, Bundle, _signed
from surgery.formats._tensorflow.sstable import Table, unsnappied
from surgery.weights.digest import sha256
from tests.conftest import MODELS

PREFIXES = {
    "m3gnet-efs": "m3gnet-efs/m3gnet",
    "musicnn-mtt-vgg": "musicnn-mtt-vgg/",  # an empty base name
    "gen-tf1-partitioned-sharded": "gen-tf1-partitioned-sharded/model.ckpt-290",
    "gen-keras3-export": "gen-keras3-export/1/variables/variables",
}


@pytest.fixture
def published():
    if not (MODELS / "models.json").is_file():
        pytest.skip(f"the published models are not at {MODELS}; set SURGERY_MODELS")
    return MODELS


@pytest.mark.parametrize("slug", PREFIXES)
def test_published_checkpoints_agree_with_their_golden_facts(slug, published):
    golden = json.loads((published / f"{slug}.golden.json").read_text())
    bundle = Bundle(f"{published}/{PREFIXES[slug]}")
    assert {fact["raw_path"] for fact in golden["variables"]} == set(bundle.entries)
    for fact in golden["variables"]:
        entry = bundle.entries[fact["raw_path"]]
        assert list(entry.shape) == fact["shape"]
        place = (entry.shard, entry.offset, entry.size, entry.crc)
        assert place == (fact["shard"], fact["offset"], fact["size"], fact["crc32c"])
        if entry.dtype is not None:
            tensor = bundle.tensor(fact["raw_path"])
            assert tensor.dtype.name == fact["dtype"]
            assert sha256(tensor) == fact["sha256"]
    assert (GRAPH in bundle.entries) == (slug in ("m3gnet-efs", "gen-keras3-export"))


def test_the_first_format_is_a_table_too(published):
    table = Table(published / "gen-tf1-v1-format" / "model.ckpt-290")
    assert len(list(table.items())) == 16


def test_parts_of_any_size_and_axis(tmp_path):
    """Large indices take more bytes in a part's key; TensorFlow writes and we look them up."""
    tf = pytest.importorskip("tensorflow")
    whole = np.arange(3 * 20_000, dtype=np.float32)
    cases = {"rows": (whole.reshape(20_000, 3), 0), "columns": (whole.reshape(3, 20_000), 1)}
    names, slices, tensors = [], [], []
    for name, (value, axis) in cases.items():
        for start, stop in ((9_000, 20_000), (0, 50), (50, 9_000)):
            extent = ["-", "-"]
            extent[axis] = f"{start},{stop - start}"
            names.append(name)
            slices.append(f"{value.shape[0]} {value.shape[1]} {':'.join(extent)}")
            tensors.append(np.take(value, range(start, stop), axis))
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "c"), tensor_names=names, shape_and_slices=slices, tensors=tensors
    )
    bundle = Bundle(str(tmp_path / "c"))
    for name, (value, _) in cases.items():
        tensor = bundle.tensor(name)
        np.testing.assert_array_equal(tensor.numpy(), value)
        np.testing.assert_array_equal(tensor.read(7, 60_000 - 3), value.ravel()[7:-3])


@pytest.mark.parametrize("number", [0, -1, 63, -64, 64, -65, 8191, 8192, -8193, 2**40, 2**62])
def test_the_ordered_code_sorts_as_numbers_do(number):
    assert _signed(number - 1) < _signed(number) < _signed(number + 1)


def test_snappy():
    # "abcd", then 8 bytes from 4 back, then one from 1 back with two bytes of offset.
    packed = bytes([13, 0b1100]) + b"abcd" + bytes([0b10001, 4]) + bytes([0b10, 1, 0])
    assert unsnappied(packed) == b"abcdabcdabcdd"
    for broken in (bytes([200]) + packed[1:], packed[:-1] + b"\x09", bytes([4, 0b1, 9])):
        with pytest.raises((ValueError, IndexError)):
            unsnappied(broken)


def test_damage_is_told(published, tmp_path):
    source = published / "gen-keras3-export/1/variables"
    index = (source / "variables.index").read_bytes()
    data = (source / "variables.data-00000-of-00001").read_bytes()
    place = tmp_path / "v.index"
    for changed, message in (
        (index[:-1], "does not end like an index of TensorFlow"),
        (bytes([index[0] ^ 1]) + index[1:], "does not match its checksum"),
        (b"", "does not end like an index"),
    ):
        place.write_bytes(changed)
        with pytest.raises(FormatError, match=message):
            Bundle(str(tmp_path / "v"))
    place.write_bytes(index)
    with pytest.raises(FormatError, match="No such file or directory"):
        Bundle(str(tmp_path / "v")).tensor("variables/0/.ATTRIBUTES/VARIABLE_VALUE")
    (tmp_path / "v.data-00000-of-00001").write_bytes(data[:10])
    with pytest.raises(FormatError, match="is truncated"):
        Bundle(str(tmp_path / "v")).tensor("variables/0/.ATTRIBUTES/VARIABLE_VALUE")
