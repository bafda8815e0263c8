"""The end of scripts/quickstart.sh: two personas never seen, who disagree, with eight labelled pairs each.

    python scripts/quickstart.py runs/quickstart

Writes the pairs and candidates into RUN/example, so that the commands that it prints work as printed.
"""

from __future__ import annotations

import json
import sys
import textwrap
from itertools import combinations
from pathlib import Path

import numpy as np

import fspo_jax as fspo
from fspo_jax.config import DataConfig, PersonaSource
from fspo_jax.data.build import load_split
from fspo_jax.data.personas.world import Persona, make_world

SHOTS, TOP = 8, 4


def main(run: Path) -> None:
    """Adapts to two unseen personas, shows what each gets, and says what to do next."""
    reward = fspo.PersonalizedReward.load(run)
    users, personas = unseen_personas(reward.config.data)
    first, second = most_different([personas[user.user_id] for user in users])
    pair = [next(user for user in users if user.user_id == p.persona_id) for p in (first, second)]
    shared = {s.prompt for s in pair[0].candidate_sets} & {s.prompt for s in pair[1].candidate_sets}
    prompt = min(shared)
    example = run / "example"
    example.mkdir(exist_ok=True)
    print(f'\nPrompt: "{prompt}"')
    for name, persona, user in zip(("ana", "ben"), (first, second), pair, strict=True):
        context = user.preferences[:SHOTS]
        write_pairs(example / f"{name}.pairs.jsonl", context)
        candidates = next(s for s in user.candidate_sets if s.prompt == prompt)
        (example / "candidates.json").write_text(
            json.dumps(candidates.candidates, indent=2), encoding="utf-8"
        )
        ranking = fspo.rerank(reward.adapt(context), prompt, candidates.candidates)
        print(
            f'\n{name.title()}, never seen before, known by {len(context)} labelled pairs ("{persona.description}")'
        )
        show(ranking, candidates.utilities)
    print_next(run, example, prompt)


def unseen_personas(config: DataConfig) -> tuple[list[fspo.User], dict[str, Persona]]:
    """Test users of the first domain of the config's persona world, and the personas behind them."""
    source = next(source for source in config.sources if isinstance(source, PersonaSource))
    personas = {p.persona_id: p for p in make_world(source).personas if p.domain == source.domains[0]}
    users = [user for user in load_split(config, "test") if user.user_id in personas]
    return [user for user in users if user.candidate_sets], personas


def most_different(personas: list[Persona]) -> tuple[Persona, Persona]:
    """The two whose tastes are most opposed."""

    def cosine(a: Persona, b: Persona) -> float:
        return float(a.weights @ b.weights / np.linalg.norm(a.weights) / np.linalg.norm(b.weights))

    return min(combinations(personas, 2), key=lambda two: cosine(*two))


def write_pairs(path: Path, preferences: tuple[fspo.Preference, ...]) -> None:
    """Writes pairs as `fspo adapt` reads them."""
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in preferences]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def show(ranking: list, utilities: tuple[float, ...]) -> None:
    """Prints a ranking: rank, reward, the persona's own rank of the candidate, text."""
    own_rank = {
        index: rank
        for rank, index in enumerate(sorted(range(len(utilities)), key=lambda i: -utilities[i]), 1)
    }
    print("  rank   reward   the persona's own rank   words   candidate")
    for line in ranking[:TOP]:
        words, text = len(line.text.split()), textwrap.shorten(line.text, 78, placeholder=" ...")
        print(
            f"  {line.rank:4} {line.score:+8.2f}   {own_rank[line.index]:14} of {len(utilities)} {words:12}   {text}"
        )


def print_next(run: Path, example: Path, prompt: str) -> None:
    """Prints files and commands to go on with."""
    print(f"""
Accuracy by number of pairs: {run}/report/k_curve.png
The whole report:            {run}/report/report.html

Next, with your own pairs, prompt and candidates instead of these:
  source .venv/bin/activate
  fspo adapt {run} {example}/ana.pairs.jsonl --output users/ana
  fspo rerank {run} --user users/ana --prompt "{prompt}" --candidates {example}/candidates.json --top-k 3
  fspo train configs/real.toml --output runs/real     # real people: the sample in the package
  fspo data validate my_people.jsonl                  # then train on your own: docs/tutorial/own-people.md""")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
