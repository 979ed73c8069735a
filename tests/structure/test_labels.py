"""Labels that are joined, and families of them."""

import numpy as np
import pytest

from surgery.structure import Cut, Edit, Labels, families_of


def cut(layer, labels, role="out", axis=1):
    return Cut(layer, f"{layer}/kernel", axis, labels, role)


def test_joined_labels_have_the_lowest_for_a_class():
    labels = Labels()
    one, two, three = (labels.fresh(4) for _ in range(3))
    assert labels.classes().tolist() == list(range(12))
    labels.join(two, three)
    labels.join(one[1:], two[:3])
    labels.join(one[1:], one[1:2])  # all in a row
    assert labels.classes().tolist() == [0, 1, 1, 1, 1, 1, 1, 7, 1, 1, 1, 7]


@pytest.mark.parametrize("seed", range(5))
def test_classes_are_those_of_a_search(seed):
    rng = np.random.default_rng(seed)
    labels = Labels()
    labels.fresh(60)
    pairs = rng.integers(0, 60, (45, 2))
    labels.join(pairs[:20, 0], pairs[:20, 1])
    labels.join(pairs[20:, 0], pairs[20:, 1])
    expected = list(range(60))
    for _ in range(60):
        for a, b in pairs:
            expected[a] = expected[b] = min(expected[a], expected[b])
    assert labels.classes().tolist() == expected


def test_a_family_is_of_the_same_makers_in_the_same_places():
    labels = Labels()
    a, b = labels.fresh(4), labels.fresh(4)
    labels.join(a, b)
    other = labels.fresh(3)
    labels.cuts += [cut("a", a), cut("b", b), cut("c", other), cut("d", a[:2], "in", 0)]
    labels.pin(other[:1], "it is an output")
    labels.mix(a[3:], "norm looks at it")
    found = families_of(labels)
    told = [(f.makers, f.classes.tolist(), f.free.tolist()) for f in found.families]
    assert told == [
        (("a", "b"), [0, 1], [0, 1]),
        (("a", "b"), [2, 3], [2]),
        (("c",), [8, 9, 10], [9, 10]),
    ]
    assert [dict(f.why) for f in found.families] == [{}, {"norm looks at it": 1},
                                                     {"it is an output": 1}]  # fmt: skip
    assert families_of(labels, with_mixed=True).families[1].free.tolist() == [2, 3]
    assert [str(f) for f in found.families] == ["a and 1 more", "a and 1 more", "c"]
    dead = found.first([1, 0, 2])
    assert dead.tolist() == [0, 9, 10]
    assert np.flatnonzero(~found.alive(dead)).tolist() == [0, 4, 9, 10]


def test_an_edit_counts_what_is_kept():
    alive = np.array([True, False, True, True])
    assert Edit("a", ("units",), np.array([0, 1, 1, 3])).value(alive) == 2
    parts = (np.array([0, 1]), np.array([0, 1, 2]))
    assert Edit("a", ("indices_or_sections",), parts).value(alive) == [1, 2]
