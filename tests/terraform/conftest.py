"""Fixtures for what needs the terraform command and the AWS provider; without them, its tests skip with the reason."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from harness import terraform
from harness.errors import TerraformError
from harness.terraform import Terraform

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """A copy of terraform/, initialised."""
    directory: Path = tmp_path_factory.mktemp("terraform") / "root"
    shutil.copytree(terraform.ROOT, directory, ignore=terraform.leftovers)
    copy = Terraform(directory=directory, environ=terraform.plain_environment(os.environ))
    try:
        copy.init()
    except TerraformError as error:
        pytest.skip(f"no Terraform with the AWS provider here: {error}")
    return copy
