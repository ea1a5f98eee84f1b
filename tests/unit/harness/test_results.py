import json

import pytest

from harness import results, runs


@pytest.fixture
def run(tmp_path):
    """A saved run in which one of two mails was lost, with the function's log about the other."""
    made = runs.create("burst", root=tmp_path, now=0)
    body = json.dumps({"action": "send", "id": "order-1", "recipient": "a@example.com", "subject": "", "body_text": ""})
    events = [
        {"t": 0.0, "event": "phase", "name": "publishing"},
        {"t": 1.0, "event": "publish.attempted", "workload": "w-1", "attempt": 1, "body": body},
        {"t": 2.0, "event": "publish.acknowledged", "workload": "w-1", "attempt": 1},
        {"t": 3.0, "event": "depth", "visible": 0, "in_flight": 0, "delayed": 0, "dead": 0},
        {"t": 3.5, "event": "run.finished", "reason": "drained"},
        {"t": 4.0, "event": "phase", "name": "checking"},
    ]
    made.history.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    made.function_log.write_text(
        'START RequestId: 1\n{"stage": "deferred", "id": "order-2"}\n'
        '{"stage": "deferred", "id": "order-1", "timestamp": "1970-01-01T00:00:01.500Z"}\n{torn\n'
    )
    return made


def test_a_breach_comes_with_the_story_of_its_mails(run):
    """Events and log lines of the lost mail, in the order of time, and of no other."""
    [breach] = results.check(run)["breaches"]
    story = breach["evidence"]["w-1"]
    assert [each.get("event") or each["stage"] for each in story] == [
        "publish.attempted",
        "deferred",
        "publish.acknowledged",
    ]


def test_a_run_without_a_readable_history_is_unknown(run):
    """Damage to the evidence is no verdict against ion, and none for it."""
    run.history.write_text("garbage\n{}\n")
    found = results.check(run)
    assert found["verdict"] == "unknown"
    assert "line 1" in found["doubts"][0]


def test_the_text_leads_with_the_verdict_and_names_what_broke(run):
    """What a person reads first is what matters most."""
    lines = results.text(run, results.check(run)).splitlines()
    assert lines[0] == "invalid: 1 published, 0 delivered, 1 lost, 0 duplicated"
    assert "conservation" in lines[1]
    assert "w-1" in lines[2]


def test_phases_are_measured(run):
    """From the beginning of each to that of the next."""
    assert results.check(run)["phases"] == {"publishing": 4.0}


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_quantiles_are_values_that_occurred(share, value):
    """The nearest rank."""
    assert results.quantile(range(1, 101), share) == value
