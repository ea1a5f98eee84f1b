#!/bin/sh
# Pins what pyproject.toml asks for, with hashes and for every platform, from Python 3.11 up:
# requirements.lock for the checkout, requirements-artifact.lock for what goes into dist/ion.zip.
# Flags are uv's own (--upgrade, --upgrade-package idna). No index address is written into either file.
set -eu
cd "$(dirname "$0")/.."

if ! command -v uv >/dev/null; then
    echo "The locks are written by uv, which is not on the PATH. Install it (pipx install uv) and run this again." >&2
    exit 1
fi

compile() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$@" pyproject.toml
}

compile "$@" --extra harness --extra dev --output-file requirements.lock
# What the tests ran with is what goes into the artifact.
compile --constraint requirements.lock --output-file requirements-artifact.lock
