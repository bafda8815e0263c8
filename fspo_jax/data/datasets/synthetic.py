"""Data sets with synthetic users: personas, steered judges, reward models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fspo_jax.data.datasets.published import Dataset, Files
from fspo_jax.data.rows.fields import BadRow, identity, number, text
from fspo_jax.data.rows.shape import Label, Labels, each_row, fields_of

PAIRS_PER_USER = 32
"""Pairs per user, for users made from the rows of one type of person."""


def _steered(files: Files) -> Labels:
    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        first = number(row, "label") == 0
        responses = text(row, "response_x"), text(row, "response_y")
        chosen, rejected = responses if first else responses[::-1]
        yield Label(line, identity(row, "scorer_level"), text(row, "prompt"), chosen, rejected)

    return each_row(files.rows(("prompt", "response_x", "response_y", "label", "scorer_level")), convert)


def _roleplay(files: Files) -> Labels:
    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        yield Label(line, identity(row, "level"), text(row, "x"), text(row, "yw"), text(row, "yl"))

    return each_row(files.rows(("level", "x", "yw", "yl")), convert)


FSPO = "Singh et al. (2025), FSPO, arXiv 2502.19312"

FSPO_REVIEWS = Dataset(
    "fspo_reviews",
    "Asap7772/steered_reviews_full_autolabel_gpt4o_pref",
    "not stated",
    FSPO,
    "scorer_level: positive, negative, concise, verbose and their mixtures",
    "label 0 means that response_x is preferred, 1 response_y",
    "",
    _steered,
)
FSPO_ELIX = Dataset(
    "fspo_elix",
    "Asap7772/elix_generations_gpt4omini_pref",
    "not stated",
    FSPO,
    "scorer_level: the reader's level of education",
    "label 0 means that response_x is preferred, 1 response_y",
    "",
    _steered,
)
FSPO_ROLEPLAY = Dataset(
    "fspo_roleplay",
    "sher222/persona-iterative-responses",
    "not stated",
    FSPO,
    "level: id of the persona",
    "yw is preferred to yl",
    "",
    _roleplay,
)

REWARD_MODELS = (
    "gemma_2b",
    "gemma_7b",
    "mistral_raft",
    "mistral_ray",
    "mistral_weqweasdas",
    "llama3_sfairx",
    "oasst_deberta_v3",
    "beaver_7b",
    "oasst_pythia_7b",
    "oasst_pythia_1b",
)
SIMULATED_USERS, CONCENTRATION = 1000, 0.05


def _personal_llm(files: Files) -> Labels:
    """Simulates users as weights of the reward models, whose scores are standardised over the file."""
    columns = ["prompt", *(f"response_{i}" for i in range(1, 9))]
    columns += [f"response_{i}_{model}" for i in range(1, 9) for model in REWARD_MODELS]
    kept: list[tuple[str, int, str, list[str], np.ndarray]] = []
    for file, row in files.rows(columns):
        try:
            fields = fields_of(row)
            texts = [text(fields, f"response_{i}") for i in range(1, 9)]
            scores = [
                [number(fields, f"response_{i}_{model}") for model in REWARD_MODELS] for i in range(1, 9)
            ]
            kept.append((file, row.line, text(fields, "prompt"), texts, np.array(scores)))
        except BadRow as bad:
            yield file, row._replace(problem=(bad.kind, str(bad)))
    if not kept:
        return
    stacked = np.stack([scores for *_, scores in kept])
    stacked = (stacked - stacked.mean((0, 1))) / np.maximum(stacked.std((0, 1)), 1e-9)
    for user in range(SIMULATED_USERS):
        generator = np.random.default_rng([0, user])
        weights = generator.dirichlet(np.full(len(REWARD_MODELS), CONCENTRATION))
        for i in generator.permutation(len(kept))[:PAIRS_PER_USER]:
            file, line, prompt, texts, _ = kept[i]
            a, b = generator.choice(8, 2, replace=False)
            utility = stacked[i] @ weights
            if utility[a] != utility[b]:
                a, b = (a, b) if utility[a] > utility[b] else (b, a)
                yield file, Label(line, f"simulated-{user:04d}", prompt, texts[a], texts[b])


PERSONAL_LLM = Dataset(
    "personal_llm",
    "namkoong-lab/PersonalLLM",
    "CC BY 4.0",
    "Zollo et al. (2024), PersonalLLM, arXiv 2409.20296",
    f"one of {SIMULATED_USERS:,} simulated users, with Dirichlet({CONCENTRATION}) weights of ten reward models",
    f"{PAIRS_PER_USER} prompts per user, two random responses each; the one with the larger weighted score "
    "is chosen; ties are dropped",
    "",
    _personal_llm,
)


def _of_types(files: Files) -> Labels:
    """Gives the rows of each type of person, in file order, to users with a fixed number of pairs."""
    counts: dict[str, int] = {}

    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        kind = identity(row, "data_subset")
        label = Label(line, "", text(row, "prompt"), text(row, "chosen"), text(row, "rejected"), kind)
        count = counts[kind] = counts.get(kind, 0) + 1
        yield label._replace(user_id=f"{kind}-{(count - 1) // PAIRS_PER_USER:05d}")

    return each_row(files.rows(("prompt", "chosen", "rejected", "data_subset")), convert)


def _variational(name: str, who: str) -> Dataset:
    return Dataset(
        name,
        "as made by the code of the paper",
        "MIT",
        "Poddar et al. (2024), VPL, arXiv 2408.10075",
        f"{who}; the rows of a data_subset go to users with {PAIRS_PER_USER} pairs each, in file order",
        "chosen is preferred to rejected",
        "data_subset",
        _of_types,
    )


UF_P_2 = _variational("uf_p_2", "two types of UltraFeedback judges")
UF_P_4 = _variational("uf_p_4", "four types of UltraFeedback judges")
PETS = _variational("pets", "types of pet lovers")

ROLES = range(1, 8)
_OPTION = re.compile(r"^\s*([ABC])\. (.+?)\s*$", re.MULTILINE)


def _fair_pp(files: Files) -> Labels:
    """All templates of the authors' code end with the lines A, B and `C. N/A`.

    C is not a response. Its code also means that an answer was missing or could not be read.
    """
    columns = ["Question", *(f"gpt-4o-mini_role_{role}_answer" for role in ROLES)]

    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        question = text(row, "Question")
        found = list(_OPTION.finditer(question))
        if "".join(option[1] for option in found) != "ABC" or found[0][2] == found[1][2]:
            raise BadRow(
                "wrong type",
                "Question must list the options A, B and C on lines of their own, and A must differ from B",
            )
        first, second = found[0][2], found[1][2]
        prompt = question[: found[0].start()].strip()
        for role in ROLES:
            answer = number(row, f"gpt-4o-mini_role_{role}_answer")
            if answer in (0, 1):
                chosen, rejected = (first, second) if answer == 0 else (second, first)
                yield Label(line, f"role_{role}", prompt, chosen, rejected)

    return each_row(files.rows(columns), convert)


FAIR_PP = Dataset(
    "fair_pp",
    "tools-o/Fair-PP",
    "CC BY-NC-SA 4.0",
    "Zhou et al. (2025), Fair-PP, arXiv 2505.11861",
    "one of seven roles played by gpt-4o-mini",
    "answer 0 means that option A of Question is preferred to B, 1 the other way round; 2 is 'N/A', a missing answer "
    "or one that could not be read, and is dropped",
    "",
    _fair_pp,
)


INFERRED = "persona_xy_4s_gpt4"


def _wiki_personas(files: Files) -> Labels:
    """Reads pairs as annotated (`yw`, `yl`) or as formatted for training (`chosen`, `rejected`)."""
    inferred: dict[str, str] = {}
    for _, row in files.rows(("name", INFERRED), start="personas", optional=True):
        fields = fields_of(row)
        inferred[text(fields, "name")] = text(fields, INFERRED) if fields.get(INFERRED) else ""

    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        name, prompt = text(row, "name"), text(row, "prompt")
        if "yw" in row or "yl" in row:
            chosen, rejected = text(row, "yw"), text(row, "yl")
        else:
            chosen, rejected = _last(row, "chosen"), _last(row, "rejected")
        yield Label(line, name, prompt, chosen, rejected, description=inferred.get(name, ""))

    pairs = files.rows(("name", "prompt"), but=("personas", "demographics"))
    yield from each_row(pairs, convert)


def _last(row: Mapping[str, Any], column: str) -> str:
    """Returns the text of the last message of a column."""
    messages = row.get(column)
    if messages is None:
        raise BadRow("missing field", f"'{column}' is missing, and so are 'yw' and 'yl'")
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], Mapping):
        raise BadRow("wrong type", f"{column} must be a list of messages")
    return text(messages[-1], "content")


WIKI_PERSONAS = Dataset(
    "wiki_personas",
    "zilu-peter-tang/famous-persona",
    "MIT (the authors' repository, PootieT/famous-persona)",
    "Tang et al. (2025), WikiPersonas, later FamousPersona, arXiv 2505.13257",
    "name: one of 50 famous people, played by GPT-4; User.description is "
    f"{INFERRED} of personas.json if that file is there: what GPT-4 infers of the person from four of their pairs for "
    "training, which are not marked",
    "yw is preferred to yl, or the last message of chosen to that of rejected; both splits are read, question_type is "
    "not. Columns are those that the authors' code writes and reads; the hub's own could not be checked. Give the "
    "files without a prefix in the prompt, and name those that hold one object a line .jsonl",
    "",
    _wiki_personas,
)


def _personal_reward_bench(files: Files) -> Labels:
    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        yield Label(
            line,
            identity(row, "id"),
            text(row, "question"),
            text(row, "chosen"),
            text(row, "rejected"),
            str(row.get("category") or ""),
        )

    return each_row(files.rows(("id", "question", "chosen", "rejected", "category")), convert)


PERSONAL_REWARD_BENCH = Dataset(
    "personal_reward_bench",
    "QiyaoMa/Personalized-RewardBench",
    "Apache-2.0",
    "Ma et al. (2026), Personalized RewardBench, arXiv 2604.07343",
    "the asker of one question, with one pair, so for zero shots only; the posts of the profile are not labels",
    "chosen follows the asker's rubric, rejected does not",
    "category",
    _personal_reward_bench,
)
