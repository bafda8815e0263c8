#!/usr/bin/env bash
# Builds the site of the documentation into .cache/site; every warning is an error.
#   scripts/docs.sh          build
#   scripts/docs.sh serve    show it at http://127.0.0.1:8000, and build again after every change
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
make_environment "$(find_python)" .venv-test test,dev,docs
export NO_MKDOCS_2_WARNING=1 # advertises the next major version, which no plugin supports
exec .venv-test/bin/mkdocs "${1:-build}" --quiet
