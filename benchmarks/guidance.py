"""What guidance gains and what it costs in fluency: winrate under a persona's true utility, and perplexity.

    python benchmarks/guidance.py fspo-mini --output docs/results/guidance.json --picture docs/results/guidance.svg
    python benchmarks/guidance.py runs/ipo --rows policy few-shot policy-of:runs/sft --personas 200 --each 5

Personas never trained on, half of the domain `reviews` and half with tastes (`guidance_taste.py` says which utilities
can be measured on free text), give 8 labelled pairs. A language model writes answers to prompts that are in no pair.
Each answer is compared with 8 plain samples of the same model: the share of those with a lower utility, ties one half,
so the order of the two does not matter. Rows:

    blockwise:N:L   N continuations of L tokens, the best is kept
    best-of:N       the best of N plain samples
    few-shot        the same model, which sees the prompts and the chosen responses of the pairs as earlier turns
    few-shot:N:L    both: as few-shot, guided in blocks as above; with L as large as --max-tokens it is the best of N
    few-shot:N:L:T  the same, sampled at temperature T; blockwise takes one, too. Plain samples keep --temperature
    policy          the policy of a meta-trained language model, instead of the writer
    policy-of:RUN   the policy of another one, such as one that was trained by SFT
    own:S           the policy, its log-ratio to the reference taken S times
    tokenwise:S     the writer, with S times that log-ratio
    examples:S      both: the writer, which sees the pairs as in few-shot, with S times that log-ratio

Per row: winrate in per cent with a 95 % interval over personas; length-controlled (the intercept of a logistic
regression of the wins on the difference in words, as AlpacaEval does it); by the part of the utility that is not
length; gain in nats; perplexity under the writer given the prompt, over all tokens, divided by that of the plain
samples; words. `against` compares each row with the answers of few-shot prompting, and of other policies, to the same
prompts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from guidance_picture import draw, earlier_rows
from guidance_taste import Person, review_people, taste_people
from machine import new_file, provenance, run_benchmark

from fspo_jax import Blockwise, PersonalizedReward, Tokenwise, UserReward, load_writer, rerank, with_examples
from fspo_jax.cli.adapting import positive
from fspo_jax.config import PersonaSource
from fspo_jax.data.personas.world import make_world
from fspo_jax.errors import DataError
from fspo_jax.metrics import interval
from fspo_jax.models.features.likelihoods import RESPONSE_TOKENS, Likelihoods
from fspo_jax.types import Sampling, Writer

PLAIN = 8
"""Plain samples that each answer is compared with."""

ROWS = [
    *(f"blockwise:{n}:16" for n in (1, 2, 4, 8)), "blockwise:8:4", "blockwise:8:32", "best-of:8", "few-shot",
]  # fmt: skip
POLICY_ROWS = ["policy", "own:2", "tokenwise:1", "few-shot"]
OF_POLICIES = ("policy", "own", "tokenwise", "examples")
"""Kinds of rows for rewards that write."""


class Case(NamedTuple):
    """A person who is to get an answer to a prompt, beside plain samples that are nobody's."""

    person: Person
    user: UserReward
    others: dict[str, UserReward]  # by the run of `policy-of:RUN`
    prompt: str
    plain: list[str]
    seed: int


class Settings(NamedTuple):
    writer: Any
    max_tokens: int
    temperature: float


def sampled(prompt: Any, n: int, settings: Settings, seed: int) -> list[str]:
    draft = settings.writer.begin(
        prompt, Sampling(settings.temperature, max_tokens=settings.max_tokens, seed=seed)
    )
    return [one.text for one in settings.writer.continuations(draft, n, draft.room)]


def guidance_of(row: str) -> Blockwise | Tokenwise | None:
    """What a row guides with; for `best-of:N` one block of N.

    Raises:
        ValueError, DataError: There is no such row.
    """
    kind, _, rest = row.partition(":")
    match kind:
        case "few-shot" | "policy" if not rest:
            return None
        case "policy-of" if rest:
            return None
        case "few-shot" | "blockwise":
            n, tokens, *_ = rest.split(":")
            temperature_of(row, 1.0)
            return Blockwise(int(n), int(tokens))
        case "best-of":
            return Blockwise(int(rest))
        case "own" | "tokenwise" | "examples":
            return Tokenwise(float(rest))
    raise ValueError("unknown name")


def temperature_of(row: str, usual: float) -> float:
    """The temperature that a row samples at.

    Raises:
        ValueError: It is no number from 0 on, or too much stands behind it.
    """
    kind, *numbers = row.split(":")
    if kind not in ("few-shot", "blockwise") or len(numbers) < 3:
        return usual
    _, _, own = numbers
    if not 0 <= float(own) < np.inf:
        raise ValueError(f"temperature {own}")
    return float(own)


def row_of(text: str) -> str:
    """Reads a row, as an option."""
    try:
        guidance_of(text)
    except (ValueError, DataError) as error:
        raise argparse.ArgumentTypeError(f"there is no row {text!r} ({error}); see --help") from None
    return text


def even(text: str) -> int:
    """Reads a positive even number, as an option."""
    if positive(text) % 2:
        raise argparse.ArgumentTypeError(f"{text} is odd")
    return int(text)


def from_zero(text: str) -> float:
    """Reads a finite number from 0 on, as an option."""
    if not 0 <= float(text) < np.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 on")
    return float(text)


def answer(row: str, case: Case, settings: Settings) -> str:
    """One answer, written as a row says."""
    kind, _, rest = row.partition(":")
    guidance, user = guidance_of(row), case.user
    given = {
        "max_tokens": settings.max_tokens,
        "temperature": temperature_of(row, settings.temperature),
        "seed": case.seed + 1,
    }
    writer: Writer | None = settings.writer
    match kind:
        case "few-shot" | "examples":
            writer = with_examples(settings.writer, case.person.pairs)
        case "best-of":
            texts = sampled(case.prompt, int(rest), settings, case.seed + 1)
            return rerank(case.user, case.prompt, texts)[0].text
        case "policy" | "own":
            writer = None
        case "policy-of":
            user, writer = case.others[rest], None
    return user.generate(case.prompt, writer=writer, guidance=guidance, **given)[0]


def win(difference: np.ndarray) -> np.ndarray:
    return (difference > 1e-9) + 0.5 * (np.abs(difference) <= 1e-9)


def length_controlled(wins: np.ndarray, words: np.ndarray) -> float:
    """Winrate at equal length: a logistic regression of wins on tanh of the standardised difference in words.

    Source: Dubois et al. (2024), Length-controlled AlpacaEval, arXiv 2404.04475.
    """
    features = np.stack([np.ones_like(words), np.tanh(words / max(words.std(), 1e-9))], 1)
    weights = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-features @ weights))
        hessian = features.T @ (features * (p * (1 - p))[:, None]) + 1e-3 * np.eye(2)
        weights += np.linalg.solve(hessian, features.T @ (wins - p) - 1e-3 * weights)
    return float(1 / (1 + np.exp(-weights[0])))


def table(cases: Sequence[Case], answers: dict[str, list[str]], likelihoods: Likelihoods) -> dict[str, dict]:
    """The numbers of each row over people."""
    names = [case.person.name for case in cases]

    def nats(prompts: Sequence[str], texts: Sequence[str]) -> float:
        """Mean negative log-probability of a token."""
        given = likelihoods.responses(texts, RESPONSE_TOKENS)
        counts = np.array([len(one) // 4 for one in given])
        return float(-(likelihoods.means(likelihoods.prompts(prompts), given) * counts).sum() / counts.sum())

    once = {case.prompt: case.plain for case in cases}
    base = nats(
        [p for p, those in once.items() for _ in those], [t for those in once.values() for t in those]
    )
    found: dict[str, dict] = {}
    for row, texts in answers.items():
        utilities, others, rest, words = [], [], [], []
        for case, text in zip(cases, texts, strict=True):
            utility, apart = case.person.utility, case.person.without_length
            utilities.append(utility(text))
            others.append([utility(plain) for plain in case.plain])
            rest.append(np.mean(win(np.array([apart(text) - apart(plain) for plain in case.plain]))))
            words.append([len(text.split()) - len(plain.split()) for plain in case.plain])
        gains = np.array(utilities)[:, None] - np.array(others)
        wins = win(gains)
        rate = over_people(names, wins.mean(1).tolist())
        reviews = np.array([name.startswith("reviews") for name in dict.fromkeys(names)])
        found[row] = {
            "winrate": rounded(100 * rate),
            "length_controlled": round(
                100 * length_controlled(wins.ravel(), np.ravel(words).astype(float)), 1
            ),
            "apart_from_length": rounded(100 * over_people(names, rest)),
            "reviews": rounded(100 * rate[reviews]) if reviews.any() else None,
            "tastes": rounded(100 * rate[~reviews]) if (~reviews).any() else None,
            "gain_nats": rounded(over_people(names, gains.mean(1).tolist()), 2),
            "perplexity_ratio": round(float(np.exp(nats([c.prompt for c in cases], texts) - base)), 3),
            "words": round(float(np.mean([len(text.split()) for text in texts])), 1),
        }
    return {"plain": {"perplexity": round(float(np.exp(base)), 2), "words": round(
        float(np.mean([len(t.split()) for those in once.values() for t in those])), 1)}} | found  # fmt: skip


def over_people(names: Sequence[str], values: Sequence[float]) -> np.ndarray:
    """The mean of the values of each person, whose names stand beside them."""
    found: dict[str, list[float]] = {}
    for name, value in zip(names, values, strict=True):
        found.setdefault(name, []).append(value)
    return np.array([np.mean(those) for those in found.values()])


def against(cases: Sequence[Case], answers: dict[str, list[str]]) -> dict[str, dict[str, dict]]:
    """Each row against few-shot prompting and other policies, answer by answer: its winrate, as in `table`."""
    names, found = [case.person.name for case in cases], {}
    for other in (row for row in answers if row == "few-shot" or row.startswith("policy-of")):
        for row, texts in answers.items():
            if row == other:
                continue
            pairs = [
                (case.person.utility, a, b) for case, a, b in zip(cases, texts, answers[other], strict=True)
            ]
            wins = win(np.array([utility(a) - utility(b) for utility, a, b in pairs]))
            words = np.array([len(a.split()) - len(b.split()) for _, a, b in pairs], float)
            found.setdefault(row, {})[other] = {
                "winrate": rounded(100 * over_people(names, wins.tolist())),
                "length_controlled": round(100 * length_controlled(wins, words), 1),
            }
    return found


def rounded(values: np.ndarray, digits: int = 1) -> list[float]:
    """The mean over people with its 95 % interval."""
    return [round(float(value), digits) for value in interval(values)]


def make_cases(arguments: argparse.Namespace, reward: PersonalizedReward, settings: Settings) -> tuple:
    """The people with their prompts and plain samples; people of one kind share prompts and samples."""
    policies = {
        run: PersonalizedReward.load(run)
        for kind, _, run in (row.partition(":") for row in getattr(arguments, "rows", ()))
        if kind == "policy-of"
    }
    seed, half = arguments.seed, arguments.personas // 2
    people, agreement = review_people(half, arguments.prompts, arguments.pairs, seed)
    asked = [
        one.prompt
        for one in make_world(
            PersonaSource(seed=seed, personas=1, prompts=12 + arguments.prompts, domains=("elix_easy",))
        ).prompt_sets
    ]
    drafts = {
        prompt: sampled(prompt, PLAIN, settings, seed + 1000 * (10_000 + i))
        for i, prompt in enumerate(asked[:12])
    }
    people += taste_people(arguments.personas - half, arguments.pairs, drafts, asked[12:], seed)
    plain: dict[str, list[str]] = {}
    cases = []
    for i in np.arange(len(people)).reshape(2, -1).T.ravel().tolist():  # both kinds in turn
        person = people[i]
        user = reward.adapt(person.pairs)
        others = {run: one.adapt(person.pairs) for run, one in policies.items()}
        for j in range(arguments.each):
            prompt = person.prompts[(i * arguments.each + j) % len(person.prompts)]
            if prompt not in plain:
                plain[prompt] = sampled(prompt, PLAIN, settings, seed + 1000 * len(plain))
            cases.append(
                Case(person, user, others, prompt, plain[prompt], seed + 1000 * (100_000 + len(cases)))
            )
    return cases, agreement


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward", nargs="?", default="fspo-mini")
    parser.add_argument("--writer", default="smollm2-135m")
    parser.add_argument("--rows", nargs="+", default=[], type=row_of)
    parser.add_argument("--personas", type=even, default=40, help="an even number")
    parser.add_argument("--prompts", type=positive, default=8, help="of each kind of persona")
    parser.add_argument("--each", type=positive, default=1, help="prompts of each persona")
    parser.add_argument("--pairs", type=positive, default=8)
    parser.add_argument("--max-tokens", type=positive, default=64)
    parser.add_argument("--temperature", type=from_zero, default=0.7)
    parser.add_argument(
        "--seed", type=int, default=9001, help="no reward was trained on personas of this seed"
    )
    parser.add_argument(
        "--minutes", type=from_zero, default=60.0, help="after this time no case is begun but the first"
    )
    parser.add_argument("--output", type=new_file, help="where to keep the numbers and all answers, as JSON")
    parser.add_argument("--picture", type=new_file, help="where to draw, as SVG")
    parser.add_argument(
        "--draw",
        nargs="+",
        default=[],
        type=earlier_rows,
        metavar="OUTPUT",
        help="draw these earlier outputs, and measure nothing; of a row in several, the last",
    )
    arguments = parser.parse_args()
    if arguments.draw and not arguments.picture:
        parser.error("--draw needs --picture, where to draw")
    if arguments.draw:
        draw({row: one for rows in arguments.draw for row, one in rows.items()}, Path(arguments.picture))
        return
    reward = PersonalizedReward.load(arguments.reward)
    settings = Settings(load_writer(arguments.writer), arguments.max_tokens, arguments.temperature)
    policy = reward.writing is not None and reward.writing.generates
    rows = arguments.rows or (POLICY_ROWS if policy else ROWS)
    if not policy and any(row.partition(":")[0] in OF_POLICIES for row in rows):
        parser.error(f"{', '.join(OF_POLICIES)} need a reward that writes, which {arguments.reward} does not")
    started = time.time()
    cases, agreement = make_cases(arguments, reward, settings)
    answers: dict[str, list[str]] = {row: [] for row in rows}
    seconds = dict.fromkeys(rows, 0.0)
    where = provenance()
    for i, case in enumerate(cases):
        if i and time.time() - started > 60 * arguments.minutes:
            cases = cases[:i]
            break
        for row in rows:
            begun = time.time()
            answers[row].append(answer(row, case, settings))
            seconds[row] += time.time() - begun
        print(f"{i + 1} of {len(cases)} after {time.time() - started:.0f} s", flush=True)
    found = table(cases, answers, Likelihoods(arguments.writer))
    for row in rows:
        found[row]["seconds_an_answer"] = round(seconds[row] / len(cases), 1)
    summary = {
        **where, **vars(arguments), "people": len({case.person.name for case in cases}),
        "cases": len(cases), **agreement, "seconds": round(time.time() - started), "rows": found,
        "against": against(cases, answers),
    }  # fmt: skip
    print(json.dumps(summary, indent=1))
    if arguments.output:
        kept = [
            {"person": cases[i].person.name, "prompt": cases[i].prompt, "plain": cases[i].plain[0]}
            | {row: texts[i] for row, texts in answers.items()}
            for i in range(0, len(cases), max(1, len(cases) // 4))
        ]
        Path(arguments.output).write_text(json.dumps(summary | {"examples": kept}, indent=1) + "\n")
    if arguments.picture:
        draw(found, Path(arguments.picture))


if __name__ == "__main__":
    run_benchmark(main)
