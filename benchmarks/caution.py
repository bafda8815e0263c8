"""What it gains and costs to choose by a lower bound of the score: best of eight candidates for personas.

    python benchmarks/caution.py fspo-mini --personas 25

Personas of each domain of the persona world, of a seed that no reward was trained on, with 0, 2 or 8 labelled pairs.
The candidate with the highest lower bound is chosen out of eight to a prompt that is in no pair. Prints, for each
number of standard deviations (caution) and of pairs, with 95 % intervals over personas: the win rate of the chosen
against the other candidates by true utility, and how much utility it loses to the best, in nats. And two ways in which
a lower bound fails, as shares of the prompts in per cent:

    near_constant   the scores differ by less than their typical uncertainty, so that the uncertainty decides
    turned          lower bound and score order the candidates against each other (their rank correlation is negative)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from asking import people_of
from machine import provenance, run_benchmark

from fspo_jax import PersonalizedReward
from fspo_jax.cli.adapting import positive
from fspo_jax.metrics import interval
from fspo_jax.reward.caution import lower_bound
from fspo_jax.types import User

CAUTIONS = (0.0, 0.5, 1.0, 2.0, 4.0)
SHOTS = (0, 2, 8)


def ranks(values: np.ndarray) -> np.ndarray:
    return values.argsort(kind="stable").argsort(kind="stable").astype(float)


def of_person(reward: PersonalizedReward, person: User, shots: int) -> np.ndarray:
    """Win rate, regret, near constant and turned for each caution, the mean over prompts: `[C, 4]`."""
    user = reward.adapt(person.preferences[:shots])
    found = []
    for one in person.candidate_sets:
        scores, deviations = user.score_with_uncertainty(one.prompt, one.candidates)
        true = np.array(one.utilities)
        rows = []
        for caution in CAUTIONS:
            bound = scores - caution * deviations
            chosen = true[bound.argmax()]
            others = np.delete(true, bound.argmax())
            won = ((chosen > others) + 0.5 * (chosen == others)).mean()
            near = caution > 0 and np.ptp(scores) < deviations.mean()
            turned = np.corrcoef(ranks(bound), ranks(scores))[0, 1] < 0
            rows.append([100 * won, true.max() - chosen, 100 * near, 100 * turned])
        found.append(rows)
    return np.mean(found, 0)


def measure(reward: PersonalizedReward, people: Sequence[User]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for shots in SHOTS:
        values = np.array([of_person(reward, person, shots) for person in people])
        found[f"{shots} pairs"] = {
            str(caution): {
                name: [round(float(value), 2) for value in interval(values[:, i, j])]
                for j, name in enumerate(("win_rate", "regret", "near_constant", "turned"))
            }
            for i, caution in enumerate(CAUTIONS)
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward", help="with uncertainty, such as fspo-mini")
    parser.add_argument("--personas", type=positive, default=50, help="number of personas of each domain")
    arguments = parser.parse_args()
    reward = PersonalizedReward.load(arguments.reward)
    lower_bound(reward.adapt(), "question", ["one", "another"], 1.0)  # raises if it knows no uncertainty
    people = people_of(reward, "", arguments.personas)
    print(json.dumps({"people": len(people)} | measure(reward, people) | provenance(), indent=1))


if __name__ == "__main__":
    run_benchmark(main)
