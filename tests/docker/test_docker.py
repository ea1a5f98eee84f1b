"""LocalStack in Docker: the image, what it may do, and a scenario on it.

Skipped without an engine, and where the base image cannot be pulled; `ION_BASE` may name another (Python 3.11 to 3.13).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from harness.artifact import PROJECT
from harness.localstack.process import PLUGINS, get

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_docker.plugin import Services

BASE = re.compile(r"^ARG ION_BASE=(\S+@sha256:[0-9a-f]{64})$", re.MULTILINE)
COMPOSE = PROJECT / "docker-compose.yml"
BUILD_SECONDS = 900
IGNORED = shutil.ignore_patterns("__pycache__")


def docker(*arguments: str) -> str:
    """Run docker; returns what it says."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"docker {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def containers() -> set[str]:
    """What runs of the harness have in Docker now: this one's, and those that somebody has running beside the tests."""
    return set(docker("ps", "--all", "--quiet", "--filter", "name=^ion-").split())


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine, its compose plugin, and the base of the image."""
    base = os.environ.get("ION_BASE") or BASE.findall((PROJECT / "Dockerfile").read_text())[0]
    try:
        docker("version")
        docker("compose", "version")
        if not docker("image", "ls", "--quiet", base):
            docker("pull", base)
    except (RuntimeError, OSError) as error:
        pytest.skip(f"no Docker here that can build the image: {error}")


# --- what pytest-docker asks for -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    return str(COMPOSE)


@pytest.fixture(scope="session")
def docker_setup(engine) -> Iterator[list[str]]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ION_PORT", "")  # a free one
        yield ["up --build -d"]


@pytest.fixture(scope="session")
def endpoint_url(docker_services: Services) -> str:
    """LocalStack in a container, ready."""
    url = f"http://127.0.0.1:{docker_services.port_for('localstack', 4566)}"
    docker_services.wait_until_responsive(lambda: get(f"{url}/_ion/plugins") is not None, timeout=300, pause=0.5)
    return url


@pytest.fixture(scope="session")
def container(endpoint_url: str, docker_compose_project_name: str) -> dict[str, Any]:
    """The container as Docker sees it."""
    id_ = docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={docker_compose_project_name}").strip()
    found: dict[str, Any] = json.loads(docker("inspect", id_))[0]
    return found


def test_every_image_is_pinned():
    """The base is named by its digest, other images by their version."""
    assert BASE.search((PROJECT / "Dockerfile").read_text())
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    images = [one["image"] for one in services.values() if "build" not in one]
    assert images
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images)


def test_the_image_has_all_that_an_installation_takes(tmp_path: Path):
    """From the files that the Dockerfile copies, none of which Docker is told to ignore, the project can be built."""
    copied = re.findall(r"^COPY (.+) \S+$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    sent = [line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert set(names) == set(sent)
    for name in names:
        source, target = PROJECT / name, tmp_path / "image" / name
        target.parent.mkdir(exist_ok=True)
        # Other tests compile modules meanwhile: what they write is there for a moment, and gone.
        shutil.copytree(source, target, ignore=IGNORED) if source.is_dir() else shutil.copy(source, target)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *options, str(tmp_path / "image")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("ion-*.whl"))


@pytest.mark.docker
@pytest.mark.timeout(BUILD_SECONDS)
def test_the_compose_file_is_valid(engine):
    """`docker compose config` takes the file, with all its profiles."""
    docker("compose", "--file", str(COMPOSE), "--profile", "mailpit", "config", "--quiet")


@pytest.mark.docker
@pytest.mark.timeout(BUILD_SECONDS)
def test_our_plugins_serve_in_the_container(endpoint_url: str):
    """Functions run as processes there too, and DynamoDB is the same one as without Docker."""
    assert get(f"{endpoint_url}/_ion/plugins") == {key: cls for key, (cls, _) in PLUGINS.items()}


@pytest.mark.docker
@pytest.mark.timeout(BUILD_SECONDS)
def test_the_container_is_confined(container: dict[str, Any]):
    """It has no Docker socket, no capabilities, no root, only logs to write to; and only this machine can reach it."""
    host = container["HostConfig"]
    assert [mount["Destination"] for mount in container["Mounts"]] == ["/logs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["ReadonlyRootfs"]
    assert not container["Config"]["User"].startswith(("0", "root"))
    assert {port["HostIp"] for ports in host["PortBindings"].values() for port in ports} == {"127.0.0.1"}


@pytest.mark.docker
@pytest.mark.timeout(BUILD_SECONDS)
def test_a_scenario_runs_in_docker(engine, tmp_path: Path):
    """`EMULATOR=docker` gives a run that is valid, with the functions' log, and leaves no container behind."""
    others = containers()
    done = subprocess.run(
        [sys.executable, "-m", "harness", "scenario", "burst", "--mails", "20", "--json"],
        cwd=tmp_path,
        env={**os.environ, "EMULATOR": "docker"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["verdict"] == "valid"
    assert "START RequestId" in (tmp_path / "var/runs/burst/latest/logs/function.log").read_text()
    assert containers() <= others
