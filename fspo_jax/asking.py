"""Which pair to ask a person next.

Labels cost a person's time. Most pairs of a pool tell little: the reward is already sure of them, or they resemble a
pair that the person has labelled. The posterior of a reward says of each pair how much its label would tell.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from fspo_jax.arguments import check_integer, check_sequence, check_texts, shown
from fspo_jax.errors import DataError, FspoError, LimitError, counted, errors_in
from fspo_jax.metrics import probability
from fspo_jax.rerank import check_user_reward
from fspo_jax.types import Preference, Prompt, check_prompt

if TYPE_CHECKING:
    from fspo_jax.reward import UserReward
    from fspo_jax.reward.engines.contract import MarginPosterior

Acquisition = Literal["bald", "eubo", "random"]
"""How the next pair is chosen."""

ACQUISITIONS: tuple[Acquisition, ...] = ("bald", "eubo", "random")

NEW_PROMPT = 0.1
"""A pair of a prompt that was not seen comes first if it tells at least this share of what the best pair tells. Else
most questions are about the few prompts whose responses differ most, and teach their topics."""

MOST_PAIRS, MOST_SEED = 10_000, (1 << 63) - 1

NODES = np.linspace(-6.0, 6.0, 65)
WEIGHTS = np.exp(-0.5 * NODES**2) / np.exp(-0.5 * NODES**2).sum()
"""Places and weights of the mean of a smooth function of a standard normal variable. On an even grid the error falls
exponentially; that of BALD is below 1e-4 nats for margins with a deviation of up to 10 nats."""


class Question(NamedTuple):
    """A pair to ask a person.

    Attributes:
        prompt: A string or a conversation.
        a, b: The two responses.
        value: What the answer is worth, in nats: of information for BALD, of reward for EUBO; NaN for random pairs.
    """

    prompt: Prompt
    a: str
    b: str
    value: float

    def answered(self, preferred: Literal["a", "b"]) -> Preference:
        """Returns the labelled pair, for `user.update`.

        Raises:
            DataError: `preferred` is neither "a" nor "b".

        Example:
            >>> Question("What is entropy?", "A messy room.", "S = k log W.", 0.5).answered("b").chosen
            'S = k log W.'
        """
        if preferred not in ("a", "b"):
            raise DataError(f"preferred is {shown(preferred)}; it must be 'a' or 'b'.")
        texts = (self.a, self.b) if preferred == "a" else (self.b, self.a)
        return Preference(self.prompt, *texts)


def next_pair(
    user_reward: UserReward,
    pool: Iterable[Preference | tuple[Prompt, Iterable[str]]],
    *,
    by: Acquisition = "bald",
    seed: int = 0,
    seen: Iterable[Prompt] | None = None,
) -> Question:
    """Returns the pair of a pool whose label tells most about a person; the arguments are those of `next_pairs`.

    Raises:
        DataError: As in `next_pairs`, or no pair of the pool is left.
        LimitError, FspoError: As in `next_pairs`.

    Example:
        >>> question = next_pair(ana, [("Why is the sky blue?", drafts)])
        >>> ana.update([question.answered("a")]).shots
        2
    """
    questions = next_pairs(user_reward, pool, 1, by=by, seed=seed, seen=seen)
    if not questions:
        raise DataError(
            "no pair of the pool is left to ask: it needs two different responses to one prompt that the user has not "
            "labelled yet. Give a larger pool."
        )
    return questions[0]


def next_pairs(
    user_reward: UserReward,
    pool: Iterable[Preference | tuple[Prompt, Iterable[str]]],
    count: int,
    *,
    by: Acquisition = "bald",
    seed: int = 0,
    seen: Iterable[Prompt] | None = None,
) -> list[Question]:
    """Returns pairs of a pool whose labels together tell most about a person, the best first.

    The pairs are chosen one by one. After each, the variances are those after its label, whatever the label will be, so
    a batch does not ask the same thing twice. Inside a community, what the community tells is not asked again.

    Args:
        user_reward: The person's reward, with the pairs that are labelled already; they are not asked again.
        pool: Pairs, whose labels are not read (`a` is `chosen`), or prompts with candidates, of which any two are a
            pair. At most 10,000 pairs in total.
        count: How many pairs to return, 1 or more.
        by: `"bald"`: the pair whose label tells most about the person's rewards, to predict any pair well. `"eubo"`:
            the pair whose better response is expected to be the best, to find a response that the person likes.
            `"random"`: any pair; for honest measurements, and for rewards without uncertainty.
        seed: Seed of random pairs.
        seen: For `"bald"`: prompts that were asked about already. A pair of another prompt then comes first unless it
            tells less than a tenth of what the best pair tells, since labels of few prompts teach mostly their topics.
            Each returned pair counts as seen, so a batch from `()` is about many prompts, too. None for any prompt.

    Returns:
        Distinct pairs; fewer than `count` if the pool has no more.

    Raises:
        DataError: `pool` or `seen` is not as above, `count` or `seed` is out of range, `by` is unknown, or the reward
            is not adapted to a user.
        LimitError: The pool has too many pairs, or a text is too long.
        FspoError: The reward has no uncertainty, and `by` is not `"random"`.

    Source: Houlsby et al. (2011), arXiv 1112.5745, equation 2, for BALD: the mutual information of label and margin,
    here by quadrature. Lin et al. (2022), arXiv 2203.11382, equation 3, for EUBO: the expected maximum of two
    utilities. Differs from the paper: EUBO is relative to the best candidate of the same prompt, because rewards of
    different prompts cannot be compared.

    Example:
        >>> pool = [("Why is the sky blue?", drafts), Preference("What is a qubit?", "A coin.", "A vector.")]
        >>> len(next_pairs(ana, pool, 5))
        2
    """
    check_user_reward(user_reward)
    if by not in ACQUISITIONS:
        raise DataError(f"by is {shown(by)}; it must be one of {', '.join(map(repr, ACQUISITIONS))}.")
    count, seed = check_integer(count, "count", 1), check_integer(seed, "seed", 0, MOST_SEED)
    known = None if seen is None else _prompts_of(seen)
    pairs = _unlabelled(user_reward, _pairs_of(pool))
    if not pairs:
        return []
    if by == "random":
        places = np.random.default_rng(seed).permutation(len(pairs))[:count].tolist()
        return [
            Question(pair.prompt, pair.chosen, pair.rejected, math.nan)
            for pair in map(pairs.__getitem__, places)
        ]
    base = user_reward.base
    posterior = base.scoring.margin_posterior(user_reward.state, pairs)
    if posterior is None:
        raise FspoError(
            f"{user_reward!r} has no uncertainty, so it cannot tell which pair is worth asking. Use by='random', or a "
            "reward whose scorer is a Gaussian process."
        )
    rewards = posterior.rewards / base.temperature
    below = _below_best([pair.prompt for pair in pairs], rewards) if by == "eubo" else None
    prompts = [pair.prompt for pair in pairs]
    news = None if known is None or by != "bald" else News(prompts, known)
    found = greedy(rewards[:, 0] - rewards[:, 1], posterior, below, min(count, len(pairs)), news)
    return [Question(pairs[i].prompt, pairs[i].chosen, pairs[i].rejected, value) for i, value in found]


def information(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Mutual information of a label and its margin, in nats, for margins with this mean and variance, `[N]` each.

    The entropy of the label minus its mean entropy once the margin is known.

    Example:
        >>> information(np.zeros(2), np.array([0.0, 100.0])).round(2).tolist()
        [0.0, 0.56]
    """
    expected = _mean_of(probability, mean, variance)
    return np.maximum(_entropy(expected) - _mean_of(lambda m: _entropy(probability(m)), mean, variance), 0.0)


def gain_of_best(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """By how much the better of two responses is expected to be above the one that is expected to be better, in nats.

    Args:
        mean: `[N]`, of the margins.
        variance: `[N]`, of the margins.

    Example:
        >>> gain_of_best(np.zeros(1), np.array([2 * np.pi])).round(6).tolist()
        [1.0]
    """
    deviation = np.sqrt(variance)
    steps = np.abs(mean) / np.maximum(deviation, 1e-12)
    tail = 0.5 * np.array([math.erfc(step / math.sqrt(2.0)) for step in steps])
    return np.maximum(
        deviation * np.exp(-0.5 * steps**2) / math.sqrt(2.0 * math.pi) - np.abs(mean) * tail, 0.0
    )


class News:
    """Which of some pairs are about a prompt that was not seen.

    Args:
        prompts: Of the N pairs.
        seen: Prompts that were seen.
    """

    def __init__(self, prompts: Sequence[Prompt], seen: Set[Prompt]):
        self._prompts = prompts
        self._new = np.array([prompt not in seen for prompt in prompts])

    def best(self, values: np.ndarray) -> int:
        """The place of the highest value, `[N]`, or of the highest of a new prompt if that is nearly as high."""
        best, other = int(np.argmax(values)), int(np.argmax(np.where(self._new, values, -np.inf)))
        return other if self._new[other] and values[other] >= NEW_PROMPT * values[best] else best

    def see(self, place: int) -> None:
        """The prompt of this pair is not new any more."""
        self._new &= np.array([prompt != self._prompts[place] for prompt in self._prompts])


def greedy(
    mean: np.ndarray,
    posterior: MarginPosterior,
    below: np.ndarray | None,
    count: int,
    news: News | None = None,
) -> list[tuple[int, float]]:
    """Places of the best pairs with their values, one after the other."""
    mean, variance = mean.astype(float), posterior.variance.astype(float)
    factors = np.zeros((count, len(mean)))
    found: list[tuple[int, float]] = []
    free = np.ones(len(mean), bool)
    for turn in range(count):
        values = information(mean, variance) if below is None else gain_of_best(mean, variance) - below
        left = np.where(free, values, -np.inf)
        best = news.best(left) if news else int(np.argmax(left))
        found.append((best, float(values[best])))
        free[best] = False
        if news:
            news.see(best)
        if turn + 1 == count:
            break
        # A label is worth as much as a measurement of the margin whose precision is the likelihood's mean curvature.
        place = slice(best, best + 1)
        precision = _mean_of(lambda m: probability(m) * probability(-m), mean[place], variance[place])[0]
        shared = posterior.covariance(best) - factors[:turn].T @ factors[:turn, best]
        factors[turn] = shared * math.sqrt(precision / (1.0 + precision * variance[best]))
        variance = np.maximum(variance - factors[turn] ** 2, 0.0)
    return found


def _below_best(prompts: Sequence[Prompt], rewards: np.ndarray) -> np.ndarray:
    """How far the better response of each pair is expected to be below the best of its prompt, `[N]`."""
    better = rewards.max(1)
    best: dict[Prompt, float] = {}
    for prompt, reward in zip(prompts, better.tolist(), strict=True):
        best[prompt] = max(reward, best.get(prompt, -math.inf))
    return np.array([best[prompt] for prompt in prompts]) - better


def _pairs_of(pool: Any) -> list[Preference]:
    """The pairs of a pool; which response is `chosen` means nothing."""
    wanted = "a list of Preference, or of (prompt, candidates)"
    pairs: list[Preference] = []
    for i, entry in enumerate(check_sequence(pool, "pool", wanted)):
        if isinstance(entry, Preference):
            found = [entry]
        elif isinstance(entry, tuple | list) and len(entry) == 2:
            with errors_in(f"pool[{i}]"):
                prompt = check_prompt(entry[0])
                texts = list(dict.fromkeys(check_texts(entry[1], "candidates")))
                _check_size(len(pairs) + math.comb(len(texts), 2))
                found = [Preference(prompt, *two) for two in itertools.combinations(texts, 2)]
        else:
            raise DataError(f"pool[{i}] must be a Preference or (prompt, candidates), not {shown(entry)}.")
        pairs += found
        _check_size(len(pairs))
    return pairs


def _prompts_of(seen: Any) -> set[Prompt]:
    prompts = seen if isinstance(seen, set | frozenset) else check_sequence(seen, "seen", "a list of prompts")
    with errors_in("seen"):
        return {check_prompt(prompt) for prompt in prompts}


def _check_size(count: int) -> None:
    if count > MOST_PAIRS:
        raise LimitError(
            f"the pool has more than {counted(MOST_PAIRS, 'pair')}. Give fewer prompts, or fewer candidates for each: "
            "C candidates are C (C - 1) / 2 pairs."
        )


def _unlabelled(user_reward: UserReward, pairs: Sequence[Preference]) -> list[Preference]:
    """The pairs that the user has not labelled, each once, whichever of its responses comes first."""
    scoring, context = user_reward.base.scoring, user_reward.context
    turned = [Preference(pair.prompt, pair.rejected, pair.chosen) for pair in pairs]
    known = zip(scoring.has(context, pairs), scoring.has(context, turned), strict=True)
    left = {}
    for pair, labelled in zip(pairs, known, strict=True):
        if not any(labelled):
            left.setdefault((pair.prompt, frozenset((pair.chosen, pair.rejected))), pair)
    return list(left.values())


def _mean_of(function: Any, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Mean of a function of N Gaussian variables, `[N]`."""
    return function(mean[:, None] + np.sqrt(variance)[:, None] * NODES) @ WEIGHTS


def _entropy(p: np.ndarray) -> np.ndarray:
    """Entropy of a label with this probability, nats."""
    p = np.clip(p, 1e-12, 1.0 - 1e-12)
    return -p * np.log(p) - (1.0 - p) * np.log1p(-p)
