"""What trainers of language models ask a server of rewards."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fspo_jax.arguments import shown
from fspo_jax.errors import DataError
from fspo_jax.serving.bodies import read_object, texts_in
from fspo_jax.serving.service import service_of


async def openrlhf(request: Request) -> Response:
    """Rewards for OpenRLHF (`--reward.remote_url`): full texts, prompts that are cut off their front, users as labels.

    Empty lists give empty lists, because OpenRLHF sends them to all servers but the first.
    """
    service = service_of(request)
    bearer = service.admit(request, "rank")
    body = await read_object(request, service.settings.limits)
    if not body.get("query"):
        return JSONResponse({"rewards": [], "scores": [], "extra_logs": {}})
    full = texts_in(body, "query", service.settings.limits)
    prompts = texts_in(body, "prompts", service.settings.limits) if body.get("prompts") else [""] * len(full)
    labels = _labels(body.get("labels"), len(full))
    if len(prompts) != len(full):
        raise DataError(
            f"request: query has {len(full)} texts and prompts {len(prompts)}. Give as many of both."
        )
    texts = [text.removeprefix(prompt) for text, prompt in zip(full, prompts, strict=True)]
    users = [service.user_of(request, bearer, body, label) for label in labels]
    rewards, scores = [0.0] * len(full), [0.0] * len(full)
    for user in dict.fromkeys(users):
        rows = [row for row, other in enumerate(users) if other == user]
        scored = await service.score(
            bearer, user, [prompts[row] for row in rows], [texts[row] for row in rows]
        )
        for row, reward, score in zip(rows, scored.rewards.tolist(), scored.activated(), strict=True):
            rewards[row], scores[row] = reward, score
    return JSONResponse({"rewards": rewards, "scores": scores, "extra_logs": {}})


def _labels(value: Any, count: int) -> list[Any]:
    if not value:
        return [None] * count
    if not isinstance(value, list) or len(value) != count:
        raise DataError(f"request: labels must be a list with the user of each query, not {shown(value)}.")
    return value


ROUTES = [Route("/get_reward", openrlhf, methods=["POST"])]
