"""Build dist/ion.zip, what Lambda runs, and print its SHA-256."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import artifact

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments."""
    del parser


def run(args: argparse.Namespace) -> int:
    """Build and say what was built."""
    del args
    built = artifact.build()
    print(f"{built.path.relative_to(artifact.PROJECT)}: {built.size / 1e6:.2f} MB, SHA-256 {built.sha256}")
    return 0
