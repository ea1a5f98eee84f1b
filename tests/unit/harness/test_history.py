import json
import threading

import pytest

from harness import history
from harness.errors import HistoryError


def test_events_come_back_as_recorded(tmp_path):
    """What is recorded is read back in order, with its time."""
    with history.History(tmp_path / "run" / "history.jsonl", clock=lambda: 12.5) as log:
        log.record("run.started", seed=7)
        log.record("publish.attempted", workload="wörk\udc80", t=11.0)
    assert list(history.read(log.path)) == [
        {"t": 12.5, "event": "run.started", "seed": 7},
        {"t": 11.0, "event": "publish.attempted", "workload": "wörk\udc80"},
    ]


def test_a_torn_last_line_is_dropped(tmp_path):
    """A harness that was killed in the middle of a write leaves a history that can be read up to there."""
    path = tmp_path / "history.jsonl"
    path.write_text('{"event": "a"}\n{"event": "b"')
    assert [event["event"] for event in history.read(path)] == ["a"]


@pytest.mark.parametrize("line", ["garbage", "[1]", '{"event": '])
def test_a_broken_line_in_the_middle_is_named(tmp_path, line):
    """Damage anywhere but at the end is an error that says where, never a shorter history."""
    path = tmp_path / "history.jsonl"
    path.write_text(f'{{"event": "a"}}\n{line}\n{{"event": "b"}}\n')
    with pytest.raises(HistoryError, match="line 2"):
        list(history.read(path))


def test_a_missing_history_is_named(tmp_path):
    """Reading what is not there says which file."""
    with pytest.raises(HistoryError, match=r"nowhere\.jsonl"):
        list(history.read(tmp_path / "nowhere.jsonl"))


def test_threads_do_not_tear_each_others_lines(tmp_path):
    """Any number of threads may record at once, and listeners hear each event once, in the file's order."""
    heard = []
    with history.History(tmp_path / "history.jsonl") as log:
        log.subscribe(heard.append)
        threads = [
            threading.Thread(target=lambda n=n: [log.record("tick", thread=n, count=i) for i in range(200)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert list(history.read(log.path)) == heard
    assert len(heard) == 800


def test_each_event_is_in_the_file_at_once(tmp_path):
    """Nothing waits in a buffer that a kill would lose."""
    log = history.History(tmp_path / "history.jsonl")
    log.record("a")
    assert json.loads(log.path.read_text())["event"] == "a"
    log.close()


def test_a_full_disk_is_an_error_and_stays_one(tmp_path):
    """What cannot be written is raised, remembered, and nothing follows the torn line."""
    log = history.History(tmp_path / "history.jsonl")
    log._descriptor, kept = history.os.open("/dev/full", history.os.O_WRONLY), log._descriptor
    with pytest.raises(HistoryError, match="No space left"):
        log.record("a")
    history.os.close(log._descriptor)
    log._descriptor = kept
    with pytest.raises(HistoryError, match="No space left"):
        log.record("b")
    assert log.failure is not None
    assert log.path.read_text() == ""
    log.close()
