"""Errors as answers: problem details that say what was wrong, in the words of the error."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fspo_jax.errors import CheckpointError, EncoderError, FspoError, LimitError
from fspo_jax.serving.stored import BelongsElsewhere, KeyUsedBefore

log = logging.getLogger(__name__)

DATABASE_FAILED = "the database of users does not answer. Try again."


class Refusal(FspoError):
    """A request that is refused for another reason than its values.

    Args:
        status: The HTTP status.
        message: What was given, what is allowed, what to do.
        retry_after: Seconds after which another try makes sense; 0 for never.
    """

    def __init__(self, status: int, message: str, retry_after: float = 0.0):
        super().__init__(message)
        self.status = int(status)
        self.retry_after = retry_after


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    """An answer of problem details (RFC 9457). `error` says the same to clients of OpenAI's API."""
    title = HTTPStatus(status).phrase
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": message,
        "error": {"message": message, "type": title, "param": None, "code": status},
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def answer_error(request: Request, error: Exception) -> Response:
    """Turns an error into an answer. What only the operator can mend is logged, and not told to the client."""
    if isinstance(error, Refusal):
        headers = {"Retry-After": str(math.ceil(error.retry_after))} if error.retry_after else {}
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return problem(error.status, str(error), headers)
    if isinstance(error, HTTPException):
        return problem(error.status_code, _refused(request, error), dict(error.headers or {}))
    if isinstance(error, LimitError):
        return problem(413, str(error))
    if isinstance(error, SQLAlchemyError):
        log.error("the database of users failed: %s", error)
        return problem(503, DATABASE_FAILED, {"Retry-After": "1"})
    if isinstance(error, KeyUsedBefore | BelongsElsewhere):
        return problem(409, str(error))
    if isinstance(error, FspoError) and not isinstance(error, CheckpointError | EncoderError):
        return problem(400, str(error))
    log.error("a request failed: %r", error, exc_info=error)
    return problem(500, "the server has a fault. Its log says more.")


def _refused(request: Request, error: HTTPException) -> str:
    """What is wrong with a request that the framework refuses, mostly as no route takes it."""
    path = request.url.path[:200]
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        return f"{path} takes {allowed or 'other methods'}, not {request.method}."
    if error.status_code == HTTPStatus.NOT_FOUND:
        return f"there is no route {path}. GET /openapi.json lists all."
    return f"{error.detail}."
