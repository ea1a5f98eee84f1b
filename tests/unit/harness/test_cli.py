import pytest

from harness.cli import COMMANDS, main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Commands leave what they leave in a directory of their own."""
    monkeypatch.chdir(tmp_path)


def exit_code(*arguments):
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["scenario", "--nonsense"],
        ["scenario", "burst", "outage"],
        ["scenario", "burst", "--mails", "0"],
        ["scenario", "burst", "--rate", "nan"],
        ["scenario", "chaos", "--duration", "-1"],
    ],
)
def test_wrong_usage_ends_with_64(arguments, capsys):
    """2, argparse's own, is taken: it means that the verdict is unknown."""
    assert exit_code(*arguments) == 64
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command, capsys):
    """Each command that is listed exists and explains itself."""
    assert exit_code(command, "--help") == 0
    assert f"harness {command}" in capsys.readouterr().out


def test_scenarios_are_listed_without_a_name(capsys):
    """A line each."""
    assert exit_code("scenario") == 0
    assert "burst        500 mails" in capsys.readouterr().out


def test_an_unknown_scenario_lists_those_that_there_are(capsys):
    """A mistyped name is answered with the right ones, and ends with 64."""
    assert exit_code("scenario", "brust") == 64
    error = capsys.readouterr().err
    assert "'brust'" in error
    assert "burst" in error


@pytest.mark.parametrize("arguments", [["check", "flood"], ["report", "flood"], ["inbox", "--run", "flood"]])
def test_an_unknown_run_is_wrong_usage(arguments, tmp_path, monkeypatch, capsys):
    """No verdict, and no fault of the harness either: 64, with the ways to name a run."""
    monkeypatch.chdir(tmp_path)
    assert exit_code(*arguments) == 64
    assert "no saved run 'flood': give its directory, scenario/time" in capsys.readouterr().err


def test_a_localstack_that_is_not_there_ends_with_70(monkeypatch, capsys):
    """The harness broke, which says nothing about ion; the message says what to do."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert exit_code("scenario", "burst") == 70
    assert "AWS_ENDPOINT_URL" in capsys.readouterr().err


def test_sending_without_anything_that_runs_says_so(capsys):
    """The message names the command that starts it."""
    assert exit_code("send", "--to", "a@example.com", "--subject", "s", "--text", "t") == 70
    assert "make up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--to", "nobody", "--text", "t"], "recipient"),
        (["--to", "a@example.com"], "body_text"),
        (["--to", "a@example.com", "--text", "t", "--attach", "missing.pdf"], "missing.pdf"),
    ],
)
def test_a_mail_that_breaks_the_contract_is_not_sent(arguments, named, capsys):
    """Told at once, not by a dead letter."""
    assert exit_code("send", "--subject", "s", *arguments) == 64
    assert named in capsys.readouterr().err
