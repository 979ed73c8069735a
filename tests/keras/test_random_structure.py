"""Random graphs, random structural steps in a row: as Keras does the same by hand, or refused."""

import collections
import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surgery.errors import SurgeryError
from tests.keras import structures
from tests.keras.random_structures import Builder, Hypothetical, Steps, functional

EXAMPLES = int(os.environ.get("SURGERY_RANDOM_STRUCTURES", "40"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("random")


def test_random_steps(keras, folder):
    """Counts are printed: equal, and refused by message."""
    counts = collections.Counter()

    @settings(max_examples=EXAMPLES, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.data())
    def examples(data):
        draws = Hypothetical(data)
        keras.backend.clear_session()
        model = structures.randomise(Builder(keras, draws).model())
        ours, now = structures.written(keras, model, folder / "m.keras")
        steps = Steps(keras, draws)
        for _ in range(draws.integer(1, 3)):
            name, make, hand = steps.step(now, ours)
            try:
                ours = make()
            except SurgeryError as error:
                counts[name, "refused", reason(error)] += 1
                continue
            new = structures.saved(keras, ours, folder / "out.keras")
            expected = hand(new)
            assert structures.equal(
                keras, expected(given_to(keras, expected)), new(given_to(keras, new))
            )
            counts[name, "equal", ""] += 1
            now = new

    examples()
    for (name, what, why), count in sorted(counts.items()):
        print(f"{count:6} {name} {what} {why}")
    made = sum(count for (_, what, _), count in counts.items() if what == "equal")
    assert 2 * made > sum(counts.values())


def given_to(keras, model):
    return structures.inputs_of(keras, functional(keras, model))


def reason(error):
    """The message without names and numbers."""
    text = re.sub(r"\b(?:p_)*[a-z_]+\d\w*(?:/\w+)*\b", "X", str(error))
    return re.sub(r"\d+", "N", text)[:110]
