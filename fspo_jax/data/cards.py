"""Data cards: the size of a data set, how varied its responses are, and how much its users differ."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from fspo_jax.text.markdown import escaped
from fspo_jax.types import Prompt, User

SAMPLED_PROMPTS, SAMPLED_USERS = 200, 200


@dataclass(frozen=True)
class DataCard:
    """Figures of a set of users; NaN where the data do not allow a figure.

    Attributes:
        users, pairs, prompts, responses: Counts; prompts and responses are distinct texts.
        users_by_group: Number of users of each source and group.
        pairs_per_user: Smallest, median and largest number of pairs.
        response_words: Median number of words of a response.
        longer_chosen: Share of pairs whose chosen response has more characters, ties one half.
        similarity: Mean cosine similarity of the embeddings of two responses to one prompt, over at most 200 prompts.
        disagreement: Share of response pairs on which two users of a group differ, averaged over sampled users. By true
            utilities where they are known, else by the labels of pairs that both judged.
        label_entropy: Mean entropy of a label, in nats: of the Bradley-Terry draw where utilities are known, else of
            the labels of pairs that several users judged.
    """

    users: int
    pairs: int
    prompts: int
    responses: int
    users_by_group: dict[str, int]
    pairs_per_user: tuple[int, float, int]
    response_words: float
    longer_chosen: float
    similarity: float
    disagreement: float
    label_entropy: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def to_markdown(self, title: str = "Data card", licence: str = "see the sources") -> str:
        """The card as Markdown."""
        low, middle, high = self.pairs_per_user
        rows = {
            "users": f"{self.users:,}",
            "pairs": f"{self.pairs:,} ({low} to {high} per user, median {middle:g})",
            "distinct prompts, responses": f"{self.prompts:,}, {self.responses:,}",
            "words per response, median": f"{self.response_words:g}",
            "longer response chosen": f"{self.longer_chosen:.3f}",
            "similarity of two responses to one prompt (cosine)": f"{self.similarity:.3f}",
            "disagreement of two users of a group": f"{self.disagreement:.3f}",
            "entropy of a label, nats": f"{self.label_entropy:.3f}",
            **{f"users of {name}": f"{count:,}" for name, count in self.users_by_group.items()},
            "licence": licence,
        }
        lines = "\n".join(f"| {escaped(name)} | {escaped(value)} |" for name, value in rows.items())
        return f"# {escaped(title)}\n\n| what | value |\n| --- | --- |\n{lines}\n"


def data_card(
    users: Sequence[User], *, embed: Callable[[Sequence[str]], np.ndarray] | None = None
) -> DataCard:
    """Measures a set of users.

    Args:
        users: One user or more.
        embed: Maps texts to unit vectors `[N, D]`, for `similarity`, which is NaN without it.
    """
    pairs = [pair for user in users for pair in user.preferences]
    by_prompt: dict[Prompt, set[str]] = defaultdict(set)
    for pair in pairs:
        by_prompt[pair.prompt] |= {pair.chosen, pair.rejected}
    for user in users:
        for candidates in user.candidate_sets:
            by_prompt[candidates.prompt] |= set(candidates.candidates)
    responses = set().union(*by_prompt.values())
    counts = [len(user.preferences) for user in users]
    longer = [np.sign(len(pair.chosen) - len(pair.rejected)) for pair in pairs]
    return DataCard(
        users=len(users),
        pairs=len(pairs),
        prompts=len(by_prompt),
        responses=len(responses),
        users_by_group=dict(Counter(f"{user.source} / {user.group or '(none)'}" for user in users)),
        pairs_per_user=(min(counts), statistics.median(counts), max(counts)),
        response_words=statistics.median(len(text.split()) for text in responses),
        longer_chosen=float(0.5 + 0.5 * np.mean(longer)),
        similarity=_similarity(by_prompt, embed),
        disagreement=_disagreement(users),
        label_entropy=_label_entropy(users),
    )


def _similarity(
    by_prompt: dict[Prompt, set[str]], embed: Callable[[Sequence[str]], np.ndarray] | None
) -> float:
    prompts = [texts for texts in by_prompt.values() if len(texts) > 1]
    if embed is None or not prompts:
        return float("nan")
    chosen = np.random.default_rng(0).permutation(len(prompts))[:SAMPLED_PROMPTS]
    means = []
    for i in chosen:
        vectors = embed(sorted(prompts[i])[:32])
        cosines = vectors @ vectors.T
        means.append((cosines.sum() - np.trace(cosines)) / (len(vectors) * (len(vectors) - 1)))
    return float(np.mean(means))


def _judgements(user: User) -> dict[tuple[Prompt, str, str], float]:
    """Signed judgements of response pairs in a fixed order: differences of utilities, else labels."""
    if user.candidate_sets:
        return {
            (s.prompt, s.candidates[i], s.candidates[j]): s.utilities[i] - s.utilities[j]
            for s in user.candidate_sets
            for i, j in combinations(sorted(range(len(s.candidates)), key=s.candidates.__getitem__), 2)
        }
    return {
        (p.prompt, min(p.chosen, p.rejected), max(p.chosen, p.rejected)): 1.0
        if p.chosen < p.rejected
        else -1.0
        for p in user.preferences
    }


def _disagreement(users: Sequence[User]) -> float:
    groups: dict[tuple[str, str], list[User]] = defaultdict(list)
    for user in users:
        groups[user.source, user.group].append(user)
    generator = np.random.default_rng(0)
    shares = []
    for members in groups.values():
        chosen = generator.permutation(len(members))[:SAMPLED_USERS]
        judged = [_judgements(members[i]) for i in chosen]
        for first, second in combinations(judged, 2):
            shared = first.keys() & second.keys()
            if shared:
                shares.append(sum(first[key] * second[key] < 0 for key in shared) / len(shared))
    return float(np.mean(shares)) if shares else float("nan")


def _label_entropy(users: Sequence[User]) -> float:
    differences = [value for user in users if user.candidate_sets for value in _judgements(user).values()]
    if differences:
        probability = 0.5 * (1 + np.tanh(0.5 * np.array(differences)))
    else:
        labels: dict[tuple[Prompt, str, str], list[float]] = defaultdict(list)
        for user in users:
            for key, value in _judgements(user).items():
                labels[key].append(value)
        repeated = [values for values in labels.values() if len(values) > 1]
        if not repeated:
            return float("nan")
        probability = np.array([(np.mean(values) + 1) / 2 for values in repeated])
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return float((-p * np.log(p) - (1 - p) * np.log(1 - p)).mean())
