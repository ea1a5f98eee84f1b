"""The reading of SMTP replies."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.outcome import RULES, TEXT_LIMIT, Course, Kind, Outcome, Reply, Stage, classify

TRANSACTION = [Stage.MAIL, Stage.RCPT, Stage.DATA]
SESSION = [Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH]
PROCEED, UNAVAILABLE = Course.PROCEED, Course.UNAVAILABLE
DELIVERED, DEFERRED, REJECTED, AMBIGUOUS = Kind.DELIVERED, Kind.DEFERRED, Kind.REJECTED, Kind.AMBIGUOUS


@pytest.mark.parametrize(
    ("reply", "mail", "rcpt", "data", "final_dot"),
    [
        # what the server says    MAIL         RCPT         DATA         the final dot
        ("250", PROCEED, PROCEED, DEFERRED, DELIVERED),
        ("251", PROCEED, PROCEED, DEFERRED, DELIVERED),
        ("354", DEFERRED, DEFERRED, PROCEED, AMBIGUOUS),
        ("421 4.3.2", UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, DEFERRED),
        ("450 4.2.0", DEFERRED, DEFERRED, DEFERRED, DEFERRED),
        ("451 4.7.1", DEFERRED, DEFERRED, DEFERRED, DEFERRED),
        ("452 4.5.3", DEFERRED, DEFERRED, DEFERRED, DEFERRED),
        ("454 4.7.0", DEFERRED, DEFERRED, DEFERRED, DEFERRED),
        ("500 5.5.2", REJECTED, REJECTED, REJECTED, REJECTED),
        ("503 5.5.1", UNAVAILABLE, DEFERRED, DEFERRED, REJECTED),
        ("530 5.7.0", UNAVAILABLE, DEFERRED, DEFERRED, DEFERRED),
        ("530 5.5.1", UNAVAILABLE, DEFERRED, DEFERRED, DEFERRED),
        ("535 5.7.8", UNAVAILABLE, DEFERRED, DEFERRED, DEFERRED),
        ("550 5.7.8", UNAVAILABLE, DEFERRED, DEFERRED, DEFERRED),
        ("550 5.1.1", REJECTED, REJECTED, REJECTED, REJECTED),
        ("550 5.7.1", REJECTED, REJECTED, REJECTED, REJECTED),
        ("550 5.5.3", REJECTED, DEFERRED, REJECTED, REJECTED),
        ("552", REJECTED, DEFERRED, REJECTED, REJECTED),
        ("552 5.2.2", REJECTED, DEFERRED, REJECTED, REJECTED),
        ("554 5.7.1", REJECTED, REJECTED, REJECTED, REJECTED),
        ("556 5.1.10", REJECTED, REJECTED, REJECTED, REJECTED),
        ("0", DEFERRED, DEFERRED, DEFERRED, AMBIGUOUS),
        ("42", DEFERRED, DEFERRED, DEFERRED, AMBIGUOUS),
        ("600", DEFERRED, DEFERRED, DEFERRED, AMBIGUOUS),
        ("2500", DEFERRED, DEFERRED, DEFERRED, AMBIGUOUS),
    ],
)
def test_reply_in_a_transaction(
    reply: str, mail: Kind | Course, rcpt: Kind | Course, data: Kind | Course, final_dot: Kind | Course
) -> None:
    """Each reply means what the table says, stage by stage."""
    code, _, enhanced = reply.partition(" ")
    said = Reply(code=int(code), enhanced=enhanced)
    assert [classify(stage, said) for stage in (*TRANSACTION, Stage.FINAL_DOT)] == [mail, rcpt, data, final_dot]


@pytest.mark.parametrize("stage", SESSION)
def test_before_a_transaction_only_success_goes_on(stage: Stage) -> None:
    """Whatever is not the one success of its stage is the server's state."""
    success = {Stage.GREETING: {220}, Stage.STARTTLS: {220}, Stage.EHLO: {250}, Stage.AUTH: {235, 334}}.get(
        stage, set()
    )
    for code in range(600):
        assert classify(stage, Reply(code=code)) is (PROCEED if code in success else UNAVAILABLE)


def test_nothing_but_success_delivers() -> None:
    """Only a 2xx after the final dot delivers, and only a reply after it, or its lack, is ambiguous."""
    for stage, code in itertools.product(Stage, range(-1, 1000)):
        verdict = classify(stage, Reply(code=code))
        assert (verdict is DELIVERED) == (stage is Stage.FINAL_DOT and 200 <= code <= 299)
        assert verdict is not AMBIGUOUS or stage is Stage.FINAL_DOT
        assert verdict is not REJECTED or 500 <= code <= 599
        assert verdict is not UNAVAILABLE or stage is not Stage.FINAL_DOT


def test_every_rule_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of the rules some reply is read otherwise; and each rule names its source."""
    replies = [Reply(code=code) for code in (0, 220, 235, 250, 354, 421, 450, 503, 530, 550, 552)]
    replies += [Reply(code=550, enhanced=enhanced) for enhanced in ("5.7.8", "5.5.3")]
    readings = list(itertools.product(Stage, replies))
    whole = [classify(stage, reply) for stage, reply in readings]
    for rule in RULES:
        assert "RFC" in rule.source
        fallback = rule._replace(stages=tuple(Stage), replies="any", enhanced="", verdict=None)  # type: ignore[arg-type]
        monkeypatch.setattr("ion.outcome.RULES", (*(other for other in RULES if other is not rule), fallback))
        assert [classify(stage, reply) for stage, reply in readings] != whole, rule


# Reading a reply.


@pytest.mark.parametrize(
    ("code", "text", "reply"),
    [
        (250, "2.0.0 ok", Reply(code=250, enhanced="2.0.0", text="ok")),
        (250, "2.0.0", Reply(code=250, enhanced="2.0.0")),
        (250, "", Reply(code=250)),
        (550, "5.7.26 a\n5.7.26 b", Reply(code=550, enhanced="5.7.26", text="a b")),
        (550, "5.7.1 a\n5.1.1 b", Reply(code=550, enhanced="5.7.1", text="a 5.1.1 b")),
        (550, "a 5.1.1 b", Reply(code=550, text="a 5.1.1 b")),
        (550, "4.1.1 class of another", Reply(code=550, text="4.1.1 class of another")),
        (550, "5.1111.1 too long", Reply(code=550, text="5.1111.1 too long")),
        (550, "bo\udceete\u2028 \u202enoitcejer", Reply(code=550, text="bo\ufffdte noitcejer")),
    ],
)
def test_reads_code_and_words(code: int, text: str, reply: Reply) -> None:
    """The enhanced status code comes off every line, if its class is the reply code's; the rest is one clean line."""
    assert Reply.of(code, text) == reply


@given(code=st.integers(-1, 1000), text=st.text(st.characters()))
def test_any_words_are_made_safe(code: int, text: str) -> None:
    """Whatever a server says becomes printable text of bounded length that UTF-8 can carry."""
    reply = Reply.of(code, text)
    assert len(reply.text) <= TEXT_LIMIT
    assert not reply.text or reply.text.isprintable()
    reply.text.encode()


def test_reply_becomes_an_outcome() -> None:
    """An outcome keeps the reply that it came from."""
    reply = Reply(code=550, enhanced="5.1.1", text="unknown")
    assert reply.outcome(REJECTED) == Outcome(kind=REJECTED, code=550, enhanced="5.1.1", text="unknown")
    assert str(reply) == "550 5.1.1 unknown"
    assert str(Reply(text="the connection was lost")) == "the connection was lost"
