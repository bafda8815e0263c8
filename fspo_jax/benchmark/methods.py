"""Turns a row of the benchmark's config into a method: trained and tuned on a fold, or made without training."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.benchmark.folds import Fold, MethodFeatures, Studies
from fspo_jax.checkpoints import read_reward
from fspo_jax.config import (
    BaselineConfig,
    FinishedConfig,
    ItemIdentityConfig,
    MethodConfig,
    OptimizerConfig,
    PersonaSource,
    PreferentialGPConfig,
    TrainConfig,
    TrialConfig,
)
from fspo_jax.evaluation.baselines import TUNED, Material, make_baseline
from fspo_jax.evaluation.communities import Inside
from fspo_jax.evaluation.community_level import learned_inside
from fspo_jax.evaluation.controls import first_pairs
from fspo_jax.evaluation.episodes import subset
from fspo_jax.evaluation.predict import Margins, Method, log_odds, reading_features, reward_method
from fspo_jax.metrics import scores
from fspo_jax.models.scorers.contract import Params, Scorer, query_margins
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward import PersonalizedReward
from fspo_jax.reward.engines.features import FeatureScoring
from fspo_jax.training.fit import fit as fit_task
from fspo_jax.training.tasks.head import HeadTask

CODE_WIDTH = 256
"""Width of the random codes of responses."""

STEPS_PER_DISPATCH = 50
"""At most; they divide the steps."""


class Cost(NamedTuple):
    """The cost of a method; NaN where it does not apply.

    Attributes:
        train_seconds: Time of one meta-training with the chosen settings.
        adapt_microseconds: Time from the features of 8 pairs to the user's state, compiled, on this machine.
        score_microseconds: Time per candidate, for 64 candidates whose features are known.
        user_bytes: Size of the user's state.
    """

    train_seconds: float = float("nan")
    adapt_microseconds: float = float("nan")
    score_microseconds: float = float("nan")
    user_bytes: float = float("nan")


class Fitted(NamedTuple):
    """A method that is ready to predict.

    Attributes:
        method: Its predictions.
        validation_loss: Log loss on the fold's meta-validation users, in nats; 0 if there is nothing to choose.
        cost: Its cost.
        inside: Its predictions inside communities, if the method has a level for them.
    """

    method: Method
    validation_loss: float
    cost: Cost
    inside: Inside | None = None


def is_trained(method: MethodConfig) -> bool:
    """Whether a method is meta-trained here, and so depends on the seed."""
    return not isinstance(method.model, BaselineConfig | FinishedConfig)


def settings(method: MethodConfig, studies: Studies) -> Sequence[TrialConfig | float | None]:
    """Returns the settings to try for a method: of training, prior amplitudes, or none."""
    if is_trained(method):
        return studies.config.trials
    return studies.config.amplitudes if method.model.kind in TUNED else (None,)


def fit(method: MethodConfig, fold: Fold, studies: Studies, setting: Any, seed: int) -> Fitted:
    """Trains a method on a fold with one setting, or makes it without training."""
    model, read, people = method.model, studies.features[method.name], studies.people
    if isinstance(model, BaselineConfig):
        worlds = [source for source in studies.config.data.sources if isinstance(source, PersonaSource)]
        material = Material(people, read.rows, people.pairs_of(fold.train), worlds)
        margins = make_baseline(model, material, setting).margins
        loss = 0.0 if setting is None else _validation_loss(margins, fold, studies)
        return Fitted(Method(method.name, margins), loss, Cost(0.0))
    if read.reward is not None:
        return _finished(method.name, read.reward, read.rows, studies)
    if isinstance(model, ItemIdentityConfig):
        texts = np.asarray(people.table.texts)
        codes = np.random.default_rng(0).normal(size=(texts.max() + 1, CODE_WIDTH)).astype(np.float32)
        read = read._replace(blocks={"codes": CODE_WIDTH}, rows=codes[texts])
        model = PreferentialGPConfig("preferential_gp")
    return _meta_trained(method, model, read, fold, studies, setting, seed)


def _finished(name: str, reward: PersonalizedReward, rows: np.ndarray, studies: Studies) -> Fitted:
    """A finished reward on the same people. One with a level of communities learns them as others do."""
    scoring, people = reward.scoring, studies.people
    if not isinstance(scoring, FeatureScoring):
        return Fitted(reward_method(name, reward, people), 0.0, Cost())
    scorer, params, inside = scoring.scorer, scoring.params, None
    if scorer.learn is not None and scoring.community is None:
        inside = learned_inside(scorer, params, rows, np.asarray(people.table.texts))
    return Fitted(reward_method(name, reward, people, rows), 0.0, _cost(scorer, params, rows), inside)


def _meta_trained(
    method: MethodConfig,
    model: Any,
    read: MethodFeatures,
    fold: Fold,
    studies: Studies,
    trial: TrialConfig,
    seed: int,
) -> Fitted:
    config, features = studies.config, read.rows
    scorer = make_scorer(model, read.blocks)
    steps, dispatched = config.steps, math.gcd(config.steps, STEPS_PER_DISPATCH)
    run_config = TrainConfig(
        seed=seed,
        steps=steps,
        objective="bradley_terry",
        data=config.data,
        scorer=model,
        optimizer=OptimizerConfig(trial.learning_rate, min(50, steps // 4), trial.weight_decay),
        # The features are given, so no adapters are exported.
        encoder=dataclasses.replace(read.encoder, adapters=""),
        features=read.features,
        episodes=dataclasses.replace(
            config.episodes,
            mismatched=method.mismatched,
            communities=0 if scorer.learn is None else config.episodes.communities,
        ),
        feature_dropout=trial.feature_dropout,
        tail_fraction=method.tail_fraction,
        steps_per_dispatch=dispatched,
        evaluate_every=max(steps // 5 // dispatched, 1) * dispatched,
        population_baseline=False,
    )
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        taught = with_others(fold.train, studies) if method.mismatched else fold.train
        train, validation = (subset(studies.people.table, users) for users in (taught, fold.validation))
        task = HeadTask(run_config, scorer, train, features, validation, features)
        params, metadata = read_reward(fit_task(task, Path(directory, "run")))
    seconds = time.perf_counter() - started
    compiled = jax.jit(lambda params, episode: query_margins(scorer, params, episode))
    margins = reading_features(lambda episode: compiled(params, episode), features)
    cost = _cost(scorer, params, features)._replace(train_seconds=seconds)
    inside = None
    if scorer.learn is not None:
        inside = learned_inside(scorer, params, features, np.asarray(studies.people.table.texts))
    return Fitted(Method(method.name, margins), metadata.validation["log_loss"], cost, inside)


def with_others(users: np.ndarray, studies: Studies) -> np.ndarray:
    """Those users whose source has more of them: the context of nobody else can take the place of a single user's."""
    sources = np.array([studies.people.users[user].source for user in users])
    _, place, counts = np.unique(sources, return_inverse=True, return_counts=True)
    return users[counts[place] > 1]


def _validation_loss(margins: Margins, fold: Fold, studies: Studies) -> float:
    """Mean log loss over users, and over 0 shots, half of the shots and all shots."""
    _, episode = studies.episodes(fold.validation)
    most = max(studies.config.shots)
    odds = [log_odds(margins, first_pairs(episode, shots)) for shots in sorted({0, most // 2, most})]
    return float(np.mean([scores(one, episode.query_mask).log_loss for one in odds]))


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
