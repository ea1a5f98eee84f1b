#!/bin/sh
# Picks the Python that the project runs on and has it bring .venv up to date (tools/make_venv.py does the work).
# PYTHON=/path/to/python overrides the pick. Says nothing when there is nothing to do.
set -eu
cd "$(dirname "$0")/.."

# LocalStack 4.13, the harness's emulator, is known to run on 3.11 to 3.13 only.
supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- .venv/bin/python python3 python3.13 python3.12 python3.11
fi

for python in "$@"; do
    if supported "$python"; then
        exec "$python" -I -B tools/make_venv.py # isolated: no PYTHONPATH or user site may interfere
    fi
done

{
    echo "ion's harness needs Python 3.11, 3.12 or 3.13, and none was found. Looked at:"
    for python in "$@"; do
        [ "$python" = .venv/bin/python ] && continue
        found="not found"
        if command -v "$python" >/dev/null; then found=$("$python" --version 2>&1 | head -n 1); fi
        printf '  %-12s %s\n' "$python" "$found"
    done
    echo "Install one and run the same command again, for example:"
    echo "  Debian, Ubuntu:  apt install python3 python3-venv"
    echo "  Fedora:          dnf install python3.13"
    echo "  macOS:           brew install python@3.13"
    echo "or name one that is elsewhere: make ... PYTHON=/path/to/python3.13"
} >&2
exit 1
