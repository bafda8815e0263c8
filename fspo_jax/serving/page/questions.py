"""Asking a person: the next pair, their answer, and the model's guess afterwards."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fspo_jax.arguments import shown
from fspo_jax.errors import DataError
from fspo_jax.serving.bodies import read_form
from fspo_jax.serving.choosing import choose_question, everything_known
from fspo_jax.serving.page.hits import hits_of
from fspo_jax.serving.page.rendering import render
from fspo_jax.serving.page.visiting import Visit, visit
from fspo_jax.serving.pool import question_id
from fspo_jax.serving.routes.people import MOST_SECONDS
from fspo_jax.serving.service import Service
from fspo_jax.serving.stored import Guess, KeyUsedBefore, Label
from fspo_jax.types import Preference

SIDES = ("first", "second")
ENOUGH = 8
"""Number of labels from which on the page says that one may stop."""

SAID = {
    "tie": "Noted: you like both equally. The model learns nothing from this pair, and it is not asked again.",
    "skip": "Skipped. This pair is not asked again.",
    "twice": "That pair was answered already.",
    "undone": "The last answer is undone.",
    "changed": "The questions have changed meanwhile. Here is a new one.",
    "forgotten": "Everything about this person is forgotten.",
    "shared": "The person is forgotten. What their community learned from them stays until it learns again.",
}
"""What the page says after an answer that gives no label."""


def sides_of(user: str, pair: Preference) -> tuple[str, str]:
    """The two responses in the order in which a person sees them. It is fixed for a pair, and fair over pairs."""
    digest = hashlib.sha256(f"{user}\n{question_id(pair)}".encode()).digest()
    first, second = sorted((pair.chosen, pair.rejected))
    return (first, second) if digest[0] % 2 else (second, first)


async def ask_question(request: Request) -> Response:
    """Shows the next pair, and what the model had guessed of the last."""
    visited = visit(request, "rank", "read")
    service, user = visited
    known = await service.storing.run(lambda: everything_known(service, user))
    found = await service.computing.run(lambda: choose_question(service, user, known))
    after = request.query_params.get("after", "")
    last = next((label for label in known.asked if str(label.id) == after), None)
    values: dict[str, Any] = {
        "known": known,
        "enough": ENOUGH,
        "hits": hits_of(known.labels),
        "question": None,
        "said": said_of(user, last) if last else SAID.get(request.query_params.get("said", ""), ""),
    }
    if found:
        question, asked = found
        pair = question.answered("a")
        values["question"] = {
            "id": question_id(pair),
            "prompt": pair.prompt,
            "sides": list(zip(SIDES, "AB", sides_of(user, pair), strict=True)),
            "asked": asked,
            "key": f"page-{secrets.token_hex(12)}",
        }
    return render(request, "ask.html", values)


def said_of(user: str, label: Label) -> str:
    """What the model had guessed of a label."""
    assert label.guess
    first, _ = sides_of(user, label.pair)
    chosen, other = ("A", "B") if label.pair.chosen == first else ("B", "A")

    def guessed(probability: float) -> str:
        if round(100 * probability) == 50:
            return "neither"
        letter, sure = (chosen, probability) if probability > 0.5 else (other, 1 - probability)
        return f"{letter}, at {100 * sure:.0f} %"

    test = " This was a test question, drawn at random." if label.guess.asked == "random" else ""
    return (
        f"You chose {chosen}. The model's guess was {guessed(label.guess.own)}. "
        f"Without your labels it would have been {guessed(label.guess.general)}.{test}"
    )


async def answer(request: Request) -> Response:
    """Keeps an answer: a label with what the model guessed before it, a tie, or a skipped pair."""
    visited = visit(request, "write", "rank")
    service, user = visited
    form = {name: values[0] for name, values in (await read_form(request, service.settings.limits)).items()}
    pair = service.pool.pairs.get(form.get("question", ""))
    if pair is None:
        return _back(visited, said="changed")
    given, seconds = form.get("answer", ""), _seconds(form.get("seconds", ""))
    most = service.most_labels
    if given in ("tie", "skip"):
        await service.storing.run(
            lambda: service.users.pass_over(user, pair, given, most=most, response_seconds=seconds)
        )
        return _back(visited, said=given)
    if given not in SIDES or form.get("asked") not in ("bald", "random"):
        raise DataError(f"the answer must be one of first, second, tie or skip, not {shown(given)}.")
    first, second = sides_of(user, pair)
    label = Preference(pair.prompt, *((first, second) if given == "first" else (second, first)))
    guess = await service.computing.run(lambda: guess_of(service, user, label, form["asked"]))
    key = form.get("key") or None
    try:
        ids = await service.storing.run(
            lambda: service.users.append(
                user, [label], key=key, most=most, response_seconds=seconds, guess=guess
            )
        )
    except KeyUsedBefore:
        return _back(visited, said="twice")
    return _back(visited, after=str(ids[0]))


def guess_of(service: Service, user: str, label: Preference, asked: str) -> Guess:
    """What is known of a label before it is given."""
    rewards = (service.reward_of(user).reward, service.rewards.everybody.reward)
    texts = (label.prompt, label.chosen, label.rejected)
    return Guess(asked, *(reward.preference_probability(*texts) for reward in rewards))


async def undo(request: Request) -> Response:
    """Takes the newest answer back. It is named, so that a form that is sent twice takes back one."""
    visited = visit(request, "write")
    service, user = visited
    form = await read_form(request, service.settings.limits)
    number = number_in(form)
    forget = service.users.forget if form.get("kind") == ["label"] else service.users.forget_pass
    await service.storing.run(lambda: forget(user, number))
    return _back(visited, said="undone")


def number_in(form: Mapping[str, list[str]]) -> int:
    """The field `id` of a form; raises `DataError` unless it is a whole number."""
    value = form.get("id", [""])[0]
    if not value.isascii() or not value.isdecimal() or len(value) > 18:
        raise DataError(f"id must be a whole number, not {shown(value)}.")
    return int(value)


def _seconds(text: str) -> float | None:
    """How long the person took, as the browser says it; None for anything odd, since a label matters more."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0.0 <= seconds <= MOST_SECONDS else None


def _back(visited: Visit, **query: str) -> Response:
    return RedirectResponse(f"{visited.page()}?{urlencode(query)}", 303)
