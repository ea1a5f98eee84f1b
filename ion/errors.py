"""Everything that ion raises on purpose.

IonError
├── SettingsError       a setting is missing or malformed
├── RequestError        a published document breaks the contract
├── ServerUnavailable   the SMTP server, not the mail, is the trouble
│   └── TurnedAway      it let us in, and broke off the transaction
├── LedgerUnavailable   the ledger cannot be read or written now
└── AlarmUnavailable    the alarm cannot be set to OK now
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class IonError(Exception):
    """Base of ion's errors; its message says what was wrong, where, and what would be right."""


class SettingsError(IonError):
    """A setting is missing or malformed; the message names it and where it was looked for."""


class RequestError(IonError):
    """A published document breaks the contract.

    Attributes:
        reason: The dead letter's short code: `malformed`, `unknown-action` or `too-large`.
        field: The field at fault, as a path (`attachments[2].content_base64`); empty for the document as a whole.
    """

    def __init__(self, message: str, *, field: str = "", reason: str = "malformed") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.reason = reason
        self.field = field


class ServerUnavailable(IonError):  # noqa: N818 - a state of the server, named as the design names it
    """No mail can be handed over: no connection, TLS or login failed, a bad greeting, or 421 before the final dot."""


class TurnedAway(ServerUnavailable):
    """A connection that stood did not last for one transaction: the server says 421 or asks for a login.

    As a rule that is the server's state; a server that does so to one mail only exists as well.
    """


class LedgerUnavailable(IonError):  # noqa: N818 - a state of the ledger
    """The ledger did not take or give an answer; nothing may be sent that it has not recorded."""


class AlarmUnavailable(IonError):  # noqa: N818 - a state of the alarm
    """The alarm was not set to OK at the end of a drain: left alone, it might never wake the function again."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them where none is near."""
    import difflib  # noqa: PLC0415 - only an error needs it; a cold start does not

    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(names)}"
