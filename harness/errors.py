"""Everything that the harness raises on purpose.

HarnessError
├── ArtifactError       dist/ion.zip cannot be built
├── BenchError          a measurement could not be made
├── HistoryError        the history cannot be written or read
├── LocalStackError     LocalStack did not start, lacks a plugin, or does not answer
├── RunError            a run lacks what is asked of it, or none goes on
├── StackError          ion's resources could not be made in it
├── TerraformError      terraform, or its AWS provider, is not to be had, or failed
└── UsageError          the command line names something that does not exist
"""

from __future__ import annotations


class HarnessError(Exception):
    """Base of the harness's errors: the bench itself broke, which says nothing about ion (exit code 70)."""


class ArtifactError(HarnessError):
    """dist/ion.zip cannot be built; the message says what is missing and that an older one is unchanged."""


class BenchError(HarnessError):
    """A measurement could not be made; the message says which and why."""


class HistoryError(HarnessError):
    """The history cannot be written, or a line of it that is not the last cannot be read."""


class LocalStackError(HarnessError):
    """LocalStack did not start, lacks a plugin, or does not answer; the message carries its last log lines."""


class RunError(HarnessError):
    """A run lacks what is asked of it (a mail, its results), or none goes on."""


class StackError(HarnessError):
    """A resource could not be made; the message names it."""


class TerraformError(HarnessError):
    """Terraform or its provider is not to be had, or a command failed; the message carries Terraform's own."""


class UsageError(HarnessError):
    """The command line names something that does not exist; the message says what does (exit code 64)."""
