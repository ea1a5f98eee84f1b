"""Brings .venv up to date: made anew, updated in place, or left alone, whichever is the least that is right.

Needs nothing but the standard library of the Python that runs it (tools/venv.sh picks which one).
A stamp, written last, says what .venv was made from:

    no stamp, or one of another place or Python   an installation broke off, or the checkout moved: made anew
    a stamp of other pins or another project file  the pins are installed over it
    the same stamp                                 nothing to do, and nothing is said
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
VENV = PROJECT / ".venv"
STAMP = VENV / "made-from"
LOCK = PROJECT / "build" / "venv.lock"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def foundation() -> str:
    """What .venv cannot outlive: its scripts carry the absolute path, its packages are of one Python version."""
    return f"{PROJECT} python{VERSION}\n"


def contents() -> str:
    """What is installed in it: the hash of the pins and of the project file, which names the entry points."""
    digest = hashlib.sha256()
    for name in ("requirements.lock", "pyproject.toml"):
        digest.update((PROJECT / name).read_bytes())
    return f"{digest.hexdigest()}\n"


def stamp() -> str:
    """The stamp of what is there; empty where there is none."""
    try:
        return STAMP.read_text(encoding="utf-8")
    except OSError:
        return ""


def current() -> bool:
    """Whether .venv is complete and was made from what the checkout holds now."""
    return stamp() == foundation() + contents()


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(text, flush=True)


def pip(*arguments: str) -> None:
    """Run .venv's pip; its errors go to the terminal, its warnings about the index or itself do not.

    Raises:
        SystemExit: It failed.
    """
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-qq", "--no-input", *arguments]
    # A PIP_USER in the environment would install beside .venv instead of into it.
    environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if subprocess.run(command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, check=False).returncode:
        sys.exit(
            "The installation into .venv failed; pip's reason stands above. "
            "Once that is mended, run the same command again."
        )


def make() -> None:
    """Make .venv with pip and nothing else in it.

    Raises:
        SystemExit: This Python cannot make virtual environments.
    """
    if importlib.util.find_spec("ensurepip") is None:  # Debian and Ubuntu ship it in a package of its own
        sys.exit(
            f"{sys.executable} lacks the modules that make virtual environments.\n"
            f"Install them and run the same command again: apt install python{VERSION}-venv"
        )
    say(f"Making .venv with Python {sys.version.split()[0]}. This takes a minute or two, once.")
    venv.create(VENV, clear=True, symlinks=True, with_pip=True)


def bring_up_to_date() -> None:
    """Make or update .venv, and write the stamp last, so that what is interrupted is begun again."""
    if stamp().startswith(foundation()):
        say("The pinned packages or the project file changed: updating .venv.")
        STAMP.unlink()
    else:
        make()
    made_from = foundation() + contents()
    say("Installing the pinned packages ...  (about a minute where none is cached)")
    pip("--require-hashes", "--requirement", "requirements.lock")
    say("Installing the project itself ...")
    pip("--no-deps", "--no-build-isolation", "--editable", ".")
    STAMP.write_text(made_from, encoding="utf-8")
    say(".venv is ready.")


def main() -> None:
    """Bring .venv up to date, one process at a time."""
    if current():
        return
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another process that is at work on .venv ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not current():
            bring_up_to_date()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Interrupted; the next make begins again where it is safe to.")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"Cannot make {VENV}: {error}")
