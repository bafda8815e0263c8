"""Best of n for one user: responses of any generator, ranked by the user's reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fspo_jax.arguments import check_integer, check_texts, shown
from fspo_jax.errors import DataError
from fspo_jax.rerank import check_user_reward, rerank
from fspo_jax.types import Prompt, RankedCandidate, check_prompt

if TYPE_CHECKING:
    from fspo_jax.reward import UserReward

Generator = Callable[[Prompt, int], Sequence[str]]
"""`(prompt, n) -> n responses`."""


def best_of_n(
    user_reward: UserReward,
    prompt: Prompt,
    n: int,
    generator: Generator | None = None,
    *,
    seed: int = 0,
    caution: float = 0.0,
) -> list[RankedCandidate]:
    """Generates n responses and ranks them for a user.

    Args:
        user_reward: The user's reward.
        prompt: A string or a conversation.
        n: Number of responses, 1 or more.
        generator: Called with the prompt and n; `load_writer` makes one from a language model, `openai_endpoint` from a
            server. None uses the user's own policy, if the reward is the implicit reward of a language model.
        seed: Seed of the user's own policy.
        caution: As in `rerank`.

    Returns:
        The responses, best first. Equal responses are kept.

    Raises:
        DataError: `n` is not a positive integer, `caution` is out of range, the generator did not return strings, or
            the reward is not adapted to a user.
        FspoError: There is no generator and the reward is not a policy, or the endpoint failed.

    Example:
        >>> best_of_n(ana, "Why is the sky blue?", 2, lambda prompt, n: drafts[:n])[0].rank
        1
    """
    from fspo_jax.reward.caution import check_caution  # imports much

    check_user_reward(user_reward)
    prompt = check_prompt(prompt)
    n, caution = check_integer(n, "n", 1), check_caution(caution)
    if generator is None:
        responses: Sequence[str] = user_reward.generate(prompt, n=n, seed=seed)
    elif not callable(generator):
        raise DataError(f"generator must be a function of the prompt and n, not {shown(generator)}.")
    else:
        responses = check_texts(generator(prompt, n), "what the generator returned")
    return rerank(user_reward, prompt, responses, caution=caution)
