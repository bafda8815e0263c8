"""A server with OpenAI's chat completions interface, as a writer and as a generator."""

from __future__ import annotations

import functools
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fspo_jax.arguments import check_integer, check_number, check_text, shown
from fspo_jax.errors import DataError, FspoError
from fspo_jax.text.prompts import messages_of
from fspo_jax.types import Draft, Message, Prompt, Sampling

LARGEST_ANSWER = 1 << 24
"""Number of bytes of an answer that are read."""

AT_ONCE = 16
"""Largest number of requests that are under way at a time."""

WORDS = "alpha bravo charlie delta echo foxtrot golf hotel"
BEGUN, REST = "alpha bravo charlie del", "ta"
"""The beginning of a turn of the assistant, in the middle of a word, and what continues it."""

CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}
"""Fields of vLLM and SGLang that ask to go on with the assistant's turn. llama.cpp and Ollama do so without."""

ADVICE = {
    400: "The server refuses the request: check the model's name and the length of the prompt.",
    401: "Check api_key.",
    403: "Check api_key: it may not use this model.",
    404: "Check base_url, which often ends in /v1, and the model's name.",
    429: "The server allows fewer requests: wait, then try again with a smaller n.",
}


class Page(NamedTuple):
    """What is needed to go on with a draft: its messages without it, how it is drawn, and the requests so far."""

    messages: tuple[Message, ...]
    sampling: Sampling
    asked: int


@dataclass(frozen=True)
class Endpoint:
    """A server that writes; made by `openai_endpoint`. Threads may share it.

    It is also a generator for `best_of_n`: `endpoint(prompt, n)` gives n responses.

    Attributes:
        base_url, model, temperature, max_tokens, timeout, continue_turn: As given.
        api_key: Sent to `base_url` only, and shown nowhere.
    """

    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    temperature: float = 1.0
    max_tokens: int = 512
    timeout: float = 120.0
    continue_turn: bool | None = None

    def __call__(self, prompt: Prompt, n: int) -> list[str]:
        n = check_integer(n, "n", 1)
        body = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return [answer.text for answer in self._answers(messages_of(prompt), [body] * n)]

    @functools.cached_property
    def continues(self) -> bool:
        """Whether the server goes on with a turn of the assistant: as given, or else as one small request shows."""
        if self.continue_turn is not None:
            return self.continue_turn
        asked = Message("user", f"Repeat these words and write nothing else: {WORDS}")
        body = {"temperature": 0.0, "max_tokens": 8} | CONTINUE
        try:
            (answer,) = self._answers((asked, Message("assistant", BEGUN)), [body])
        except Refused:  # a server that does not know the fields
            return False
        return answer.text.startswith(REST)

    def begin(self, prompt: Prompt, sampling: Sampling) -> Draft:
        """As `Writer.begin`."""
        return Draft("", sampling.max_tokens, False, Page(messages_of(prompt), sampling, 0))

    def continuations(self, draft: Draft, n: int, tokens: int) -> list[Draft]:
        """As `Writer.continuations`. The n requests run side by side, because some servers ignore the field `n`.

        Raises:
            FspoError: A request fails. The message says what to do.
        """
        page: Page = draft.state
        sampling, tokens = page.sampling, min(tokens, draft.room)
        # Templates cut the white space at the end of a turn, so the server writes it again.
        begun = draft.text.rstrip()
        body = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": tokens}
        bodies: list[dict[str, Any]] = [
            body | {"seed": (sampling.seed + page.asked + i) % (1 << 31)} for i in range(n)
        ]
        messages = page.messages
        if begun:
            messages = (*messages, Message("assistant", begun))
            bodies = [body | CONTINUE for body in bodies]
        state, room = page._replace(asked=page.asked + n), draft.room - tokens
        answers = self._answers(messages, bodies)
        if any(answer.ended is None for answer in answers):
            raise FspoError(
                f"{self.base_url} does not say why a response stops (finish_reason), so nobody knows whether it goes "
                "on. Use best_of_n with this server."
            )
        return [Draft(begun + answer.text, room, bool(answer.ended), state) for answer in answers]

    def _answers(self, messages: tuple[Message, ...], bodies: list[dict[str, Any]]) -> list[Answer]:
        sent = {"model": self.model, "messages": [message._asdict() for message in messages]}
        if len(bodies) == 1:
            return [self._answer(sent | bodies[0])]
        with ThreadPoolExecutor(min(len(bodies), AT_ONCE)) as pool:
            return list(pool.map(lambda body: self._answer(sent | body), bodies))

    def _answer(self, body: Mapping[str, Any]) -> Answer:
        url = self.base_url.rstrip("/") + "/chat/completions"
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)
            with _OPENER.open(request, timeout=self.timeout) as response:
                found = response.read(LARGEST_ANSWER)
                if response.length:
                    raise ValueError("the answer is cut, or too long")
                return read_answer(json.loads(found))
        except urllib.error.HTTPError as error:
            said = self._without_key(said_with(error))
            kind = Refused if error.code in (400, 422) else FspoError
            raise kind(f"{url} answered with status {error.code}: {said:.300} {advice(error)}") from None
        except TimeoutError:
            raise FspoError(
                f"{url} did not answer within {self.timeout:g} seconds. Raise timeout, or lower max_tokens."
            ) from None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(getattr(error, "reason", None), TimeoutError):
                raise FspoError(f"{url} could not be reached within {self.timeout:g} seconds.") from None
            raise FspoError(
                f"{url} did not answer ({self._without_key(repr(error))}). Check base_url, and that the server runs."
            ) from None
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise FspoError(
                f"{url} did not answer as expected ({self._without_key(repr(error)):.300}). Check that it is the "
                "address of a server with OpenAI's chat completions, up to /v1."
            ) from None

    def _without_key(self, text: str) -> str:
        return text.replace(self.api_key, "(the key)") if self.api_key else text


class Answer(NamedTuple):
    """What a server wrote, and whether it ended there by itself; None if the server does not say."""

    text: str
    ended: bool | None


class Refused(FspoError):
    """The server does not accept the fields of a request."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirects, so that a key is sent to the given server only."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def said_with(error: urllib.error.HTTPError) -> str:
    """The beginning of what a server says with a status."""
    try:
        return error.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def advice(error: urllib.error.HTTPError) -> str:
    """What to do about a status."""
    if 300 <= error.code < 400:
        place = urllib.parse.urlsplit(error.headers.get("Location") or "")
        return (
            f"Redirects are not followed. Give the final address ({place.netloc or 'not named'}) as base_url."
        )
    wait = error.headers.get("Retry-After")
    said = ADVICE.get(error.code, "The server failed: look at its log.")
    return f"{said} It says: wait {shown(wait)} seconds." if wait and error.code == 429 else said


def read_answer(found: Any) -> Answer:
    """Reads a chat completion; raises `LookupError` or `TypeError` for anything else."""
    choice = found["choices"][0]
    content, reason = choice["message"]["content"], choice.get("finish_reason")
    if not isinstance(content, str):
        raise TypeError(f"the content is {shown(content)}, not a text")
    return Answer(content, reason != "length" if isinstance(reason, str) else None)


def openai_endpoint(
    base_url: str,
    model: str,
    *,
    api_key: str = "",
    temperature: float = 1.0,
    max_tokens: int = 512,
    timeout: float = 120.0,
    continue_turn: bool | None = None,
) -> Endpoint:
    """Makes a writer from a server with OpenAI's chat completions interface (vLLM, SGLang, llama.cpp, ...).

    Blockwise guidance asks the server to go on with the assistant's turn. A server that always begins a new turn gets
    whole responses instead, and the best of n is kept; `Written.way` says which it was.

    Args:
        base_url: Address of the server, such as `"http://localhost:8000/v1"`.
        model: Name of the model on the server.
        api_key: Sent to this address as a bearer token unless it is empty. Redirects are not followed.
        temperature, max_tokens: Settings of the sampling, for `best_of_n`; `generate` has its own.
        timeout: Time limit of one request, in seconds.
        continue_turn: Whether the server goes on with a turn of the assistant. None finds out with one small request
            when it is first needed.

    Returns:
        The endpoint, for `UserReward.generate` and `best_of_n`. It sends one request per response and raises
        `FspoError` if one fails.

    Raises:
        DataError: `base_url` is not the address of a server, or another argument has a wrong type.

    Example:
        >>> openai_endpoint("http://localhost:8000/v1", "qwen", api_key="secret", continue_turn=True).continues
        True
    """
    if not check_text(base_url, "base_url").startswith(("http://", "https://")):
        raise DataError(f"base_url is {shown(base_url)}; it must begin with http:// or https://.")
    try:
        netloc = urllib.parse.urlsplit(base_url).netloc
    except ValueError as error:
        raise DataError(f"base_url is not an address ({error}).") from None
    if "@" in netloc:
        raise DataError("base_url has a name or password in it. Give the key as api_key.")
    if not (check_text(api_key, "api_key").isascii() and api_key.isprintable() and " " not in api_key):
        raise DataError(
            "api_key has characters that no key has, such as spaces or line breaks. Take them away."
        )
    if not (continue_turn is None or isinstance(continue_turn, bool)):
        raise DataError(f"continue_turn must be True, False or None, not {shown(continue_turn)}.")
    return Endpoint(
        base_url,
        check_text(model, "model"),
        api_key,
        check_number(temperature, "temperature", 0),
        check_integer(max_tokens, "max_tokens", 1),
        check_number(timeout, "timeout", 1e-3),
        continue_turn,
    )
