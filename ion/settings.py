"""ion's settings: read once, checked, frozen. Nothing else in ion reads the environment.

A setting is looked for in four places; a later one wins over an earlier one:

1. `config.cfg`, packaged with ion: the defaults, and the list of everything there is to set.
2. `config-secrets.cfg` in the working directory, of the same form: for local runs.
3. The environment: `[smtp] server` is `ION_SMTP_SERVER`, and so on. A variable that is set to nothing is a value too:
   `ION_ALARM_NAME=` says that there is no alarm.
4. The Secrets Manager secret that `smtp.secret_id` names: JSON with any of server, port, username, password and ca.
"""

from __future__ import annotations

import configparser
import json
import re
from dataclasses import dataclass, field, fields
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_type_hints

from ion.address import Address, AddressError
from ion.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_secretsmanager import SecretsManagerClient

LOCAL_FILE = "config-secrets.cfg"
SECRET_KEYS = ("server", "port", "username", "password", "ca")

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
VISIBILITY_MAX_SECONDS = 43_200
QUEUE_RETENTION_MAX_DAYS = 14
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_MAX_SECONDS = 900
PORT_MAX = 65_535
TTL_MAX_DAYS = 3_650

# A queue's name or URL; a table's name or ARN; an alarm's name; a CloudWatch namespace (AWS/ is Amazon's own).
_QUEUE = re.compile(r"[A-Za-z0-9_-]{1,80}|https?://[^\s/]+/\S+")
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}|arn:\S{1,1020}")
_ALARM = re.compile(r"[^\x00-\x1f\x7f]{0,255}")
_NAMESPACE = re.compile(r"(?!AWS/|:)[A-Za-z0-9._/#:-]{1,255}")
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,255}")


class Tls(StrEnum):
    """How a connection to the SMTP server is protected."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


class Level(StrEnum):
    """The least severity that is logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


@dataclass(frozen=True, kw_only=True, slots=True)
class SmtpSettings:
    """The SMTP server and how ion talks to it. What each setting means stands in config.cfg."""

    server: str
    port: int
    username: str
    password: str = field(repr=False)
    sender: str
    tls: Tls
    ca: str
    hostname: str
    secret_id: str
    max_connections: int
    max_messages_per_connection: int
    connect_timeout_seconds: float
    command_timeout_seconds: float
    data_timeout_seconds: float
    transaction_timeout_seconds: float

    @property
    def default_sender(self) -> str:
        """The sender of a mail that names none: `smtp.sender`, else the username.

        Raises:
            SettingsError: Neither is an address.
        """
        if not self.sender and not _is_address(self.username):
            raise SettingsError(
                f"smtp.sender is not set, and smtp.username, {self.username!r}, is no address to take its place: set "
                "ION_SMTP_SENDER to the address that mails without a sender of their own come from"
            )
        return self.sender or self.username


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueSettings:
    """The input queue and the dead-letter queue."""

    input: str
    deadletter: str
    visibility_timeout_seconds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerSettings:
    """The DynamoDB table with the record of each mail."""

    table: str
    ttl_days: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrySettings:
    """The schedule of attempts."""

    base_seconds: float
    cap_seconds: float
    max_attempts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DrainSettings:
    """How the drain minds the Lambda's deadline."""

    deadline_margin_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmSettings:
    """The alarm that wakes ion while messages are visible; no name, no alarm."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetrySettings:
    """Logs and metrics."""

    namespace: str
    mask_addresses: bool
    level: Level


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All of ion's settings; attributes are the sections and keys of config.cfg."""

    smtp: SmtpSettings
    queue: QueueSettings
    ledger: LedgerSettings
    retry: RetrySettings
    drain: DrainSettings
    alarm: AlarmSettings
    telemetry: TelemetrySettings

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str],
        *,
        directory: Path | None = None,
        read_secret: Callable[[str], str] | None = None,
    ) -> Self:
        """Read, merge and check all settings.

        Args:
            environ: The environment, `os.environ` as a rule.
            directory: Where config-secrets.cfg may lie; the working directory by default.
            read_secret: Gives the text of the secret of a name; by default it is asked of Secrets Manager.

        Raises:
            SettingsError: A setting is missing, malformed, unknown, or at odds with another; or a source is unreadable.
        """
        sources = _Sources()
        sources.read_defaults()
        sources.read_file((directory or Path.cwd()) / LOCAL_FILE)
        sources.read_environment(environ)
        sources.read_secret(read_secret or _ask_secrets_manager)
        settings = cls(**{name: sources.section(name, kind) for name, kind in get_type_hints(cls).items()})
        for good, name, trouble in _rules(settings):
            if not good:
                raise sources.error(name, trouble)
        return settings


def alarm_name(environ: Mapping[str, str]) -> str:
    """The alarm's name alone: the alarm has to be set to OK also where the other settings cannot be had."""
    sources = _Sources()
    sources.read_defaults()
    return environ.get("ION_ALARM_NAME", sources.values["alarm", "name"][0])


class _Sources:
    """Where settings were looked for, and what was found where."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], tuple[str, str]] = {}  # (section, key): (value, the place it is from)
        self.known: dict[str, list[str]] = {}
        self.file = ""
        self.secret = ""

    def read_defaults(self) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string((resources.files("ion") / "config.cfg").read_text("utf-8"))
        for section in parser.sections():
            self.known[section] = list(parser[section])
            for key, value in parser[section].items():
                self.values[section, key] = (value, "ion's config.cfg")

    def read_file(self, path: Path) -> None:
        self.file = f"{path} (there is no such file)"
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(path.read_text("utf-8-sig"))
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} cannot be read: {type(error).__name__}") from None
        except configparser.Error as error:
            # The parser's own message quotes the line, which may hold the password.
            lines = [str(line) for line, _ in getattr(error, "errors", [])] or [str(getattr(error, "lineno", "?"))]
            raise SettingsError(
                f"{path}: line {', '.join(lines)} is not in the form of config.cfg: a section in brackets first, then "
                "one `key = value` a line, each key once"
            ) from None
        self.file = str(path)
        for section in parser.sections():
            if section not in self.known:
                raise SettingsError(f"{path}: unknown section [{section}]{did_you_mean(section, self.known)}")
            for key, value in parser[section].items():
                if key not in self.known[section]:
                    raise SettingsError(
                        f"{path}: unknown key {key} in [{section}]{did_you_mean(key, self.known[section])}"
                    )
                self.values[section, key] = (value, str(path))

    def read_environment(self, environ: Mapping[str, str]) -> None:
        for section, keys in self.known.items():
            prefix = f"ION_{section.upper()}_"
            names = {_variable(section, key): key for key in keys}
            for name, value in environ.items():
                if name in names:
                    self.values[section, names[name]] = (value, f"environment variable {name}")
                elif name.startswith(prefix):
                    raise SettingsError(f"unknown environment variable {name}{did_you_mean(name, names)}")

    def read_secret(self, read: Callable[[str], str]) -> None:
        name, place = self.values["smtp", "secret_id"]
        if not name:
            return
        self.secret = f"secret {name}"
        try:
            document = json.loads(read(name))
        except SettingsError as error:
            raise SettingsError(f"smtp.secret_id (set by {place}): {error}") from error.__cause__
        except (ValueError, RecursionError):
            document = None  # whatever stands there must not get into an error
        if not isinstance(document, dict):
            raise SettingsError(
                f"smtp.secret_id (set by {place}): {self.secret} does not hold a JSON object with any of "
                f"{', '.join(SECRET_KEYS)}"
            ) from None
        for key, value in document.items():
            if key not in SECRET_KEYS:
                raise SettingsError(f"{self.secret}: unknown key {key!r}{did_you_mean(key, SECRET_KEYS)}")
            if not isinstance(value, str) and not (key == "port" and type(value) is int):
                raise SettingsError(f"{self.secret}: {key} must be a string")
            self.values["smtp", key] = (str(value), self.secret)

    def section(self, section: str, kind: type[Any]) -> Any:
        """One section's dataclass, each value parsed by its field's type."""
        hints = get_type_hints(kind)
        return kind(**{one.name: self._parse(section, one.name, hints[one.name]) for one in fields(kind)})

    def _parse(self, section: str, key: str, kind: type[Any]) -> Any:
        text, _ = self.values[section, key]
        try:
            if kind is bool:
                return _BOOLEANS[text.lower()]
            return kind(text)
        except (ValueError, KeyError):
            raise self.error(f"{section}.{key}", f"is not {_expected(kind)}") from None

    def error(self, name: str, trouble: str) -> SettingsError:
        """An error that names the setting, its value unless that is secret, and everywhere it was looked for."""
        section, key = name.split(".")
        text, place = self.values[section, key]
        shown = "the value" if key == "password" or place == self.secret else repr(text)
        places = [f"environment variable {_variable(section, key)}", self.file, "ion's config.cfg"]
        if section == "smtp" and key in SECRET_KEYS:
            places.insert(0, self.secret or "the secret that smtp.secret_id names (none)")
        return SettingsError(f"{name}: {shown} from {place} {trouble}. Looked in: {'; '.join(places)}.")


_BOOLEANS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)


def _variable(section: str, key: str) -> str:
    return f"ION_{section}_{key}".upper()


def _expected(kind: type[Any]) -> str:
    if issubclass(kind, StrEnum):
        return f"one of {', '.join(kind)}"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "a text")


def _rules(settings: Settings) -> Iterator[tuple[object, str, str]]:
    """What must be true of one value, or of several together: (is it so, the setting, what is wrong if not)."""
    smtp, queue, retry, drain = settings.smtp, settings.queue, settings.retry, settings.drain

    yield smtp.server, "smtp.server", "is missing: the host name of the SMTP server is needed"
    yield _HOST.fullmatch(smtp.server), "smtp.server", "is not a host name or an IP address, without a port"
    yield _HOST.fullmatch(smtp.hostname or "-"), "smtp.hostname", "is not a host name"
    yield 1 <= smtp.port <= PORT_MAX, "smtp.port", f"is not a port from 1 to {PORT_MAX}"
    yield smtp.username or not smtp.password, "smtp.username", "is missing, though smtp.password is set"
    yield smtp.password or not smtp.username, "smtp.password", "is missing, though smtp.username is set"
    yield not smtp.sender or _is_address(smtp.sender), "smtp.sender", "is not an address such as ann@example.com"
    yield smtp.max_connections >= 1, "smtp.max_connections", "is not at least 1"
    yield smtp.max_messages_per_connection >= 1, "smtp.max_messages_per_connection", "is not at least 1"
    for key in (one.name for one in fields(smtp) if one.name.endswith("_timeout_seconds")):
        good = 0 < getattr(smtp, key) <= LAMBDA_MAX_SECONDS
        yield good, f"smtp.{key}", f"is not over 0 and at most {LAMBDA_MAX_SECONDS}"
    margin = drain.deadline_margin_seconds
    yield (
        0 <= margin < LAMBDA_MAX_SECONDS,
        "drain.deadline_margin_seconds",
        f"is not from 0 to under {LAMBDA_MAX_SECONDS}",
    )

    yield _QUEUE.fullmatch(queue.input), "queue.input", "is not the name or URL of a standard queue"
    yield _QUEUE.fullmatch(queue.deadletter), "queue.deadletter", "is not the name or URL of a standard queue"
    yield queue.deadletter != queue.input, "queue.deadletter", "is the input queue itself"
    visible = queue.visibility_timeout_seconds
    needed = smtp.connect_timeout_seconds + smtp.transaction_timeout_seconds + margin
    limit = f"is over SQS's limit of {VISIBILITY_MAX_SECONDS} s"
    yield visible <= VISIBILITY_MAX_SECONDS, "queue.visibility_timeout_seconds", limit
    yield (
        visible > needed,
        "queue.visibility_timeout_seconds",
        f"is not over {needed:g} (smtp's connect and transaction time-outs + drain.deadline_margin_seconds)",
    )

    yield _TABLE.fullmatch(settings.ledger.table), "ledger.table", "is not the name or ARN of a DynamoDB table"
    yield (
        QUEUE_RETENTION_MAX_DAYS < settings.ledger.ttl_days <= TTL_MAX_DAYS,
        "ledger.ttl_days",
        f"is not over {QUEUE_RETENTION_MAX_DAYS}, as long as SQS keeps a message, and up to {TTL_MAX_DAYS}",
    )
    yield retry.base_seconds > 0, "retry.base_seconds", "is not over 0"
    yield (
        retry.base_seconds <= retry.cap_seconds,
        "retry.base_seconds",
        f"is over retry.cap_seconds, {retry.cap_seconds:g}",
    )
    yield retry.cap_seconds <= VISIBILITY_MAX_SECONDS, "retry.cap_seconds", limit
    yield retry.max_attempts >= 1, "retry.max_attempts", "is not at least 1"
    yield _ALARM.fullmatch(settings.alarm.name), "alarm.name", "is not the name of a CloudWatch alarm"
    yield _NAMESPACE.fullmatch(settings.telemetry.namespace), "telemetry.namespace", "is not a CloudWatch namespace"


def _is_address(text: str) -> bool:
    try:
        Address.parse(text)
    except AddressError:
        return False
    return True


def read_secret(client: SecretsManagerClient, secret_id: str) -> str:
    """The text of a Secrets Manager secret.

    Raises:
        SettingsError: It cannot be read, or is binary.
    """
    try:
        text = client.get_secret_value(SecretId=secret_id).get("SecretString")
    except Exception as error:
        raise SettingsError(f"secret {secret_id} cannot be read: {type(error).__name__}: {error}") from error
    if text is None:
        raise SettingsError(f"secret {secret_id} is binary; a text is needed")
    return text


def _ask_secrets_manager(secret_id: str) -> str:
    import boto3  # noqa: PLC0415 - most local runs need no secret, and the Lambda runtime brings boto3

    try:
        client = boto3.client("secretsmanager")
    except Exception as error:
        raise SettingsError(f"secret {secret_id} cannot be read: {type(error).__name__}: {error}") from error
    return read_secret(client, secret_id)
