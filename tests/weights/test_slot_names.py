"""A slot's name with another variable in the place of its own."""

import pytest

from surgery.weights.slot_names import with_owner


@pytest.mark.parametrize(
    ("name", "of", "new"),
    [
        ("a/Adam", "a", "zz/Adam"),
        ("Adam/m/a", "a", "Adam/m/zz"),  # the letter is in the scope, too
        ("training/Adam/a/b/m", "a/b", "training/Adam/zz/m"),
        ("a_slot_vr", "a", "zz_slot_vr"),
        ("a/a_1", "a/a_1", "zz"),
    ],
)
def test_only_the_whole_name_is_replaced(name, of, new):
    assert with_owner(name, of, "zz") == new
