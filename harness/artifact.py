"""Builds dist/ion.zip, what Lambda runs: ion and its pinned dependencies.

The same source gives the same bytes on every machine. So entries are sorted, all carry one time and one mode, and are
stored without compression, because two builds of zlib need not compress alike. Dependencies come from the wheels that
requirements-artifact.lock names by their hashes; boto3 is not among them, the Lambda runtime brings it.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from harness.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout; or where the harness was installed to, which is no place to write to."""
_MADE = (
    PROJECT
    if (PROJECT / "pyproject.toml").is_file()
    else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ion"
)
ARTIFACT = _MADE / "dist" / "ion.zip"
WHEELS = _MADE / "build" / "wheels"
"""Where the downloaded wheels stay, so that the next build needs no network."""

_LOCK = "requirements-artifact.lock"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
_MODE = 0o100644  # a regular file that everybody may read, as Lambda asks
_UNIX = 3  # the host system whose modes these are (APPNOTE.TXT section 4.4.2)
_PURE = "-none-any.whl"  # the tags of a wheel that runs on every machine (PyPA binary distribution format)

# Powertools' web frameworks and their bundled Swagger UI, two thirds of its size; ion answers no HTTP requests.
_NEVER_RUN = ("aws_lambda_powertools/event_handler/",)
# Of a wheel's metadata: what importlib.metadata reads, and what the licences ask to be passed on.
_METADATA_KEPT = re.compile(r"METADATA|(.*/)?(LICEN[CS]E|COPYING|NOTICE|AUTHORS)[^/]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A finished artifact.

    Attributes:
        path: Where it lies.
        sha256: The SHA-256 of its bytes, in hexadecimal.
        size: Its size in bytes.
    """

    path: Path
    sha256: str
    size: int


def build(destination: Path = ARTIFACT, *, source: Path = PROJECT, wheels: Path = WHEELS) -> Artifact:
    """Build the artifact. What lies at the destination is replaced as a whole, or on a failure not at all.

    Args:
        destination: Where the zip goes.
        source: The checkout, or an installation: holds ion/ and requirements-artifact.lock.
        wheels: Where downloaded wheels are kept; only those that are missing are downloaded.

    Raises:
        ArtifactError: A wheel cannot be had or is not pure Python, config.cfg holds a password, or the disk is full.
    """
    try:
        entries = dict(_package(source / "ion"))
        for wheel in _wheels(source / _LOCK, wheels):
            for name, content in _wheel(wheel):
                if name in entries:
                    raise ArtifactError(f"{wheel.name} would overwrite {name}, which another package brings too")
                entries[name] = content
        return _write(destination, entries)
    except OSError as error:
        raise ArtifactError(
            f"cannot build {destination}: {error}; what was there before, if anything, is unchanged"
        ) from error


def _package(package: Path) -> Iterator[tuple[str, bytes]]:
    """What Python can import from ion/, and config.cfg; so nothing else that lies about there gets in."""
    config = package / "config.cfg"
    _refuse_password(config)
    yield "ion/config.cfg", config.read_bytes()
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if path.is_file() and all(part.isidentifier() for part in parts):
            yield path.relative_to(package.parent).as_posix(), path.read_bytes()


def _refuse_password(config: Path) -> None:
    defaults = configparser.ConfigParser(interpolation=None)
    try:
        defaults.read_string(config.read_text(encoding="utf-8"), str(config))
    except (configparser.Error, UnicodeError) as error:
        raise ArtifactError(f"cannot read the defaults: {error}") from error
    if defaults.get("smtp", "password", fallback=""):
        raise ArtifactError(
            f"{config}: [smtp] password is set, and would go into the artifact; "
            "it belongs in config-secrets.cfg for local runs and in the Secrets Manager secret for AWS"
        )


def _wheels(lock: Path, kept: Path) -> list[Path]:
    """A wheel for every pin of the lock, downloaded where it is not kept yet, its hash checked in either case."""
    hashes = _pins(lock)
    kept.mkdir(parents=True, exist_ok=True)
    found = _matching(kept, hashes)
    if len(found) < len(hashes):
        # In a directory beside it, so that two builds at once do not see each other's unfinished files.
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix="download-") as scratch:
            _download(lock, Path(scratch))
            for wheel in Path(scratch).iterdir():
                wheel.replace(kept / wheel.name)
        found = _matching(kept, hashes)
    if missing := sorted(hashes.keys() - found.keys()):
        raise ArtifactError(
            f"{lock.name} pins {', '.join(missing)}, but the download brought no wheel with their hashes"
        )
    return [found[pin] for pin in sorted(found)]


def _pins(lock: Path) -> dict[str, set[str]]:
    """The hashes that the lock allows for each `name==version`."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    return {
        line.split()[0]: set(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
        for line in text.splitlines()
        if line.strip() and not line.startswith("#")
    }


def _matching(directory: Path, hashes: dict[str, set[str]]) -> dict[str, Path]:
    pins = {digest: pin for pin, digests in hashes.items() for digest in digests}
    found = {}
    for wheel in directory.glob("*.whl"):
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest in pins:
            found[pins[digest]] = wheel
    return found


def _download(lock: Path, directory: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--require-hashes", "--no-deps", "--only-binary", ":all:"]
    command += ["--requirement", str(lock), "--dest", str(directory)]
    done = subprocess.run(  # noqa: S603 - our own interpreter and the project's own lock
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise ArtifactError(f"cannot download the wheels that {lock.name} pins; pip says:\n{reason}")


def _wheel(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """What a wheel contributes: its packages, its licences and its METADATA.

    Raises:
        ArtifactError: It is built for one kind of machine.
    """
    if not wheel.name.endswith(_PURE):
        raise ArtifactError(f"{wheel.name} is not pure Python: the one artifact must run on every machine")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            top, _, rest = name.partition("/")
            if name.endswith("/") or name.startswith(_NEVER_RUN) or top.endswith(".data"):
                continue
            if top.endswith(".dist-info") and not _METADATA_KEPT.fullmatch(rest):
                continue
            if PurePosixPath(name).suffix in {".so", ".pyd", ".dll", ".dylib"}:
                raise ArtifactError(f"{wheel.name} holds {name}: compiled, although its name says pure Python")
            yield name, archive.read(name)


def _write(destination: Path, entries: dict[str, bytes]) -> Artifact:
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".ion-zip-") as scratch:
        unfinished = Path(scratch) / destination.name
        with zipfile.ZipFile(unfinished, "x") as archive:
            for name in sorted(entries):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.compress_type = zipfile.ZIP_STORED
                entry.create_system = _UNIX
                entry.external_attr = _MODE << 16
                archive.writestr(entry, entries[name])
        content = unfinished.read_bytes()
        unfinished.replace(destination)
    return Artifact(path=destination, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
