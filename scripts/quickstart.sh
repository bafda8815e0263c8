#!/usr/bin/env bash
# The whole loop on a fresh machine: set up, adapt the shipped reward to a person, then to a community and people inside
# it, meta-train one on synthetic personas, evaluate, adapt to unseen personas, rerank.
# Needs Python >= 3.11 and the Python package index. Makes .venv, runs/newcomer and
# runs/quickstart in this checkout, and keeps embeddings in ~/.cache/fspo_jax (or $FSPO_CACHE).
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

# One minute, no training: the reward that comes with the package learns a newcomer's taste from two labelled pairs.
MINE=runs/newcomer
mkdir -p "$MINE"
cat > "$MINE/pairs.jsonl" <<'PAIRS'
{"prompt": "What is entropy?", "chosen": "Think of a room that gets messy by itself.", "rejected": "S = k log W."}
{"prompt": "What is a qubit?", "chosen": "A coin that is still spinning.", "rejected": "A unit vector in C^2."}
PAIRS
cat > "$MINE/drafts.json" <<'DRAFTS'
["Rayleigh scattering goes with the fourth power.", "The air throws the blue crayons all over the sky."]
DRAFTS
run fspo adapt fspo-mini "$MINE/pairs.jsonl" --output "$MINE/user"
run fspo rerank fspo-mini --user "$MINE/user" --prompt "Why is the sky blue?" --candidates "$MINE/drafts.json"

# Twenty real people of one study, and others of it who start from what the twenty have in common. Nothing is trained.
run python scripts/community.py

RUN=runs/quickstart
resume=()
[ -f "$RUN/config.json" ] && resume=(--resume) # left as it is when it is finished
run fspo train configs/quickstart.toml --output "$RUN" ${resume[@]+"${resume[@]}"}
run fspo evaluate "$RUN"
run python scripts/quickstart.py "$RUN"
printf '\nDone in %s s (installation %s s, meta-training to reranking %s s).\n' \
    $((SECONDS - started)) $((installed - started)) $((SECONDS - installed))
