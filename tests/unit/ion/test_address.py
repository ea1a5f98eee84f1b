from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.address import Address, AddressError, unique


@pytest.mark.parametrize(
    ("text", "name", "mailbox"),
    [
        ("ann@example.com", "", "ann@example.com"),
        ("  ann@example.com ", "", "ann@example.com"),
        ("<ann@example.com>", "", "ann@example.com"),
        ("Ann <ann@example.com>", "Ann", "ann@example.com"),
        ("Ann  of  Green  Gables<ann@example.com>", "Ann of Green Gables", "ann@example.com"),
        ("Ann (Sales) <ann@example.com>", "Ann (Sales)", "ann@example.com"),
        ("Dr. Ünal <ann@example.com>", "Dr. Ünal", "ann@example.com"),
        ('"Smith, Ann" <ann@example.com>', "Smith, Ann", "ann@example.com"),
        ('"say \\"hi\\" \\\\" <ann@example.com>', 'say "hi" \\', "ann@example.com"),
        ('"<b@example.com>" <ann@example.com>', "<b@example.com>", "ann@example.com"),
        ("o'neil+tag=x!#$%&*/?^_`{|}~@example.com", "", "o'neil+tag=x!#$%&*/?^_`{|}~@example.com"),
        ("jürgen@example.com", "", "jürgen@example.com"),
        ("ann@localhost", "", "ann@localhost"),
        ("ann@EXAMPLE.com", "", "ann@EXAMPLE.com"),
        ("ann@BÜCHER.example", "", "ann@xn--bcher-kva.example"),
        ("ann@例え。example", "", "ann@xn--r8jz45g.example"),
        ("ann@xn--bcher-kva.example", "", "ann@xn--bcher-kva.example"),
        (f"{'a' * 64}@example.com", "", f"{'a' * 64}@example.com"),
    ],
)
def test_what_is_an_address(text: str, name: str, mailbox: str):
    """A bare mailbox or one with a name, quoted or not, in ASCII or not."""
    address = Address.parse(text)

    assert (address.name, address.mailbox) == (name, mailbox)


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("", "no @"),
        ("ann", "no @"),
        ("Ann <>", "no @"),
        ("@example.com", "before the @"),
        ("ann@", "domain"),
        ("a@b@example.com", "before the @"),
        ("ann smith@example.com", "before the @"),
        (".ann@example.com", "before the @"),
        ("ann..smith@example.com", "before the @"),
        ("ann.@example.com", "before the @"),
        ('"ann smith"@example.com', "before the @"),
        ("ann\u00a0b@example.com", "before the @"),
        ("ann\u200b@example.com", "before the @"),
        ("ann(comment)@example.com", "before the @"),
        ("a@example.com, b@example.com", "go into a list"),
        ("a@example.com, Bob <b@example.com>", "go into a list"),
        ("a@example.com; Bob <b@example.com>", "go into a list"),
        ("Smith, Ann <ann@example.com>", "double quotes"),
        ("Ann <ann@example.com> <bob@example.com>", "before the @"),
        ("Ann <ann@example.com> x", "before the @"),
        ("Ann <ann@example.com", "before the @"),
        ('"Ann <ann@example.com>', "double quotes"),
        ("ann@-example.com", "domain"),
        ("ann@example-.com", "domain"),
        ("ann@example..com", "domain"),
        ("ann@example.com.", "domain"),
        ("ann@exa_mple.com", "domain"),
        ("ann@exam ple.com", "domain"),
        ("ann@192.0.2.1", "domain"),
        ("ann@[192.0.2.1]", "domain"),
        ("ann@" + "a" * 64 + ".com", "domain"),
        ("ann@xn--a.com", "international"),
        ("ann@bü cher.example", "international"),
        ("ann@☃︎️..example", "international"),
        ("a" * 65 + "@example.com", "64 octets"),
        ("é" * 33 + "@example.com", "64 octets"),
        ("ann@" + ".".join(["a" * 60] * 4) + ".example", "254 octets"),
        ("ann@" + "ü" * 300, "254 octets"),
        ("x" * 257 + " <ann@example.com>", "256 characters"),
        ("ann@example.com\nRCPT TO:<bob@example.com>", "control character"),
        ("Ann\r\n <ann@example.com>", "control character"),
        ("ann\x00@example.com", "control character"),
        ("ann\u2028@example.com", "control character"),
        ("ann\ud800@example.com", "control character"),
    ],
)
def test_what_is_not_an_address(text: str, trouble: str):
    """Anything else is refused, in words that say why."""
    with pytest.raises(AddressError, match=trouble):
        Address.parse(text)


def test_case():
    """Two mailboxes that differ in the domain's case are one; in the local part's they are two."""
    ann, shout, other = (Address.parse(one) for one in ("ann@example.com", "ann@EXAMPLE.com", "Ann@example.com"))

    assert unique([ann, shout, other, ann]) == (ann, other)


def test_smtputf8():
    """Only a local part beyond ASCII needs SMTPUTF8."""
    assert Address.parse("jürgen@example.com").smtputf8
    assert not Address.parse("Jürgen <j@bücher.example>").smtputf8


def test_long_texts_are_read_in_no_time():
    """A megabyte of spaces or quotes is refused as quickly as it is read (the test's own time-out is the bound)."""
    for text in ("a" + " " * 1_000_000 + "@", '"' * 1_000_000, "<" * 1_000_000, "a." * 500_000 + "@"):
        with pytest.raises(AddressError):
            Address.parse(text)


@given(st.text() | st.text('ab@.<>"\\ ,é水-[]'))
def test_whatever_the_text(text: str):
    """There is an address that reads as itself again, or an AddressError."""
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert Address.parse(address.mailbox) == Address(local=address.local, domain=address.domain)
    assert address.domain.isascii()
