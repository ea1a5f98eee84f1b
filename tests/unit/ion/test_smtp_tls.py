"""TLS and login of the courier, against servers on loopback."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiosmtpd.smtp
import pytest

from harness import certificate
from ion.errors import ServerUnavailable, SettingsError
from ion.outcome import Kind
from ion.settings import Tls
from ion.smtp import courier_factory
from tests.support.courier_contract import ANN, LARGE, MESSAGE, envelope, kinds
from tests.support.smtp_server import AGES, DROP, HANG, Script, ScriptedServer, aiosmtpd_server, smtp_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from harness.certificate import Certificate


@pytest.fixture(scope="module")
def ours() -> Certificate:
    return certificate.make()


class Mailbox:
    """An aiosmtpd handler and authenticator in one."""

    def __init__(self) -> None:
        self.mails: list[tuple[bytes, bool, bool]] = []
        self.logins: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802, ARG002 - aiosmtpd's hook
        self.mails.append((envelope.original_content, session.ssl is not None, session.authenticated))
        return "250 2.0.0 kept"

    def __call__(self, *request: Any) -> aiosmtpd.smtp.AuthResult:
        login = request[-1]
        self.logins.append(login.login)
        right = login.login == b"ion" and login.password == "sésame, ouvre-toi".encode()
        return aiosmtpd.smtp.AuthResult(success=right, handled=False)


def real_server(mailbox: Mailbox, tls: Any, **options: Any) -> AbstractAsyncContextManager[int]:
    return aiosmtpd_server(
        mailbox, tls_context=tls, require_starttls=True, authenticator=mailbox, data_size_limit=None, **options
    )


LOGIN = {"username": "ion", "password": "sésame, ouvre-toi"}


async def test_starttls_and_login(ours: Certificate) -> None:
    """The usual way: STARTTLS against a private authority, login, mail after mail over one connection."""
    mailbox = Mailbox()
    async with real_server(mailbox, ours.context, auth_required=True) as port:
        courier = courier_factory(smtp_settings(port, tls=Tls.STARTTLS, ca=ours.ca_pem, **LOGIN))()
        assert kinds(await courier.send(envelope())) == {ANN: Kind.DELIVERED}
        assert kinds(await courier.send(envelope(message=MESSAGE * 5000))) == {ANN: Kind.DELIVERED}
        await courier.close()
    assert mailbox.mails == [(MESSAGE, True, True), (MESSAGE * 5000, True, True)]
    assert mailbox.logins == [b"ion"]
    assert courier.connections == 1
    assert courier.round_trips == len(["greeting", "EHLO", "STARTTLS", "EHLO", "AUTH", "QUIT"]) + 2 * 4


async def test_authority_may_be_a_file(ours: Certificate, tmp_path: Path) -> None:
    """smtp.ca may name a PEM file."""
    path = tmp_path / "ca.pem"
    path.write_text(ours.ca_pem)
    async with ScriptedServer(tls=ours.context) as server:
        await _deliver(smtp_settings(server.port, tls=Tls.IMPLICIT, ca=str(path)))


async def test_implicit_tls(ours: Certificate) -> None:
    """With tls = implicit the connection is TLS from its first octet."""
    async with ScriptedServer(tls=ours.context) as server:
        await _deliver(smtp_settings(server.port, tls=Tls.IMPLICIT, ca=ours.ca_pem))
        assert server.accepted[0].message == MESSAGE
        assert "STARTTLS" not in server.sessions[0].verbs


async def _deliver(settings: Any) -> None:
    courier = courier_factory(settings)()
    assert kinds(await courier.send(envelope())) == {ANN: Kind.DELIVERED}
    await courier.close()


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
async def test_unknown_authority_is_refused(ours: Certificate, tls: Tls) -> None:
    """By default a certificate must come from an authority that the system trusts; no other server is told anything."""
    async with _either(ours, tls) as (port, heard):
        with pytest.raises(ServerUnavailable, match="certificate verify failed"):
            await courier_factory(smtp_settings(port, tls=tls, **LOGIN))().send(envelope())
        assert not heard


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
async def test_other_authority_is_refused(ours: Certificate, tls: Tls) -> None:
    """With smtp.ca set, only what comes from that authority is trusted."""
    async with _either(ours, tls) as (port, _):
        settings = smtp_settings(port, tls=tls, ca=certificate.make().ca_pem)
        with pytest.raises(ServerUnavailable, match="certificate verify failed"):
            await courier_factory(settings)().send(envelope())


async def test_other_host_name_is_refused(ours: Certificate) -> None:
    """A certificate for another host does not do."""
    async with ScriptedServer(tls=ours.context, host="127.0.0.2") as server:
        settings = smtp_settings(server.port, server="127.0.0.2", tls=Tls.IMPLICIT, ca=ours.ca_pem)
        with pytest.raises(ServerUnavailable, match="IP address mismatch"):
            await courier_factory(settings)().send(envelope())


@asynccontextmanager
async def _either(ours: Certificate, tls: Tls) -> AsyncIterator[tuple[int, list[Any]]]:
    """A server for either way; what it is told within TLS goes into the list."""
    if tls is Tls.IMPLICIT:
        async with ScriptedServer(tls=ours.context) as server:
            yield server.port, server.sessions
    else:
        mailbox = Mailbox()
        async with real_server(mailbox, ours.context) as port:
            yield port, mailbox.logins


@pytest.mark.parametrize(
    "script",
    [
        Script(extensions=("AUTH PLAIN", "SIZE 0")),
        Script(extensions=("AUTH PLAIN", "STARTTLS"), starttls="454 4.7.0 TLS not available"),
        Script(extensions=("AUTH PLAIN", "STARTTLS"), starttls="502 5.5.1 what?"),
        Script(extensions=("AUTH PLAIN", "STARTTLS"), starttls=DROP),
        Script(extensions=("AUTH PLAIN", "STARTTLS"), starttls=AGES),
        Script(extensions=("AUTH PLAIN", "STARTTLS"), starttls=b"220 go\r\nand no TLS to follow\r\n"),
    ],
    ids=str,
)
async def test_nothing_goes_out_in_clear(script: Script, ours: Certificate) -> None:
    """With tls = starttls a server that cannot do it is unavailable; neither login nor mail is ever sent in clear."""
    async with ScriptedServer(script) as server:
        settings = smtp_settings(server.port, tls=Tls.STARTTLS, ca=ours.ca_pem, **LOGIN)
        with pytest.raises(ServerUnavailable, match="at STARTTLS"):
            await courier_factory(settings)().send(envelope())
        assert set(server.sessions[0].verbs) <= {"EHLO", "STARTTLS"}


async def test_plaintext_server_behind_implicit_tls_is_the_servers_state(ours: Certificate) -> None:
    """A server that does not speak TLS where it should is unavailable."""
    async with ScriptedServer() as server:
        settings = smtp_settings(server.port, tls=Tls.IMPLICIT, ca=ours.ca_pem)
        with pytest.raises(ServerUnavailable):
            await courier_factory(settings)().send(envelope())


async def test_message_lost_within_tls_defers(ours: Certificate) -> None:
    """Over TLS too, a connection lost within a large message defers it."""
    async with ScriptedServer(Script(body=DROP), tls=ours.context) as server:
        courier = courier_factory(smtp_settings(server.port, tls=Tls.IMPLICIT, ca=ours.ca_pem))()
        assert kinds(await courier.send(envelope(message=LARGE))) == {ANN: Kind.DEFERRED}


async def test_final_dot_waits_for_the_message_within_tls(ours: Certificate) -> None:
    """Over TLS too, a server that stops reading a large message gets no final dot."""
    async with ScriptedServer(Script(body=HANG), tls=ours.context) as server:
        settings = smtp_settings(server.port, tls=Tls.IMPLICIT, ca=ours.ca_pem, data_timeout_seconds=0.5)
        assert kinds(await courier_factory(settings)().send(envelope(message=LARGE))) == {ANN: Kind.DEFERRED}


# Login.


async def test_wrong_password_is_the_servers_state(ours: Certificate) -> None:
    """535 at AUTH is no mail's fault; it is not tried again with another mechanism."""
    mailbox = Mailbox()
    async with real_server(mailbox, ours.context, auth_required=True) as port:
        settings = smtp_settings(port, tls=Tls.STARTTLS, ca=ours.ca_pem, username="ion", password="wrong-password")
        with pytest.raises(ServerUnavailable, match=r"535 5\.7\.8 .*at AUTH") as caught:
            await courier_factory(settings)().send(envelope())
        assert "wrong-password" not in str(caught.value)
    assert mailbox.logins == [b"ion"]
    assert mailbox.mails == []


@pytest.mark.parametrize(
    "reply", ["454 4.7.0 later", "432 4.7.12 change your password", "421 4.3.2 down", DROP], ids=str
)
async def test_failed_login_is_the_servers_state(reply: Any) -> None:
    """Whatever stops the login makes the server unavailable."""
    async with ScriptedServer(Script(extensions=("AUTH PLAIN LOGIN",), auth=reply)) as server:
        with pytest.raises(ServerUnavailable, match="at AUTH"):
            await courier_factory(smtp_settings(server.port, **LOGIN))().send(envelope())
        assert server.sessions[0].verbs == ["EHLO", "AUTH"]


@pytest.mark.parametrize("extensions", [("SIZE 0",), ("AUTH GSSAPI XOAUTH2",)])
async def test_no_login_offered_is_the_servers_state(extensions: tuple[str, ...]) -> None:
    """A username without a login to give it to is an error, not a reason to go without."""
    async with ScriptedServer(Script(extensions=extensions)) as server:
        with pytest.raises(ServerUnavailable, match="offers none of AUTH PLAIN, LOGIN and CRAM-MD5, at AUTH"):
            await courier_factory(smtp_settings(server.port, **LOGIN))().send(envelope())


async def test_no_username_means_no_login() -> None:
    """Without a username no login is tried, even if the server offers one."""
    async with ScriptedServer(Script(extensions=("AUTH PLAIN",))) as server:
        await _deliver(smtp_settings(server.port))
        assert "AUTH" not in server.sessions[0].verbs


async def test_mechanism_that_fails_leads_to_the_next() -> None:
    """A mechanism that the server does not do after all is followed by the next; without TLS, CRAM-MD5 is the first."""
    script = Script(
        extensions=("AUTH LOGIN PLAIN CRAM-MD5",),
        auth=("504 5.5.4 not this one", "534 5.7.9 too weak", "334 UGFzc3dvcmQ6", "235 2.7.0 welcome"),
    )
    async with ScriptedServer(script) as server:
        await _deliver(smtp_settings(server.port, **LOGIN))
        assert [" ".join(command.split()[:2]) for command in server.sessions[0].commands[:5]] == [
            "EHLO client.example",
            "AUTH CRAM-MD5",
            "AUTH PLAIN",
            "AUTH LOGIN",
            base64.b64encode(LOGIN["password"].encode()).decode(),
        ]


# The settings.


@pytest.mark.parametrize(
    "ca", ["/nowhere/ca.pem", "-----BEGIN CERTIFICATE-----\nnot base64\n-----END CERTIFICATE-----\n", "/dev/null"]
)
def test_authority_that_cannot_be_used_is_named(ca: str) -> None:
    """An unusable smtp.ca is a SettingsError that says so, before any connection."""
    with pytest.raises(SettingsError, match=r"^smtp\.ca: .*PEM"):
        courier_factory(smtp_settings(25, tls=Tls.STARTTLS, ca=ca))


def test_couriers_share_one_tls_context(ours: Certificate) -> None:
    """The certificates are read once a factory, not once a connection."""
    make = courier_factory(smtp_settings(25, tls=Tls.STARTTLS, ca=ours.ca_pem))
    assert make()._context is make()._context
