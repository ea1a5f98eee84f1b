"""What a received message is, as far as it can be read: a mail or a request, whose it is, or why it is neither."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.deadletter import identity, redrives
from ion.errors import RequestError
from ion.ledger import Claim
from ion.request import RedriveRequest, SendRequest, parse

if TYPE_CHECKING:
    from ion.protocols import Message

# ion dead-letters by itself, with a reason, before SQS's own maxReceiveCount (50) would do it without one.
MAX_RECEIVES = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """A message and what it was read as.

    Attributes:
        message: The message.
        claim: The claim to make on the mail.
        request: What it asks for; None where it could not be read.
        failure: Why it cannot be served: the dead letter's reason, and the words; None where it can.
    """

    message: Message
    claim: Claim
    request: SendRequest | RedriveRequest | None = None
    failure: tuple[str, str] | None = None


def read(message: Message, *, owner: str) -> Read:
    """Read a message; never raises. `owner` becomes the token of the claim."""
    request: SendRequest | RedriveRequest | None = None
    failure: tuple[str, str] | None = None
    if message.receive_count > MAX_RECEIVES:
        # Not even parsed: what has gone on so often may be what ends the process.
        failure = ("receives-exhausted", f"received {message.receive_count} times and never settled")
    else:
        try:
            request = parse(message.body)
        except RequestError as error:
            failure = (error.reason, str(error))
    mail = request if isinstance(request, SendRequest) else None
    claim = Claim(
        id=identity(message, mail.id if mail else None),
        owner=owner,
        generation=redrives(message.attributes),
        digest=hashlib.sha256(message.body.encode(errors="surrogatepass")).hexdigest() if mail else "",
        tags=mail.tags if mail else {},
    )
    return Read(message=message, claim=claim, request=request, failure=failure)
