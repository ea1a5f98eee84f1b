"""tools/ finds a Python that fits, and does to .venv the least that is right."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real tools and project file, and no .venv yet."""
    directory = tmp_path / "checkout"
    shutil.copytree(PROJECT / "tools", directory / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(PROJECT / name, directory)
    return directory


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with the shell's tools on it and no Python."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for tool in ("sh", "dirname", "head"):
        (directory / tool).symlink_to(shutil.which(tool) or tool)
    return directory


def python(path: Path, version: str) -> Path:
    """A Python that takes itself for this version, and says what it would run."""
    pretended = f"import sys; sys.version_info = ({version.replace('.', ', ')}); exec(sys.argv[1])"
    path.write_text(f"""#!/bin/sh
case "$1" in
    --version) echo "Python {version}" ;;
    -c) exec '{sys.executable}' -ISc '{pretended}' "$2" ;;
    *) echo "${{0##*/}} runs $*" ;;
esac
""")
    path.chmod(0o755)
    return path


def venv_sh(checkout: Path, **env: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", checkout / "tools" / "venv.sh"],
        env={name: str(value) for name, value in env.items()},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_too_old_a_python_is_named_with_the_remedy(checkout: Path, path: Path):
    """Without a Python of 3.11 to 3.13, the message says what there is and what to install."""
    python(path / "python3", "3.10.13")
    done = venv_sh(checkout, PATH=path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "python3      Python 3.10.13" in done.stderr
    assert "apt install python3" in done.stderr


def test_no_python_at_all_gets_the_same_answer(checkout: Path, path: Path):
    """A machine without any Python is told which ones will do."""
    done = venv_sh(checkout, PATH=path)
    assert done.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert "python3      not found" in done.stderr


def test_a_fitting_python_is_found_under_its_longer_name(checkout: Path, path: Path):
    """Where python3 is too old or too new, python3.12 serves."""
    python(path / "python3", "3.14.0")
    python(path / "python3.12", "3.12.1")
    done = venv_sh(checkout, PATH=path)
    assert (done.returncode, done.stdout) == (0, "python3.12 runs -I -B tools/make_venv.py\n")


def test_the_python_that_is_named_is_the_one(checkout: Path, path: Path):
    """PYTHON= is taken, not a python3 on the PATH."""
    python(path / "python3", "3.11.7")
    named = python(path / "mine", "3.13.0")
    done = venv_sh(checkout, PATH=path, PYTHON=named)
    assert (done.returncode, done.stdout) == (0, "mine runs -I -B tools/make_venv.py\n")


def test_a_named_python_that_is_too_old_is_refused(checkout: Path, path: Path):
    """PYTHON= that does not fit is an error, and nothing else is tried in its place."""
    python(path / "python3", "3.11.7")
    named = python(path / "old", "3.9.18")
    done = venv_sh(checkout, PATH=path, PYTHON=named)
    assert done.returncode == 1
    assert "Python 3.9.18" in done.stderr


@pytest.mark.parametrize(
    ("version", "fits"), [("3.10.13", False), ("3.11.0", True), ("3.13.9", True), ("3.14.0", False), ("4.0.0", False)]
)
def test_the_versions_that_fit(checkout: Path, path: Path, version: str, fits: bool):
    """3.11 to 3.13 fit, and nothing before or after."""
    python(path / "python3", version)
    assert (venv_sh(checkout, PATH=path).returncode == 0) is fits


def make_venv(checkout: Path) -> Any:
    """tools/make_venv.py of a checkout, as a module."""
    spec = importlib.util.spec_from_file_location("make_venv", checkout / "tools" / "make_venv.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Steps:
    """A run of tools/make_venv.py in which the two steps that take minutes only note that they were taken."""

    def __init__(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = make_venv(checkout)
        self.breaks = False
        self.taken: list[str] = []
        monkeypatch.setattr(self.module, "make", self.make)
        monkeypatch.setattr(self.module, "pip", self.pip)

    def make(self) -> None:
        self.taken.append("make")
        self.module.VENV.mkdir(exist_ok=True)
        self.module.STAMP.unlink(missing_ok=True)

    def pip(self, *arguments: str) -> None:
        if self.breaks:
            raise SystemExit("broken off")
        self.taken.append("install " + arguments[-1])

    def run(self) -> list[str]:
        self.taken = []
        self.module.main()
        return self.taken


ANEW = ["make", "install requirements.lock", "install ."]
IN_PLACE = ["install requirements.lock", "install ."]


def test_a_current_venv_is_left_alone(checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """The first run makes .venv; the second does nothing and says nothing."""
    steps = Steps(checkout, monkeypatch)
    assert steps.run() == ANEW
    capsys.readouterr()
    assert steps.run() == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_changed_pins_are_installed_over_it(checkout: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    """Another lock or project file updates .venv in place."""
    steps = Steps(checkout, monkeypatch)
    steps.run()
    with (checkout / name).open("a") as file:
        file.write("\n")
    assert steps.run() == IN_PLACE
    assert steps.run() == []


@pytest.mark.parametrize("first", [True, False])
def test_an_installation_broken_off_is_begun_anew(checkout: Path, monkeypatch: pytest.MonkeyPatch, first: bool):
    """Whatever an interrupted installation left behind, the first one or an update, is thrown away."""
    steps = Steps(checkout, monkeypatch)
    if not first:
        steps.run()
        (checkout / "requirements.lock").write_text("")
    steps.breaks = True
    with pytest.raises(SystemExit):
        steps.run()
    steps.breaks = False
    assert steps.run() == ANEW


def test_another_python_makes_it_anew(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    """Packages installed for one Python version are not used with another."""
    steps = Steps(checkout, monkeypatch)
    steps.run()
    monkeypatch.setattr(steps.module, "VERSION", "3.99")
    assert steps.run() == ANEW


def test_a_checkout_that_moved_makes_it_anew(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    """Scripts in .venv carry its old path; a .venv that was copied or moved is not trusted."""
    Steps(checkout, monkeypatch).run()
    moved = checkout.rename(checkout.with_name("moved"))
    assert Steps(moved, monkeypatch).run() == ANEW


def test_a_python_without_ensurepip_is_explained(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    """Debian ships the modules that make virtual environments apart: the message names the package."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find_spec(name))
    with pytest.raises(SystemExit, match=r"apt install python3\.\d+-venv"):
        make_venv(checkout).main()
