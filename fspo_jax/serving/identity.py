"""Whose taste a request is for.

A token of a user is for that user and no other. A token of an application may name a user in the path, in `model` as
"reward:user", in `user` of the body, or in a header that the operator trusts. Two different names are an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fspo_jax.errors import DataError
from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.stored import check_user_id
from fspo_jax.serving.tokens import Bearer


def user_in_model(model: Any, reward: str) -> str | None:
    """Returns the user that `model` names, as in "fspo-mini:ana", or None.

    Raises:
        Refusal: It names another reward than the one that is served.
        DataError: It is no string, or the part after the colon cannot be the id of a user.
    """
    if model is None or model == "":
        return None
    if not isinstance(model, str):
        raise DataError(f"model must be a string, not {type(model).__name__}.")
    name, colon, user = model.partition(":")
    if name != reward:
        raise Refusal(
            404, f"the model {name[:80]!r} is not served here. Ask for '{reward}', or '{reward}:USER'."
        )
    return check_user_id(user, "the user in model") if colon else None


def find_user(bearer: Bearer, named: Mapping[str, Any]) -> str | None:
    """Returns the user whose taste is asked for; None for people in general.

    Args:
        bearer: Who asks.
        named: Where a user can be named, such as `"the path"`, to the id that is there, or None.

    Raises:
        Refusal: The token is bound to another user. The answer is the same whether that user exists or not.
        DataError: Two places name two users, or an id is not allowed.
    """
    names = {place: check_user_id(user, place) for place, user in named.items() if user not in (None, "")}
    if bearer.user is not None:
        if any(user != bearer.user for user in names.values()):
            raise Refusal(403, "this token is bound to another user.")
        return bearer.user
    if len(set(names.values())) > 1:
        said = ", ".join(f"{place} names '{user}'" for place, user in names.items())
        raise DataError(f"the request names different users: {said}. Name one user.")
    return next(iter(names.values()), None)
