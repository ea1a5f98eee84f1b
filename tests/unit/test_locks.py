"""The locks pin what pyproject.toml asks for, agree with each other, and name no package index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-artifact.lock")


def entries(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """The version and the hashes of each pin."""
    found = {}
    for line in (PROJECT / lock).read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        requirement = Requirement(line.split(" --hash=")[0])
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        found[canonicalize_name(requirement.name)] = (pin.version, frozenset(re.findall(r"--hash=(\S+)", line)))
    return found


def wanted(*extras: str) -> list[Requirement]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in listed]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str):
    """Nothing can be installed whose bytes are not pinned."""
    assert all(hashes for _, hashes in entries(lock).values())


@pytest.mark.parametrize("lock", LOCKS)
def test_no_index_is_named(lock: str):
    """A lock names packages and hashes, and no place to get them from."""
    text = (PROJECT / lock).read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links|(^| )-[if] ", text)


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.lock", ("harness", "dev")), ("requirements-artifact.lock", ())]
)
def test_the_project_file_is_covered(lock: str, extras: tuple[str, ...]):
    """Every dependency that pyproject.toml lists is pinned, to a version within its bounds."""
    pinned = entries(lock)
    for requirement in wanted(*extras):
        version, _ = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{lock}: {requirement} is pinned to {version}"


def test_the_locks_agree():
    """What goes into the artifact is what the tests run with, to the same hashes."""
    assert entries("requirements-artifact.lock").items() <= entries("requirements.lock").items()
