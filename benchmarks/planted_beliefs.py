"""Whether a reward believes the right sign of a planted taste, after eight labelled pairs.

    python benchmarks/planted_beliefs.py fspo-mini
    python benchmarks/planted_beliefs.py fspo-mini --personas 50

Without `--personas`, tastes of style. For each column of style that differs in at least half of the pairs of the pool
of `fspo serve`, two made-up people: one always prefers the response with more of it, one the response with less. Each
is asked the pairs that tell most, as the page asks them. Prints of how many people the belief about their column has
the right sign, and for how many it is fairly sure (a certainty of at least 0.8) and right, with the pool and with all
else being equal.

With `--personas N`, tastes of N personas of each domain of the persona world, of a seed that no reward was trained on.
Each gives 8 pairs, drawn at random. Beliefs are about the world's own attributes (sentiment, level, tone, ...), on
responses to prompts that are in no pair. The truth is the slope of the persona's utility on the attribute there. Prints
the share of right signs in per cent, with 95 % intervals over personas: of each persona's strongest taste, of all
tastes, and of those of which the reward is fairly sure; and the same for what is believed of nobody in particular.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from machine import provenance, run_benchmark

from fspo_jax import PersonalizedReward, UserReward, next_pair
from fspo_jax.config import PersonaSource
from fspo_jax.data.personas.world import DOMAINS, World, make_world, world_users
from fspo_jax.metrics import interval
from fspo_jax.models.features.style import FEATURES, style_features
from fspo_jax.reward.explaining import LIKELY
from fspo_jax.serving.pool import bundled_pool
from fspo_jax.types import Preference, Prompt, User

LABELS = 8


def taught(reward: PersonalizedReward, pool: Sequence[Preference], column: int, sign: int) -> UserReward:
    """The reward of a person who likes or dislikes a column, after eight questions."""
    user, draw, seen = reward.adapt(), np.random.default_rng(column), set[Prompt]()
    for _ in range(LABELS):
        question = next_pair(user, pool, seen=seen)
        seen.add(question.prompt)
        a, b = (style_features(text)[column] for text in (question.a, question.b))
        prefers_a = sign * (a - b) > 0 if a != b else draw.random() < 0.5
        user = user.update([question.answered("a" if prefers_a else "b")])
    return user


def measure(reward: PersonalizedReward, pool: Sequence[Preference]) -> dict[str, Any]:
    """Counts the signs of beliefs about planted tastes."""
    values = np.array([[style_features(text) for text in (pair.chosen, pair.rejected)] for pair in pool])
    often = (np.abs(values[:, 0] - values[:, 1]) > 1e-6).mean(0) >= 0.5
    ways: dict[str, Sequence[Preference] | None] = {"pool": pool, "all else equal": None}
    found = {way: {"right": 0, "sure": 0, "sure and right": 0} for way in ways}
    people = [(int(column), sign) for column in np.flatnonzero(often) for sign in (1, -1)]
    for column, sign in people:
        user = taught(reward, pool, column, sign)
        for way, given in ways.items():
            (belief,) = [one for one in user.beliefs(given) if one.column == list(FEATURES)[column]]
            right, sure = belief.effect * sign > 0, belief.certainty >= LIKELY
            for name, true in (("right", right), ("sure", sure), ("sure and right", sure and right)):
                found[way][name] += bool(true)
    return {"people": len(people), "labels": LABELS, "beliefs": found}


class Taste(NamedTuple):
    """What a persona thinks of an attribute, and what the reward believes.

    Attributes:
        true: Change of the persona's utility with one standard deviation of the attribute, in nats.
        right: Whether the belief has its sign.
        sure: Whether the belief is fairly sure.
        usual_right: Whether what is believed of nobody in particular has its sign.
    """

    true: float
    right: bool
    sure: bool
    usual_right: bool


def tastes(reward: PersonalizedReward, world: World, person: User) -> list[Taste]:
    """The tastes of one persona, the strongest first."""
    sets = [(one.prompt, one.candidates) for one in person.candidate_sets]
    names = DOMAINS[world.attributes(sets[0][0], sets[0][1][0])[0]].attributes
    rows = [np.array([world.attributes(prompt, text)[1] for text in texts]) for prompt, texts in sets]
    values = np.concatenate([row - row.mean(0) for row in rows])
    liked = np.concatenate(
        [np.array(one.utilities) - np.mean(one.utilities) for one in person.candidate_sets]
    )

    def property_of(place: int) -> Callable[[Prompt, str], float]:
        return lambda prompt, text: world.attributes(prompt, text)[1][place]

    user = reward.adapt(person.preferences[:LABELS])
    found = {
        belief.column: belief
        for belief in user.beliefs(sets, {name: property_of(i) for i, name in enumerate(names)})
        if belief.block == "property"
    }
    known = []
    for name, value in zip(names, values.T, strict=True):
        true = float(value @ liked / np.sqrt(len(value) * (value @ value)))
        belief = found[name]
        right, usual = belief.effect * true > 0, belief.usual * true > 0
        known.append(Taste(true, right, belief.certainty >= LIKELY, usual))
    return sorted(known, key=lambda taste: -abs(taste.true))


def of_world(reward: PersonalizedReward, personas: int, seed: int) -> dict[str, Any]:
    """Shares of right signs about the attributes of the persona world, by domain."""
    source = PersonaSource(seed=seed, personas=personas, prompts=60, pairs=LABELS)
    people = world_users(source, "train", validation_fraction=0.0, test_fraction=0.0, split_seed=0)
    world = make_world(source)
    by_domain: dict[str, list[list[Taste]]] = {}
    for person in people:
        domain = world.attributes(person.preferences[0].prompt, person.preferences[0].chosen)[0]
        by_domain.setdefault(domain, []).append(tastes(reward, world, person))
    found = {domain: _shares(those) for domain, those in by_domain.items()}
    return {"labels": LABELS, "all": _shares([one for those in by_domain.values() for one in those])} | found


def _shares(people: Sequence[Sequence[Taste]]) -> dict[str, Any]:
    sure = [taste.right for those in people for taste in those if taste.sure]
    return {
        "people": len(people),
        "strongest": _percent([those[0].right for those in people]),
        "strongest_of_nobody": _percent([those[0].usual_right for those in people]),
        "all_tastes": _percent([np.mean([taste.right for taste in those]) for those in people]),
        "sure": len(sure),
        "sure_and_right": sum(sure),
    }


def _percent(values: Sequence[Any]) -> list[float]:
    return [round(100 * float(value), 1) for value in interval(np.array(values, float))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward", metavar="REWARD", help="with beliefs in words, such as fspo-mini")
    parser.add_argument("--personas", type=int, default=0, help="number of personas of each domain")
    parser.add_argument("--seed", type=int, default=9002, help="of the persona world")
    arguments = parser.parse_args()
    reward = PersonalizedReward.load(arguments.reward)
    if arguments.personas:
        found = of_world(reward, arguments.personas, arguments.seed)
    else:
        found = measure(reward, list(bundled_pool().pairs.values()))
    print(json.dumps(found | provenance(), indent=2))


if __name__ == "__main__":
    run_benchmark(main)
