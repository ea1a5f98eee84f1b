"""What one send can come to for one recipient, and how SMTP replies are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The four ends of a send; the fifth, the server's own unavailability, is `errors.ServerUnavailable`."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One recipient's outcome of one transaction.

    Attributes:
        kind: What it came to.
        code: The SMTP reply code (RFC 5321 section 4.2), 0 where no reply came.
        enhanced: The enhanced status code (RFC 3463), such as `5.1.1`; empty where the server gave none.
        text: The server's words, or the error's.
    """

    kind: Kind
    code: int = 0
    enhanced: str = ""
    text: str = ""


TEXT_LIMIT = 500
"""Characters kept of a server's words."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_ENHANCED = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?=\s|$)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a server answered; without a code, what there was in its place.

    Attributes:
        code: The reply code, 0 where no reply came, or none that could be read.
        enhanced: The enhanced status code, empty where there was none.
        text: The words in one printable line.
    """

    code: int = 0
    enhanced: str = ""
    text: str = ""

    @classmethod
    def of(cls, code: int, text: str) -> Reply:
        """Read a reply of one line or several; a byte that was no UTF-8 may be there as a surrogate (PEP 383).

        The enhanced status code leads every line, and its class must be the reply code's (RFC 2034 section 4).
        """
        found = _ENHANCED.match(text)
        enhanced = found[0] if found and found[1] == str(code)[0] else ""
        words = " ".join(line.removeprefix(enhanced) for line in text.split("\n"))
        words = _SURROGATE.sub("\ufffd", words)
        words = "".join(character if character.isprintable() else " " for character in words)
        return cls(code=code, enhanced=enhanced, text=" ".join(words.split())[:TEXT_LIMIT])

    def outcome(self, kind: Kind) -> Outcome:
        """The outcome of whoever this reply settles."""
        return Outcome(kind=kind, code=self.code, enhanced=self.enhanced, text=self.text)

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code or ""), self.enhanced, self.text) if part)


class Stage(StrEnum):
    """Where in the SMTP dialogue a reply came, or failed to come."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    """From the DATA command until the final dot is written: the message itself included."""
    FINAL_DOT = "final dot"


class Course(StrEnum):
    """What a reply means for the dialogue, where it settles no recipient."""

    PROCEED = "proceed"
    UNAVAILABLE = "unavailable"
    """Concerns the server or our login there: no mail has been handed over, and nobody's attempt is spent."""


class Rule(NamedTuple):
    """A row of the table below.

    Attributes:
        stages: Where it applies.
        replies: Reply codes, apart by spaces, `x` for any digit; `any` is every code, and no (readable) reply too.
        enhanced: Enhanced status codes, apart by spaces; empty: whatever it is.
        verdict: What such a reply comes to.
        source: Where that is laid down, and why it is so where that is not plain.
    """

    stages: tuple[Stage, ...]
    replies: str
    enhanced: str
    verdict: Kind | Course
    source: str


_SESSION = (Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH)
_BEFORE_DOT = (Stage.MAIL, Stage.RCPT, Stage.DATA)
_MAIL, _RCPT, _DATA, _DOT = (Stage.MAIL,), (Stage.RCPT,), (Stage.DATA,), (Stage.FINAL_DOT,)
_LATER = (Stage.RCPT, Stage.DATA, Stage.FINAL_DOT)

# Read from the top; the first row that fits decides.
# fmt: off
RULES: tuple[Rule, ...] = (
    # No transaction has begun: whatever goes wrong is the server's state, or our login's.
    Rule((Stage.GREETING, Stage.STARTTLS), "220", "", Course.PROCEED, "RFC 5321 section 3.1; RFC 3207 section 4"),
    Rule((Stage.EHLO,), "250", "", Course.PROCEED, "RFC 5321 section 4.1.1.1"),
    Rule((Stage.AUTH,), "235 334", "", Course.PROCEED, "RFC 4954 section 4"),
    Rule(_SESSION, "any", "", Course.UNAVAILABLE, "RFC 5321 section 3.1 (554 greeting) and 3.8; RFC 4954 section 6"),
    # The straight way.
    Rule((Stage.MAIL, Stage.RCPT), "2xx", "", Course.PROCEED, "RFC 5321 section 4.3.2; 251 at RCPT is a success too"),
    Rule(_DATA, "354", "", Course.PROCEED, "RFC 5321 section 4.1.1.4"),
    Rule(_DOT, "2xx", "", Kind.DELIVERED, "RFC 5321 section 4.2.5: the server has taken responsibility"),
    # The server is going away. Before the dot nobody got anything; after it, a reply came that is no acceptance.
    Rule(_BEFORE_DOT, "421", "", Course.UNAVAILABLE, "RFC 5321 section 3.8: a reply to any command"),
    # Not logged in, or no longer. At MAIL it meets every mail, so it is the state of the server, or of our settings.
    # Later on it may concern one recipient or one text: to stop everything for that would let one mail delay all the
    # others, to reject it would make a mail pay for a setting. 503 at MAIL: AUTH, EHLO or STARTTLS is wanted first.
    Rule(_MAIL, "503 530 534 535 538", "", Course.UNAVAILABLE, "RFC 4954 section 6; RFC 3207 section 4"),
    Rule(_MAIL, "5xx", "5.7.8 5.7.9 5.7.11", Course.UNAVAILABLE, "RFC 4954 section 6"),
    Rule(_LATER, "530 534 535 538", "", Kind.DEFERRED, "RFC 4954 section 6"),
    Rule(_LATER, "5xx", "5.7.8 5.7.9 5.7.11", Kind.DEFERRED, "RFC 4954 section 6"),
    # A command out of turn tells of the session, not of the mail.
    Rule((Stage.RCPT, Stage.DATA), "503", "", Kind.DEFERRED, "RFC 5321 section 4.1.4"),
    # Too many recipients for one transaction, in a permanent code's clothes.
    Rule(_RCPT, "552", "", Kind.DEFERRED, "RFC 5321 section 4.5.3.1.10: treat as 452"),
    Rule(_RCPT, "5xx", "5.5.3", Kind.DEFERRED, "RFC 3463 section 3.6: send to the rest in another transaction"),
    # The plain meaning of the first digit.
    Rule((*_BEFORE_DOT, *_DOT), "4xx", "", Kind.DEFERRED, "RFC 5321 section 4.2.1"),
    Rule((*_BEFORE_DOT, *_DOT), "5xx", "", Kind.REJECTED, "RFC 5321 section 4.2.1; RFC 1870 section 6 (552 at MAIL)"),
    # No reply, or none that makes sense.
    Rule(_BEFORE_DOT, "any", "", Kind.DEFERRED, "RFC 5321 section 3.8: as if 451 had come"),
    Rule(_DOT, "any", "", Kind.AMBIGUOUS, "RFC 1047: the server may have accepted it"),
)
# fmt: on


def classify(stage: Stage, reply: Reply) -> Kind | Course:
    """Say what a reply comes to at a stage.

    Returns:
        A `Kind` where it settles the recipients it concerns (one at RCPT, else all that are not settled yet), else a
        `Course`.
    """
    return next(rule.verdict for rule in RULES if _fits(rule, stage, reply))


def _fits(rule: Rule, stage: Stage, reply: Reply) -> bool:
    if stage not in rule.stages or (rule.enhanced and reply.enhanced not in rule.enhanced.split()):
        return False
    return rule.replies == "any" or any(
        re.fullmatch(pattern.replace("x", "[0-9]"), str(reply.code)) for pattern in rule.replies.split()
    )
