"""What a description of a person, in words, is worth to a language model that writes or judges for them.

    python benchmarks/descriptions.py fspo-mini --output descriptions.json

The people of `guidance.py`, never trained on, give 8 labelled pairs. Four descriptions of each:

    true       what they like, by their true utility
    inferred   what the reward believes after the pairs (`user.beliefs`), of which it is at least fairly sure
    another    the true description of another person of the same kind
    none       no description

A language model that was not trained writes an answer with the description as its system message. The answer is
compared with 8 plain samples by the person's true utility, as in `guidance.py`, so `none` is 50 % but for chance. The
model also judges: of two plain samples, which one does the person like better? It is asked "A or B" in both orders
(`asked`), or the one counts whose likelihood the description raises more (`likelihood`).

Printed per description: winrate, length-controlled winrate, perplexity divided by that of plain samples, and accuracy
of both ways of judging, in per cent with 95 % intervals over people. `right` is the share of people of whose strongest
taste the reward believes the right sign.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from guidance import Case, Settings, even, from_zero, make_cases, over_people, rounded, sampled, table, win
from guidance_taste import said
from machine import new_file, provenance, run_benchmark

from fspo_jax import PersonalizedReward, load_writer
from fspo_jax.cli.adapting import positive
from fspo_jax.evaluation.prompted import ASKED, LIKELIHOOD, prompted
from fspo_jax.models.features.likelihoods import Likelihoods
from fspo_jax.reward.explaining import LIKELY
from fspo_jax.types import Message, Preference


def inferred(case: Case) -> dict[str, float]:
    """What the reward believes of a person's tastes, in nats per standard deviation; only what it is sure of."""
    person = case.person
    return {
        belief.column: belief.effect
        for belief in case.user.beliefs(person.pool, person.properties)
        if belief.block == "property" and belief.certainty >= LIKELY
    }


def descriptions(cases: Sequence[Case]) -> dict[str, list[str]]:
    """The descriptions of each case's person, by kind."""
    true = {case.person.name: said(case.person.likes) for case in cases}
    others = {}
    for kind in {name.split("-")[0] for name in true}:
        names = [name for name in true if name.split("-")[0] == kind]
        others |= {name: true[names[i - 1]] for i, name in enumerate(names)}
    return {
        "true": [true[case.person.name] for case in cases],
        "inferred": [said(inferred(case)) for case in cases],
        "another": [others[case.person.name] for case in cases],
        "none": [""] * len(cases),
    }


def strongest(cases: Sequence[Case]) -> np.ndarray:
    """Whether the belief about each person's strongest taste has its sign; 0 where there is none."""
    right = []
    for case in cases:
        name, weight = max(case.person.likes.items(), key=lambda item: abs(item[1]))
        right.append(float(inferred(case).get(name, 0.0) * weight > 0))
    return over_people([case.person.name for case in cases], right)


def questions(case: Case) -> list[Preference]:
    """Pairs of plain samples, the better one by true utility as the chosen; none of two that are equal."""
    pairs = []
    for a, b in zip(case.plain[::2], case.plain[1::2], strict=True):
        gain = case.person.utility(a) - case.person.utility(b)
        if abs(gain) > 1e-9:
            pairs.append(Preference(case.prompt, *((a, b) if gain > 0 else (b, a))))
    return pairs


def accuracies(
    cases: Sequence[Case], given: dict[str, list[str]], writer: str
) -> dict[str, dict[str, np.ndarray]]:
    """Accuracy of the untrained model as a judge, per person, by description and way of asking.

    The likelihood is compared with that without a description, so without one it says nothing.
    """
    methods, pairs = prompted(writer), [questions(case) for case in cases]
    names = [case.person.name for case in cases]

    def margins(way: str, texts: Sequence[str]) -> list[np.ndarray]:
        found = []
        for text, those in zip(texts, pairs, strict=True):
            asked = [replace(one, prompt=f"{text}\n\n{one.prompt}" if text else one.prompt) for one in those]
            found.append(methods[way]([()], [asked])[0][0, : len(asked)] if asked else np.zeros(0))
        return found

    def right(found: Sequence[np.ndarray]) -> np.ndarray:
        kept = [(name, np.mean(win(one))) for name, one in zip(names, found, strict=True) if len(one)]
        return over_people([name for name, _ in kept], [value for _, value in kept])

    usual = margins(LIKELIHOOD, given["none"])
    result = {}
    for kind, texts in given.items():
        raised = [a - b for a, b in zip(margins(LIKELIHOOD, texts), usual, strict=True)]
        result[kind] = {"asked": right(margins(ASKED, texts)), "likelihood": right(raised)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward", nargs="?", default="fspo-mini")
    parser.add_argument("--writer", default="smollm2-135m")
    parser.add_argument("--personas", type=even, default=40, help="an even number")
    parser.add_argument("--prompts", type=positive, default=4, help="of each kind of persona")
    parser.add_argument("--each", type=positive, default=1, help="prompts of each persona")
    parser.add_argument("--pairs", type=positive, default=8)
    parser.add_argument("--max-tokens", type=positive, default=48)
    parser.add_argument("--temperature", type=from_zero, default=0.7)
    parser.add_argument("--seed", type=int, default=9001, help="of people no reward was trained on")
    parser.add_argument(
        "--output", type=new_file, help="where to keep the numbers and four of the answers, as JSON"
    )
    arguments = parser.parse_args()
    started, where = time.time(), provenance()
    reward = PersonalizedReward.load(arguments.reward)
    settings = Settings(load_writer(arguments.writer), arguments.max_tokens, arguments.temperature)
    cases, _ = make_cases(arguments, reward, settings)
    given = descriptions(cases)
    answers: dict[str, list[str]] = {}
    for kind, texts in given.items():
        answers[kind] = [answer(case, text, settings) for case, text in zip(cases, texts, strict=True)]
        print(f"{kind}: answered after {time.time() - started:.0f} s", file=sys.stderr, flush=True)
    rows = table(cases, answers, Likelihoods(arguments.writer))
    for kind, found in accuracies(cases, given, arguments.writer).items():
        rows[kind] |= {f"accuracy, {way}": rounded(100 * values) for way, values in found.items()}
    summary: dict[str, Any] = {
        **where, **vars(arguments), "right": rounded(100 * strongest(cases)),
        "seconds": round(time.time() - started), "rows": rows,
    }  # fmt: skip
    print(json.dumps(summary, indent=1))
    if arguments.output:
        kept = [
            {
                "person": cases[i].person.name,
                "prompt": cases[i].prompt,
                "descriptions": {kind: texts[i] for kind, texts in given.items()},
                "answers": {kind: texts[i] for kind, texts in answers.items()},
            }
            for i in range(0, len(cases), max(1, len(cases) // 4))
        ]
        Path(arguments.output).write_text(json.dumps(summary | {"examples": kept}, indent=1) + "\n")


def answer(case: Case, description: str, settings: Settings) -> str:
    """One answer of the untrained model, with the description as its system message."""
    told = f"{description} Answer in this way."
    prompt = (Message("system", told), Message("user", case.prompt)) if description else case.prompt
    return sampled(prompt, 1, settings, case.seed + 1)[0]


if __name__ == "__main__":
    run_benchmark(main)
