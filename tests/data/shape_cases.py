"""The same preferences in every known shape of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fspo_jax.types import Message, Preference, Prompt

Rows = list[dict[str, Any]]
PAIRS = [(7 + i % 2, f"Why, {i}?", f"good é {i}", f'bad "{i}", no') for i in range(6)]
"""Person, prompt, chosen and rejected."""


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def rows() -> Rows:
    return [dict(zip(("user_id", "prompt", "chosen", "rejected"), pair, strict=True)) for pair in PAIRS]


def chats() -> Rows:
    return [
        {"user_id": u, "prompt": [user(p)], "chosen": [assistant(c)], "rejected": [assistant(r)]}
        for u, p, c, r in PAIRS
    ]


def implicit_texts() -> Rows:
    return [
        {"user_id": u, "chosen": f"Human: {p}\n\nAssistant: {c}", "rejected": f"Human: {p}\n\nAssistant: {r}"}
        for u, p, c, r in PAIRS
    ]


def implicit_chats() -> Rows:
    return [
        {"user_id": u, "chosen": [user(p), assistant(c)], "rejected": [user(p), assistant(r)]}
        for u, p, c, r in PAIRS
    ]


def prompt_and_whole_chats() -> Rows:
    return [
        {"user_id": u, "prompt": p, "chosen": [user(p), assistant(c)], "rejected": [user(p), assistant(r)]}
        for u, p, c, r in PAIRS
    ]


def prompt_and_whole_chats_with_messages() -> Rows:
    return [row | {"messages": row["chosen"]} for row in prompt_and_whole_chats()]


def winners() -> Rows:
    return [
        {
            "user_id": u,
            "question": p,
            "answer_a": r if i % 2 else c,
            "answer_b": c if i % 2 else r,
            "winner": ["a", "model_b", "A", "answer_b", " a", "B"][i],
        }
        for i, (u, p, c, r) in enumerate(PAIRS)
    ]


def winning_chats() -> Rows:
    return [
        {
            "user_id": u,
            "model_a": "m",
            "model_b": "n",
            "winner": "model_b",
            "conversation_a": [user(p), assistant(r)],
            "conversation_b": [user(p), assistant(c)],
        }
        for u, p, c, r in PAIRS
    ]


def ratings() -> Rows:
    return [
        {"user_id": u, "prompt": p, "response": text, "score": value}
        for u, p, c, r in PAIRS
        for text, value in ((r, 20), (c, 90))
    ]


def ratings_beside() -> Rows:
    return [
        {"user_id": u, "prompt": p, "response_1": c, "response_2": r, "rating_1": 5, "rating_2": 1}
        for u, p, c, r in PAIRS
    ]


def labelled() -> Rows:
    return [
        {"user_id": u, "prompt": p, "completion": text, "label": good}
        for good in (True, False)
        for u, p, c, r in PAIRS
        for text in ((c,) if good else (r,))
    ]


def plain(text: str) -> Prompt:
    return text


def conversation(text: str) -> Prompt:
    return (Message("user", text),)


class Case(NamedTuple):
    """Rows, what their prompts become, what their chosen and rejected begin with, and how the output calls them."""

    make: Callable[[], Rows]
    prompt: Callable[[str], Prompt]
    name: str
    start: str = ""


CASES = [
    Case(rows, plain, "preference rows (prompt, chosen, rejected)"),
    Case(chats, conversation, "TRL preference rows with chats (prompt, chosen, rejected)"),
    Case(
        implicit_texts,
        lambda text: f"Human: {text}\n\nAssistant:",
        "TRL preference rows with implicit prompt (chosen, rejected)",
        " ",
    ),
    Case(implicit_chats, conversation, "TRL preference rows with implicit prompt (chosen, rejected)"),
    Case(prompt_and_whole_chats, plain, "TRL preference rows with chats (prompt, chosen, rejected)"),
    Case(
        prompt_and_whole_chats_with_messages,
        plain,
        "TRL preference rows with chats (prompt, chosen, rejected)",
    ),
    Case(winners, plain, "winner columns (question, winner, answer_a, answer_b)"),
    Case(winning_chats, conversation, "winner columns (winner, conversation_a, conversation_b)"),
    Case(ratings, plain, "ratings (prompt, response, score), on each rater's own scale"),
    Case(
        ratings_beside,
        plain,
        "ratings (prompt, response_1, response_2, rating_1, rating_2), on each rater's own scale",
    ),
    Case(labelled, plain, "KTO labelled responses (prompt, completion, label), paired within a prompt"),
]


def expected(case: Case, person: int) -> tuple[Preference, ...]:
    return tuple(
        Preference(case.prompt(p), case.start + c, case.start + r) for u, p, c, r in PAIRS if u == person
    )


def check(loaded: Any, case: Case) -> None:
    assert {u.user_id: u.preferences for u in loaded} == {str(k): expected(case, k) for k in (7, 8)}
    assert not loaded.rejects and loaded.shapes == (case.name,)
    assert f"2 users; read as {case.name}" in loaded.summary()
