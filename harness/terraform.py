"""Terraform: the command, and the same stack as stack.py makes, made by the unmodified files of terraform/."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.artifact import PROJECT
from harness.errors import TerraformError
from harness.localstack.process import ACCESS_KEY, REGION, SECRET_KEY
from harness.stack import ACCOUNT, Names, Stack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.localstack.process import Emulator

ROOT = PROJECT / "terraform"
TIMEOUT_SECONDS = 900
PROVIDERS = "registry.terraform.io"
# The environment variables that terraform/ has variables of its own for; all others are its `settings`.
OWN_VARIABLES = {
    "ION_SMTP_SERVER": "smtp_server",
    "ION_SMTP_PORT": "smtp_port",
    "ION_SMTP_TLS": "smtp_tls",
    "ION_SMTP_SENDER": "smtp_sender",
    "ION_QUEUE_VISIBILITY_TIMEOUT_SECONDS": "visibility_timeout_seconds",
}


@dataclass(frozen=True, kw_only=True)
class Terraform:
    """The terraform command in one root directory.

    Attributes:
        directory: The root module; state, lock file and provider go there too.
        environ: The command's environment.
    """

    directory: Path
    environ: Mapping[str, str] = field(repr=False)

    def init(self) -> None:
        """Get the provider: from a folder on this machine where there is one, else from Terraform's registry.

        Raises:
            TerraformError: There is no terraform command, or no provider to be had.
        """
        plugins = plugin_directory(self.environ)
        self.run("init", *([f"-plugin-dir={plugins}"] if plugins else []))

    def apply(self) -> None:
        """Make what the files say."""
        self.run("apply", "-auto-approve")

    def destroy(self) -> None:
        """Remove everything that the state holds."""
        self.run("destroy", "-auto-approve")

    def interact(self, *arguments: str) -> int:
        """Run a subcommand at the user's terminal, where it may ask; returns its exit code."""
        command = [executable(self.environ), *arguments, *([] if sys.stdout.isatty() else ["-no-color"])]
        return subprocess.run(command, cwd=self.directory, env=dict(self.environ), check=False).returncode  # noqa: S603 - no shell

    def outputs(self) -> dict[str, Any]:
        """The root's outputs by name; empty where nothing is deployed."""
        return {name: output["value"] for name, output in json.loads(self.run("output", "-json")).items()}

    def run(self, *arguments: str) -> str:
        """Run a subcommand; returns its standard output.

        Raises:
            TerraformError: It failed; the message carries Terraform's own.
        """
        done = self._run(*arguments)
        if done.returncode != 0:
            raise self._error(arguments[0], done)
        return done.stdout

    def _run(self, subcommand: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - no shell
                [executable(self.environ), subcommand, "-no-color", *arguments],
                cwd=self.directory,
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TerraformError(f"terraform {subcommand} did not end within {TIMEOUT_SECONDS} s") from error

    def _error(self, subcommand: str, done: subprocess.CompletedProcess[str]) -> TerraformError:
        return TerraformError(f"terraform {subcommand} failed:\n{done.stderr.strip() or done.stdout.strip()}")


@dataclass(frozen=True, kw_only=True)
class TerraformStack(Stack):
    """A stack that Terraform made, and that Terraform removes."""

    terraform: Terraform

    def destroy(self) -> None:
        """Remove everything."""
        self.terraform.destroy()


def deploy(
    emulator: Emulator,
    artifact: bytes | Path,
    *,
    environment: Mapping[str, str],
    secret: Mapping[str, Any] | None = None,
    prefix: str = "",
    alarm_period_seconds: int = 10,
    timeout_seconds: int = 120,
    reserved_concurrency: int = 1,
    memory_mb: int = 512,
    variables: Mapping[str, Any] | None = None,
    directory: Path,
) -> TerraformStack:
    """What `stack.deploy` does, by Terraform; it takes about a minute and a half, most of it the provider's waiting.

    Args:
        emulator: Where.
        artifact: The function's zip, or its path.
        environment: ion's settings, as the variables of its environment.
        secret: What the secret is filled with.
        prefix: What each name begins with.
        alarm_period_seconds: The wake-up alarm's period.
        timeout_seconds: The function's timeout.
        reserved_concurrency: How many invocations may run at once.
        memory_mb: The function's memory.
        variables: Any other variables of terraform/variables.tf.
        directory: Where a copy of terraform/ goes, with the values and the state; must not exist yet.

    Raises:
        TerraformError: Terraform is not there, or failed.
    """
    names = Names(prefix=prefix)
    shutil.copytree(ROOT, directory, ignore=leftovers)
    if isinstance(artifact, bytes):
        (directory / "artifact.zip").write_bytes(artifact)
        artifact = directory / "artifact.zip"
    values = {
        **variables_of(environment),
        "name": names.function,
        "artifact": str(artifact.resolve()),
        "wakeup_period_seconds": alarm_period_seconds,
        "timeout_seconds": timeout_seconds,
        "reserved_concurrency": reserved_concurrency,
        "memory_mb": memory_mb,
        **(variables or {}),
    }
    (directory / "harness.auto.tfvars.json").write_text(json.dumps(values), encoding="utf-8")
    terraform = Terraform(directory=directory, environ=emulator_environment(emulator))
    terraform.init()
    try:
        terraform.apply()
    except BaseException:
        terraform.destroy()
        raise
    emulator.client("secretsmanager").put_secret_value(SecretId=names.secret, SecretString=json.dumps(secret or {}))
    outputs = terraform.outputs()
    return TerraformStack(
        emulator=emulator,
        names=names,
        topic_arn=outputs["topic_arn"],
        alarm_topic_arn=names.topic_arn(names.alarm_topic),
        queue_url=outputs["input_queue_url"],
        queue_arn=names.queue_arn(names.queue),
        deadletter_url=outputs["deadletter_queue_url"],
        deadletter_arn=names.queue_arn(names.deadletter),
        function_arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{outputs['function_name']}",
        terraform=terraform,
    )


def variables_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """The variables of terraform/ for ion's environment; ION_RETRY_MAX_ATTEMPTS is `settings["retry.max_attempts"]`."""
    variables: dict[str, Any] = {"settings": {}}
    for name, value in environment.items():
        if name in OWN_VARIABLES:
            variables[OWN_VARIABLES[name]] = value
        else:
            section, _, key = name.removeprefix("ION_").lower().partition("_")
            variables["settings"][f"{section}.{key}"] = value
    return variables


def executable(environ: Mapping[str, str]) -> str:
    """The path of the terraform command.

    Raises:
        TerraformError: There is none.
    """
    found = shutil.which("terraform", path=environ.get("PATH"))
    if found is None:
        raise TerraformError("there is no terraform on the PATH: https://developer.hashicorp.com/terraform/install")
    return found


def plugin_directory(environ: Mapping[str, str]) -> Path | None:
    """A folder of providers on this machine, for where the registry is out of reach.

    `TERRAFORM_PLUGIN_DIR` names one; else one is looked for near the root of the file system, where makers of machines
    put it, and only where nobody but root can write: the provider is a program. (What lies in Terraform's own places it
    finds by itself: https://developer.hashicorp.com/terraform/cli/config/config-file#implied-local-mirror-directories)
    """
    if named := environ.get("TERRAFORM_PLUGIN_DIR"):
        return Path(named)
    found = sorted(path.parent for path in Path("/").glob(f"*/*/{PROVIDERS}") if path.is_dir())
    return next((path for path in found if _only_root_writes(path)), None)


def _only_root_writes(path: Path) -> bool:
    return all(one.stat().st_uid == 0 and not one.stat().st_mode & 0o022 for one in (path, *path.parents))


def plain_environment(environ: Mapping[str, str], *, ask: bool = False) -> dict[str, str]:
    """An environment for Terraform in which nothing asks, calls home, or stumbles over a missing configuration file."""
    own = {name: value for name, value in environ.items() if name != "TF_CLI_CONFIG_FILE" or Path(value).is_file()}
    return {**own, "CHECKPOINT_DISABLE": "1"} | ({} if ask else {"TF_INPUT": "0", "TF_IN_AUTOMATION": "1"})


def emulator_environment(emulator: Emulator, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment that sends the provider to an emulator; no credentials or profile of the user's go along."""
    own = {name: value for name, value in environ.items() if not name.startswith(("AWS_", "TF_VAR_", "TF_CLI_ARGS"))}
    return {
        **plain_environment(own),
        "AWS_ENDPOINT_URL": emulator.endpoint_url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,  # what boto3 reads
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def leftovers(_: str, names: list[str]) -> list[str]:
    """What a user's own deployment from the same folder has left there."""
    return [name for name in names if name.startswith((".terraform", "terraform.tfstate")) or ".tfvars" in name]
