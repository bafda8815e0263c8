#!/usr/bin/env bash
# The whole loop on a fresh machine: set up, meta-train on synthetic personas, evaluate, adapt to unseen personas, rerank.
# Needs Python >= 3.11 and the Python package index. Makes .venv and runs/quickstart
# in this checkout, and keeps embeddings in ~/.cache/fspo_jax (or $FSPO_CACHE).
#   scripts/quickstart.sh            (a second time it reuses both)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/environment.sh
started=$SECONDS

# run COMMAND ... shows a command of this package and runs it.
run() {
    say "$*"
    ".venv/bin/$1" "${@:2}"
}

make_environment "$(find_python)" .venv ''
installed=$SECONDS
RUN=runs/quickstart
resume=()
[ -f "$RUN/config.json" ] && resume=(--resume) # left as it is when it is finished
run fspo train configs/quickstart.toml --output "$RUN" ${resume[@]+"${resume[@]}"}
run fspo evaluate "$RUN"
run python scripts/quickstart.py "$RUN"
printf '\nDone in %s s (installation %s s, meta-training to reranking %s s).\n' \
    $((SECONDS - started)) $((installed - started)) $((SECONDS - installed))
