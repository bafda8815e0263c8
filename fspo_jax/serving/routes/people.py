"""Users over HTTP: their labelled pairs are added, listed, changed, deleted and exported."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fspo_jax.arguments import check_number
from fspo_jax.errors import DataError
from fspo_jax.serving.bodies import check_pairs, read_json
from fspo_jax.serving.identity import find_user
from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.requests import AdaptRequest, pair_json, prompt_json
from fspo_jax.serving.service import Service, service_of
from fspo_jax.serving.stored import Label, Pass, StoredUser
from fspo_jax.types import Preference

PAGE = 1000
"""Largest number of labels of one answer."""

MOST_SECONDS = 86_400.0
"""Largest response time of a label."""


async def show(request: Request) -> Response:
    """What is known about a user, without the labels."""
    service, user = ask(request, "read")
    found = await service.storing.run(lambda: service.users.find(user))
    return JSONResponse(_user_json(found or _missing(user), service))


async def delete(request: Request) -> Response:
    """Deletes a user with all labels."""
    service, user = ask(request, "write")
    if not await service.storing.run(lambda: service.users.delete(user)):
        _missing(user)
    return Response(status_code=204)


async def append(request: Request) -> Response:
    """Adds labelled pairs. A request with the same `Idempotency-Key` counts once."""
    service, user = ask(request, "write")
    pairs, summary, seconds = await _pairs(request, service)
    key = request.headers.get("idempotency-key")
    ids = await service.storing.run(
        lambda: service.users.append(user, pairs, key=key, most=service.most_labels, response_seconds=seconds)
    )
    return JSONResponse({"ids": ids, "summary": summary}, 201)


async def listed(request: Request) -> Response:
    """The labelled pairs of a user, the oldest first; `after` and `limit` page through many."""
    service, user = ask(request, "read")
    after, most = whole(request, "after", 0), min(whole(request, "limit", PAGE), PAGE)
    version, labels = await service.storing.run(lambda: service.users.labels(user, after, most))
    if version is None:
        _missing(user)
    return JSONResponse({"version": str(version), "preferences": [_label_json(label) for label in labels]})


async def edit(request: Request) -> Response:
    """Puts another pair in the place of one."""
    service, user = ask(request, "write")
    label = request.path_params["label"]
    pairs, *_ = await _pairs(request, service)
    if len(pairs) != 1:
        raise DataError(
            f"request: there are {len(pairs)} pairs. Give the one that takes the place of {label}."
        )
    if not await service.storing.run(lambda: service.users.edit(user, label, pairs[0])):
        _missing(user, label)
    return JSONResponse({"id": label, **pair_json(pairs[0])})


async def forget(request: Request) -> Response:
    """Deletes one labelled pair."""
    service, user = ask(request, "write")
    label = request.path_params["label"]
    if not await service.storing.run(lambda: service.users.forget(user, label)):
        _missing(user, label)
    return Response(status_code=204)


async def export(request: Request) -> Response:
    """All that is kept about a user, as `fspo adapt` and the appending of preferences read it."""
    service, user = ask(request, "read")
    return await service.storing.run(lambda: exported(service, user))


def exported(service: Service, user: str) -> Response:
    """All that is kept about a user, as a file; raises `Refusal` if there is no such user."""
    version, labels = service.users.labels(user)
    if version is None:
        return _missing(user)
    kept: dict[str, Any] = {"pairs": [pair_json(label.pair) | _about(label) for label in labels]}
    if version.community:
        kept["community"] = version.community.id
    if passes := service.users.passes(user):
        kept["passed"] = [
            {
                "prompt": prompt_json(passed.pair.prompt),
                "responses": [passed.pair.chosen, passed.pair.rejected],
                "answer": passed.answer,
                **_about(passed),
            }
            for passed in passes
        ]
    name = {"Content-Disposition": f'attachment; filename="{user}.json"'}
    return JSONResponse(kept, headers=name)


def ask(request: Request, scope: str) -> tuple[Service, str]:
    """The service, and the user of the path, whom the sender may reach."""
    service = service_of(request)
    user = find_user(service.admit(request, scope), {"the path": request.path_params["user"]})
    assert user is not None  # a path has no empty part
    return service, user


async def _pairs(request: Request, service: Service) -> tuple[tuple[Preference, ...], str, float | None]:
    """The labelled pairs of a body, how many rows were set aside in words, and the time that a single pair took."""
    limits = service.settings.limits
    body, seconds = await read_json(request, limits), None
    if isinstance(body, dict) and (taken := body.pop("response_seconds", None)) is not None:
        seconds = check_number(taken, "request: response_seconds", 0.0, MOST_SECONDS)
    most = limits.candidates
    given = await service.computing.run(lambda: AdaptRequest.from_json(body, most=most))
    if not given.pairs:
        raise DataError(f"request: there is no labelled pair. {given.summary}".rstrip())
    if seconds is not None and len(given.pairs) > 1:
        raise DataError("request: response_seconds belongs to one pair. Send such pairs one by one.")
    check_pairs(given.pairs, limits)
    return given.pairs, given.summary, seconds


def _missing(user: str, label: int | None = None) -> Any:
    what = f"user '{user}'" if label is None else f"preference {label} of user '{user}'"
    raise Refusal(404, f"there is no {what}.")


def whole(request: Request, name: str, default: int) -> int:
    value = request.query_params.get(name, str(default))
    if not value.isascii() or not value.isdecimal() or len(value) > 15:
        raise DataError(f"{name} must be a whole number, not '{value[:40]}'.")
    return int(value)


def _user_json(user: StoredUser, service: Service) -> dict[str, Any]:
    return {
        "id": user.id,
        "preferences": user.labels,
        "most_preferences": service.most_labels,
        "version": str(user.version),
        "community": user.version.community and user.version.community.id,
        "created": user.created,
    }


def _label_json(label: Label) -> dict[str, Any]:
    return {"id": label.id, **_about(label), **pair_json(label.pair)}


def _about(kept: Label | Pass) -> dict[str, Any]:
    about: dict[str, Any] = {"created": kept.created}
    if kept.response_seconds is not None:
        about["response_seconds"] = kept.response_seconds
    if isinstance(kept, Label) and kept.guess:
        about["asked"], about["guess"], about["general_guess"] = kept.guess
    return about


_USER = "/v1/users/{user}"
_LABEL = "/v1/users/{user}/preferences/{label:int}"
ROUTES = [
    Route(_USER, show, methods=["GET"]),
    Route(_USER, delete, methods=["DELETE"]),
    Route(f"{_USER}/preferences", append, methods=["POST"]),
    Route(f"{_USER}/preferences", listed, methods=["GET"]),
    Route(f"{_USER}/export", export, methods=["GET"]),
    Route(_LABEL, edit, methods=["PUT"]),
    Route(_LABEL, forget, methods=["DELETE"]),
]
