from __future__ import annotations

import configparser
import json
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import resources
from threading import Thread
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from ion.errors import SettingsError
from ion.settings import Level, Settings, Tls, read_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "hunter2%(x)s"
SERVER = {"ION_SMTP_SERVER": "mail.example.com"}


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A directory with nothing in it."""
    return tmp_path


def write(directory: Path, text: str) -> None:
    (directory / "config-secrets.cfg").write_text(text, "utf-8")


def load(local: Path, environ: dict[str, str] | None = None, *, secret: Any = None) -> Settings:
    def read(name: str) -> str:
        assert name == "ion-smtp"
        assert secret is not None, "nobody should have asked for a secret"
        return secret if isinstance(secret, str) else json.dumps(secret)

    asks = {"ION_SMTP_SECRET_ID": "ion-smtp"} if secret is not None else {}
    return Settings.load(SERVER | asks | (environ or {}), directory=local, read_secret=read)


def trouble(local: Path, environ: dict[str, str] | None = None, *, secret: Any = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(local, environ, secret=secret)
    return str(caught.value)


def test_the_defaults(local: Path):
    """With nothing but a server, everything else has its default, of its type."""
    settings = load(local)

    assert (settings.smtp.server, settings.smtp.port, settings.smtp.tls) == ("mail.example.com", 587, Tls.STARTTLS)
    assert settings.smtp.transaction_timeout_seconds == 45.0
    assert (settings.queue.input, settings.queue.visibility_timeout_seconds) == ("ion-input-queue", 120)
    assert (settings.ledger.table, settings.ledger.ttl_days) == ("ion-ledger", 30)
    assert (settings.retry.base_seconds, settings.retry.cap_seconds, settings.retry.max_attempts) == (60.0, 3600.0, 10)
    assert settings.drain.deadline_margin_seconds == 5.0
    assert settings.alarm.name == "ion-input-queue-size-alarm"
    assert (settings.telemetry.mask_addresses, settings.telemetry.level) == (True, Level.INFO)


def test_every_key_is_an_attribute(local: Path):
    """config.cfg and the dataclasses name the same sections and keys."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string((resources.files("ion") / "config.cfg").read_text("utf-8"))
    settings = load(local)

    assert [one.name for one in fields(settings)] == parser.sections()
    for section in parser.sections():
        assert [one.name for one in fields(getattr(settings, section))] == list(parser[section])


def test_precedence(local: Path):
    """A file goes before the defaults, the environment before the file, the secret before the environment."""
    write(local, "[smtp]\nport = 2\nserver = file\nsender = file@example.com\n[retry]\nmax_attempts = 3\n")
    environ = {"ION_SMTP_PORT": "3", "ION_SMTP_SERVER": "environment"}

    assert load(local, {}).retry.max_attempts == 3
    assert load(local, environ).smtp.port == 3
    smtp = load(local, environ, secret={"server": "secret", "port": 4}).smtp

    assert (smtp.server, smtp.port, smtp.sender) == ("secret", 4, "file@example.com")


def test_the_secret_gives_all_it_may(local: Path):
    """The secret may hold server, port (a number or a string), username, password and ca."""
    secret = {"server": "s", "port": "25", "username": "u", "password": PASSWORD, "ca": "/ca.pem"}

    smtp = load(local, secret=secret).smtp

    assert (smtp.server, smtp.port, smtp.username, smtp.password, smtp.ca) == ("s", 25, "u", PASSWORD, "/ca.pem")


def test_the_file_may_name_the_secret(local: Path):
    """The secret's own name is a setting like any other."""
    write(local, "[smtp]\nsecret_id = ion-smtp\n")

    settings = Settings.load({}, directory=local, read_secret=lambda name: json.dumps({"server": f"from-{name}"}))

    assert settings.smtp.server == "from-ion-smtp"


def test_the_working_directory_is_the_default(local: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a directory, config-secrets.cfg is looked for where ion was started."""
    write(local, "[smtp]\nserver = here\n")
    monkeypatch.chdir(local)

    assert Settings.load({}).smtp.server == "here"


def test_a_file_with_a_byte_order_mark_and_percent_signs(local: Path):
    """An editor's byte order mark does no harm, and a percent sign is a percent sign."""
    write(local, f"\ufeff[smtp]\nusername = u\npassword = {PASSWORD}\n")

    assert load(local).smtp.password == PASSWORD


def test_an_empty_variable_is_a_value(local: Path):
    """A variable that is set to nothing overrides: so an alarm is turned off."""
    assert load(local, {"ION_ALARM_NAME": ""}).alarm.name == ""
    assert "smtp.port: '' from environment variable ION_SMTP_PORT is not a whole number" in trouble(
        local, {"ION_SMTP_PORT": ""}
    )


@pytest.mark.parametrize(("text", "value"), [("true", True), ("No", False), ("1", True), ("off", False)])
def test_booleans(local: Path, text: str, value: bool):
    """The usual words for yes and no are understood."""
    assert load(local, {"ION_TELEMETRY_MASK_ADDRESSES": text}).telemetry.mask_addresses is value


@pytest.mark.parametrize(
    ("variable", "value", "setting"),
    [
        ("ION_SMTP_SERVER", "", "smtp.server"),
        ("ION_SMTP_SERVER", "mail.example.com:25 ", "smtp.server"),
        ("ION_SMTP_SERVER", "smtp://x", "smtp.server"),
        ("ION_SMTP_PORT", "0", "smtp.port"),
        ("ION_SMTP_PORT", "65536", "smtp.port"),
        ("ION_SMTP_PORT", "25.0", "smtp.port"),
        ("ION_SMTP_PORT", "smtp", "smtp.port"),
        ("ION_SMTP_TLS", "ssl", "smtp.tls"),
        ("ION_SMTP_SENDER", "nobody", "smtp.sender"),
        ("ION_SMTP_HOSTNAME", "a b", "smtp.hostname"),
        ("ION_SMTP_PASSWORD", "alone", "smtp.username"),
        ("ION_SMTP_USERNAME", "alone", "smtp.password"),
        ("ION_SMTP_MAX_CONNECTIONS", "0", "smtp.max_connections"),
        ("ION_SMTP_MAX_MESSAGES_PER_CONNECTION", "0", "smtp.max_messages_per_connection"),
        ("ION_SMTP_CONNECT_TIMEOUT_SECONDS", "0", "smtp.connect_timeout_seconds"),
        ("ION_SMTP_COMMAND_TIMEOUT_SECONDS", "nan", "smtp.command_timeout_seconds"),
        ("ION_SMTP_DATA_TIMEOUT_SECONDS", "inf", "smtp.data_timeout_seconds"),
        ("ION_SMTP_TRANSACTION_TIMEOUT_SECONDS", "901", "smtp.transaction_timeout_seconds"),
        ("ION_SMTP_TRANSACTION_TIMEOUT_SECONDS", "105", "queue.visibility_timeout_seconds"),
        ("ION_QUEUE_INPUT", "", "queue.input"),
        ("ION_QUEUE_INPUT", "a queue", "queue.input"),
        ("ION_QUEUE_INPUT", "mail.fifo", "queue.input"),
        ("ION_QUEUE_DEADLETTER", "ion-input-queue", "queue.deadletter"),
        ("ION_QUEUE_VISIBILITY_TIMEOUT_SECONDS", "60", "queue.visibility_timeout_seconds"),
        ("ION_QUEUE_VISIBILITY_TIMEOUT_SECONDS", "43201", "queue.visibility_timeout_seconds"),
        ("ION_QUEUE_VISIBILITY_TIMEOUT_SECONDS", "60.5", "queue.visibility_timeout_seconds"),
        ("ION_LEDGER_TABLE", "x", "ledger.table"),
        ("ION_LEDGER_TTL_DAYS", "14", "ledger.ttl_days"),
        ("ION_LEDGER_TTL_DAYS", "99999999", "ledger.ttl_days"),
        ("ION_RETRY_BASE_SECONDS", "0", "retry.base_seconds"),
        ("ION_RETRY_BASE_SECONDS", "3601", "retry.base_seconds"),
        ("ION_RETRY_CAP_SECONDS", "43201", "retry.cap_seconds"),
        ("ION_RETRY_MAX_ATTEMPTS", "0", "retry.max_attempts"),
        ("ION_DRAIN_DEADLINE_MARGIN_SECONDS", "-1", "drain.deadline_margin_seconds"),
        ("ION_ALARM_NAME", "a\nb", "alarm.name"),
        ("ION_TELEMETRY_NAMESPACE", "AWS/Lambda", "telemetry.namespace"),
        ("ION_TELEMETRY_NAMESPACE", "", "telemetry.namespace"),
        ("ION_TELEMETRY_MASK_ADDRESSES", "maybe", "telemetry.mask_addresses"),
        ("ION_TELEMETRY_LEVEL", "LOUD", "telemetry.level"),
    ],
)
def test_bad_values(local: Path, variable: str, value: str, setting: str):
    """A value that cannot be is refused under its setting's name, with every place it was looked for."""
    message = trouble(local, {variable: value})

    assert message.startswith(f"{setting}: ")
    assert f"environment variable ION_{setting.replace('.', '_').upper()}" in message
    assert f"{local}/config-secrets.cfg (there is no such file)" in message
    assert "ion's config.cfg" in message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ION_SMTP_SERVER", "192.0.2.1"),
        ("ION_SMTP_SERVER", "::1"),
        ("ION_SMTP_SERVER", "mail_1.internal"),
        ("ION_SMTP_SENDER", "Shop <shop@example.com>"),
        ("ION_SMTP_PORT", "65535"),
        ("ION_QUEUE_INPUT", "https://sqs.eu-west-1.amazonaws.com/1234/mail"),
        ("ION_QUEUE_VISIBILITY_TIMEOUT_SECONDS", "61"),
        ("ION_QUEUE_VISIBILITY_TIMEOUT_SECONDS", "43200"),
        ("ION_LEDGER_TABLE", "arn:aws:dynamodb:eu-west-1:1234:table/mail"),
        ("ION_RETRY_CAP_SECONDS", "43200.0"),
        ("ION_SMTP_TLS", "implicit"),
        ("ION_TELEMETRY_LEVEL", "DEBUG"),
    ],
)
def test_good_values(local: Path, variable: str, value: str):
    """Values at the limits, and of every form that AWS has, are taken."""
    section, _, key = variable.removeprefix("ION_").lower().partition("_")

    assert str(getattr(getattr(load(local, {variable: value}), section), key)) == value


def test_the_value_and_its_place_are_named(local: Path):
    """An error says which value it means and where that stands."""
    write(local, "[smtp]\nport = many\n")

    assert f"smtp.port: 'many' from {local}/config-secrets.cfg is not a whole number" in trouble(local)


def test_a_missing_server(local: Path):
    """Without a server the error says so, and names the secret among the places it could be in."""
    message = trouble(local, {"ION_SMTP_SERVER": ""}, secret={"port": 25})

    assert "smtp.server" in message
    assert "is missing" in message
    assert "secret ion-smtp" in message


def test_unknown_variables(local: Path):
    """A variable that looks like a setting and is none is refused, with the nearest known one."""
    assert "ION_SMTP_SERVR; did you mean ION_SMTP_SERVER?" in trouble(local, {"ION_SMTP_SERVR": "x"})


def test_variables_of_others(local: Path):
    """Variables of no section of ion's are nobody's business."""
    assert load(local, {"ION_HOME": "x", "IONIC_SMTP_X": "y", "ion_smtp_servr": "z"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[smtp]\nservr = x\n", "unknown key servr in [smtp]; did you mean server?"),
        ("[stmp]\nserver = x\n", "unknown section [stmp]; did you mean smtp?"),
        (f"[smtp]\n{PASSWORD}\n", "line 2 is not in the form"),
        (f"password = {PASSWORD}\n", "line 1 is not in the form"),
        (f"[smtp]\npassword = x\npassword = {PASSWORD}\n", "line 3 is not in the form"),
        (f"[smtp]\n[smtp]\npassword = {PASSWORD}\n", "line 2 is not in the form"),
    ],
)
def test_a_malformed_file(local: Path, text: str, message: str):
    """What is wrong in config-secrets.cfg is named by its line, without what stands there."""
    write(local, text)

    error = trouble(local)

    assert message in error
    assert PASSWORD not in error


def test_a_file_that_is_no_text(local: Path):
    """A file that cannot be read is named."""
    (local / "config-secrets.cfg").write_bytes(b"\xff\xfe\xfa")
    assert "config-secrets.cfg cannot be read: UnicodeDecodeError" in trouble(local)

    (local / "config-secrets.cfg").unlink()
    (local / "config-secrets.cfg").mkdir()
    assert "config-secrets.cfg cannot be read: IsADirectoryError" in trouble(local)


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (PASSWORD, "does not hold a JSON object with any of server, port, username, password, ca"),
        (json.dumps(PASSWORD), "does not hold a JSON object"),
        ({"user": "u", "password": PASSWORD}, "unknown key 'user'; did you mean username?"),
        ({"password": [PASSWORD]}, "password must be a string"),
        ({"port": True}, "port must be a string"),
        ({"port": PASSWORD, "password": PASSWORD}, "smtp.port: the value from secret ion-smtp is not a whole number"),
        ({"password": PASSWORD}, "smtp.username"),
        ("[" * 100_000, "does not hold a JSON object"),
    ],
)
def test_a_malformed_secret(local: Path, secret: Any, message: str):
    """What is wrong with the secret is said without any of what it holds."""
    error = trouble(local, secret=secret)

    assert message in error
    assert PASSWORD not in error


def test_the_password_is_in_no_representation(local: Path):
    """Settings can be printed: the password is not in them."""
    settings = load(local, secret={"username": "u", "password": PASSWORD})

    assert PASSWORD not in repr(settings) + str(settings.smtp)


def test_settings_cannot_be_changed(local: Path):
    """Settings are read once and stay as they are."""
    with pytest.raises(AttributeError):
        load(local).smtp.port = 1  # type: ignore[misc]


def test_the_default_sender(local: Path):
    """The default sender is smtp.sender, else the username if that is an address; else it is an error of its own."""
    login = {"ION_SMTP_USERNAME": "ann@example.com", "ION_SMTP_PASSWORD": "x"}

    assert load(local, login).smtp.default_sender == "ann@example.com"
    assert load(local, login | {"ION_SMTP_SENDER": "b@example.com"}).smtp.default_sender == "b@example.com"
    with pytest.raises(SettingsError, match="ION_SMTP_SENDER"):
        _ = load(local, login | {"ION_SMTP_USERNAME": "apikey"}).smtp.default_sender


def test_no_way_to_secrets_manager(local: Path, monkeypatch: pytest.MonkeyPatch):
    """Where boto3 knows no region, the error names the secret that could not be read."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(local / "none"))

    with pytest.raises(SettingsError, match="secret ion-smtp cannot be read: NoRegionError"):
        Settings.load({"ION_SMTP_SECRET_ID": "ion-smtp"}, directory=local)


class SecretsManager(BaseHTTPRequestHandler):
    """Secrets Manager's GetSecretValue, as much of it as is needed."""

    answers: dict[str, tuple[int, dict[str, Any]]] = {  # noqa: RUF012 - a table
        "text": (200, {"SecretString": '{"server": "mail.example.com"}'}),
        "binary": (200, {"SecretBinary": "AAAA"}),
        "gone": (400, {"__type": "ResourceNotFoundException", "message": "can't find the specified secret"}),
    }

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = self.answers[asked["SecretId"]]
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Where a Secrets Manager listens."""
    with HTTPServer(("127.0.0.1", 0), SecretsManager) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def client(endpoint: str) -> Any:
    """A Secrets Manager client that talks to it."""
    return boto3.client(
        "secretsmanager",
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_reading_a_secret(client: Any):
    """The secret's text is what GetSecretValue gives."""
    assert read_secret(client, "text") == '{"server": "mail.example.com"}'


@pytest.mark.parametrize(("name", "message"), [("gone", "ResourceNotFoundException"), ("binary", "is binary")])
def test_a_secret_that_cannot_be_read(client: Any, name: str, message: str):
    """A secret that is not there, or is not text, is an error that names it."""
    with pytest.raises(SettingsError, match=f"secret {name} .*{message}"):
        read_secret(client, name)


def test_the_secret_is_asked_of_secrets_manager(local: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch):
    """Without another way to read it, the secret is asked of the Secrets Manager that boto3 finds."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(name, value)

    assert Settings.load({"ION_SMTP_SECRET_ID": "text"}, directory=local).smtp.server == "mail.example.com"
    with pytest.raises(
        SettingsError, match=r"smtp\.secret_id \(set by environment variable ION_SMTP_SECRET_ID\): .*gone"
    ):
        Settings.load({"ION_SMTP_SECRET_ID": "gone"}, directory=local)
