"""Teaching a reward over HTTP: which pair to ask next, why a text has its score, and what the reward believes."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fspo_jax.arguments import check_integer
from fspo_jax.asking import MOST_SEED, Question, next_pairs
from fspo_jax.errors import LimitError
from fspo_jax.serving.bodies import prompt_in, read_object, texts_in
from fspo_jax.serving.cache import Derived
from fspo_jax.serving.pool import entries_in
from fspo_jax.serving.reasons import beliefs_over
from fspo_jax.serving.requests import prompt_json
from fspo_jax.serving.routes.answers import number_or_none
from fspo_jax.serving.routes.people import ask, whole

MOST_QUESTIONS = 100


async def ask_next(request: Request) -> Response:
    """Which pairs of a pool to ask a person next; a user without labels is asked as people in general are.

    A pair of a prompt without labels comes first, unless it tells less than a tenth of what the best pair tells. The
    body: `{"pool": [{"prompt": ..., "candidates": [...]}, ...], "count": 1, "by": "bald", "seed": 0}`.
    """
    service, user = ask(request, "rank")
    limits = service.settings.limits
    body = await read_object(request, limits)
    given = body.get("pool")
    if isinstance(given, list) and len(given) > limits.candidates:
        raise LimitError(
            f"request: the pool has {len(given):,} prompts; at most {limits.candidates:,} are allowed."
        )
    pool = entries_in(given, limits)
    if (candidates := sum(len(texts) for _, texts in pool)) > limits.candidates:
        raise LimitError(
            f"request: the pool has {candidates:,} candidates; at most {limits.candidates:,} are allowed."
        )
    count = check_integer(body.get("count", 1), "request: count", 1, MOST_QUESTIONS)
    seed = check_integer(body.get("seed", 0), "request: seed", 0, MOST_SEED)

    def work() -> list[Question]:
        reward = service.reward_of(user).reward
        seen = {label.pair.prompt for label in service.users.labels(user)[1]}
        return next_pairs(reward, pool, count, by=body.get("by", "bald"), seed=seed, seen=seen)

    questions = await service.computing.run(work)
    return JSONResponse({"questions": [_question_json(question) for question in questions]})


async def explain(request: Request) -> Response:
    """Why candidates have their scores for a person: what each label pulls, and what each block is worth, in nats."""
    service, user = ask(request, "read")
    limits = service.settings.limits
    body = await read_object(request, limits)
    prompt, texts = prompt_in(body, "prompt", limits), texts_in(body, "candidates", limits)

    def work(derived: Derived) -> list[dict[str, Any]]:
        return [
            {
                "index": i,
                "above_mean": found.above_mean,
                "pulls": [
                    {"id": label, "nats": number_or_none(pull)}
                    for label, pull in zip(derived.labels, found.pulls, strict=True)
                ],
                "columns": {name: dict(parts) for name, parts in found.columns.items()},
                "blocks": dict(found.blocks),
            }
            for i, found in enumerate(derived.reward.explain(prompt, texts))
        ]

    return JSONResponse({"explanations": await service.compute_with_labels(user, work)})


async def believed(request: Request) -> Response:
    """What the reward believes a person likes, in words, the strongest belief first; the same as on the page."""
    service, user = ask(request, "read")

    def work(derived: Derived) -> list[dict[str, Any]]:
        return [
            {**belief._asdict(), "certainty": belief.certainty, "said": str(belief)}
            for belief in beliefs_over(service, derived.reward)
        ]

    return JSONResponse({"beliefs": await service.compute_with_labels(user, work)})


async def contradicted(request: Request) -> Response:
    """The labels that a person's other labels speak against, by their ids, the least likely first."""
    service, user = ask(request, "read")
    most = check_integer(whole(request, "limit", 5), "limit", 1)

    def work(derived: Derived) -> list[dict[str, Any]]:
        return [
            {
                "id": derived.labels[found.place],
                "probability": found.probability,
                "against": derived.labels[found.against],
            }
            for found in derived.reward.contradictions(most)
        ]

    return JSONResponse({"contradictions": await service.compute_with_labels(user, work)})


def _question_json(question: Question) -> dict[str, Any]:
    return {
        "prompt": prompt_json(question.prompt),
        "a": question.a,
        "b": question.b,
        "value": number_or_none(question.value),
    }


_USER = "/v1/users/{user}"
ROUTES = [
    Route(f"{_USER}/next", ask_next, methods=["POST"]),
    Route(f"{_USER}/explain", explain, methods=["POST"]),
    Route(f"{_USER}/beliefs", believed, methods=["GET"]),
    Route(f"{_USER}/contradictions", contradicted, methods=["GET"]),
]
