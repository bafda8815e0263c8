"""From a row of the benchmark's config to predictions: trained and tuned on a fold, or made without training."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.benchmark.folds import Fold, Studies, encoder_of, subset
from fspo_jax.checkpoints import read_reward
from fspo_jax.config import (
    CeilingConfig,
    ItemIdentityConfig,
    LengthConfig,
    MethodConfig,
    OptimizerConfig,
    PersonaSource,
    PerUserConfig,
    PreferentialGPConfig,
    TrainConfig,
    TrialConfig,
)
from fspo_jax.data.personas.bayes import BayesOptimal
from fspo_jax.evaluation.baselines import isotropic_gp, per_user_logistic
from fspo_jax.metrics import log_loss, predicted_logit, probability, user_means
from fspo_jax.models.scorers.contract import Params, Scorer, query_margins
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.training.train import meta_train
from fspo_jax.types import Episode, Preference

Margins = Callable[[Episode], tuple[np.ndarray, np.ndarray]]
"""Mean and variance of the margins, each `[B, Q]`, of an episode batch of feature rows."""

CODE_WIDTH = 256
"""Width of the random code of a response."""

USERS_PER_BATCH = 128
BAYES_DRAWS = 5000
STEPS_PER_DISPATCH = 50
"""At most; they divide the steps."""


class Cost(NamedTuple):
    """What a method costs; NaN where it does not apply.

    Attributes:
        train_seconds: Meta-training once, with the settings that were chosen.
        adapt_microseconds: From the features of 8 pairs to the user's state, compiled, on this machine.
        score_microseconds: A candidate, of 64 whose features are there.
        user_bytes: Of the user's state.
    """

    train_seconds: float = float("nan")
    adapt_microseconds: float = float("nan")
    score_microseconds: float = float("nan")
    user_bytes: float = float("nan")


class Fitted(NamedTuple):
    """A method that is ready to predict.

    Attributes:
        margins: Its predictions.
        validation_loss: Log loss on the fold's meta-validation users, nats; 0 where there is nothing to choose.
        cost: What it took.
    """

    margins: Margins
    validation_loss: float
    cost: Cost


def settings(method: MethodConfig, studies: Studies) -> Sequence[TrialConfig | float | None]:
    """What is tried for a method: training settings, prior amplitudes, or nothing."""
    match method.model:
        case PerUserConfig():
            return studies.config.amplitudes
        case LengthConfig() | CeilingConfig():
            return (None,)
    return studies.config.trials


def fit(method: MethodConfig, fold: Fold, studies: Studies, setting: Any, seed: int) -> Fitted:
    """Trains a method on a fold with one setting, or makes it."""
    model, features = method.model, studies.features_of(method)
    if isinstance(model, PerUserConfig):
        make = isotropic_gp if model.kind == "isotropic_gp" else per_user_logistic
        known = np.unique(np.asarray(studies.table.pairs)[_pairs_of(studies, fold.train)])
        margins = _on_features(make(features[known], setting), features)
        return Fitted(margins, _validation_loss(margins, fold, studies), Cost(0.0))
    if isinstance(model, LengthConfig):
        return Fitted(_longer(studies), 0.0, Cost(0.0))
    if isinstance(model, CeilingConfig):
        margins = _majority(studies, fold.train) if model.kind == "majority" else _bayes_optimal(studies)
        return Fitted(margins, 0.0, Cost(0.0))
    if isinstance(model, ItemIdentityConfig):
        texts = np.asarray(studies.table.texts)
        codes = np.random.default_rng(0).normal(size=(texts.max() + 1, CODE_WIDTH)).astype(np.float32)
        features, model = codes[texts], PreferentialGPConfig("preferential_gp")
    return _meta_trained(method, model, features, fold, studies, setting, seed)


def _meta_trained(
    method: MethodConfig,
    model: Any,
    features: np.ndarray,
    fold: Fold,
    studies: Studies,
    trial: TrialConfig,
    seed: int,
) -> Fitted:
    config = studies.config
    scorer = make_scorer(model, features.shape[1])
    steps, dispatched = config.steps, math.gcd(config.steps, STEPS_PER_DISPATCH)
    run_config = TrainConfig(
        seed=seed,
        steps=steps,
        objective="bradley_terry",
        data=config.data,
        scorer=model,
        optimizer=OptimizerConfig(trial.learning_rate, min(50, steps // 4), trial.weight_decay),
        encoder=encoder_of(method, config),
        episodes=config.episodes,
        feature_dropout=trial.feature_dropout,
        tail_fraction=method.tail_fraction,
        steps_per_dispatch=dispatched,
        evaluate_every=max(steps // 5 // dispatched, 1) * dispatched,
        population_baseline=False,
    )
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        reward = meta_train(
            run_config,
            scorer,
            subset(studies.table, fold.train),
            features,
            subset(studies.table, fold.validation),
            features,
            Path(directory, "run"),
        )
        params, metadata = read_reward(reward)
    seconds = time.perf_counter() - started
    compiled = jax.jit(lambda params, episode: query_margins(scorer, params, episode))

    def of_features(episode: Episode) -> tuple[np.ndarray, np.ndarray]:
        mean, variance = compiled(params, episode)
        return np.asarray(mean), np.asarray(variance)

    cost = _cost(scorer, params, features)._replace(train_seconds=seconds)
    return Fitted(_on_features(of_features, features), metadata.validation["log_loss"], cost)


def logits(
    margins: Margins, episode: Episode, shots: int, *, flipped: bool = False, owners: np.ndarray | None = None
) -> np.ndarray:
    """Log odds of the chosen response of each query, nats, `[U, Q]`; where masked, anything.

    Args:
        margins: Of a method.
        episode: Feature rows.
        shots: K, the first pairs of the context.
        flipped: Reverse the labels of the context.
        owners: `[U]`, whose context each user gets.
    """
    context, mask = episode.context, episode.context_mask & (np.arange(episode.context.shape[1]) < shots)
    context = context[:, :, ::-1] if flipped else context
    if owners is not None:
        context, mask = context[owners], mask[owners]
    result = np.empty(episode.query_mask.shape)
    for start in range(0, len(result), USERS_PER_BATCH):
        rows = np.arange(start, start + USERS_PER_BATCH).clip(max=len(result) - 1)
        batch = Episode(context[rows], mask[rows], episode.queries[rows], episode.query_mask[rows])
        result[start : start + USERS_PER_BATCH] = predicted_logit(*margins(batch))[: len(result) - start]
    return result


def leave_one_out_logits(margins: Margins, episode: Episode, texts: np.ndarray, shots: int) -> np.ndarray:
    """Log odds of the chosen response of each context pair, given its owner's other pairs, nats, `[N]`.

    Other pairs that share a response with it are left out, too.

    Args:
        margins: Of a method.
        episode: Feature rows.
        texts: Text id of each feature row.
        shots: K, the first pairs of the context.
    """
    ids, mask = texts[episode.context[:, :shots]], episode.context_mask[:, :shots]
    found = [np.zeros(0)]
    for i in range(mask.shape[1]):
        shared = (ids[:, :, :, None] == ids[:, i, None, None, :]).any((2, 3))
        others = episode.context_mask.copy()
        others[:, :shots] &= ~shared
        alone = episode._replace(
            context_mask=others, queries=episode.context[:, i : i + 1], query_mask=mask[:, i : i + 1]
        )
        found.append(logits(margins, alone, shots)[mask[:, i], 0])
    return np.concatenate(found)


def _on_features(margins: Callable[[Episode], Any], features: np.ndarray) -> Margins:
    def of_rows(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        return margins(rows._replace(context=features[rows.context], queries=features[rows.queries]))

    return of_rows


def _pairs_of(studies: Studies, users: np.ndarray) -> np.ndarray:
    """Numbers of all pairs of some users."""
    offsets, counts = np.asarray(studies.table.offsets)[users], np.asarray(studies.table.counts)[users]
    return np.concatenate([np.arange(o, o + c) for o, c in zip(offsets, counts, strict=True)])


def _longer(studies: Studies) -> Margins:
    """A margin of one nat for the longer response: odds of e."""
    lengths = np.array([len(response) for _, response in studies.items])

    def margins(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        longer = np.sign(lengths[rows.queries[..., 0]] - lengths[rows.queries[..., 1]])
        return longer, np.zeros_like(longer)

    return margins


def _majority(studies: Studies, users: np.ndarray) -> Margins:
    """Log odds of the votes of `users` on the very pair, with one vote added to each side."""
    votes: dict[tuple[int, int], int] = {}
    for chosen, rejected in np.asarray(studies.table.pairs)[_pairs_of(studies, users)].tolist():
        votes[chosen, rejected] = votes.get((chosen, rejected), 0) + 1

    def margin(a: int, b: int) -> float:
        return float(np.log1p(votes.get((a, b), 0)) - np.log1p(votes.get((b, a), 0)))

    def margins(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        flat = [margin(a, b) for a, b in rows.queries.reshape(-1, 2).tolist()]
        mean = np.array(flat).reshape(rows.query_mask.shape)
        return mean, np.zeros_like(mean)

    return margins


def _bayes_optimal(studies: Studies) -> Margins:
    """Log odds under the true posterior, for users of synthetic worlds; ties for everybody else."""
    worlds = [source for source in studies.config.data.sources if isinstance(source, PersonaSource)]
    optimal = {world.name: BayesOptimal(world, draws=BAYES_DRAWS) for world in worlds}
    source_of = dict(
        zip(map(tuple, np.asarray(studies.table.pairs).tolist()), _sources_of_pairs(studies), strict=True)
    )

    def read(rows: np.ndarray) -> list[Preference]:
        items = studies.items
        return [Preference(items[a][0], items[a][1], items[b][1]) for a, b in rows.tolist()]

    def margins(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        mean = np.zeros(rows.query_mask.shape)
        for u, mask in enumerate(rows.query_mask):
            source = source_of.get(tuple(rows.queries[u, 0].tolist()), "") if mask.any() else ""
            if source in optimal:
                context = read(rows.context[u][rows.context_mask[u]])
                chance = optimal[source].probabilities(context, read(rows.queries[u][mask]))
                mean[u, mask] = np.log(chance) - np.log1p(-chance)
        return mean, np.zeros_like(mean)

    return margins


def _sources_of_pairs(studies: Studies) -> list[str]:
    return [user.source for user in studies.users for _ in user.preferences]


def _validation_loss(margins: Margins, fold: Fold, studies: Studies) -> float:
    """Mean over users and over 0 shots, half of them and all."""
    episode = studies.episodes(fold.validation)
    some = episode.query_mask.any(1)
    most = max(studies.config.shots)
    losses = [
        log_loss(probability(logits(margins, episode, shots))) for shots in sorted({0, most // 2, most})
    ]
    return float(np.mean([user_means(loss, episode.query_mask)[some].mean() for loss in losses]))


def _cost(scorer: Scorer, params: Params, features: np.ndarray) -> Cost:
    generator = np.random.default_rng(0)
    context = features[generator.integers(0, len(features), (8, 2))]
    candidates = features[generator.integers(0, len(features), 64)]
    params = jax.tree.map(jnp.asarray, params)
    adapt = jax.jit(lambda p, c: scorer.encode_context(p, scorer.represent(p, c), jnp.ones(8, bool)))
    score = jax.jit(lambda p, s, c: scorer.score(p, s, scorer.represent(p, c)))
    state = adapt(params, context)

    def microseconds(call: Callable[[], Any]) -> float:
        times = []
        for _ in range(30):
            started = time.perf_counter()
            jax.block_until_ready(call())
            times.append(time.perf_counter() - started)
        return 1e6 * float(np.median(times))

    return Cost(
        adapt_microseconds=microseconds(lambda: adapt(params, context)),
        score_microseconds=microseconds(lambda: score(params, state, candidates)) / 64,
        user_bytes=float(sum(leaf.nbytes for leaf in jax.tree.leaves(state))),
    )
