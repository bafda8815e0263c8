"""How a reward is measured on users it has not seen.

There is one episode per user: a fixed context, of which K shots are the first K pairs, and queries, which share no text
with the context and are the same for all K. Users with fewer than K pairs are measured with all their pairs, so that
every K is about the same users. Tables by source and group contain only users with enough context pairs.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fspo_jax.arguments import check_integer, check_sequence, shown
from fspo_jax.checkpoints import MISMATCHED, POPULATION
from fspo_jax.config import DataConfig, config_to_dict
from fspo_jax.data.build import load_split
from fspo_jax.data.splits import Split
from fspo_jax.errors import DataError, LimitError, counted
from fspo_jax.evaluation import controls
from fspo_jax.evaluation.baselines import IN_WORDS, REPORTED, Material, longer_response, make_baseline
from fspo_jax.evaluation.bayes_optimal import NAME as BEST
from fspo_jax.evaluation.bayes_optimal import Predictor, bayes_optimal, predictor_method, worlds_of
from fspo_jax.evaluation.best_of_n import pick_rows
from fspo_jax.evaluation.described import EXPECTED as DESCRIBED
from fspo_jax.evaluation.described import OTHER_USERS, described_methods
from fspo_jax.evaluation.episodes import MeasuredUsers, People
from fspo_jax.evaluation.findings import Findings
from fspo_jax.evaluation.overlap import CONSEQUENCE, community_overlap, training_overlap
from fspo_jax.evaluation.predict import Method, TextMargins, log_odds, reading_texts, reward_method, texts_of
from fspo_jax.evaluation.report import ControlRow, Report
from fspo_jax.metrics import correctness, interval, user_means, worst_group
from fspo_jax.models.features.contract import FeatureFunction, featurize
from fspo_jax.reward import PersonalizedReward
from fspo_jax.types import Episode, User, check_users

SHOTS = (0, 1, 2, 4, 8, 16)
CONTROL_SHOTS = 8
MODEL = "model"
FEW_USERS = 30
"""With fewer users a warning says that the figures are rough."""

OnProgress = Callable[[str, int, int], None]
"""`(stage, done, total)`, the stages are `encoding` and `measuring`."""


def evaluate(
    reward: PersonalizedReward,
    users: Sequence[User] | DataConfig | None = None,
    *,
    split: Split = "test",
    baselines: Mapping[str, PersonalizedReward] | None = None,
    predictors: Mapping[str, Predictor | TextMargins] | None = None,
    shots: Sequence[int] | None = None,
    queries: int = 16,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Report:
    """Measures a reward on people: accuracy by shots, controls, baselines, calibration, best-of-n.

    This is the whole of `fspo evaluate`. Per-user logistic regression and the isotropic Gaussian process are among the
    methods where the reward reads features; the population model and the model that was meta-trained on mismatched
    users where the run that `reward` was loaded from has them; the Bayes-optimal predictor where all users are
    personas of one synthetic world that the config names.

    Args:
        reward: The reward.
        users: People with their labelled pairs, and candidate sets where true utilities are known: what
            `fspo.load_users` returns. A `DataConfig` gives the people of its `split`; None takes the config that the
            reward was trained with.
        split: Which people of a config.
        baselines: Further rewards to compare with, by name.
        predictors: Further methods that read texts, by name, such as those of `prompted`.
        shots: Numbers of shots, at most `max_context` of the reward and of each of `baselines`. Zero shots are always
            measured. By default those of 0, 1, 2, 4, 8, 16 that they all can read.
        queries: Largest number of queries per user.
        seed: Of the choice of context and queries, of controls and of the bootstrap.
        on_progress: Called as the work goes on.

    Returns:
        The report; `write_report` makes pages of it. Its `warnings` say when people were among the training data.

    Raises:
        DataError: No user has a query, the people cannot be loaded, or two methods have the same name.
        LimitError: A number of shots is above what one of the rewards reads.

    Example:
        >>> report = evaluate(reward, fspo.load_users("people.jsonl"))  # doctest: +SKIP
        >>> report.row("model", 8).accuracy.mean  # doctest: +SKIP
        0.87
    """
    if not hasattr(reward, "scoring"):
        raise DataError(f"reward must be a PersonalizedReward, not {shown(reward)}.")
    if users is not None and not isinstance(users, DataConfig):
        users = check_users(users)
    shots = _shots(shots, {"this reward": reward, **(baselines or {})})
    _check_names([*(baselines or ()), *(predictors or ())])
    queries, seed = check_integer(queries, "queries", 1), check_integer(seed, "seed", 0)
    show = on_progress or (lambda stage, done, total: None)
    data, given, warnings = _people(reward, users, split)
    people = People.of(given)
    measured = people.episodes(shots=max(shots), queries=queries, seed=seed)
    asked = [people.users[u] for u in measured.numbers]
    if not asked:
        raise DataError(
            f"no query for any user ({counted(len(given), 'user')} given): a user needs 2 pairs that share no text. "
            "Add pairs."
        )
    features: dict[str, np.ndarray] = {}

    def method_of(name: str, one: PersonalizedReward) -> Method:
        featurizer = one.scoring.featurizer
        if featurizer is None:
            return reward_method(name, one, people)
        if featurizer.fingerprint not in features:
            features[featurizer.fingerprint] = _featurize(featurizer, people, show)
        return reward_method(name, one, people, features[featurizer.fingerprint])

    model = method_of(MODEL, reward)
    population, mismatched = _side_run(reward, POPULATION), _side_run(reward, MISMATCHED)
    others = [method_of(name, one) for name, one in {**population, **(baselines or {})}.items()]
    if reward.scoring.featurizer is not None:
        own = features[reward.scoring.featurizer.fingerprint]
        others += [
            make_baseline(kind, Material(people, own, np.asarray(people.table.pairs))) for kind in REPORTED
        ]
    if worlds := worlds_of(people.users, data):
        others.append(bayes_optimal(people, worlds))
    others += [
        predictor_method(name, one, people)
        if isinstance(one, Predictor)
        else Method(name, reading_texts(one, people))
        for name, one in (predictors or {}).items()
    ]

    k = max((count for count in shots if count <= CONTROL_SHOTS), default=0)
    steps = 1 + (1 + len(others)) * len(shots)
    show("measuring", 0, steps)
    changed = controls.control_scores(model, controls.make_controls(people, measured, seed=seed), k)
    odds = {}
    for method in (model, *others):
        for count in shots:
            show("measuring", 1 + len(odds), steps)
            known = changed[controls.ZERO_SHOTS].log_odds if (method, count) == (model, 0) else None
            shortened = controls.first_pairs(measured.episode, count)
            odds[method.name, count] = log_odds(method.margins, shortened) if known is None else known
    findings = Findings(odds, measured.episode.query_mask, MODEL, seed)
    extra = [method_of(controls.MISMATCHED, one) for one in mismatched.values()]
    extra += [Method(controls.LONGER, longer_response(people)), Method(controls.RANDOM, _ties)]
    extra += described_methods(reward, people, measured, shots=k, seed=seed)
    rows = _control_rows(changed, extra, measured, asked, k, seed)
    show("measuring", steps, steps)

    sizes = measured.episode.context_mask.sum(1)
    full, groups = sizes >= k, [user.group for user in asked]
    contexts, _ = texts_of(people, controls.first_pairs(measured.episode, k), np.arange(len(asked)))
    return Report(
        users=len(asked),
        left_out=len(given) - len(asked),
        full_context={count: int((sizes >= count).sum()) for count in shots},
        shots=shots,
        control_shots=k,
        curve=findings.curve(),
        controls=rows,
        label_sensitivity=findings.label_sensitivity(k, changed[controls.FLIPPED].log_odds),
        paired=findings.paired(),
        sources=findings.groups([user.source for user in asked], k, full),
        groups=findings.groups(groups, k, full),
        worst_group=worst_group(
            findings.accuracy(MODEL, k)[full],
            [g for g, used in zip(groups, full, strict=True) if used],
            seed=seed,
        ),
        reliability=findings.reliability(k),
        certainty=findings.certainty(k),
        picks=pick_rows(asked, contexts, model, others, seed),
        provenance=_provenance(reward, seed, queries),
        warnings=warnings + _few(len(asked)),
    )


def _shots(asked: Sequence[int] | None, rewards: Mapping[str, PersonalizedReward]) -> tuple[int, ...]:
    """Returns the numbers of shots to measure; raises `LimitError` for one that one of the rewards cannot read."""
    limit, name = min((reward.max_context, name) for name, reward in rewards.items())
    if asked is None:
        return tuple(k for k in SHOTS if k <= limit)
    counts = [
        check_integer(k, f"shots[{i}]", 0)
        for i, k in enumerate(check_sequence(asked, "shots", "a list of integers"))
    ]
    if max(counts, default=0) > limit:
        raise LimitError(
            f"shots has {max(counts)}, but {name} reads at most {counted(limit, 'pair')} of a person. Ask for at "
            f"most {limit} shots."
        )
    return tuple(sorted({0, *counts}))


def _check_names(given: Sequence[str]) -> None:
    """Raises `DataError` for a name that two methods would have."""
    taken = [MODEL, BEST, MISMATCHED, *(name for name, _ in IN_WORDS.values())]
    for i, name in enumerate(given):
        if name in (*taken, *given[:i]):
            raise DataError(f"two methods would be called '{name}' in the report. Give another name.")


def _few(users: int) -> tuple[str, ...]:
    if users >= FEW_USERS:
        return ()
    return (
        f"only {counted(users, 'user')}: the figures are rough, and their intervals may be too narrow. Measure at "
        f"least {FEW_USERS} users, better hundreds.",
    )


def _people(
    reward: PersonalizedReward, users: Sequence[User] | DataConfig | None, split: Split
) -> tuple[DataConfig, Sequence[User], tuple[str, ...]]:
    """Where the users may come from, the users, and warnings about them."""
    own = reward.config.data
    if users is not None and not isinstance(users, DataConfig):
        return own, users, (*training_overlap(own, users), *community_overlap(reward, users))
    data = own if users is None else users
    seen = split == "train" and data == own
    return (
        data,
        load_split(data, split),
        (f"this reward was trained on these people. {CONSEQUENCE}",) if seen else (),
    )


def _side_run(reward: PersonalizedReward, name: str) -> dict[str, PersonalizedReward]:
    """The reward of a side run of the run that `reward` was loaded from, if it has that one, by name."""
    found = reward.load_beside(name)
    return {} if found is None else {name: found}


def _featurize(featurizer: FeatureFunction, people: People, show: OnProgress) -> np.ndarray:
    """Features of all items, `float32 [N, F]`.

    Candidates go through the encoder in the same batches; best-of-n finds their features in its cache.
    """
    sets = [candidates for user in people.users for candidates in user.candidate_sets]
    candidates = [(one.prompt, text) for one in sets for text in one.candidates]
    every = list(dict.fromkeys([*people.items, *candidates]))
    found = featurize(featurizer, every, lambda done, total: show("encoding", done, total))
    return found[: len(people.items)]


def _ties(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
    """Knows nothing."""
    return np.zeros(rows.query_mask.shape), np.zeros(rows.query_mask.shape)


def _control_rows(
    changed: Mapping[str, controls.ControlScores],
    methods: Sequence[Method],
    measured: MeasuredUsers,
    users: Sequence[User],
    shots: int,
    seed: int,
) -> tuple[ControlRow, ...]:
    """Rows of changed episodes, then of methods that should be worse than the model, or better."""
    rows = {name: (one.accuracy, one.gain) for name, one in changed.items()}
    zero, shortened = changed[controls.ZERO_SHOTS].accuracy, controls.first_pairs(measured.episode, shots)
    others = controls.other_users(users, seed) != np.arange(len(users))
    for method in methods:
        accuracy = user_means(correctness(log_odds(method.margins, shortened)), shortened.query_mask)
        of = others if method.name == OTHER_USERS else np.ones_like(others)
        if of.any():
            rows[method.name] = (accuracy[of], (accuracy - zero)[of])
    expected = {**controls.EXPECTED, **DESCRIBED}
    return tuple(
        ControlRow(name, interval(accuracy, seed), interval(gain, seed), expected[name])
        for name, (accuracy, gain) in rows.items()
    )


def _provenance(reward: PersonalizedReward, seed: int, queries: int) -> dict[str, Any]:
    import jax

    from fspo_jax import __version__

    return {
        "config": config_to_dict(reward.config),
        "fingerprint": reward.fingerprint,
        "temperature": reward.temperature,
        "seed": seed,
        "queries": queries,
        "fspo_jax": __version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
