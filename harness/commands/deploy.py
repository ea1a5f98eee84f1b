"""Deploy dist/ion.zip by terraform/ with your own AWS credentials; or show what that would change, or remove it all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from harness import artifact, runs, scenario, terraform
from harness.errors import RunError, UsageError
from harness.terraform import Terraform

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from harness.artifact import Artifact

VALUES = "terraform.tfvars"


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("action", choices=("plan", "apply", "destroy"))
    parser.add_argument("--force", action="store_true", help="deploy what no scenario has found valid, too")
    parser.add_argument("--yes", action="store_true", help="do not ask before changing anything")


def run(args: argparse.Namespace) -> int:
    """Do it; returns Terraform's exit code."""
    root = Terraform(directory=terraform.ROOT, environ=terraform.plain_environment(os.environ, ask=True))
    if args.action != "destroy":
        built = artifact.build()
        print(f"{built.path.relative_to(artifact.PROJECT)}: {built.size / 1e6:.2f} MB, SHA-256 {built.sha256}")
        trouble = untested(built)
        if trouble and args.action == "apply" and not args.force:
            raise UsageError(f"Not deployed: {trouble}. FORCE=1 deploys it all the same.")
        print(f"But {trouble}." if trouble else "The last scenario ran this very artifact and found it valid.")
        if not (terraform.ROOT / VALUES).exists() and "TF_VAR_smtp_server" not in os.environ:
            raise UsageError(
                f"terraform/{VALUES} is missing: copy terraform/example.tfvars to it and fill in your SMTP server."
            )
    print(f"Target: {target()}", flush=True)
    root.init()
    code = root.interact(args.action, *(["-auto-approve"] if args.yes and args.action != "plan" else []))
    if code == 0 and args.action == "apply":
        print(next_steps(root))
    return code


def untested(built: Artifact, *, root: Path = runs.ROOT) -> str:
    """Why the last scenario's run does not speak for this artifact; empty where it does."""
    ran = [each for each in runs.saved(root=root) if each.scenario in scenario.names()]
    if not ran:
        return "no scenario has been run yet (make scenario burst)"
    last = ran[-1]
    name = f"the last scenario's run, {last.scenario}/{last.name},"
    try:
        results = last.results()
    except RunError:
        return f"{name} has no verdict"
    if results.get("verdict") != "valid":
        return f"{name} was {results.get('verdict')}"
    tested = (results.get("artifact") or {}).get("sha256")
    return "" if tested == built.sha256 else f"{name} ran another artifact, SHA-256 {tested}"


def target() -> str:
    """The account and region that the environment's credentials lead to.

    Raises:
        UsageError: They lead nowhere.
    """
    session = boto3.Session()
    region = os.environ.get("AWS_REGION") or session.region_name  # Terraform reads the first, boto3 only the second
    if not region:
        raise UsageError("No AWS region: set AWS_REGION, or a region in your AWS profile.")
    try:
        caller = session.client("sts", region_name=region).get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise UsageError(f"No AWS account to deploy to: {error}") from error
    elsewhere = os.environ.get("AWS_ENDPOINT_URL")
    return f"account {caller['Account']}, region {region}" + (f", at {elsewhere}" if elsewhere else "")


def next_steps(root: Terraform) -> str:
    """How to get to the first mail from here."""
    outputs = root.outputs()
    region, secret = outputs["region"], outputs["secret_id"]
    client = boto3.Session().client("secretsmanager", region_name=region)
    filled = client.describe_secret(SecretId=secret).get("VersionIdsToStages")
    fill = f"""
The SMTP login is not set yet. Put {{"username": "...", "password": "..."}} into a file smtp.json, and then:

  aws secretsmanager put-secret-value --region {region} --secret-id {secret} --secret-string file://smtp.json
  rm smtp.json
"""
    return f"""{"" if filled else fill}
Send a first mail, and see it through to the ledger:

  make smoke TO=you@example.com

What it does is this, and a look into the ledger:

  {outputs["publish_command"]}

Dashboard: {outputs["dashboard_url"]}
Log:       aws logs tail --region {region} --follow {outputs["log_group_name"]}"""
