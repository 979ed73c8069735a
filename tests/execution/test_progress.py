"""What is told of a run while it runs."""

import json
import math
import time
from types import MappingProxyType

from surgery.execution import progress
from surgery.execution.progress import Log


def test_a_phase_that_has_just_begun_tells_no_percent(monkeypatch, capsys):
    """The time of a training before it does not count."""
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.05)
    log = Log("r", brief=True)
    time.sleep(0.06)
    log.phase("writing", 100)
    log.advance(1)
    assert capsys.readouterr().err == ""
    time.sleep(0.06)
    log.advance(1)
    assert "writing percent=2" in capsys.readouterr().err


def test_facts_that_json_has_not_are_told(capsys):
    Log("r", "json").say("epoch", metrics=MappingProxyType({"loss": math.nan}))
    assert json.loads(capsys.readouterr().err)["metrics"] == {"loss": None}


def test_an_epoch_is_told_in_every_form(capsys):
    facts = {"number": 1, "of": 3, "loss": 0.5}
    Log("r", brief=True).say("epoch", **facts)
    assert capsys.readouterr().err.endswith(" r: epoch number=1 of=3 loss=0.5\n")
    Log("r", "json").say("epoch", **facts)
    said = json.loads(capsys.readouterr().err)
    assert {**said, "time": ""} == {"time": "", "recipe": "r", "event": "epoch", **facts}
    with progress.Bar("r") as bar:
        bar.say("epoch", **facts)
    assert "epoch 1 of 3: loss 0.5" in capsys.readouterr().err
