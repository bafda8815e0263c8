"""Reads the bodies of requests: JSON of a limited size, and the fields that several routes share.

Unknown keys are ignored and null is the same as a missing key, because clients of many makers send both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import anyio
from starlette.requests import ClientDisconnect, Request

from fspo_jax.arguments import shown
from fspo_jax.errors import DataError, LimitError
from fspo_jax.serving.limits import Limits
from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.requests import candidates_of, prompt_of
from fspo_jax.types import Preference, Prompt

Body = dict[str, Any]


async def read_json(request: Request, limits: Limits) -> Any:
    """Returns the JSON of a request.

    Raises:
        Refusal: The body is declared as something else than JSON, is too large, or arrives too slowly.
        DataError: It is not JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        # A web page cannot send this type to another origin without asking, so it cannot write to a local service.
        raise Refusal(415, "the body must be JSON. Send the header 'Content-Type: application/json'.")
    content = await _read(request, limits)
    try:
        return json.loads(content, parse_constant=_no_constant)
    except RecursionError:
        raise DataError("the body is nested too deeply.") from None
    except ValueError as error:
        raise DataError(f"the body is not JSON ({error}).") from None


async def read_object(request: Request, limits: Limits) -> Body:
    """Returns the JSON object of a request; raises `DataError` for other JSON, and as `read_json` does."""
    body = await read_json(request, limits)
    if not isinstance(body, dict):
        raise DataError(f"the body must be a JSON object, not {shown(body)}.")
    return {key: value for key, value in body.items() if value is not None}


async def read_form(request: Request, limits: Limits) -> dict[str, list[str]]:
    """Returns the values of each field of a form, with plain line ends.

    Raises:
        Refusal: As in `read_json`, for a body that is declared as something else than a form.
        DataError: It is no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refusal(415, "the body must be a form.")
    try:
        text = (await _read(request, limits)).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=2 * limits.candidates)
    except ValueError as error:
        raise DataError(f"the body is not a form ({error}).") from None
    form: dict[str, list[str]] = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value.replace("\r\n", "\n"))
    return form


async def _read(request: Request, limits: Limits) -> bytes:
    """The body of a request, if it is small enough and arrives in time."""
    parts, size = [], 0
    _check_size(
        int(length) if (length := request.headers.get("content-length", "")).isdecimal() else 0, limits
    )
    with anyio.move_on_after(limits.body_seconds) as waited:
        try:
            async for part in request.stream():
                size += len(part)
                _check_size(size, limits)
                parts.append(part)
        except ClientDisconnect:
            raise Refusal(400, "the connection was closed before the body had arrived.") from None
    if waited.cancelled_caught:
        raise Refusal(408, f"the body took longer than {limits.body_seconds:g} seconds to arrive.")
    return b"".join(parts)


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.body:
        raise Refusal(413, f"the body has more than {limits.body:,} bytes. Send less at once.")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def texts_in(body: Body, key: str, limits: Limits) -> tuple[str, ...]:
    """Returns the texts of a key: a string, `{"text"}`, `{"content": [parts]}`, or a list of these, not empty.

    Raises:
        DataError: The key is missing, or its value has another form.
        LimitError: There are too many texts, or one is too long.
    """
    texts = candidates_of(_needed(body, key), "request", key)
    if not texts:
        raise DataError(f"request: {key} is empty. Give at least one text.")
    if len(texts) > limits.candidates:
        raise LimitError(
            f"request: {key} has {len(texts):,} texts; at most {limits.candidates:,} are allowed."
        )
    check_lengths(texts, key, limits)
    return texts


def prompt_in(body: Body, key: str, limits: Limits) -> Prompt:
    """Returns the prompt of a key: a string, or a conversation. Raises as `texts_in` does."""
    value = _needed(body, key)
    if isinstance(value, dict):  # {"content": [parts]}, as vLLM takes it
        return texts_in(body, key, limits)[0]
    if isinstance(value, list) and len(value) > limits.candidates:
        raise LimitError(
            f"request: {key} has {len(value):,} messages; at most {limits.candidates:,} are allowed."
        )
    prompt = prompt_of(value, "request")
    check_lengths([prompt] if isinstance(prompt, str) else [m.content for m in prompt], key, limits)
    return prompt


def check_pairs(pairs: Sequence[Preference], limits: Limits) -> None:
    """Raises `LimitError` if a text of a labelled pair is too long."""
    for number, pair in enumerate(pairs):
        prompt = [pair.prompt] if isinstance(pair.prompt, str) else [m.content for m in pair.prompt]
        check_lengths([*prompt, pair.chosen, pair.rejected], f"pairs[{number}]", limits)


def check_lengths(texts: Sequence[str], name: str, limits: Limits) -> None:
    """Raises `LimitError` if a text is longer than the service allows."""
    longest = max(map(len, texts), default=0)
    if longest > limits.characters:
        raise LimitError(
            f"request: a text of {name} has {longest:,} characters; at most {limits.characters:,} are allowed."
        )


def flag_in(body: Body, key: str, default: bool) -> bool:
    """Returns true or false of a key; raises `DataError` for anything else."""
    value = body.get(key, default)
    if not isinstance(value, bool):
        raise DataError(f"request: {key} must be true or false, not {shown(value)}.")
    return value


def _needed(body: Body, key: str) -> Any:
    if key not in body:
        raise DataError(f"request: '{key}' is missing.")
    return body[key]
