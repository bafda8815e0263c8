"""The routes of the page, and its own way to tell an error."""

from __future__ import annotations

import json

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route

from fspo_jax.errors import FspoError
from fspo_jax.serving.page.believing import show_beliefs
from fspo_jax.serving.page.labelled import (
    forget_everything,
    forget_label,
    show_labels,
    swap_label,
    take_away,
)
from fspo_jax.serving.page.questions import answer, ask_question, undo
from fspo_jax.serving.page.ranking import rank_candidates, show_ranking
from fspo_jax.serving.page.rendering import PageHeaders, render, static_file
from fspo_jax.serving.page.visiting import HOME, WELCOME, forget_token, sign_in, sign_out, welcome
from fspo_jax.serving.problems import answer_error


def tell_error(request: Request, error: Exception) -> Response:
    """Turns an error into a page. Who is not signed in comes to the sign-in."""
    told = answer_error(request, error)
    if told.status_code == 401:
        return forget_token(RedirectResponse(WELCOME, 303))
    problem = json.loads(bytes(told.body))
    page = render(
        request, "error.html", {"title": problem["title"], "said": problem["detail"]}, told.status_code
    )
    if "retry-after" in told.headers:
        page.headers["Retry-After"] = told.headers["retry-after"]
    return page


ACTIONS = [
    ("", "GET", ask_question),
    ("/answer", "POST", answer),
    ("/undo", "POST", undo),
    ("/beliefs", "GET", show_beliefs),
    ("/labels", "GET", show_labels),
    ("/labels/swap", "POST", swap_label),
    ("/labels/forget", "POST", forget_label),
    ("/forget", "POST", forget_everything),
    ("/export", "GET", take_away),
    ("/rank", "GET", show_ranking),
    ("/rank", "POST", rank_candidates),
]
"""What can be done under `/teach/{user}`."""

PAGE = Mount(
    HOME,
    routes=[
        Route("/", welcome, include_in_schema=False),
        Route("/in/session", sign_in, methods=["POST"], include_in_schema=False),
        Route("/in/session/end", sign_out, methods=["POST"], include_in_schema=False),
        Route("/in/static/{name}", static_file, include_in_schema=False),
        *(
            Route("/{user}" + path, act, methods=[method], include_in_schema=False)
            for path, method, act in ACTIONS
        ),
    ],
    middleware=[
        Middleware(PageHeaders),
        Middleware(
            ExceptionMiddleware,
            handlers={
                FspoError: tell_error,
                SQLAlchemyError: tell_error,
                HTTPException: tell_error,
                Exception: tell_error,
            },
        ),
    ],
)
