import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def run_pytest(directory):
    """What the tests of a project there come to, with our plugin and none of those that only we need."""
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
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=500)


def test_another_project_tests_its_mail_against_the_real_thing(tmp_path):
    """The example project's tests pass, with no more than the harness installed."""
    shutil.copytree(PROJECT / "examples" / "shop", tmp_path / "shop")
    done = run_pytest(tmp_path / "shop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_plugin_costs_other_projects_nothing(tmp_path):
    """A project that uses no fixture of ours imports nothing of the harness but the plugin itself."""
    (tmp_path / "test_own.py").write_text(
        "import sys\n\n\ndef test_own():\n"
        "    ours = {name for name in sys.modules if name.split('.')[0] in {'harness', 'ion', 'localstack', 'boto3'}}\n"
        "    assert ours == {'harness', 'harness.pytest_plugin'}\n"
    )
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_project_with_ion_alone_is_told_what_its_tests_need(tmp_path):
    """Where only ion was installed, the fixture names the extra that is missing, and no traceback hides it."""
    (tmp_path / "test_own.py").write_text(
        "import sys\n\nsys.modules['boto3'] = None  # as if it were not there\n\n\ndef test_own(ion_stack):\n    pass\n"
    )
    done = run_pytest(tmp_path)
    assert done.returncode == 1
    assert "pip install 'ion[harness]'" in done.stdout
    assert "Traceback" not in done.stdout
