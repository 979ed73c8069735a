"""Every file of Keras 2.12 to 2.15 becomes a .keras file that predicts the same, or is refused.

`python -m tests.keras.test_old_files` writes the tables into docs/old-keras.md.
"""

import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import surgery
from surgery.errors import SurgeryError
from tests.conftest import MODELS, ROOT
from tests.keras import old_kinds

OLD = MODELS / "old-keras"
PAGE = ROOT / "docs" / "old-keras.md"
VERSIONS = ["2.12.1", "2.13.1", "2.14.1", "2.15.1"]
FORMS = {
    ".h5": "{}.h5",
    ".keras": "{}.keras",
    ".keras (zip of 2.12)": "{}_zip.keras",
    "JSON and weights": "{}.json",
    "SavedModel": "{}.sm",
}
HALF = ("mixed", "half")
"""Kinds that compute with 16 bits, so that the last of their digits differ."""


def outcome(folder, kind, form, out):
    """`equal`, or why the file is refused; fails where it is written and is not equal."""
    source = folder / FORMS[form].format(kind)
    if not source.exists():
        return None
    load = str(source)
    if form.startswith("JSON"):
        load = {"config": load, "weights": str(folder / f"{kind}_weights.h5")}
    new = out / "new.keras"
    try:
        convert(load, new, "never")
    except SurgeryError as error:
        assert not new.exists()
        return re.sub(r"^.*(cannot store this model|\.json): ", "", str(error)).partition(";")[0]
    differences = judged(folder, kind, load, new)
    assert not differences, f"{source}: {differences}"
    return "equal"


def convert(load, target, check):
    """Write the file; gives what its check by Keras said."""
    export = [{"keras": {"path": str(target), "check": check}}]
    return surgery.run({"surgery": 1, "load": load, "export": export}).outputs[0].check


def judged(folder, kind, load, path):
    """How today's Keras differs from what the Keras that saved the model predicted."""
    with np.load(folder / f"{kind}.npz") as facts:
        xs = [facts[name] for name in sorted(facts) if re.fullmatch(r"x\d", name)]
        ys = [facts[name] for name in sorted(facts) if re.fullmatch(r"p\d", name)]
    tolerance = 1e-2 if kind in HALF else 1e-4
    return [
        f"output {number} differs by {np.abs(y - wanted).max()}"
        for number, (y, wanted) in enumerate(zip(predicted(kind, load, path, xs), ys, strict=True))
        if not np.allclose(y, wanted, rtol=tolerance, atol=tolerance)
    ]


PREDICTED = {}
"""By what is in the file and what it is given; most versions and forms become the same file."""


def predicted(kind, load, path, xs):
    """What Keras predicts from the file, which is checked before when it is a new one."""
    key = content(path), *(x.tobytes() for x in xs)
    if key not in PREDICTED:
        assert convert(load, path.parent / "checked.keras", "always") == "checked"
        PREDICTED[key] = outputs(kind, path, xs)
    return PREDICTED[key]


def content(path):
    """A digest of the layers and the weights."""
    with zipfile.ZipFile(path) as file:
        config = json.loads(file.read("config.json"))
        config.pop("compile_config", None)
        layers = json.dumps(config, sort_keys=True).encode()
        return hashlib.sha256(layers + file.read("model.weights.h5")).digest()


def outputs(kind, path, xs):
    """What today's Keras predicts, as arrays."""
    import keras
    import tensorflow as tf

    model = keras.saving.load_model(path, compile=False)
    given = [tf.constant(x.astype(object) if x.dtype.kind == "U" else x) for x in xs]
    if kind == "dictionary":
        given = [dict(zip("ab", given, strict=True))]
    made = model(given if len(given) > 1 else given[0], training=False)
    made = [made[key] for key in sorted(made)] if isinstance(made, dict) else made
    made = made if isinstance(made, list | tuple) else [made]
    return [np.asarray(y) for y in made]


def old_table(out):
    """A row for each kind of the old files: one word where all versions agree."""
    kinds = sorted(path.stem for path in (OLD / VERSIONS[0]).glob("*.npz"))
    rows = []
    for kind in kinds:
        cells = []
        for form in FORMS:
            found = {v: outcome(OLD / v, kind, form, fresh(out)) for v in VERSIONS}
            cells.append(cell({v: said for v, said in found.items() if said is not None}))
        rows.append([kind, *cells])
    return table(["kind", *FORMS], rows)


def more_table(out):
    """A row for each kind that Keras 2 as it is today makes."""
    import tensorflow as tf
    import tf_keras

    rows = []
    for kind, make in old_kinds.kinds(tf_keras, tf).items():
        folder = fresh(out)
        old_kinds.write_kind(tf_keras, tf, kind, make, folder)
        forms = [".h5", ".keras", "JSON and weights"]
        rows.append([kind, *(outcome(folder, kind, form, fresh(out)) for form in forms)])
    return table(["kind", ".h5", ".keras", "JSON and weights"], rows)


def fresh(out):
    """A new folder."""
    folder = out / str(len(list(out.iterdir())))
    folder.mkdir()
    return folder


def cell(found):
    """What the versions say: once, where it is the same."""
    if len(set(found.values())) <= 1:
        return next(iter(found.values()), "")
    return ", ".join(f"{version}: {said}" for version, said in found.items())


def table(head, rows):
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


TABLES = {"every version": old_table, "more kinds": more_table}


def marks(name):
    """What stands before and behind a table in the page."""
    return f"<!-- {name}: made by tests/keras/test_old_files.py -->\n", "\n<!-- end -->"


@pytest.mark.skipif(not OLD.is_dir(), reason=f"no old models at {OLD}; set SURGERY_MODELS")
@pytest.mark.parametrize("name", TABLES)
def test_the_page_says_what_becomes_of_every_file(name, tmp_path):
    before, after = marks(name)
    there = PAGE.read_text().partition(before)[2].partition(after)[0]
    assert TABLES[name](tmp_path) == there


def main():
    import tempfile

    for name in sys.argv[1:] or TABLES:
        before, after = marks(name)
        head, _, rest = PAGE.read_text().partition(before)
        with tempfile.TemporaryDirectory() as folder:
            made = TABLES[name](Path(folder))
        PAGE.write_text(head + before + made + after + rest.partition(after)[2])


if __name__ == "__main__":
    main()
