"""E-mail addresses as the contract takes them: `ann@example.com` or `Ann <ann@example.com>`.

Quoted local parts (`"a b"@example.com`) and address literals (`a@[192.0.2.1]`) are legal, unheard of, and a way to
smuggle syntax past a check; they are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Iterable

# RFC 5321 section 4.5.3.1: octets. A path holds 256 with its angle brackets.
LOCAL_MAX_OCTETS = 64
ADDRESS_MAX_OCTETS = 254
NAME_MAX_CHARACTERS = 256

# What must never reach a header: control characters, both Unicode line breaks, and halves of surrogate pairs.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
# RFC 5322 section 3.2.3 (dot-atom), with RFC 6531's non-ASCII characters.
_LOCAL = re.compile(r"[^\x00-\x20\x7f\"(),.:;<>@\[\\\]]+(?:\.[^\x00-\x20\x7f\"(),.:;<>@\[\\\]]+)*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class AddressError(IonError):
    """A text is not an address; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """One mailbox.

    Attributes:
        name: The display name, unquoted; empty if there is none.
        local: The part before the @, as it was given.
        domain: The part after it, in ASCII (IDNA 2008), in the case it was given in.
    """

    name: str = ""
    local: str
    domain: str

    @property
    def mailbox(self) -> str:
        """The bare address, as it stands in an envelope."""
        return f"{self.local}@{self.domain}"

    @property
    def key(self) -> str:
        """Equal for addresses that are the same mailbox: only the domain is free of case (RFC 5321 section 2.4)."""
        return f"{self.local}@{self.domain.lower()}"

    @property
    def smtputf8(self) -> bool:
        """Whether this address needs the SMTPUTF8 extension (RFC 6531): its local part has no ASCII form."""
        return not self.local.isascii()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `address` or `Name <address>`.

        Raises:
            AddressError: It is neither, or breaks a limit of RFC 5321 section 4.5.3.1.
        """
        if UNSAFE.search(text):
            raise AddressError("a line break or another control character in an address")
        text = text.strip()
        match = _NAMED.fullmatch(text)
        if match:
            return cls._from_parts(_name(match["name"]), match["address"])
        # A quoted name may hold angle brackets of its own.
        quoted = _QUOTED.match(text)
        rest = _NAMED.fullmatch(text[quoted.end() :]) if quoted else None
        if quoted and rest and not rest["name"].strip():
            return cls._from_parts(_name(quoted[0]), rest["address"])
        return cls._from_parts("", text)

    @classmethod
    def _from_parts(cls, name: str, address: str) -> Self:
        local, at, domain = address.rpartition("@")
        if not at:
            raise AddressError(f"{shown(address)} has no @; an address such as ann@example.com is needed")
        if not _LOCAL.fullmatch(local) or not local.isprintable():
            raise AddressError(
                f"{shown(address)} is not one address: {shown(local)} before the @ is not letters, digits and the "
                "signs that may stand bare there; several addresses go into a list"
            )
        if len(local.encode()) > LOCAL_MAX_OCTETS:
            raise AddressError(f"{shown(address)} has more than {LOCAL_MAX_OCTETS} octets before the @")
        domain = _ascii(domain)
        if len(local.encode()) + 1 + len(domain) > ADDRESS_MAX_OCTETS:
            raise AddressError(f"{shown(address)} is longer than {ADDRESS_MAX_OCTETS} octets")
        return cls(name=name, local=local, domain=domain)


def unique(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """The first of each mailbox, in order."""
    firsts: dict[str, Address] = {}
    for address in addresses:
        firsts.setdefault(address.key, address)
    return tuple(firsts.values())


def _name(text: str) -> str:
    text = text.strip()
    if _QUOTED.fullmatch(text):
        text = re.sub(r"\\(.)", r"\1", text[1:-1]).strip()
    elif re.search(r'["@,;:]', text):
        raise AddressError(
            f'the name {shown(text)} holds one of " @ , ; : and must stand in double quotes; several addresses go '
            "into a list"
        )
    text = re.sub("  +", " ", text)  # in a name, spaces count as one (RFC 5322 section 3.2.2)
    if len(text) > NAME_MAX_CHARACTERS:
        raise AddressError(f"the name {shown(text)} is longer than {NAME_MAX_CHARACTERS} characters")
    return text


def _ascii(domain: str) -> str:
    """The domain in ASCII: checked where it is already, else as IDNA 2008 with UTS 46 mapping (RFC 5891)."""
    if len(domain) > ADDRESS_MAX_OCTETS:
        raise AddressError(f"the domain {shown(domain)} is longer than {ADDRESS_MAX_OCTETS} octets")
    if not domain.isascii() or "xn--" in domain.lower():
        import idna  # noqa: PLC0415 - its tables take 25 ms to load, and few mails need them

        try:
            domain = idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise AddressError(f"the domain {shown(domain)} is not a valid international domain: {error}") from None
    if not _DOMAIN.fullmatch(domain) or domain.rpartition(".")[2].isdigit():
        raise AddressError(f"the domain {shown(domain)} is not a host name such as example.com")
    return domain


def shown(text: str) -> str:
    """A stranger's text, safe and short enough for an error, a log and a message attribute."""
    return ascii(text if len(text) <= 64 else text[:61] + "...")  # noqa: PLR2004 - what fits a line
