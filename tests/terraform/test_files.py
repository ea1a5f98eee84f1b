"""The files of terraform/ against the rest of ion, without applying them."""

from __future__ import annotations

import configparser
import re
from typing import TYPE_CHECKING

import pytest

from harness.terraform import OWN_VARIABLES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

MODULE = ROOT / "modules" / "ion"
# What the module names itself, from `name`; and the login, which belongs in the secret.
NAMED = {"queue.input", "queue.deadletter", "ledger.table", "alarm.name"}
SECRET = {"smtp.username", "smtp.password", "smtp.secret_id"}


def config() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT.parent / "ion" / "config.cfg")
    return {f"{section}.{key}": value for section in parser.sections() for key, value in parser[section].items()}


def key_of(variable: str) -> str:
    """`retry.max_attempts` for `ION_RETRY_MAX_ATTEMPTS`."""
    section, _, key = variable.removeprefix("ION_").lower().partition("_")
    return f"{section}.{key}"


def variables() -> dict[str, str]:
    """Each variable's block, by name."""
    return dict(
        re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', (MODULE / "variables.tf").read_text(), re.MULTILINE | re.DOTALL)
    )


def default(variable: str) -> str:
    found = re.search(r'^  default +=(?: "(.*)"| (\S+))$', variables()[variable], re.MULTILINE)
    assert found, f"{variable} has no default"
    return found[1] if found[1] is not None else found[2]


def settable() -> set[str]:
    listed = re.search(r"settable = \[(.*?)\]", (MODULE / "function.tf").read_text(), re.DOTALL)
    assert listed
    return set(re.findall(r'"([\w.]+)"', listed[1]))


def environment() -> set[str]:
    return set(re.findall(r"\b(ION_[A-Z_]+) +=", (MODULE / "function.tf").read_text()))


def test_root_and_module_share_their_variables():
    """The root's variables and versions are the module's own files, and every one of the variables is handed on."""
    for name in ("variables.tf", "versions.tf"):
        assert (ROOT / name).resolve() == MODULE / name
    handed_on = dict(re.findall(r"^  (\w+) += var\.(\w+)$", (ROOT / "main.tf").read_text(), re.MULTILINE))
    assert handed_on == {name: name for name in variables()}


def test_the_root_gives_every_output_of_the_module():
    """What the module puts out, the root does too, in the same words."""
    outputs = r'output "(\w+)" \{\n  description = "(.*)"'
    assert re.findall(outputs, (ROOT / "outputs.tf").read_text()) == re.findall(
        outputs, (MODULE / "outputs.tf").read_text()
    )


@pytest.mark.parametrize("name", sorted(variables()))
def test_a_variable_explains_itself(name: str):
    """A variable has a description and a type, and a validation unless every value of its type is good."""
    block = variables()[name]
    assert re.search(r"^  description = (\"\S|<<-TEXT\n)", block, re.MULTILINE)
    assert re.search(r"^  type += ", block, re.MULTILINE)
    assert "validation {" in block or name in {"smtp_sender", "tags", "artifact"}


def test_every_setting_can_be_made():
    """Each key of config.cfg is set by the function's environment, by `settings` or by the secret, and only by one."""
    by_environment = {key_of(name) for name in environment()} - SECRET
    assert sorted([*by_environment, *settable(), *SECRET]) == sorted(config())


def test_the_harness_knows_which_settings_have_variables():
    """The harness's table of variables is that of the function's environment."""
    assert set(OWN_VARIABLES) == {name for name in environment() if key_of(name) not in NAMED | SECRET}
    assert set(OWN_VARIABLES.values()) <= set(variables())


@pytest.mark.parametrize("setting", sorted(set(OWN_VARIABLES) - {"ION_SMTP_SERVER"}))
def test_defaults_are_those_of_config_cfg(setting: str):
    """A variable's default is the one in config.cfg."""
    assert default(OWN_VARIABLES[setting]) == config()[key_of(setting)]


def test_names_are_those_of_config_cfg():
    """With the default `name`, queues, table and alarm are called what config.cfg calls them."""
    sources = "".join(path.read_text() for path in MODULE.glob("*.tf"))
    for key in NAMED:
        assert f'"{config()[key].replace(default("name"), "${var.name}", 1)}"' in sources
    assert f'"telemetry.namespace", "{config()["telemetry.namespace"]}"' in sources


@pytest.mark.parametrize("path", sorted(MODULE.glob("*.tf")), ids=lambda path: path.name)
def test_a_skipped_check_has_its_reason(path: Path):
    """Where a static check is turned off, a sentence says why."""
    for line in path.read_text().splitlines():
        if "checkov:skip" in line:
            assert re.search(r"checkov:skip=CKV\d?_AWS_\d+: .{30,}\.$", line), line
