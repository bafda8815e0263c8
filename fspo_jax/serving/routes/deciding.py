"""Decisions, as OpenAI's API has them: questions about one input. A reward says which choice somebody would prefer."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fspo_jax.arguments import check_text, shown
from fspo_jax.errors import DataError, LimitError
from fspo_jax.serving.bodies import Body, check_lengths, prompt_in
from fspo_jax.serving.limits import Limits
from fspo_jax.serving.routes.answers import usage
from fspo_jax.serving.service import ask_for_scores

MOST_QUESTIONS, MOST_CHOICES = 400, 255


async def decide(request: Request) -> Response:
    """Answers questions of type choice; declines others, which ask for something else than a preference.

    A choice is a response to the input: its description, or its value if it has none. Its probability is that of being
    preferred to all others, by the model of Bradley and Terry with the mean rewards.
    """
    service, bearer, body, user = await ask_for_scores(request)
    limits = service.settings.limits
    prompt, questions = prompt_in(body, "input", limits), _questions(body)
    offered = [_texts(question, f"questions[{i}]", limits) for i, question in enumerate(questions)]
    texts = [text for group in offered for text in group]
    if len(texts) > limits.candidates:
        raise LimitError(
            f"request: there are {len(texts):,} choices; at most {limits.candidates:,} are allowed."
        )
    scored = await service.score(bearer, user, [prompt] * len(texts), texts)
    answers, done = [], 0
    for question, group in zip(questions, offered, strict=True):
        answers.append(_answer(question, scored.rewards[done : done + len(group)]))
        done += len(group)
    words = usage([prompt], texts)["total_tokens"]
    used = {
        "input_tokens": words,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": words,
    }
    model = body.get("model") or service.settings.name
    return JSONResponse({"model": model, "answers": answers, "usage": used})


def _questions(body: Body) -> list[dict[str, Any]]:
    questions = body.get("questions")
    if not isinstance(questions, list) or not 1 <= len(questions) <= MOST_QUESTIONS:
        raise DataError(
            f"request: questions must be a list of 1 to {MOST_QUESTIONS} questions, not {shown(questions)}."
        )
    for i, question in enumerate(questions):
        if not isinstance(question, dict) or not isinstance(question.get("type"), str):
            raise DataError(f"request: questions[{i}] must be an object with a type, not {shown(question)}.")
        check_text(question.get("name") or "", f"request: questions[{i}].name")
    return questions


def _texts(question: dict[str, Any], name: str, limits: Limits) -> list[str]:
    """The choices of a question as texts; empty for a question that is declined."""
    if question["type"] != "choice":
        return []
    choices = question.get("choices")
    if not isinstance(choices, list) or not 2 <= len(choices) <= MOST_CHOICES:
        raise DataError(
            f"request: {name}.choices must be a list of 2 to {MOST_CHOICES} choices, not {shown(choices)}."
        )
    texts = []
    for i, choice in enumerate(choices):
        if not isinstance(choice, dict) or not isinstance(choice.get("value"), str | bool):
            raise DataError(
                f"request: {name}.choices[{i}] must be an object with a value, not {shown(choice)}."
            )
        check_text(str(choice["value"]), f"request: {name}.choices[{i}].value")
        text = choice.get("description")
        texts.append(
            check_text(str(choice["value"]) if text is None else text, f"{name}.choices[{i}].description")
        )
    check_lengths(texts, name, limits)
    return texts


def _answer(question: dict[str, Any], rewards: np.ndarray) -> dict[str, Any]:
    name = {"name": question["name"]} if question.get("name") else {}
    if question["type"] != "choice":
        return {"type": "refusal", **name}
    odds = np.exp(rewards.astype(np.float64) - rewards.max())
    values = [choice["value"] for choice in question["choices"]]
    probabilities = (odds / odds.sum()).tolist()
    best = int(np.argmax(odds))
    return {
        "type": "choice",
        **name,
        "choice": values[best],
        "confidence": probabilities[best],
        "probabilities": [
            {"value": value, "probability": p} for value, p in zip(values, probabilities, strict=True)
        ],
    }


ROUTES = [Route("/v1/decisions", decide, methods=["POST"])]
