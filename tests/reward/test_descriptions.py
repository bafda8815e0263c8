"""User descriptions: predicted from the context, given to the model, trained teacher-forced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny_language import (
    CANDIDATES,
    PAIRS,
    QUERY,
    TOKENIZER,
    language_world,
    log_probabilities,
    make_language_reward,
    run_language,
    some_pairs,
    tiny_config,
    tiny_params,
    tiny_parts,
)

from fspo_jax.data.batches import Packer, RowBatch
from fspo_jax.data.episodes import index_items
from fspo_jax.errors import ConfigError, DataError, FspoError
from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.text.packing import Description, RowFormat, pack_episodes
from fspo_jax.text.templates import make_template
from fspo_jax.training.fit import fit
from fspo_jax.training.sampling import make_sampler
from fspo_jax.training.tasks.language_model import LanguageModelTask
from fspo_jax.training.tasks.language_step import batch_loss
from fspo_jax.training.tasks.language_stream import EpisodeStream
from fspo_jax.types import Preference, User

MARK = TOKENIZER.structure
TEXT = "likes warm"


def describing_config(weight: float = 0.5):
    return tiny_config("dpo", "implicit", scorer={"description_weight": weight, "beta": 0.5})


@pytest.fixture(scope="module")
def reward() -> PersonalizedReward:
    config = describing_config()
    parts = tiny_parts(config)
    return PersonalizedReward.from_language(config, parts, *tiny_params(parts, noise=0.2))


def test_description_to_predict_is_a_question_of_the_episode_and_no_preference() -> None:
    template = make_template("structured", TOKENIZER, 7)
    form = RowFormat(512, "sequential", 64)
    packing = pack_episodes(template, [(PAIRS, [QUERY])], form, [Description(TEXT, False)])
    rows = packing.rows
    ((row, pair),) = np.argwhere(rows.described)
    assert rows.described.sum() == 1.0 and rows.weights[row, pair] == 0.0 and rows.weights.sum() == 1.0
    own = rows.owners[row] == 2 * pair
    assert rows.targets[row][own].tolist() == template.described(TEXT).tolist()
    assert rows.tokens[row, rows.predictors[row][own][0]] == MARK["<describe>"]
    assert packing.places[0].tolist() == [[0, 0]]  # the query's place is as without it


def test_description_given_stands_between_context_and_questions() -> None:
    template = make_template("structured", TOKENIZER, 7)
    form = RowFormat(512, "sequential", 64)
    rows = pack_episodes(template, [(PAIRS, [QUERY])], form, [Description(TEXT, True)]).rows
    tokens = rows.tokens[0].tolist()
    written = [
        MARK["<describe>"],
        *template.described(TEXT).tolist(),
        *template.question(QUERY.prompt).tolist(),
    ]
    start = tokens.index(MARK["<describe>"])
    assert tokens[start : start + len(written)] == written
    assert rows.described.sum() == 0.0


def test_description_without_room_is_left_out_before_any_shot() -> None:
    template = make_template("structured", TOKENIZER, 7)
    long = Description("warm " * 400, False)
    packing = pack_episodes(template, [(PAIRS, [QUERY])], RowFormat(384, "sequential", 64), [long])
    assert packing.rows.described.sum() == 0.0 and packing.dropped_shots == 0
    given = pack_episodes(
        template, [(PAIRS, [QUERY])], RowFormat(384, "sequential", 64), [long._replace(given=True)]
    )
    assert MARK["<describe>"] not in given.rows.tokens and given.rows.weights.sum() == 1.0
    assert given.dropped_shots == 0


def test_stream_gives_half_of_the_descriptions_and_asks_for_the_others() -> None:
    config = describing_config()
    parts = tiny_parts(config)
    items, table = language_world(1)
    descriptions = [f"user {u}" for u in range(12)]
    stream = EpisodeStream(
        Packer(items, parts.template, parts.form, False, descriptions=descriptions),
        table,
        make_sampler(config, table),
    )
    asked = marked = 0
    for step in range(8):
        rows = stream.batch(step).rows
        asked += int((rows.described > 0).sum())
        marked += int((rows.tokens == MARK["<describe>"]).sum())
        assert rows.described.sum() == pytest.approx(1.0) or not rows.described.any()
    assert 0 < asked < marked and marked >= 8 * config.episodes.batch_size


def test_loss_adds_the_weighted_log_loss_of_the_description_a_token() -> None:
    losses = []
    for weight in (0.0, 0.5, 1.5):
        config = describing_config(weight)
        parts = tiny_parts(config)
        params, frozen = tiny_params(parts)
        batch = RowBatch(
            pack_episodes(
                parts.template, [(PAIRS, [QUERY])] * 2, parts.form, [Description(TEXT, False), None]
            ).rows
        )
        loss = jax.jit(batch_loss, static_argnums=(0, 1))
        losses.append(float(loss(config, parts.model, params, frozen, batch)))
    logs = np.asarray(log_probabilities(parts.model, params["decoder"], batch.rows))
    ((row, pair),) = np.argwhere(batch.rows.described)
    loss_per_token = -logs[row, pair, 0] / len(parts.template.described(TEXT))
    np.testing.assert_allclose(losses, losses[0] + np.array([0.0, 0.5, 1.5]) * loss_per_token, rtol=1e-5)


def test_described_user_scores_as_the_packed_rows_and_is_saved(
    reward: PersonalizedReward, tmp_path: Path
) -> None:
    ana = reward.adapt(PAIRS).with_description(TEXT)
    plain = reward.adapt(PAIRS)
    (margin,), _ = reward.margins([PAIRS], [[QUERY]], [TEXT])
    (again,), _ = reward.margins([PAIRS], [[QUERY]], (text for text in [TEXT]))  # type: ignore[arg-type]
    np.testing.assert_array_equal(again, margin)
    chosen, rejected = ana.score(QUERY.prompt, [QUERY.chosen, QUERY.rejected])
    np.testing.assert_allclose(chosen - rejected, margin[0], atol=1e-4)
    assert np.abs(ana.score("p", CANDIDATES) - plain.score("p", CANDIDATES)).max() > 1e-3
    ana.save(tmp_path / "ana")
    again = UserReward.load(tmp_path / "ana", reward)
    np.testing.assert_allclose(again.score("p", CANDIDATES), ana.score("p", CANDIDATES), atol=1e-5)
    more = some_pairs(7, 0)
    assert ana.update(more).context.description == TEXT


def test_describe_gives_the_likeliest_description(reward: PersonalizedReward) -> None:
    text = reward.adapt(PAIRS).describe(max_tokens=6)
    assert text == reward.adapt(PAIRS).describe(max_tokens=6)
    scoring: Any = reward.scoring
    parts = scoring.parts

    def likelihood(description: str) -> float:
        rows = pack_episodes(
            parts.template, [(PAIRS, [QUERY])], parts.form, [Description(description, False)]
        ).rows
        ((row, pair),) = np.argwhere(rows.described)
        return float(log_probabilities(parts.model, scoring.params["decoder"], rows)[row, pair, 0])

    words = parts.tokenizer.decode(parts.tokenizer.encode([text])[0][:1].tolist())
    assert text.startswith(words.strip())
    assert np.isfinite(likelihood(text))


def test_describe_of_rewards_that_cannot_says_so(reward: PersonalizedReward) -> None:
    with pytest.raises(FspoError, match="was not meta-trained to describe people"):
        make_language_reward().adapt(PAIRS).describe()
    process = make_language_reward("gaussian_process").adapt(PAIRS)
    with pytest.raises(FspoError, match="cannot write descriptions"):
        process.describe()
    with pytest.raises(FspoError, match="cannot read descriptions"):
        process.with_description("warm")
    with pytest.raises(DataError, match="max_tokens must be a positive integer, at most 65,536, not 0"):
        reward.adapt().describe(max_tokens=0)


def test_config_that_cannot_describe_is_refused(tmp_path: Path) -> None:
    for objective, reward, template in (("sft", "implicit", "fspo_v1"), ("ipo", "scalar", "structured")):
        with pytest.raises(ConfigError, match=r"'scorer\.description_weight' needs"):
            tiny_config(objective, reward, scorer={"description_weight": 1.0, "template": template})
    with pytest.raises(ConfigError, match="contradicts flipped labels"):
        tiny_config("dpo", "implicit", scorer={"description_weight": 1.0}, episodes={"flip_probability": 0.5})
    with pytest.raises(ConfigError, match="no meta-training user has a description"):
        run_language(tmp_path / "run", describing_config())


def plain_world(seed: int):
    """Users who like warm or cold answers, in one word each, and their pairs."""
    generator = np.random.default_rng(seed)
    users = []
    for u in range(12):
        liked, other = (("warm", "cold"), ("cold", "warm"))[u % 2]
        pairs = [Preference("?", f"{liked} {n}", f"{other} {n}") for n in generator.permutation(40)[:8]]
        users.append(User(f"u{u}", tuple(pairs), description=f"likes {liked}"))
    return users


@pytest.mark.slow
def test_model_learns_to_describe_users_from_their_labels(tmp_path: Path) -> None:
    """Two kinds of users whose labels say which one they are; the descriptions of unseen users must follow."""
    config = tiny_config(
        "sft",
        "implicit",
        scorer={"description_weight": 4.0, "width": 32, "row_length": 256},
        episodes={"batch_size": 16, "max_context": 3, "queries": 1, "zero_shot_probability": 0.0},
        steps=200,
        steps_per_dispatch=20,
        evaluate_every=100,
        optimizer={"learning_rate": 3e-3, "warmup_steps": 10},
    )
    train, validation = plain_world(1), plain_world(2)
    descriptions = [user.description for user in train]
    task = LanguageModelTask(config, *index_items(train), *index_items(validation), descriptions=descriptions)
    reward = PersonalizedReward.load(fit(task, tmp_path / "run"))
    unseen = plain_world(3)
    found = [reward.adapt(user.preferences[:3]).describe(max_tokens=12) for user in unseen]
    assert found == [user.description for user in unseen]
