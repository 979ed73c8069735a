"""Every kind of data: what it reads, in which order, and what it says of broken ones."""

import shutil
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from surgery.declared.data import kinds
from surgery.declared.fields import Share
from surgery.declared.splitting import parts, split_note, trained_on
from surgery.errors import FormatError, SurgeryError
from surgery.live.process import feeding
from surgery.recipe.building import Builder
from surgery.recipe.document import Document

COUNT = 23


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same examples in every form: x is [n, 4, 3, 1] of bytes, y counts from 0."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("data")
    x = np.random.default_rng(0).integers(0, 255, (COUNT, 4, 3, 1), np.uint8)
    y = np.arange(COUNT)
    np.savez(folder / "d.npz", x=x, y=y, w=y / 10)
    np.savez_compressed(folder / "packed.npz", x=x, y=y)
    np.savez(folder / "fortran.npz", x=np.asfortranarray(x), y=y)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    rows = [f"{a[0]},{n},{a[1]},k{n % 3}" for n, a in zip(y, x.reshape(COUNT, -1), strict=True)]
    with (folder / "third.npy").open("wb") as file:
        np.lib.format.write_array(file, x, version=(3, 0))
    (folder / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:-1])
    with zipfile.ZipFile(folder / "third.npz", "w") as archive:
        archive.write(folder / "third.npy", "x.npy")
    (folder / "d.csv").write_text("\n".join(["a,y,b,kind", *rows]) + "\n")
    (folder / "twice.csv").write_text("a,a,y\n1,2,3\n")
    (folder / "blank.csv").write_text("a,y\n\n1,2\n\r\n3,4\n\n")
    (folder / "one.csv").write_text("a\n1\n2\n3")
    (folder / "words.csv").write_bytes(b"a,b\r\n1,2\r\n3,four")
    with tf.io.TFRecordWriter(str(folder / "d.tfrecord")) as writer:
        for image, label in zip(x, y, strict=True):
            features = {
                "image": tf.io.encode_png(image).numpy(),
                "raw": image.tobytes(),
                "label": int(label),
                "row": [float(v) for v in image.reshape(-1)],
            }
            writer.write(example(tf, features))
    for label, image in zip(y, x, strict=True):
        kind = folder / "images" / f"class{label % 2}"
        kind.mkdir(parents=True, exist_ok=True)
        (kind / f"{label:02}.png").write_bytes(tf.io.encode_png(image).numpy())
    (folder / "broken").mkdir()
    (folder / "broken" / "a").mkdir()
    (folder / "broken" / "a" / "x.png").write_bytes(b"no image")
    (folder / "made.py").write_text(
        "import numpy as np\n"
        "def batches(count, epoch):\n"
        "    for n in range(count):\n"
        "        yield np.full((2, 4), n + 10 * epoch, np.float32), np.zeros(2)\n"
        "def none(): return iter(())\n"
        "def number(): return 3\n"
        "def fails(): raise ValueError('no data today')\n"
    )
    return folder


def example(tf, features):
    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))

    made = {name: feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def data(folder, value):
    builder = Builder(Document(value, {}, {}), folder)
    made = builder.data(value, ())
    assert made is not None, [problem.message for problem in builder.problems]
    return made


def batches(source, size=5, shuffle=None):
    return [
        tuple(part.numpy() for part in batch)
        for batch in feeding.feed(source, size, shuffle).dataset
    ]


FORMS = {
    "npz": {"npz": "d.npz"},
    "compressed": {"npz": "packed.npz"},
    "fortran": {"npz": "fortran.npz"},
    "npy": {"npy": {"x": "x.npy", "y": "y.npy"}},
    "tfrecord": {
        "tfrecord": ["d.tfrecord"],
        "features": {"image": {"dtype": "image", "shape": [4, 3, 1]}, "label": {"dtype": "int64"}},
        "x": "image",
        "y": "label",
    },
    "tfrecord of bytes": {
        "tfrecord": ["d.tfrecord"],
        "features": {"raw": {"dtype": "uint8", "shape": [4, 3, 1]}, "label": {"dtype": "int64"}},
        "x": "raw",
        "y": "label",
    },
    "tfrecord of numbers": {
        "tfrecord": ["d.tfrecord"],
        "features": {"row": {"shape": [4, 3, 1]}, "label": {"dtype": "int64"}},
        "x": "row",
        "y": "label",
    },
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_all_forms_give_the_same_examples(form, folder):
    with np.load(folder / "d.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    found = batches(data(folder, form))
    assert [len(batch[0]) for batch in found] == [5, 5, 5, 5, 3]
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in found]), x)
    np.testing.assert_array_equal(np.concatenate([batch[1] for batch in found]), y)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_all_forms_without_labels(form, folder):
    with np.load(folder / "d.npz") as arrays:
        x = arrays["x"]
    found = batches(data(folder, form).without_labels())
    assert all(len(batch) == 1 for batch in found)
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in found]), x)


WITHOUT = [
    ({"npz": "d.npz", "y": "no such array", "sample_weight": "nor this"}, COUNT),
    ({"npy": {"x": "x.npy", "y": "no.npy"}}, COUNT),
    ({"csv": "one.csv", "target": "no such column"}, 3),
    ({**FORMS["tfrecord"], "y": "label"}, COUNT),
    ({"images": "images", "size": [4, 3]}, COUNT),
    ({"images": "images/class0", "size": [4, 3]}, (COUNT + 1) // 2),
]


@pytest.mark.parametrize(("form", "count"), WITHOUT, ids=str)
def test_labels_that_are_not_there_are_not_missed(form, count, folder):
    source = data(folder, form).without_labels()
    opened = source.open()
    assert (opened.count, opened.y, opened.weight) == (count, None, None)
    read_all(source)


def test_the_target_s_column_is_no_feature_without_labels(folder):
    source = data(folder, {"csv": "blank.csv", "target": "y"}).without_labels()
    assert batches(source)[0][0].tolist() == [[1], [3]]


@pytest.mark.parametrize("form", [FORMS["npz"], FORMS["tfrecord"]], ids=["npz", "tfrecord"])
def test_every_epoch_has_its_own_order_and_always_the_same(form, folder):
    clock = feeding.Clock()
    shuffle = feeding.Shuffle(5, clock)
    source = data(folder, form)
    orders = []
    for epoch in (0, 1, 0):
        clock.epoch = epoch
        orders.append(np.concatenate([b[1] for b in batches(source, 4, shuffle)]).tolist())
    assert orders[0] == orders[2]
    assert orders[0] != orders[1]
    assert sorted(orders[1]) == list(range(COUNT))


def test_a_part_for_validation_is_the_last_one(folder):
    source = data(folder, {"npz": "d.npz"})
    train, rest = feeding.split(source, 4, feeding.Shuffle(1, feeding.Clock()), Fraction(1, 4))
    labels = [
        np.concatenate([y for _, y in feed.dataset.as_numpy_iterator()]) for feed in (train, rest)
    ]
    assert sorted(labels[0]) == list(range(17))
    assert labels[1].tolist() == list(range(17, 23))


def test_weights_of_examples_and_several_inputs(folder):
    source = data(folder, {"npz": "d.npz", "x": {"left": "x", "right": "y"}, "sample_weight": "w"})
    (inputs, y, weight), *_ = feeding.feed(source, 4).dataset.as_numpy_iterator()
    assert set(inputs) == {"left", "right"}
    assert y.tolist() == inputs["right"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(weight, y / 10)


def test_a_table_with_words(folder):
    source = data(
        folder,
        {"csv": "d.csv", "target": "kind", "columns": ["b", "a"], "classes": ["k0", "k1", "k2"]},
    )
    with np.load(folder / "d.npz") as arrays:
        rows = arrays["x"].reshape(COUNT, -1)
    found = batches(source, COUNT)[0]
    np.testing.assert_array_equal(found[0], rows[:, [1, 0]])
    np.testing.assert_array_equal(found[1], np.arange(COUNT) % 3)


def test_a_folder_of_images(folder):
    source = data(folder, {"images": "images", "size": [4, 3], "channels": 1})
    with np.load(folder / "d.npz") as arrays:
        x = arrays["x"]
    pixels, labels = batches(source, COUNT)[0]
    order = [*range(0, COUNT, 2), *range(1, COUNT, 2)]
    np.testing.assert_array_equal(pixels, x[order])
    assert labels.tolist() == [n % 2 for n in order]
    assert feeding.feed(source, 2).files == source.open().files
    assert batches(data(folder, {"images": "images", "size": [8, 6]}), 2)[0][0].shape == (
        2,
        8,
        6,
        3,
    )


def test_a_generator_knows_its_epoch(folder, monkeypatch):
    monkeypatch.setenv("SURGERY_ALLOW_CODE", "1")
    clock = feeding.Clock(2)
    source = data(folder, {"generator": "made:batches", "arguments": {"count": 3}})
    found = batches(source, shuffle=feeding.Shuffle(0, clock, is_on=False))
    assert [int(x[0, 0]) for x, _ in found] == [20, 21, 22]


def test_empty_lines_and_short_ones(folder):
    x, y = batches(data(folder, {"csv": "blank.csv", "target": "y"}))[0]
    assert (x.tolist(), y.tolist()) == ([[1], [3]], [2, 4])
    assert batches(data(folder, "one.csv"))[0][0].tolist() == [[1], [2], [3]]


BROKEN = [
    ({"csv": "twice.csv", "target": "y"}, "twice.csv has two columns 'a'"),
    ({"npz": "x.npy"}, "x.npy is not a readable zip archive"),
    ({"npz": "third.npz", "y": None}, "third.npz is not a .npz file of numbers: version (3, 0) of"),
    ({"npy": {"x": "cut.npy"}}, "cut.npy is not a .npy file of numbers: it is truncated: 403"),
    ({"npz": "d.npz", "y": "z"}, "d.npz has no array 'z'"),
    ({"npy": {"x": "d.csv"}}, "d.csv is not a .npy file of numbers"),
    ({"npy": {"x": "x.npy", "y": "made.py"}}, "made.py is not a .npy file"),
    ({"csv": "d.csv", "target": "kind"}, "d.csv:2: 'k0' is not a number; leave its column out"),
    ({"csv": "d.csv", "target": "kid"}, "d.csv has no column 'kid' (did you mean 'kind'?)"),
    ({"csv": "words.csv", "target": "b", "classes": ["2"]}, "words.csv:3: 'four' is not among"),
    ({"csv": "no.csv"}, "No such file"),
    ({"images": "images/class0", "size": [4, 3]}, "but not in folders of classes"),
    ({"images": "images", "size": [4, 3], "classes": ["cat"]}, "has no folder cat"),
    ({"images": "broken", "size": [4, 3]}, "x.png is not an image that TensorFlow reads"),
    ({**FORMS["tfrecord"], "tfrecord": ["d.csv"]}, "d.csv is not a TFRecord file, or truncated"),
    ({**FORMS["tfrecord"], "features": {"image": {"dtype": "image"}, "label": {}}},
     "d.tfrecord: "),
    ({"generator": "made:none"}, "the generator yields no batch"),
    ({"generator": "made:number"}, "made:number does not return an iterator"),
    ({"generator": "made:fails"}, "made:fails failed: ValueError: no data today"),
    ({"generator": "made:nothing"}, "made:nothing cannot be imported: AttributeError"),
    ({"generator": "nowhere:nothing"}, "nowhere:nothing cannot be imported: ModuleNotFoundError"),
]  # fmt: skip


def test_every_kind_of_data_is_read_whole_and_broken():
    others = {"csv", "generator", "images"}  # each has a test of what it reads
    read = {*others, *(next(iter(form)) for form in FORMS.values())}
    assert read == set(kinds()), "FORMS has each kind of data, or another test has it"
    broken = {next(iter(form)) for form, _ in BROKEN}
    assert broken == set(kinds()), "BROKEN has each kind of data"


def read_all(source):
    """Open it, and gather every row or make every batch."""
    opened = source.open()
    if hasattr(opened, "gather"):
        opened.gather(np.arange(opened.count))
    else:
        feeding.feed(source, 2)


@pytest.mark.parametrize(("form", "message"), BROKEN, ids=lambda v: v if isinstance(v, str) else "")
def test_broken_data(form, message, folder, monkeypatch):
    """Said by the form itself, wherever it is found out."""
    monkeypatch.setenv("SURGERY_ALLOW_CODE", "1")
    with pytest.raises(SurgeryError) as caught:
        read_all(data(folder, form))
    assert message in str(caught.value)


def test_records_of_several_files_in_any_order(folder, tmp_path):
    shutil.copy(folder / "d.tfrecord", tmp_path / "a.tfrecord")
    shutil.copy(folder / "d.tfrecord", tmp_path / "b.tfrecord")
    form = {**FORMS["tfrecord"], "tfrecord": ["a.tfrecord", "b.tfrecord"]}
    rows = np.array([COUNT + 3, 5, 2 * COUNT - 1, 0])
    found = data(tmp_path, form).open().gather(rows)
    assert found["label"].tolist() == [3, 5, COUNT - 1, 0]


def test_a_compressed_or_cut_tfrecord(folder, tmp_path):
    cut = tmp_path / "cut.tfrecord"
    shutil.copy(folder / "d.tfrecord", cut)
    with cut.open("r+b") as file:
        file.truncate(cut.stat().st_size - 3)
    with pytest.raises(SurgeryError, match="or truncated"):
        data(Path(tmp_path), {**FORMS["tfrecord"], "tfrecord": ["cut.tfrecord"]}).open()


@pytest.fixture
def pictures(tmp_path):
    """Folders of 10, 4 and 2 images, whose pixels are the class's number."""
    import tensorflow as tf

    for label, count in enumerate((10, 4, 2)):
        (tmp_path / f"class{label}").mkdir()
        for number in range(count):
            image = tf.io.encode_png(np.full((2, 2, 1), label, np.uint8)).numpy()
            (tmp_path / f"class{label}" / f"{number}.png").write_bytes(image)
    return data(tmp_path, {"images": ".", "size": [2, 2], "channels": 1})


def test_every_class_of_folders_is_in_both_parts(pictures):
    opened = pictures.open()
    drawn = [parts(opened, Fraction(1, 4), seed, "pictures") for seed in (1, 1, 2)]
    for rows, others in drawn:
        assert sorted([*rows, *others]) == list(range(16))
        assert np.bincount(opened.labels()[others]).tolist() == [2, 1, 1]
    assert drawn[0][1].tolist() == drawn[1][1].tolist() != drawn[2][1].tolist()
    (pictures.images / "class2" / "1.png").unlink()
    with pytest.raises(FormatError, match="has one example of class 2, too few to be split"):
        parts(pictures.open(), Fraction(1, 4), 1, "pictures")


SORTED = [0] * 8 + [1] * 8
ALL_OF = "class 1 only in the validation part"
SPLITS = [
    (SORTED, "50%", f"d.npz, as Keras does, and has {ALL_OF} and class 0 only in the training"),
    (SORTED, "25%", "has class 0 only in the training part; shuffle the examples"),
    ([0, 1] * 8, "25%", None),
    (np.eye(2)[SORTED], "50%", ALL_OF),
    (np.array(SORTED, np.float32), "50%", ALL_OF),
    (np.array(SORTED)[:, None], "50%", ALL_OF),
    (np.linspace(0, 1, 16), "50%", None),
    (np.arange(16), "50%", None),
]


@pytest.mark.parametrize(("y", "share", "told"), SPLITS)
def test_sorted_arrays_are_told(y, share, told, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((16, 2)), y=y)
    opened = data(tmp_path, {"npz": "d.npz", "x": "x", "y": "y"}).open()
    said = split_note(opened, Share.parse(share).fraction, "d.npz")
    assert told in said if told else not said


def test_a_sorted_table_is_told(tmp_path):
    lines = ["a,kind", *(f"{n},{'rose' if n < 4 else 'tulip'}" for n in range(8))]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    table = data(tmp_path, {"csv": "d.csv", "target": "kind", "classes": ["rose", "tulip"]})
    assert "class tulip only in the validation" in split_note(table.open(), Fraction(1, 2), "t")


def test_quantities_of_a_table_are_no_classes(tmp_path):
    rows = {"price": [0.5] * 4 + [1.5] * 4, "kind": [0] * 4 + [1] * 4, "a": range(8)}
    lines = [",".join(rows), *(",".join(map(str, row)) for row in zip(*rows.values(), strict=True))]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    for target, said in (("price", None), ("kind", "class 1 only in the validation part")):
        table = data(tmp_path, {"csv": "d.csv", "target": target, "columns": ["a"]})
        count, note = trained_on(table.open(), Fraction(1, 2), 0, "d.csv")
        assert count == 4
        assert said in note if said else note is None


def test_a_cell_with_a_line_break_is_told(tmp_path):
    (tmp_path / "d.csv").write_text('a,y,b\n1,0,x\n2,0,"x\ny"\n3,1,x\n4,1,x\n')
    table = data(tmp_path, {"csv": "d.csv", "target": "y", "columns": ["a"]})
    with pytest.raises(FormatError, match="has 5 lines below its header, but 4 rows"):
        trained_on(table.open(), Fraction(1, 2), 0, "d.csv")
