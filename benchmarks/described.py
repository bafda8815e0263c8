"""What a description of a community is worth, on traits that neither description nor people were learned from.

    OPENBLAS_NUM_THREADS=1 python benchmarks/described.py STATEMENTS [--reward fspo-mini] [--write]

STATEMENTS is a file of trait statements, as the source `traits` reads it. A community shares one trait, or its
opposite; every second pair of its people is about it, the others about three traits of each person's own. It is
described by a statement that they would make and that is in no pair, by "People who agree with: " and the statement, or
by the trait's name. Factors are learned on traits of the first part and judged on the last part, with the right
description, with that of another trait, and with none. With --write they are put into the reward's files.

Prints one JSON object: accuracy in per cent and log loss in nats, of pairs about the trait and of the other pairs.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from machine import provenance, run_benchmark

from fspo_jax import PersonalizedReward, Preference, learn_descriptions
from fspo_jax.data.personas.corpora import read_rows
from fspo_jax.data.personas.traits import TRAIT_PROMPT, part_of
from fspo_jax.metrics import predicted_logit
from fspo_jax.models.scorers.contract import query_margins
from fspo_jax.shipped import find_reward
from fspo_jax.types import Episode

STATEMENTS, KINDS = 20, ("statement", "agree", "name")
LEARNED, JUDGED, SERVED, OTHERS, PAIRS = 150, 24, 8, 20, 8


class World:
    """Communities of people who share a trait."""

    def __init__(self, path: str):
        sides: dict[str, tuple[list[str], list[str]]] = {}
        for _, row in read_rows(path, {"trait": str, "statement": str, "holder_says": bool}):
            sides.setdefault(row["trait"], ([], []))[row["holder_says"]].append(row["statement"])
        self.generator = np.random.default_rng(0)
        self.sides = {
            trait: [self.generator.permutation(texts)[:STATEMENTS].tolist() for texts in both]
            for trait, both in sorted(sides.items())
            if min(map(len, both)) >= STATEMENTS
        }

    def person(self, trait: str, side: int, pairs: int) -> list[Preference]:
        others = self.generator.permutation([name for name in self.sides if name != trait])[:3]
        own = [(trait, side), *((str(name), int(self.generator.integers(2))) for name in others)]
        made = []
        for i in range(pairs):
            name, its = own[0 if i % 2 == 0 else 1 + i // 2 % 3]
            texts = [str(self.generator.choice(self.sides[name][s][:-1])) for s in (its, 1 - its)]
            made.append(Preference(TRAIT_PROMPT, *texts))
        return made

    def description(self, trait: str, side: int, kind: str) -> str:
        statement = self.sides[trait][side][-1]
        return {
            "statement": statement,
            "agree": f"People who agree with: {statement}",
            "name": trait.replace("-", " "),
        }[kind]

    def draw(self, part: str, number: int) -> tuple[str, int, str]:
        traits = [trait for trait in self.sides if part_of(trait) == part]
        kind = KINDS[number % len(KINDS)]
        side = 1 if kind == "name" else int(self.generator.integers(2))
        return str(self.generator.choice(traits)), side, kind


PROGRAMS: dict[bool, Any] = {}


def margins(ours: PersonalizedReward, people: list[list[Preference]], shots: int) -> tuple[Any, Any]:
    """As `ours.margins`, with one program for all communities."""
    scoring: Any = ours.scoring
    inside = scoring.community is not None
    if inside not in PROGRAMS:
        PROGRAMS[inside] = jax.jit(functools.partial(query_margins, scoring.scorer))
    pairs = scoring.features_of([pair for pairs in people for pair in pairs])
    pairs = pairs.reshape(len(people), 2, PAIRS, 2, -1)
    mask = np.ones((len(people), PAIRS), bool)
    found = PROGRAMS[inside](scoring.params, Episode(pairs[:, 0], mask & (shots > 0), pairs[:, 1], mask))
    return np.asarray(found[0]), np.asarray(found[1])


def judged(world: World, able: PersonalizedReward) -> dict[str, dict[str, list[float]]]:
    """Accuracy and log loss, by kind of description, others, description and own pairs; of the trait and the rest."""
    found: dict[str, list[np.ndarray]] = {}
    for number in range(JUDGED):
        trait, side, kind = world.draw("last", number)
        wrong = trait
        while wrong == trait:
            wrong = world.draw("last", number)[0]
        people = [world.person(trait, side, 2 * PAIRS) for _ in range(SERVED + OTHERS)]
        served, others = people[:SERVED], [pairs[:PAIRS] for pairs in people[SERVED:]]
        told = {"none": None, "right": (trait, side, kind), "wrong": (wrong, side, kind)}
        for count in (0, OTHERS):
            for name, of in told.items():
                ours = able
                if count or of:
                    text = world.description(*of) if of else None
                    ours = able.for_community(others[:count], description=text)
                for shots in (0, PAIRS):
                    logits = predicted_logit(*margins(ours, served, shots))
                    values = np.stack([logits > 0, np.logaddexp(0.0, -logits)]).mean(1)
                    both = np.stack([values[:, ::2].mean(1), values[:, 1::2].mean(1)])
                    for which in (kind, "all"):
                        found.setdefault(f"{which}, {count} others, {name}, {shots} pairs", []).append(both)
    means = {key: np.mean(values, 0).round(3).tolist() for key, values in sorted(found.items())}
    return {key: {"trait": trait, "rest": rest} for key, (trait, rest) in means.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("statements")
    parser.add_argument("--reward", default="fspo-mini")
    parser.add_argument("--write", action="store_true", help="put the factors into the files of the reward")
    arguments = parser.parse_args()
    world = World(arguments.statements)
    drawn = [world.draw("first", number) for number in range(LEARNED)]
    able = learn_descriptions(
        PersonalizedReward.load(arguments.reward),
        [
            (world.description(*one), [world.person(*one[:2], PAIRS) for _ in range(SERVED // 2)])
            for one in drawn
        ],
    )
    factors = {name: np.asarray(pair).tolist() for name, pair in able.scoring.params["description"].items()}  # type: ignore[attr-defined]
    if arguments.write:
        write(able, find_reward(Path(arguments.reward)))
    print(json.dumps({**provenance(), "factors": factors, "judged": judged(world, able)}, indent=1))


def write(able: PersonalizedReward, directory: Path) -> None:
    """Replaces the parameters of a reward; its other files, such as its card, stay. So does its fingerprint."""
    with tempfile.TemporaryDirectory() as place:
        able.save(Path(place, "able"))
        parameters = Path(place, "able", "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(parameters)


if __name__ == "__main__":
    run_benchmark(main)
