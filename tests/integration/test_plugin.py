import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(170)]


def test_another_project_tests_its_mail_against_the_real_thing(tmp_path):
    """The example project's tests pass, with no more than the harness installed."""
    shutil.copytree(PROJECT / "examples" / "shop", tmp_path / "shop")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-p",
        "no:schemathesis",
    ]
    done = subprocess.run(command, cwd=tmp_path / "shop", capture_output=True, text=True, check=False, timeout=160)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_plugin_costs_other_projects_nothing(tmp_path):
    """A project that uses no fixture of ours imports nothing of the harness but the plugin itself."""
    (tmp_path / "test_own.py").write_text(
        "import sys\n\n\ndef test_own():\n"
        "    ours = {name for name in sys.modules if name.split('.')[0] in {'harness', 'ion', 'localstack', 'boto3'}}\n"
        "    assert ours == {'harness', 'harness.pytest_plugin'}\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-p",
        "no:schemathesis",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
