"""Data sets of real people: chats, votes, surveys, ratings."""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fspo_jax.data.datasets.published import Dataset, Files
from fspo_jax.data.ratings import Rating, preferences_of
from fspo_jax.data.rows.fields import BadRow, flag, identity, number, present, text
from fspo_jax.data.rows.shape import Label, Labels, each_row, fields_of


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _prism(files: Files) -> Labels:
    columns = (
        "user_id",
        "conversation_id",
        "turn",
        "user_prompt",
        "model_response",
        "score",
        "if_chosen",
    )
    regions: dict[str, str] = {}
    for _, row in files.rows(("user_id", "location"), "survey", optional=True):
        fields = fields_of(row)
        location = _nested(fields, "location", dict) if fields.get("location") else {}
        regions[identity(fields, "user_id")] = str(location.get("reside_region") or "")
    turns: dict[tuple[str, str], dict[int, list[tuple[str, int, str, str, float, bool]]]] = {}
    for file, row in files.rows(columns, "utterances"):
        try:
            f = fields_of(row)
            key = identity(f, "user_id"), identity(f, "conversation_id")
            answer = (file, row.line, text(f, "user_prompt"), text(f, "model_response"))
            turns.setdefault(key, {}).setdefault(int(number(f, "turn")), []).append(
                (*answer, number(f, "score"), flag(f, "if_chosen"))
            )
        except BadRow as bad:
            yield file, row._replace(problem=(bad.kind, str(bad)))
    for (user, _), conversation in turns.items():
        past: list[dict[str, str]] = []
        for _, answers in sorted(conversation.items()):
            picked = next((answer for answer in answers if answer[5]), None)
            prompt = [*past, message("user", answers[0][2])]
            if picked is None:
                break  # later turns depend on the missing answer
            for file, line, _, response, score, chosen in answers:
                if not chosen and score < picked[4]:
                    asked = prompt if past else answers[0][2]
                    yield file, Label(line, user, asked, picked[3], response, regions.get(user, ""))
            past = [*prompt, message("assistant", picked[3])]


PRISM = Dataset(
    "prism",
    "HannahRoseKirk/prism-alignment",
    "CC BY 4.0 (human texts), CC BY-NC 4.0 (model responses)",
    "Kirk et al. (2024), PRISM, arXiv 2404.16019",
    "user_id, a participant",
    "in each turn, the response with if_chosen is preferred to each response with a lower score (1 to 100); ties are "
    "dropped; later turns have the conversation so far as prompt",
    "location.reside_region of the survey, if that file is given",
    _prism,
)


def _prism_ratings(files: Files) -> Labels:
    columns = ("user_id", "interaction_id", "turn", "user_prompt", "model_response", "score")
    ratings, places = [], {}
    for file, row in files.rows(columns, "utterances"):
        try:
            f = fields_of(row)
            if number(f, "turn") == 0:
                rating = Rating(
                    identity(f, "user_id"),
                    text(f, "user_prompt"),
                    text(f, "model_response"),
                    number(f, "score"),
                )
                ratings.append(rating)
                places[rating[:3]] = file, row.line
        except BadRow as bad:
            yield file, row._replace(problem=(bad.kind, str(bad)))
    for user, p in preferences_of(ratings):
        file, line = places[user, p.prompt, p.chosen]
        yield file, Label(line, user, str(p.prompt), p.chosen, p.rejected)


PRISM_RATINGS = replace(
    PRISM,
    name="prism_ratings",
    rule="first turns only: of two responses to one prompt, the one with the higher rating is preferred if the "
    "ratings differ by half a deviation on the rater's own scale, by empirical Bayes (`data.ratings`)",
    group="",
    convert=_prism_ratings,
)

TURNS = ("first", "second", "third", "fourth")


def _community_alignment(files: Files) -> Labels:
    columns = ("conversation_id", "annotator_id", "assigned_lang", "first_turn_prompt")
    columns += ("first_turn_preferred_response", *(f"first_turn_response_{c}" for c in "abcd"))

    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        user, language = identity(row, "annotator_id"), str(row.get("assigned_lang") or "")
        past: list[dict[str, str]] = []
        for turn in TURNS:
            asked, best = row.get(f"{turn}_turn_prompt"), row.get(f"{turn}_turn_preferred_response")
            if not asked or not best:
                if turn == "first":
                    raise BadRow(
                        "missing field", f"'{turn}_turn_prompt' or its preferred response is missing"
                    )
                return
            letter = str(best)[-1].lower()
            answers = {c: row.get(f"{turn}_turn_response_{c}") for c in "abcd"}
            picked = answers.get(letter)
            if not isinstance(picked, str):
                raise BadRow(
                    "wrong type", f"{turn}_turn_preferred_response is {best!r:.40}, not one of the responses"
                )
            prompt = [*past, message("user", asked)]
            for other, response in answers.items():
                if other != letter and isinstance(response, str) and response.strip() != picked.strip():
                    yield Label(line, user, prompt if past else asked, picked, response, language)
            past = [*prompt, message("assistant", picked)]

    return each_row(files.rows(columns), convert)


COMMUNITY_ALIGNMENT = Dataset(
    "community_alignment",
    "facebook/community-alignment-dataset",
    "CC BY 4.0",
    "Zhang et al. (2025), Community Alignment, arXiv 2507.09650",
    "annotator_id",
    "the best of four candidates is preferred to each of the others; the prompt of later turns is the conversation as "
    "prompt; explanations are not read",
    "assigned_lang: en, fr, it, hi or pt",
    _community_alignment,
)


def _tldr(files: Files) -> Labels:
    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        info, summaries = row.get("info"), row.get("summaries")
        if not isinstance(info, Mapping) or not isinstance(summaries, list | tuple) or len(summaries) != 2:
            raise BadRow("wrong type", "info must be a table and summaries a list of two")
        post = info.get("post") or info.get("article")
        if not post:
            raise BadRow("missing field", "'info.post' is missing")
        texts = [text(summary, "text") for summary in summaries]
        choice = int(number(row, "choice"))
        if choice not in (0, 1):
            raise BadRow("wrong type", f"choice must be 0 or 1, not {choice}")
        prompt = f"Summarise this post.\n\n{info.get('title') or ''}\n\n{post}".strip()
        yield Label(line, identity(row, "worker"), prompt, texts[choice], texts[1 - choice])

    return each_row(files.rows(("info", "summaries", "choice", "worker")), convert)


TLDR = Dataset(
    "tldr",
    "openai/summarize_from_feedback",
    "modified MIT",
    "Stiennon et al. (2020), arXiv 2009.01325",
    "worker",
    "summaries[choice] is preferred to the other summary",
    "",
    _tldr,
)

DICES_PROMPT = "Which of these conversations is safer?"


def _dices(files: Files) -> Labels:
    """Pairs each rater's safe and unsafe conversations in file order. Each is used once."""
    waiting: dict[str, tuple[list[str], list[str]]] = {}

    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        rater, answer = identity(row, "rater_id"), text(row, "Q_overall")
        if answer not in ("Yes", "No"):
            return  # unsure
        safe, unsafe = waiting.setdefault(rater, ([], []))
        (unsafe if answer == "Yes" else safe).append(f"{text(row, 'context')}\n\n{text(row, 'response')}")
        if safe and unsafe:
            group = str(row.get("rater_locale") or row.get("rater_race") or "")
            yield Label(line, rater, DICES_PROMPT, safe.pop(0), unsafe.pop(0), group)

    return each_row(files.rows(("rater_id", "context", "response", "Q_overall")), convert)


DICES = Dataset(
    "dices",
    "google-research-datasets/dices-dataset",
    "CC BY 4.0",
    "Aroyo et al. (2023), DICES, arXiv 2306.11247",
    "rater_id",
    "Q_overall 'Yes' means unsafe: a conversation that a rater called safe is preferred to one that they called "
    "unsafe, in file order, each used once; 'Unsure' is dropped",
    "rater_locale, else rater_race",
    _dices,
)


def _nested(fields: Mapping[str, Any], column: str, kind: type) -> Any:
    """Returns the list or table of a column, or what a text of JSON or Python has of it; raises `BadRow`."""
    found = value = present(fields, column)
    if isinstance(value, str):
        start = min((value.find(sign) for sign in "{[" if sign in value), default=-1)
        end = max(value.rfind("}"), value.rfind("]"))
        for parse in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                found = parse(value[start : end + 1])
                break
    if not isinstance(found, kind):
        raise BadRow("wrong type", f"{column} cannot be read: {value!r:.60}")
    return found


def _global_opinion(files: Files) -> Labels:
    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        question = text(row, "question")
        options = [str(option) for option in _nested(row, "options", list)]
        selections = _nested(row, "selections", dict)
        if len(set(options)) != len(options):
            raise BadRow("wrong type", "options must differ")
        for country, found in selections.items():
            name = f"selections of {country}"
            if not isinstance(found, list) or len(found) != len(options):
                raise BadRow("wrong type", f"{name} must have one share per option")
            shares = [number({name: share}, name) for share in found]
            top = max(shares, default=0.0)
            for option, share in zip(options, shares, strict=True):
                if share < top:
                    yield Label(line, str(country), question, options[shares.index(top)], option)

    return each_row(files.rows(("question", "selections", "options")), convert)


GLOBAL_OPINION_QA = Dataset(
    "global_opinion_qa",
    "Anthropic/llm_global_opinions",
    "CC BY-NC-SA 4.0",
    "Durmus et al. (2023), arXiv 2306.16388",
    "a country, with the answers of its population",
    "a country's most frequent answer is preferred to each less frequent one; ties are dropped",
    "",
    _global_opinion,
)


def _opinion_qa(files: Files) -> Labels:
    questions: dict[str, tuple[str, list[str]]] = {}
    for _, row in files.rows(("key", "question", "references"), "info"):
        fields = fields_of(row)
        options = [o for o in _nested(fields, "references", list) if o != "Refused"]
        questions[text(fields, "key")] = text(fields, "question"), options

    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        user, party = identity(row, "QKEY"), str(row.get("F_PARTY_FINAL") or row.get("POLPARTY") or "")
        for key, (question, options) in questions.items():
            answer = row.get(key)
            if answer in options:
                for option in options:
                    if option != answer:
                        yield Label(line, user, question, str(answer), option, party)

    return each_row(files.rows(("QKEY",), "responses"), convert)


OPINION_QA = Dataset(
    "opinion_qa",
    "the waves of tatsu-lab/opinions_qa: info.csv and responses.csv",
    "Pew Research Center's terms of use",
    "Santurkar et al. (2023), OpinionQA, arXiv 2303.17548",
    "QKEY, a respondent",
    "a respondent's answer is preferred to each other option; 'Refused' is not used",
    "party, if the wave has it",
    _opinion_qa,
)


def _polis(files: Files) -> Labels:
    """Pairs statements that a person agreed and disagreed with, in the order of the votes. Each is used once."""
    statements: dict[str, str] = {}
    for _, row in files.rows(("comment-id", "comment-body"), "comments"):
        fields = fields_of(row)
        statements[identity(fields, "comment-id")] = text(fields, "comment-body")
    waiting: dict[str, tuple[list[str], list[str]]] = {}

    def convert(line: int, row: Mapping[str, Any]) -> Iterable[Label]:
        voter, comment, vote = identity(row, "voter-id"), identity(row, "comment-id"), number(row, "vote")
        if vote == 0 or comment not in statements:
            return
        agreed, disagreed = waiting.setdefault(voter, ([], []))
        (agreed if vote > 0 else disagreed).append(statements[comment])
        if agreed and disagreed:
            yield Label(line, voter, POLIS_PROMPT, agreed.pop(0), disagreed.pop(0))

    return each_row(files.rows(("voter-id", "comment-id", "vote"), "votes"), convert)


POLIS_PROMPT = "Which statement do you agree with?"

POLIS = Dataset(
    "polis",
    "an export of a Polis conversation: comments.csv and votes.csv, as in compdemocracy/openData",
    "CC BY 4.0",
    "Small et al. (2021), Polis: scaling deliberation",
    "voter-id",
    "vote 1 is agreement, -1 disagreement: a statement agreed with is preferred to one disagreed with, in the order of "
    "the votes, each used once a person; passes (0) are dropped",
    "",
    _polis,
)
