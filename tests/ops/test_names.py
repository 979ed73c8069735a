"""Old names and new ones: maps that lead somewhere, what plans show, and patterns of files."""

import json
import struct

import numpy as np
import pytest

import surgery
from surgery.errors import FormatError, SelectorError
from surgery.recipe.globbing import matching_files
from surgery.weights.model import Model
from surgery.weights.tensor import constant
from surgery.weights.weight import Weight
from tests.conftest import command, dense_model, values


def blocks(count=3):
    """A model whose blocks are called as in the PyTorch world."""
    rng = np.random.default_rng(0)
    names = [f"h.{number}.{part}" for number in range(count) for part in ("weight", "bias")]
    return Model(tuple(Weight(name, constant(rng.random(4))) for name in names))


@pytest.fixture
def file(tmp_path):
    surgery.save(blocks(), safetensors=tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


@pytest.mark.parametrize(
    "map", [{"h.1.*": "h.0.*"}, {r"re:h\.1\.(.*)": r"h.0.\1"}], ids=["glob", "regex"]
)
def test_a_block_takes_another_one_s_values_in_one_file(map, file):
    ours = surgery.open(file)
    before = values(ours)
    after = values(surgery.copy(ours, "h.0.*", from_=str(file), map=map))
    for part in ("weight", "bias"):
        np.testing.assert_array_equal(after[f"h.0.{part}"], before[f"h.1.{part}"])
        np.testing.assert_array_equal(after[f"h.1.{part}"], before[f"h.1.{part}"])


@pytest.mark.parametrize(
    ("map", "message", "mismatch"),
    [
        ({"h.1.*": "g.0.*"}, r"'h\.1\.\*' -> 'g\.0\.\*' gives g\.0\.\w+, which is not", "error"),
        ({r"re:h\.1\.(.*)": r"g.\1"}, r"gives g\.\w+, which is not a weight here", "error"),
        *(
            (map, "matches no weight", mismatch)
            for map in ({"h.9.*": "h.0.*"}, {r"re:h\.9\.(.*)": r"h.0.\1"})
            for mismatch in ("error", "skip", "report")
        ),
    ],
)
def test_a_map_that_leads_nowhere_is_an_error(map, message, mismatch, file, tmp_path):
    with pytest.raises(SelectorError, match=message):
        surgery.copy(surgery.open(file), "h.0.*", from_=str(file), map=map, mismatch=mismatch)
    dense_model(tmp_path, "small.keras", ["h.0"])
    load = {"path": str(file), "map": map, "architecture": str(tmp_path / "small.keras"),
            "mismatch": mismatch}  # fmt: skip
    with pytest.raises(FormatError, match=r"gives|matches no weight"):
        surgery.run({"surgery": 1, "load": load, "export": [{"npz": str(tmp_path / "o.npz")}]})


def test_names_that_were_there_are_not_overwritten_on_loading(file, tmp_path):
    recipe = {"surgery": 1, "load": {"path": str(file), "map": {"h.1.*": "h.0.*"}},
              "export": [{"npz": str(tmp_path / "o.npz")}]}  # fmt: skip
    with pytest.raises(FormatError, match="get one name"):
        surgery.run(recipe)


def planned(tmp_path, recipe, *options):
    (tmp_path / "r.yaml").write_text(json.dumps({"surgery": 1, **recipe}))
    done = command("plan", tmp_path / "r.yaml", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_plan_shows_old_and_new_names(file, tmp_path):
    dense_model(tmp_path, "small.keras")
    rename = {"load": "small.keras", "steps": [{"rename": {"select": "*", "to": "new_*"}}],
              "export": [{"keras": "o.keras"}]}  # fmt: skip
    assert "1. a -> new_a, b -> new_b\n" in planned(tmp_path, rename)
    (step,) = json.loads(planned(tmp_path, rename, "--json"))["steps"]
    assert step["renames"] == {"a": "new_a", "b": "new_b"}
    copy = {"select": "h.0.*", "from": file.name, "map": {"h.1.*": "h.0.*"}}
    copied = {"load": file.name, "steps": [{"copy": copy}], "export": [{"npz": "o.npz"}]}
    assert "1. h.1.weight -> h.0.weight, h.1.bias -> h.0.bias\n" in planned(tmp_path, copied)
    mapped = {"load": {"path": file.name, "map": {"h.*": "g.*"}}, "export": [{"npz": "o.npz"}]}
    assert "note: load: map: h.0.weight -> g.0.weight, " in planned(tmp_path, mapped)
    whole = {"load": "small.keras", "steps": [{"rename": {"select": "small", "to": "large"}}],
             "export": [{"keras": "o.keras"}]}  # fmt: skip
    assert "1. small -> large\n" in planned(tmp_path, whole)


def header(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size])


def with_metadata(path, metadata):
    """The same file with another `__metadata__`."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    text = json.dumps({**json.loads(data[8 : 8 + size]), "__metadata__": metadata}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


@pytest.mark.parametrize("shard", [None, "1KB"])
def test_the_metadata_of_safetensors_is_kept(shard, file, tmp_path):
    assert header(file)["__metadata__"] == {"format": "tf"}
    metadata = {"format": "pt", "made by": "somebody", "ü": '"'}
    with_metadata(file, metadata)
    target = {"path": str(tmp_path / "out"), **({"shard": shard} if shard else {})}
    surgery.run({"surgery": 1, "load": str(file), "name": "r",
                 "steps": [{"scale": {"select": "**", "by": 2}}],
                 "export": [{"safetensors": target}]})  # fmt: skip
    parts = sorted((tmp_path / "out").glob("*.safetensors")) if shard else [tmp_path / "out"]
    assert [header(part)["__metadata__"] for part in parts] == [metadata] * len(parts)


@pytest.mark.parametrize("metadata", [{"format": 1}, ["pt"], "pt"])
def test_broken_metadata_is_refused(metadata, file):
    with_metadata(file, metadata)
    with pytest.raises(FormatError, match="__metadata__ is not a mapping"):
        surgery.open(file)


@pytest.fixture
def epochs(tmp_path):
    """Models of epochs 1 to 10, whose values are their numbers."""
    for number in range(1, 11):
        value = constant(np.full(3, number, np.float32))
        surgery.save(Model((Weight("w", value),)), npz=tmp_path / f"epoch_{number}.npz")
    (tmp_path / "[odd]").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"from": "epoch_*.npz"}, 5.5),  # the loaded one is not counted twice
        ({"from": ["epoch_*.npz"], "weights": [0] * 9 + [1]}, 10),  # in the order of numbers
        ({"from": "epoch_{2..4}.npz"}, 2.5),
        ({"from": "epoch_{4,2}.npz", "weights": [0, 0, 1]}, 2),
        ({"from": ["epoch_{2,3}.npz", "epoch_?.npz"], "weights": [0] * 9 + [1, 0]}, 8),
        ({"from": "./epoch_1*.npz"}, 5.5),
    ],
)
def test_donors_by_a_pattern(keys, expected, epochs):
    recipe = {"surgery": 1, "load": "epoch_1.npz", "steps": [{"average": keys}],
              "export": [{"npz": "out.npz"}]}  # fmt: skip
    (epochs / "r.yaml").write_text(json.dumps(recipe))
    done = command("run", epochs / "r.yaml")
    assert done.returncode == 0, done.stderr
    with np.load(epochs / "out.npz") as found:
        assert found["w"].tolist() == [expected] * 3


def test_numbers_are_in_order_within_a_folder_and_folders_by_name(tmp_path):
    names = ["run_a/epoch_2.npz", "run_a/epoch_10.npz", "run_b/epoch_1.npz"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert matching_files("run_*/epoch_*.npz", tmp_path) == names


def test_another_file_that_a_pattern_finds_is_no_skip(epochs):
    recipe = {"surgery": 1, "load": "epoch_1.npz", "steps": [{"average": {"from": "epoch_*.npz"}}],
              "export": [{"npz": "out.npz"}]}  # fmt: skip
    (epochs / "r.yaml").write_text(json.dumps(recipe))
    said = [command("run", epochs / "r.yaml").stdout for _ in range(2)]
    assert ["up to date" in text for text in said] == [False, True]
    surgery.save(Model((Weight("w", constant(np.zeros(3, np.float32))),)),
                 npz=epochs / "epoch_11.npz")  # fmt: skip
    assert "up to date" not in command("run", epochs / "r.yaml").stdout


def test_the_files_of_a_checkpoint_are_one_donor(tmp_path, epochs):
    from surgery.recipe.globbing import matching_files

    for name in ("ckpt-1", "ckpt-2"):
        for part in ("index", "data-00000-of-00002", "data-00001-of-00002", "meta"):
            (tmp_path / f"{name}.{part}").touch()
    assert matching_files("ckpt-*", tmp_path) == ["ckpt-1", "ckpt-2"]
