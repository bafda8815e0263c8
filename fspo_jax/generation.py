"""Best of n for one user: responses of any generator, ranked by the user's reward."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fspo_jax.arguments import check_integer, check_text, check_texts, shown
from fspo_jax.errors import DataError, FspoError
from fspo_jax.rerank import check_user_reward, rerank
from fspo_jax.types import Prompt, RankedCandidate, check_prompt

if TYPE_CHECKING:
    from fspo_jax.reward import UserReward

Generator = Callable[[Prompt, int], Sequence[str]]
"""`(prompt, n) -> n responses`."""


def best_of_n(
    user_reward: UserReward, prompt: Prompt, n: int, generator: Generator | None = None, *, seed: int = 0
) -> list[RankedCandidate]:
    """Generates n responses and ranks them for a user.

    Args:
        user_reward: The user's reward.
        prompt: A string or a conversation.
        n: Number of responses, 1 or more.
        generator: Called with the prompt and n; `openai_endpoint` makes one from a server. None uses the user's own
            policy, if the reward is the implicit reward of a language model.
        seed: Seed of the user's own policy.

    Returns:
        The responses, best first. Equal responses are kept.

    Raises:
        DataError: `n` is not a positive integer, the generator did not return strings, or the reward is not adapted to
            a user.
        FspoError: There is no generator and the reward is not a policy, or the endpoint failed.

    Example:
        >>> best_of_n(ana, "Why is the sky blue?", 2, lambda prompt, n: drafts[:n])[0].rank
        1
    """
    check_user_reward(user_reward)
    prompt = check_prompt(prompt)
    n = check_integer(n, "n", 1)
    if generator is None:
        responses: Sequence[str] = user_reward.generate(prompt, n=n, seed=seed)
    elif not callable(generator):
        raise DataError(f"generator must be a function of the prompt and n, not {shown(generator)}.")
    else:
        responses = check_texts(generator(prompt, n), "what the generator returned")
    return rerank(user_reward, prompt, responses)


def openai_endpoint(
    base_url: str,
    model: str,
    *,
    api_key: str = "",
    temperature: float = 1.0,
    max_tokens: int = 512,
    timeout: float = 120.0,
) -> Generator:
    """Makes a generator from a server with OpenAI's chat completions interface (vLLM, SGLang, llama.cpp, ...).

    Args:
        base_url: Address of the server, such as `"http://localhost:8000/v1"`.
        model: Name of the model on the server.
        api_key: Sent as a bearer token unless it is empty.
        temperature, max_tokens: Settings of the sampling.
        timeout: Time limit of one request, in seconds.

    Raises:
        DataError: `base_url` is not the address of a server.

    Returns:
        A generator. It sends one request per response, because some servers ignore `n`, and raises `FspoError` if a
        request fails.
    """
    if not check_text(base_url, "base_url").startswith(("http://", "https://")):
        raise DataError(f"base_url is {shown(base_url)}; it must begin with http:// or https://.")
    url = base_url.rstrip("/") + "/chat/completions"
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {api_key}"} if api_key else {}
    )

    def ask(prompt: Prompt) -> str:
        messages = (
            [{"role": "user", "content": prompt}]
            if isinstance(prompt, str)
            else [message._asdict() for message in prompt]
        )
        body = {"model": model, "messages": messages, "temperature": temperature, "max_tokens": max_tokens}
        try:
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=timeout) as response:
                content = json.load(response)["choices"][0]["message"]["content"]
            if not isinstance(content, str):
                raise TypeError(f"the content is {shown(content)}, not a text")
            return content
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            detail = ""
            if isinstance(error, urllib.error.HTTPError):
                detail = f": {error.read().decode(errors='replace'):.300}"
            raise FspoError(f"{url} did not answer as expected ({error!r}{detail}).") from None

    return lambda prompt, n: [ask(prompt) for _ in range(n)]
