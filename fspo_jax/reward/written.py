"""Responses that are written for a user: sampled, or guided by the user's reward while they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fspo_jax.arguments import check_integer, check_number, shown
from fspo_jax.errors import DataError, FspoError
from fspo_jax.reward.caution import check_caution, lower_bound
from fspo_jax.types import Draft, Prompt, Sampling, Writer, check_writer

if TYPE_CHECKING:
    from fspo_jax.reward.user_reward import UserReward

SMALLEST_NUCLEUS = 1e-6
MOST_RESPONSES, MOST_TOKENS, MOST_SEED = 1024, 1 << 16, (1 << 63) - 1
MOST_STRENGTH = 1e3

Way = Literal["sampled", "blockwise", "best of n", "tokenwise"]


class Written(str):
    """A response, as a string that also says how it was written.

    Attributes:
        way: `sampled`, without guidance; `blockwise`; `best of n`, for a server that cannot go on with a response; or
            `tokenwise`.
        ended: Whether the writer ended it. Otherwise it was cut after `max_tokens`.
    """

    way: Way
    ended: bool

    def __new__(cls, text: str, way: Way = "sampled", ended: bool = True) -> Written:
        made = super().__new__(cls, text)
        made.way, made.ended = way, ended
        return made


@dataclass(frozen=True, slots=True)
class Blockwise:
    """Guidance block by block: the response goes on in n ways, and the one with the best reward is kept.

    It works with every reward and every writer. A larger n and shorter blocks follow the reward more closely, and
    cost more: n tokens are written for each that is kept, and each block is scored once. With n = 1 it is plain
    sampling: the same seed gives the same response.

    Args:
        n: Number of continuations, 1 to 1,024.
        tokens: Length of a block in tokens, 1 to 65,536. With blocks as long as the response it is best of n.
        caution: How many standard deviations of its uncertainty a score is lowered by, 0 to 100.

    Raises:
        DataError: A number is out of range.

    Source: Mudgal et al. (2024), Controlled decoding from language models, arXiv 2310.17022, blockwise.
        Differs from the paper: the reward of the unfinished response stands in for a learned value of prefixes.

    Example:
        >>> Blockwise(n=4)
        Blockwise(n=4, tokens=16, caution=0.0)
    """

    n: int = 8
    tokens: int = 16
    caution: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", check_integer(self.n, "n", 1, MOST_RESPONSES))
        object.__setattr__(self, "tokens", check_integer(self.tokens, "tokens", 1, MOST_TOKENS))
        object.__setattr__(self, "caution", check_caution(self.caution))


@dataclass(frozen=True, slots=True)
class Tokenwise:
    """Guidance token by token: the log-ratio of the user's policy to its reference is added to the writer's logits.

    Only for the implicit reward of a language model. Without a writer, the reference itself writes after the user's
    context; strength 1 is then the user's policy.

    Args:
        strength: Factor of the log-ratio, 0 to 1,000. 0 is the writer alone.

    Raises:
        DataError: The number is out of range.

    Source: Liu et al. (2024), Tuning language models by proxy, arXiv 2401.08565, with a strength.

    Example:
        >>> Tokenwise(2.0)
        Tokenwise(strength=2.0)
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", check_strength(self.strength))


Guidance = Blockwise | Tokenwise


def check_strength(strength: Any) -> float:
    """Returns a strength; raises `DataError` for anything else."""
    return check_number(strength, "strength", 0, MOST_STRENGTH)


def check_sampling(temperature: Any, top_p: Any, max_tokens: Any, seed: Any) -> Sampling:
    """Returns settings of the sampling; raises `DataError` if one is out of range."""
    return Sampling(
        check_number(temperature, "temperature", 0),
        check_number(top_p, "top_p", SMALLEST_NUCLEUS, 1),
        check_integer(max_tokens, "max_tokens", 1, MOST_TOKENS),
        check_integer(seed, "seed", 0, MOST_SEED),
    )


def written(
    user: UserReward,
    prompt: Prompt,
    n: Any,
    sampling: Sampling,
    writer: Writer | None,
    guidance: Guidance | None,
) -> list[Written]:
    """Writes n responses for a user, as `UserReward.generate` says; all but `n`, writer and guidance are checked."""
    n = check_integer(n, "n", 1, MOST_RESPONSES)
    if writer is not None:
        check_writer(writer)
    match guidance:
        case Blockwise():
            pen = writer or own_writer(user)
            return [
                blockwise(
                    user, prompt, pen, sampling._replace(seed=(sampling.seed + i) % (MOST_SEED + 1)), guidance
                )
                for i in range(n)
            ]
        case Tokenwise():
            pen, way = policy_of(user).guided(user.state, writer, guidance.strength), "tokenwise"
        case None:
            pen, way = writer or own_writer(user), "sampled"
        case _:
            raise DataError(f"guidance must be a Blockwise, a Tokenwise or None, not {shown(guidance)}.")
    draft = pen.begin(prompt, sampling)
    return [Written(one.text, way, one.ended) for one in pen.continuations(draft, n, draft.room)]


def blockwise(
    user: UserReward, prompt: Prompt, writer: Writer, sampling: Sampling, guidance: Blockwise
) -> Written:
    """Writes one response with guidance block by block."""
    draft = writer.begin(prompt, sampling)
    whole = not writer.continues
    while draft.room and not draft.ended:
        drafts = writer.continuations(draft, guidance.n, draft.room if whole else guidance.tokens)
        draft = best(user, prompt, drafts, guidance.caution)
        if whole:
            break
    return Written(draft.text, "best of n" if whole else "blockwise", draft.ended)


def best(user: UserReward, prompt: Prompt, drafts: list[Draft], caution: float) -> Draft:
    """The draft with the highest reward, lowered by caution; the first of equal ones."""
    if len(drafts) == 1:
        return drafts[0]
    return drafts[int(lower_bound(user, prompt, [draft.text for draft in drafts], caution)[0].argmax())]


def policy_of(user: UserReward) -> Any:
    """The part of a reward that is a policy.

    Raises:
        FspoError: It has none.
    """
    writing = user.base.writing
    if writing is None or not writing.generates:
        raise FspoError(
            "this reward scores responses, but cannot write them. Pass a writer, such as "
            'writer=fspo.load_writer("smollm2-135m"), with guidance=fspo.Blockwise(); or meta-train a language model '
            "with reward = 'implicit', which is a policy."
        )
    return writing


def own_writer(user: UserReward) -> Writer:
    """The user's own policy; raises as `policy_of` does."""
    return policy_of(user).writer(user.state)
