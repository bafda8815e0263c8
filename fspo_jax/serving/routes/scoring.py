"""Scores in the order of the request, as vLLM serves cross-encoders and reward models: /score, /classify, /pooling."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fspo_jax.errors import DataError, counted
from fspo_jax.serving.bodies import Body, flag_in, prompt_in, texts_in
from fspo_jax.serving.limits import Limits
from fspo_jax.serving.routes.answers import listing, usage
from fspo_jax.serving.service import ask_for_scores
from fspo_jax.types import Prompt

LEFT = ("queries", "text_1", "data_1")
RIGHT = ("documents", "items", "text_2", "data_2")


async def score(request: Request) -> Response:
    """Scores one text against many, or texts pair by pair."""
    service, bearer, body, user = await ask_for_scores(request)
    prompts, texts = _two_sides(body, service.settings.limits)
    activate = flag_in(body, "use_activation", True)
    scored = await service.score(bearer, user, prompts, texts)
    data = [
        {"index": i, "object": "score", "score": value} for i, value in enumerate(scored.activated(activate))
    ]
    model = body.get("model") or service.settings.name
    return JSONResponse(listing("score", model, data, usage(prompts, texts)))


async def classify(request: Request) -> Response:
    """The reward of texts or of a conversation's last message, as the probability of the only class."""
    return await _reward(request, "classify")


async def pooling(request: Request) -> Response:
    """The reward of texts or of a conversation's last message, as what a model of rewards pools."""
    return await _reward(request, "pooling")


async def _reward(request: Request, kind: str) -> Response:
    service, bearer, body, user = await ask_for_scores(request)
    prompts, texts = _inputs(body, service.settings.limits)
    activate = flag_in(body, "use_activation", True)
    values = (await service.score(bearer, user, prompts, texts)).activated(activate)
    if kind == "classify":
        data = [
            {"index": i, "label": "LABEL_0", "probs": [value], "num_classes": 1}
            for i, value in enumerate(values)
        ]
    else:
        data = [{"index": i, "object": "pooling", "data": [value]} for i, value in enumerate(values)]
    model = body.get("model") or service.settings.name
    return JSONResponse(listing(kind, model, data, usage(prompts, texts)))


def _two_sides(body: Body, limits: Limits) -> tuple[list[Prompt], list[str]]:
    """Prompts and texts of equal length, from any of the pairs of keys that vLLM takes."""
    left, right = (next((key for key in keys if key in body), keys[0]) for keys in (LEFT, RIGHT))
    prompts, texts = texts_in(body, left, limits), texts_in(body, right, limits)
    if len(prompts) == 1:
        prompts = prompts * len(texts)
    if len(prompts) != len(texts):
        raise DataError(
            f"request: {left} has {counted(len(prompts), 'text')} and {right} {len(texts)}. Give one of the first, "
            "or as many of both."
        )
    return list(prompts), list(texts)


def _inputs(body: Body, limits: Limits) -> tuple[list[Prompt], list[str]]:
    """Prompts and texts of `messages`, whose last is the text, or of `input`, texts without a prompt."""
    if "messages" not in body:
        texts = texts_in(body, "input", limits)
        return [""] * len(texts), list(texts)
    messages = prompt_in(body, "messages", limits)
    if isinstance(messages, str):
        raise DataError("request: messages must be a list of {'role', 'content'} messages, not a string.")
    return [messages[:-1] or ""], [messages[-1].content]


ROUTES = [
    Route("/score", score, methods=["POST"]),
    Route("/v1/score", score, methods=["POST"]),
    Route("/classify", classify, methods=["POST"]),
    Route("/pooling", pooling, methods=["POST"]),
]
