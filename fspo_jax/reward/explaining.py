"""Why a user's reward scores as it does: what each labelled pair pulls, what each column is worth, what contradicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fspo_jax.arguments import check_number, check_sequence, check_text, check_texts, shown
from fspo_jax.errors import DataError, FspoError, errors_in
from fspo_jax.metrics import predicted
from fspo_jax.models.features.interaction import INTERACTION
from fspo_jax.reward.engines.features import plain_features
from fspo_jax.types import Preference, Prompt, check_prompt

if TYPE_CHECKING:
    from fspo_jax.reward.user_reward import UserReward

SURE, LIKELY = 0.975, 0.8
"""Probability of a belief's sign from which on it is said without doubt, and from which on it is `probably`."""

UNLIKELY = 0.4
"""Probability of a label below which it may contradict the others."""


Property = Callable[[Prompt, str], float]
"""A number of a response to a prompt, such as its reading age; or whether it has something, true or false."""

MOST_PROPERTY = 1e9
"""Largest size of a property."""

LEAST_DIFFERENCE = 1e-9
"""Differences of a property below this, and below this share of its largest size, are rounding errors."""


class Explanation(NamedTuple):
    """What moves the score of a candidate away from the mean of the candidates, in nats.

    Attributes:
        text: The candidate.
        above_mean: Its score minus the candidates' mean score.
        pulls: For each labelled pair, from the oldest to the newest, how much the pair moves `above_mean`; NaN for the
            oldest of many pairs, which are folded together.
        columns: For each block with named columns, the part of `above_mean` of each column.
        blocks: The part of each block, named or not. They add up to `above_mean`.
    """

    text: str
    above_mean: float
    pulls: tuple[float, ...]
    columns: Mapping[str, Mapping[str, float]]
    blocks: Mapping[str, float]


class Belief(NamedTuple):
    """What one unit of a named column is worth to a person. `str(belief)` says it in words.

    Attributes:
        block, column: Names of the block of features and of its column; `"property"` and its name for your own.
        words: What a response with more of the column has.
        effect: What one unit is worth, in nats; negative if the person dislikes it.
        deviation: Posterior standard deviation of `effect`.
        usual: The effect for a person of whom nothing is known, in the same community.

    Example:
        >>> print(Belief("style", "emoji", "emoji", -0.8, 0.3, 0.1))
        dislikes emoji (-0.80 ± 0.30 nats; people in general +0.10)
    """

    block: str
    column: str
    words: str
    effect: float
    deviation: float
    usual: float

    @property
    def certainty(self) -> float:
        """Probability that the effect has the sign that it is believed to have, from 0.5 to 1."""
        return 0.5 * math.erfc(-abs(self.effect) / (max(self.deviation, 1e-12) * math.sqrt(2.0)))

    def __str__(self) -> str:
        verb = "like" if self.effect > 0 else "dislike"
        if self.certainty < LIKELY:
            said = f"may {verb}"
        else:
            said = f"{'' if self.certainty >= SURE else 'probably '}{verb}s"
        numbers = f"{self.effect:+.2f} ± {self.deviation:.2f} nats; people in general {self.usual:+.2f}"
        return f"{said} {self.words} ({numbers})"


class Contradiction(NamedTuple):
    """A labelled pair whose label the other pairs speak against.

    Attributes:
        place: Of the pair, counted from the oldest, as in `user.preferences`.
        probability: Of its label, predicted from all other pairs.
        against: Place of the pair that speaks most against it.
    """

    place: int
    probability: float
    against: int


def explain(user: UserReward, prompt: Prompt, candidates: Iterable[str]) -> list[Explanation]:
    """As `UserReward.explain`."""
    prompt, texts = check_prompt(prompt), check_texts(candidates, "candidates")
    if len(texts) < 2:
        raise DataError("an explanation compares candidates, so it needs two or more. Give more candidates.")
    scoring, temperature = user.base.scoring, user.base.temperature
    scores = _centred(user.score(prompt, texts))
    pulls = np.full((user.shots, len(texts)), np.nan)
    for place in range(user.shots):
        rest = scoring.left_out(user.context, place)
        if rest is not None:
            without = scoring.score(scoring.state(rest), prompt, texts)[0]
            pulls[place] = scores - _centred(without / temperature)
    taste, featurizer = scoring.taste(user.state), scoring.featurizer
    columns: list[dict[str, Mapping[str, float]]] = [{} for _ in texts]
    blocks: list[dict[str, float]] = [{} for _ in texts]
    if taste is not None and featurizer is not None:
        features = featurizer([prompt] * len(texts), texts).astype(float)
        parts = (features - features.mean(0)) * taste.weights / temperature
        for name, place in _places(featurizer.blocks).items():
            named = _columns(user).get(name, {})
            for i, row in enumerate(parts[:, place].tolist()):
                blocks[i][name] = math.fsum(row)
                if named:
                    columns[i][name] = dict(zip(named, row, strict=True))
    return [
        Explanation(text, float(scores[i]), tuple(pulls[:, i].tolist()), columns[i], blocks[i])
        for i, text in enumerate(texts)
    ]


def beliefs(
    user: UserReward,
    pool: Iterable[Preference | tuple[Prompt, Iterable[str]]] | None,
    properties: Mapping[str, Property],
) -> list[Belief]:
    """As `UserReward.beliefs`."""
    scoring, temperature, named = user.base.scoring, user.base.temperature, _columns(user)
    if not isinstance(properties, Mapping):
        raise DataError(f"properties must be functions by their names, not {shown(properties)}.")
    featurizer, nobody = scoring.featurizer, scoring.state(scoring.read(()))
    if properties and pool is None:
        raise DataError("a property of texts needs texts: give a pool with it.")
    if featurizer is None or not (any(named.values()) or properties) or scoring.taste(nobody) is None:
        raise FspoError(
            f"{user.base!r} has no beliefs that can be said in words: its scores are not linear in named features. "
            "Rewards with a 'three_level_gp' scorer have them, such as fspo-mini."
        )
    said = [
        (place, block, column, words)
        for block, columns in _places(featurizer.blocks).items()
        if block != INTERACTION  # its penalties are nobody's taste
        for place, (column, words) in enumerate(named.get(block, {}).items(), columns.start)
    ]
    places = [place for place, *_ in said]
    steps = np.eye(featurizer.dimension, dtype=np.float32)[places]
    if pool is not None:
        groups = _groups(pool)
        own = {name: _values(groups, name, function) for name, function in properties.items()}
        features = _centred_in(
            [featurizer([prompt] * len(texts), texts).astype(float) for prompt, texts in groups]
        )
        said = [one for one in said if np.square(features[:, one[0]]).mean() > 1e-6]
        said += [(-1, "property", name, name) for name, values in own.items() if values.any()]
        if not said:
            raise _nothing_differs()
        columns = [features[:, place] if place >= 0 else own[name] for place, _, name, _ in said]
        # By how much all features change with one unit of a column: the slope of a linear reward is what that is worth.
        steps = np.array([column @ features / (column @ column) for column in columns], np.float32)
    taste, usual = (scoring.taste(state, steps) for state in (user.state, nobody))
    assert taste is not None and usual is not None
    found = []
    for i, (_, block, column, words) in enumerate(said):
        numbers = (float(values[i]) / temperature for values in (*taste, usual.weights))
        found.append(Belief(block, column, words, *numbers))
    return sorted(found, key=lambda belief: -abs(belief.effect))


def _nothing_differs() -> DataError:
    return DataError(
        "no named column and no property differs between responses to one prompt of the pool. Give a larger pool."
    )


def _groups(pool: Any) -> list[tuple[Prompt, list[str]]]:
    """The prompts of a pool with their responses."""
    groups = []
    for i, entry in enumerate(
        check_sequence(pool, "pool", "a list of Preference, or of (prompt, candidates)")
    ):
        with errors_in(f"pool[{i}]"):
            if isinstance(entry, Preference):
                prompt, texts = entry.prompt, [entry.chosen, entry.rejected]
            elif isinstance(entry, tuple | list) and len(entry) == 2:
                prompt, texts = check_prompt(entry[0]), list(check_texts(entry[1], "candidates"))
            else:
                raise DataError(f"it must be a Preference or (prompt, candidates), not {shown(entry)}.")
        if texts:
            groups.append((prompt, texts))
    return groups


def _values(groups: Sequence[tuple[Prompt, list[str]]], name: str, function: Property) -> np.ndarray:
    """A property of all responses minus the mean of their prompt's, `[C]`."""

    def value(prompt: Prompt, text: str) -> float:
        try:
            found = function(prompt, text)
        except Exception as error:
            error.add_note(f"Raised by properties[{name!r}] for {shown(text)}.")
            raise
        found = int(found) if isinstance(found, bool) else found
        return check_number(found, f"the value for {shown(text)}", -MOST_PROPERTY, MOST_PROPERTY)

    with errors_in(f"properties[{name!r}]"):
        if not check_text(name, "the name").strip():
            raise DataError("the name is empty.")
        if not callable(function):
            raise DataError(f"it must be a function of prompt and response, not {shown(function)}.")
        rows = [np.array([[value(prompt, text)] for text in texts]) for prompt, texts in groups]
    largest = max((np.abs(row).max() for row in rows), default=0.0)
    values = _centred_in(rows)[:, 0]
    return np.where(np.abs(values) > LEAST_DIFFERENCE * max(largest, 1.0), values, 0.0)


def _centred_in(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Numbers of the responses of each prompt minus their mean, `[C, N]`."""
    if not rows:
        raise _nothing_differs()
    return np.concatenate([one - one.mean(0) for one in rows])


def contradictions(user: UserReward, most: int) -> list[Contradiction]:
    """As `UserReward.contradictions`."""
    scoring, context, temperature = user.base.scoring, user.context, user.base.temperature
    nobody = scoring.state(scoring.read(()))
    doubted = []
    for place in range(user.shots):
        rest = scoring.left_out(context, place)
        if rest is None:
            continue
        mean, variance = scoring.kept_margin(scoring.state(rest), context, place)
        probability = float(predicted(np.array(mean / temperature), np.array(variance)))
        # People in general may disagree too, but only other labels contradict a label.
        if probability < UNLIKELY and mean < scoring.kept_margin(nobody, context, place)[0]:
            doubted.append((probability, place, mean))
    found = []
    for probability, place, mean in sorted(doubted)[:most]:
        margins = {}
        for other in range(user.shots):
            rest = None if other == place else scoring.left_out(context, other)
            if rest is not None:
                both = scoring.left_out(rest, place - (other < place))
                margins[other] = scoring.kept_margin(scoring.state(both), context, place)[0] - mean
        if margins:  # otherwise the only pair that was not folded
            found.append(Contradiction(place, probability, max(margins, key=margins.__getitem__)))
    return found


def _columns(user: UserReward) -> Mapping[str, Mapping[str, str]]:
    """For each block of features, the names of its columns with their words."""
    featurizer = user.base.scoring.featurizer
    return {} if featurizer is None else getattr(plain_features(featurizer), "columns", {})


def _places(blocks: Mapping[str, int]) -> dict[str, slice]:
    """The columns of each block."""
    found, start = {}, 0
    for name, width in blocks.items():
        found[name] = slice(start, start + width)
        start += width
    return found


def _centred(scores: np.ndarray) -> np.ndarray:
    return scores.astype(float) - scores.mean(dtype=float)
