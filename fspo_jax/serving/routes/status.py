"""Whether the service works, and what it serves."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

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


ROUTES = [Route("/health", health), Route("/v1/models", models)]
