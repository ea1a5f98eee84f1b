"""Is terraform/ formatted and valid? Where there is no terraform, or no provider for it, says so and passes."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from harness import terraform
from harness.errors import TerraformError
from harness.terraform import Terraform


def main() -> None:
    """Check.

    Raises:
        SystemExit: It is not; Terraform's own words say where.
    """
    if shutil.which("terraform") is None:
        print("terraform/: not checked, there is no terraform on the PATH")
        return
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch, "terraform")
        shutil.copytree(terraform.ROOT, directory, ignore=terraform.leftovers)
        root = Terraform(directory=directory, environ=terraform.plain_environment(os.environ))
        try:
            root.run("fmt", "-check", "-recursive", "-diff")
        except TerraformError as error:
            sys.exit(f"terraform/ is not formatted (terraform fmt -recursive terraform): {error}")
        try:
            root.init()
        except TerraformError as error:
            print(f"terraform/: formatted, but not validated, for want of the provider: {error}")
            return
        try:
            said = root.run("validate")
        except TerraformError as error:
            sys.exit(f"terraform/ is not valid: {error}")
    # Shown, and no failure: a new version of the provider may begin to warn of what 5.x has no other word for.
    print(said.strip() if "Warning" in said else "terraform/: formatted and valid")


if __name__ == "__main__":
    main()
