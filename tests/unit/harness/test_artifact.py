"""dist/ion.zip is the same everywhere, holds what ion needs and nothing else, and is replaced whole or not at all."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from harness import artifact
from harness.artifact import PROJECT, WHEELS, Artifact, build
from harness.commands import artifact as command
from harness.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 1024 * 1024
# Lambda's runtime brings boto3 with these; jmespath is in the artifact, because Powertools asks for it.
RUNTIME = ("boto3", "botocore", "s3transfer", "dateutil", "six", "urllib3")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the artifact is built from, so that nobody edits it meanwhile."""
    return copy(PROJECT, tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The artifact."""
    return build(tmp_path_factory.mktemp("dist") / "ion.zip", source=source)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine from which pip reaches no index."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def copy(source: Path, directory: Path) -> Path:
    shutil.copytree(source / "ion", directory / "ion", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source / "requirements-artifact.lock", directory)
    return directory


def names(built: Artifact) -> list[str]:
    with zipfile.ZipFile(built.path) as archive:
        return archive.namelist()


def pins(lock: str) -> dict[str, str]:
    text = (PROJECT / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,-]+\])?==(\S+)", text, re.MULTILINE))


def test_the_figures_are_those_of_the_file(built: Artifact):
    """The size and the SHA-256 that are reported are the file's."""
    content = built.path.read_bytes()
    assert built.size == len(content)
    assert built.sha256 == hashlib.sha256(content).hexdigest()


def test_building_again_needs_no_network_and_gives_the_same_bytes(
    built: Artifact, source: Path, tmp_path: Path, offline: None
):
    """The wheels are kept: a second build downloads nothing, and does not differ."""
    assert build(tmp_path / "ion.zip", source=source).sha256 == built.sha256


def test_another_checkout_gives_the_same_bytes(built: Artifact, source: Path, tmp_path: Path):
    """Neither the place nor the times, modes and umask of a checkout show in the artifact."""
    other = copy(source, tmp_path / "another place")
    for path in other.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o700)
    before = os.umask(0o077)
    try:
        again = build(tmp_path / "ion.zip", source=other)
    finally:
        os.umask(before)
    assert again.sha256 == built.sha256


def test_every_entry_is_free_of_the_machine(built: Artifact):
    """Sorted, stored, of one time, one mode and one host system; no directory entries, no comments."""
    with zipfile.ZipFile(built.path) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {(entry.create_system, entry.external_attr >> 16, entry.extra, entry.comment) for entry in entries} == {
        (3, 0o100644, b"", b"")
    }


def test_changed_source_gives_other_bytes(built: Artifact, source: Path, tmp_path: Path):
    """The artifact follows the source."""
    other = copy(source, tmp_path / "changed")
    with (other / "ion" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    assert build(tmp_path / "ion.zip", source=other).sha256 != built.sha256


def test_nothing_that_lies_about_gets_in(built: Artifact, source: Path, tmp_path: Path):
    """Secrets, caches, editors' leftovers and notes in ion/ do not change the artifact."""
    cluttered = copy(source, tmp_path / "cluttered")
    package = cluttered / "ion"
    for clutter in (
        "config-secrets.cfg",
        "config.cfg.orig",
        ".env",
        ".env.py",
        "drain (copy).py",
        "drain.py~",
        "notes.txt",
        "key.pem",
        "stale.pyc",
        "__pycache__/drain.cpython-311.pyc",
        ".git/config.py",
        "back-up/drain.py",
    ):
        (package / clutter).parent.mkdir(exist_ok=True)
        (package / clutter).write_text("password = hunter2\n")
    (package / ".#drain.py").symlink_to("somebody@elsewhere.1234")  # Emacs's lock
    (package / "gone.py").symlink_to("nowhere")
    (cluttered / "config-secrets.cfg").write_text("[smtp]\npassword = hunter2\n")
    assert build(tmp_path / "ion.zip", source=cluttered).sha256 == built.sha256


def test_a_password_among_the_defaults_is_refused(source: Path, tmp_path: Path):
    """A password in config.cfg stops the build, and the message does not repeat it."""
    other = copy(source, tmp_path / "careless")
    config = other / "ion" / "config.cfg"
    config.write_text(config.read_text().replace("\npassword =", "\npassword = hunter2"))
    with pytest.raises(ArtifactError, match=r"\[smtp\] password is set") as caught:
        build(tmp_path / "ion.zip", source=other)
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "ion.zip").exists()


def test_ion_is_there_as_a_whole(built: Artifact, source: Path):
    """Every module of ion and its defaults are in the artifact, unchanged."""
    expected = {path.relative_to(source).as_posix(): path.read_bytes() for path in (source / "ion").rglob("*.*")}
    with zipfile.ZipFile(built.path) as archive:
        found = {name: archive.read(name) for name in archive.namelist() if name.startswith("ion/")}
    assert found == expected


def test_the_dependencies_are_those_that_the_tests_run_with(built: Artifact):
    """Every pinned dependency is in the artifact in the version of requirements.lock; and its licence with it."""
    versions = {}
    for name in names(built):
        if match := re.fullmatch(r"([^/]+)-([^/-]+)\.dist-info/METADATA", name):
            versions[match[1].lower().replace("_", "-")] = match[2]
    assert versions == pins("requirements-artifact.lock")
    assert versions.items() <= pins("requirements.lock").items()
    licensed = {name.split("/")[0] for name in names(built) if re.search(r"\.dist-info/(.*/)?LICENSE", name)}
    assert len(licensed) == len(versions)


def test_it_is_pure_python(built: Artifact):
    """Nothing in the artifact is compiled, neither for a machine nor for one version of Python."""
    suffixes = {PurePosixPath(name).suffix for name in names(built) if ".dist-info/" not in name}
    assert suffixes <= {".py", ".cfg", ".typed"}


def test_boto3_is_left_to_the_runtime(built: Artifact):
    """Neither boto3 nor what it brings along is in the artifact."""
    packages = {PurePosixPath(name.split("/")[0]).stem for name in names(built)}
    assert not packages & set(RUNTIME)


def test_it_is_small(built: Artifact):
    """The artifact is under 3 MB."""
    assert built.size < 3 * MEBIBYTE


@pytest.fixture(scope="module")
def unzipped(built: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact as Lambda unpacks it."""
    directory = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(built.path) as archive:
        archive.extractall(directory)
    return directory


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Lambda's runtime has beside the standard library: boto3 with its dependencies, and nothing else of ours."""
    directory = tmp_path_factory.mktemp("runtime")
    for name in RUNTIME:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        path = Path(spec.origin)
        path = path.parent if path.name == "__init__.py" else path
        (directory / path.name).symlink_to(path)
    return directory


def test_it_runs_by_itself(unzipped: Path, runtime: Path):
    """The handler and every other module of ion import from the artifact and boto3 alone; logs and metrics work."""
    script = """
import importlib, json, pkgutil, sys
sys.path += sys.argv[1:]
import ion
for module in pkgutil.walk_packages(ion.__path__, "ion."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert callable(sys.modules["ion.handler"].run)

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
Logger(service="ion").info("a line")
metrics = Metrics(namespace="ion", service="ion")
metrics.add_metric(name="Delivered", unit=MetricUnit.Count, value=1)
metrics.flush_metrics()

files = [getattr(module, "__file__", None) for module in sys.modules.values()]
print(json.dumps([file for file in files if file]))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-W", "error", "-c", script, unzipped, runtime],
        cwd="/",
        env={"AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log, metrics, files = (json.loads(line) for line in done.stdout.splitlines())
    assert log["message"] == "a line"
    assert metrics["Delivered"] == [1.0]
    assert f"{unzipped}/ion/handler.py" in files
    assert not [file for file in files if Path(file).is_relative_to(PROJECT / "ion")]


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    """An artifact that was built before; after the test it must still be there, and nothing beside it."""
    path = tmp_path / "dist" / "ion.zip"
    path.parent.mkdir()
    path.write_bytes(b"the old one")
    yield path
    assert path.read_bytes() == b"the old one"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_download_leaves_the_old_one(source: Path, old: Path, tmp_path: Path, offline: None):
    """Without wheels and network, pip's reason is shown and the old artifact stays."""
    with pytest.raises(ArtifactError, match=r"cannot download the wheels(.|\n)*aiosmtplib"):
        build(old, source=source, wheels=tmp_path / "wheels")


def test_a_tampered_wheel_is_not_used(source: Path, old: Path, tmp_path: Path, offline: None):
    """A kept wheel whose bytes are not the pinned ones counts as missing."""
    wheels = shutil.copytree(WHEELS, tmp_path / "wheels")
    for wheel in wheels.glob("idna-*.whl"):
        wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match=r"cannot download"):
        build(old, source=source, wheels=wheels)


def test_a_full_disk_leaves_the_old_one(source: Path, old: Path):
    """When the zip cannot be written to its end, the reason is given and the old artifact stays."""
    script = """
import resource, signal, sys
from pathlib import Path
from harness.artifact import build
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
build(Path(sys.argv[1]), source=Path(sys.argv[2]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, old, source], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert f"ArtifactError: cannot build {old}: [Errno 27] File too large" in done.stderr


@pytest.mark.parametrize(
    ("wheel", "content", "complaint"),
    [
        ("fast-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "fast/__init__.py", "is not pure Python"),
        ("fast-1.0-py3-none-any.whl", "fast/core.so", r"holds fast/core\.so"),
        ("fast-1.0-py3-none-any.whl", "ion/handler.py", r"would overwrite ion/handler\.py"),
    ],
)
def test_an_unfit_wheel_is_refused(source: Path, old: Path, tmp_path: Path, wheel: str, content: str, complaint: str):
    """A dependency that is compiled, or that brings files of ion's names, stops the build."""
    other = copy(source, tmp_path / "other")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / wheel, "w") as archive:
        archive.writestr(content, "")
    digest = hashlib.sha256((wheels / wheel).read_bytes()).hexdigest()
    (other / "requirements-artifact.lock").write_text(f"fast==1.0 \\\n    --hash=sha256:{digest}\n")
    with pytest.raises(ArtifactError, match=complaint):
        build(old, source=other, wheels=wheels)


def test_the_command_prints_the_hash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`make artifact` says where the artifact is, how big, and its SHA-256."""
    built = Artifact(path=artifact.ARTIFACT, sha256="ab" * 32, size=2_180_000)
    monkeypatch.setattr(artifact, "build", lambda: built)
    assert command.run(argparse.Namespace()) == 0
    assert capsys.readouterr().out == f"dist/ion.zip: 2.18 MB, SHA-256 {'ab' * 32}\n"


def test_an_installed_harness_has_what_it_builds_from(tmp_path: Path):
    """From a wheel, too, the lock is beside the package, and what is made goes into a cache, not among the packages."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, str(tmp_path), str(PROJECT)], check=True, timeout=170)
    (wheel,) = tmp_path.glob("ion-*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    script = "from harness import artifact as a; print((a.PROJECT / a._LOCK).is_file(), a.ARTIFACT, a.WHEELS)"
    environment = {"PYTHONPATH": str(tmp_path / "installed"), "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    cache = tmp_path / "ion"
    assert done.stdout.split() == ["True", str(cache / "dist" / "ion.zip"), str(cache / "build" / "wheels")]
