"""Whether the service works, and what it serves."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from fspo_jax.serving.openapi import describe
from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.service import service_of


async def health(request: Request) -> Response:
    """Says that the service is ready: the reward is loaded and the database answers. Needs no token."""
    service = service_of(request)
    await service.storing.run(service.users.check)
    return JSONResponse({"status": "ok"})


async def models(request: Request) -> Response:
    """The reward, as the models of OpenAI's API are listed. It never lists users."""
    service = service_of(request)
    service.admit(request, "rank")
    model = {"id": service.settings.name, "object": "model", "created": 0, "owned_by": "fspo_jax"}
    return JSONResponse({"object": "list", "data": [model | {"fingerprint": service.reward.fingerprint}]})


async def metrics(request: Request) -> Response:
    """Counts and times of requests, for Prometheus. With tokens, only an application that may read sees them."""
    service = service_of(request)
    bearer = service.admit(request, "read")
    if bearer.user is not None:
        raise Refusal(403, "a token of a user may not see metrics. Use one of an application.")
    return Response(service.measures.text(), media_type=CONTENT_TYPE_LATEST)


async def to_the_page(_: Request) -> Response:
    """Leads a browser to the page on which people teach. Needs no token."""
    return RedirectResponse("/teach")


async def described(request: Request) -> Response:
    """This description of all routes (OpenAPI). Needs no token: it says nothing about users."""
    return JSONResponse(describe(request.app.routes, service_of(request).settings.name))


ROUTES = [
    Route("/", to_the_page, include_in_schema=False),
    Route("/health", health),
    Route("/v1/models", models),
    Route("/metrics", metrics),
    Route("/openapi.json", described),
]
