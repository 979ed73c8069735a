"""Which process with Keras is kept for the next run."""

from surgery.live import session as sessions


def taken(threads, runs_code=False):
    with sessions.session(threads, lambda _event, _facts: None, runs_code) as found:
        return found


def test_the_newest_is_kept(monkeypatch):
    """A load check takes any process; a run with other threads must not start one each time."""
    monkeypatch.setattr(sessions, "_IDLE", [])

    of_check = taken(None)
    first = taken(4)
    assert first is not of_check
    assert taken(4) is first
    assert taken(None) is first
    assert taken(4, runs_code=True) is not first
    assert taken(4) is first


def test_one_that_was_started_in_another_folder_is_not_taken(monkeypatch, tmp_path):
    """It would take relative paths from there."""
    monkeypatch.setattr(sessions, "_IDLE", [])
    first = taken(4)
    assert taken(4) is first
    monkeypatch.chdir(tmp_path)
    assert taken(4) is not first
