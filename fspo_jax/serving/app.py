"""The HTTP application: all routes around one service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Mount

from fspo_jax.errors import FspoError
from fspo_jax.reward import PersonalizedReward
from fspo_jax.serving.measuring import Measuring
from fspo_jax.serving.page.mount import PAGE
from fspo_jax.serving.problems import answer_error
from fspo_jax.serving.routes import (
    deciding,
    gathering,
    people,
    reranking,
    scoring,
    status,
    teaching,
    trainers,
)
from fspo_jax.serving.service import Service, Settings
from fspo_jax.serving.users import Users

RANKING = [*reranking.ROUTES, *scoring.ROUTES, *deciding.ROUTES, *trainers.ROUTES]
"""Routes that ask for somebody's scores. Under `/users/{user}` they ask for that user's."""


def make_app(reward: PersonalizedReward, users: Users, settings: Settings) -> Starlette:
    """Makes the application of a service. It closes the store of users when it stops.

    Args:
        reward: As in `Service`.
        users: As in `Service`.
        settings: As in `Service`.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        users.close()

    service = Service(reward, users, settings)
    app = Starlette(
        routes=[
            *status.ROUTES,
            *people.ROUTES,
            *teaching.ROUTES,
            *gathering.ROUTES,
            *RANKING,
            Mount("/users/{user}", routes=RANKING),
            PAGE,
        ],
        middleware=[Middleware(Measuring, service.measures)],
        lifespan=lifespan,
        exception_handlers={
            FspoError: answer_error,
            SQLAlchemyError: answer_error,
            HTTPException: answer_error,
            Exception: answer_error,
        },
    )
    app.state.service = service
    return app
