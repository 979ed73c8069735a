"""Every form of a model, written as every other: bit-equal, or refused for a reason."""

import pytest

import surgery
from surgery.formats.base import formats
from surgery.weights.digest import sha256
from tests.conftest import same_bytes
from tests.formats import pairs


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    pytest.importorskip("tf_keras")
    return pairs.sources(tmp_path_factory.mktemp("pairs"))


def test_the_table_in_the_docs_is_what_is_so(found):
    page = pairs.PAGE.read_text()
    assert pairs.table(found) in page, "run: python -m tests.formats.pairs"


def source_names():
    streamed = ["keras", *pairs.COPIES]
    return sorted([*streamed, "checkpoint (by objects)", "checkpoint (by names)", *pairs.MAKERS])


@pytest.mark.parametrize("target", list(formats()))
@pytest.mark.parametrize("name", source_names())
def test_each_pair(name, target, found, tmp_path):
    model, form = surgery.open(found[name]), formats()[target]
    path = tmp_path / f"out{'' if ' ' in form.suffix else form.suffix}"
    if problems := form.problems(model):
        with pytest.raises(surgery.SurgeryError) as error:
            surgery.save(model, **{target: path})
        assert problems[0] in str(error.value)
        assert list(tmp_path.iterdir()) == []
        return
    if form.is_foreign(model) and name != "savedmodel (Keras 2)":
        return  # Keras's export takes seconds; tests/keras has the rest
    surgery.save(model, **{target: path})
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    if not form.can_read:
        assert path.stat().st_size > 0
        return
    copy = surgery.open(path)
    assert copy.format == target
    assert same_bytes(copy, model)
    if form.holds_states:
        kept = {w.address: sha256(w.tensor) for w in model.states}
        there = {w.address: sha256(w.tensor) for w in (*copy.states, *copy.weights)}
        assert kept.items() <= there.items()
