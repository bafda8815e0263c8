"""Bearer tokens: each is bound to one user, or to an application that acts for many users."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fspo_jax.arguments import check_path, shown
from fspo_jax.errors import DataError
from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.stored import check_user_id

SCOPES = ("rank", "read", "write")
"""What a token may do: ask for scores; see labels; add, change and delete them."""

SHORTEST_TOKEN = 16
HEX_DIGITS = re.compile(r"[0-9a-fA-F]{64}")

EXAMPLE = """{"TOKEN": {"user": "ana"}, "ANOTHER": {"application": "shop", "scopes": ["rank"]}}"""


@dataclass(frozen=True)
class Bearer:
    """Who sends a request.

    Attributes:
        name: How logs and limits call it.
        user: The user to whom the token is bound; None for an application, which may act for every user.
        scopes: Some of `SCOPES`.
    """

    name: str
    user: str | None = None
    scopes: frozenset[str] = frozenset(SCOPES)

    def need(self, scope: str) -> None:
        """Raises `Refusal` if the token does not have a scope."""
        if scope not in self.scopes:
            raise Refusal(
                403, f"this token may not {scope}. Its scopes are: {', '.join(sorted(self.scopes))}."
            )


class Tokens:
    """The known tokens, kept as digests. Without any, everybody may do everything.

    Args:
        tokens: Token, or `sha256:` and its digest, to `{"user": ...}` or `{"application": ..., "scopes": [...]}`.

    Raises:
        DataError: An entry has another form, or a token has fewer than 16 characters.
    """

    def __init__(self, tokens: Mapping[str, Any] | None = None):
        self._bearers = {
            _digest_of(token): _bearer(value, f"token {number}")
            for number, (token, value) in enumerate((tokens or {}).items(), start=1)
        }

    @classmethod
    def read(cls, path: str | Path) -> Tokens:
        """Reads a JSON file. Raises `DataError` if it cannot be read or has no token."""
        path = check_path(path, error=DataError)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: cannot be read as JSON ({error}). Write tokens as {EXAMPLE}.") from None
        if not isinstance(value, dict) or not value:
            raise DataError(f"{path}: has no token. Write tokens as {EXAMPLE}.")
        try:
            return cls(value)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    def __bool__(self) -> bool:
        return bool(self._bearers)

    def bearer(self, authorization: str | None) -> Bearer:
        """Returns who sends a request with this header `Authorization`; raises `Refusal` for an unknown token."""
        if not self._bearers:
            return Bearer("everybody")
        kind, _, token = (authorization or "").partition(" ")
        found = self._bearers.get(_digest(token.strip())) if kind.lower() == "bearer" else None
        if found is None:
            given = "is not known" if authorization else "is missing"
            raise Refusal(401, f"the token {given}. Send the header 'Authorization: Bearer TOKEN'.")
        return found


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def _digest_of(token: str) -> str:
    kind, _, digest = token.partition(":")
    if kind == "sha256":
        if not HEX_DIGITS.fullmatch(digest):
            raise DataError(
                f"a token's digest must have 64 hexadecimal digits, not {len(digest)} characters."
            )
        return digest.lower()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or any(sign.isspace() for sign in token):
        raise DataError(
            f"a token has {len(token)} characters; it must have at least {SHORTEST_TOKEN}, in ASCII without spaces, "
            "or be 'sha256:' and a digest. 'openssl rand -hex 32' makes one."
        )
    return _digest(token)


def _bearer(value: Any, name: str) -> Bearer:
    kinds = {"user", "application"} & set(value) if isinstance(value, dict) else set()
    if len(kinds) != 1 or set(value) - kinds - {"scopes"}:
        raise DataError(
            f"{name} must be for a 'user' or an 'application', with 'scopes', not {shown(value)}."
        )
    scopes = value.get("scopes", list(SCOPES))
    if not isinstance(scopes, list) or not scopes or not all(scope in SCOPES for scope in scopes):
        raise DataError(f"{name}: scopes must be some of {', '.join(SCOPES)}, not {shown(scopes)}.")
    (kind,) = kinds
    who = check_user_id(value[kind], f"{name}: {kind}")
    return Bearer(f"{kind} {who}", who if kind == "user" else None, frozenset(scopes))
