"""What a received message is, as far as it can be read: a mail or a request, whose it is, or why it is neither."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from ion.deadletter import identity, redrives
from ion.errors import RequestError
from ion.ledger import Claim
from ion.message import message_id
from ion.request import RedriveRequest, SendRequest, parse, published

if TYPE_CHECKING:
    from ion.protocols import Message

# ion dead-letters by itself, with a reason, before SQS's own maxReceiveCount (50) would do it without one.
MAX_RECEIVES = 40
# Received this often it is not even read any more: reading may be what ends the process.
MAX_RECEIVES_READ = 45


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

    def under(self, id_: str, *, default_sender: str) -> Self:
        """The same, claimed under another id."""
        header = ""
        if isinstance(self.request, SendRequest):
            header = message_id(self.request, mail_id=id_, default_sender=default_sender)
        return replace(self, claim=replace(self.claim, id=id_, message_id=header))

    def apart(self, *, default_sender: str) -> Self:
        """The same as a mail by itself, which cannot be served: its id is another mail's."""
        # An id of the document, not of the message: what is published twice is one mail under this id too.
        own = f"conflict {self.claim.digest[:32]}"
        id_ = own if self.claim.id != own else f"{own} {self.claim.owner}"  # somebody has taken even that
        failure = ("id-conflict", f"another mail was published with the id {self.claim.id!r}")
        return replace(self.under(id_, default_sender=default_sender), failure=failure)


def read(message: Message, *, owner: str, default_sender: str) -> Read:
    """Read a message; whatever its body, nothing is raised.

    Args:
        message: As it was received.
        owner: The token of the claim.
        default_sender: An address: whom a mail is from that does not say.
    """
    request: SendRequest | RedriveRequest | None = None
    failure: tuple[str, str] | None = None
    digest = ""
    if message.receive_count <= MAX_RECEIVES_READ:
        try:
            request = parse(message.body)
        except RequestError as error:
            failure = (error.reason, str(error))
        except Exception as error:  # a fault of ours: this message pays for it, and no other
            failure = ("internal-error", f"{type(error).__name__}: {error}")
    if message.receive_count > MAX_RECEIVES:
        failure = ("receives-exhausted", f"received {message.receive_count} times and never settled")
    mail = request if isinstance(request, SendRequest) else None
    if mail:
        digest = hashlib.sha256(published(message.body).encode(errors="surrogatepass")).hexdigest()
    claim = Claim(
        id="",
        owner=owner,
        generation=redrives(message.attributes),
        digest=digest,
        tags=mail.tags if mail else {},
    )
    found = Read(message=message, claim=claim, request=request, failure=failure)
    return found.under(identity(message, mail.id if mail else None), default_sender=default_sender)
