"""Rewards of language models through the public interface."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest
from tiny_language import (
    CANDIDATES,
    PAIRS,
    expect_scores_of_one_candidate_each,
    expect_scores_to_equal_margins,
    make_language_reward,
)

from fspo_jax import next_pair, rerank
from fspo_jax.checkpoints.users import write_user
from fspo_jax.errors import CheckpointError, FspoError, LimitError
from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.reward.engines import in_context
from fspo_jax.text.packing import pack_episodes
from fspo_jax.types import Message, Preference

KINDS = [
    ("implicit", "sequential"),
    ("implicit", "parallel"),
    ("scalar", "parallel"),
    ("gaussian_process", "sequential"),
]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def reward(request: pytest.FixtureRequest) -> PersonalizedReward:
    return make_language_reward(*request.param)


def test_scores_with_a_cached_context_equal_margins_of_packed_rows(reward: PersonalizedReward) -> None:
    expect_scores_to_equal_margins(reward)


@pytest.mark.parametrize("rows", [1, 3])
def test_margins_do_not_depend_on_how_many_rows_are_computed_at_a_time(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = make_language_reward("scalar")
    queries = [[pair] * 6 for pair in PAIRS]  # 4 people, more than one row each
    expected, _ = reward.margins([PAIRS] * len(queries), queries)
    seen: list[int] = []
    scoring = cast(Any, reward.scoring)
    compute, length = scoring._rewards, scoring.parts.form.length

    def computed(params: Any, frozen: Any, part: Any) -> jax.Array:
        seen.append(len(part.ends))
        return compute(params, frozen, part)

    monkeypatch.setitem(scoring.__dict__, "_rewards", computed)
    monkeypatch.setattr(in_context, "TOKEN_PAIRS", rows * length**2)
    found, _ = reward.margins([PAIRS] * len(queries), queries)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(seen) > 1 and set(seen) == {rows}


def test_score_does_not_depend_on_the_other_candidates(reward: PersonalizedReward) -> None:
    assert np.std(expect_scores_of_one_candidate_each(reward)) > 1e-3


def test_update_equals_adapting_to_all_pairs_at_once(reward: PersonalizedReward) -> None:
    stepwise = reward.adapt(PAIRS[:1]).update(PAIRS[1:3]).update([]).update(PAIRS[3:])
    assert stepwise.shots == 4
    np.testing.assert_allclose(
        stepwise.score("p", CANDIDATES), reward.adapt(PAIRS).score("p", CANDIDATES), atol=1e-4
    )


def test_saved_reward_and_user_score_the_same(reward: PersonalizedReward, tmp_path: Path) -> None:
    reward = dataclasses.replace(reward, temperature=2.0)
    ana = reward.adapt(PAIRS)
    expected = ana.score("p", CANDIDATES)
    reward.save(tmp_path / "reward")
    loaded = PersonalizedReward.load(tmp_path / "reward")
    assert (loaded.fingerprint, loaded.temperature) == (reward.fingerprint, 2.0)
    ana.save(tmp_path / "ana")
    again = UserReward.load(tmp_path / "ana", loaded)
    assert again.shots == 4
    np.testing.assert_allclose(again.score("p", CANDIDATES), expected, atol=1e-4)
    assert [c.index for c in rerank(again, "p", CANDIDATES)] == (-expected).argsort(kind="stable").tolist()


def test_user_of_another_reward_is_refused(tmp_path: Path) -> None:
    make_language_reward().adapt(PAIRS).save(tmp_path / "ana")
    with pytest.raises(CheckpointError, match="but this reward is"):
        UserReward.load(tmp_path / "ana", make_language_reward(seed=5))


def test_user_file_keeps_conversations(tmp_path: Path) -> None:
    reward = make_language_reward()
    talk = (Message("user", "warm?"), Message("assistant", "cold."), Message("user", "why?"))
    reward.adapt([Preference(talk, "warm", "cold")]).save(tmp_path / "ana")
    assert UserReward.load(tmp_path / "ana", reward).context.preferences == (
        Preference(talk, "warm", "cold"),
    )


PAIR = '{"prompt": "p", "chosen": "a", "rejected": "b"}'
WRONG_TEXTS = [
    "\xff",
    "[" * 10_000,
    "[1]",
    "null",
    '{"preferences": []}',
    '{"preferences": {}, "description": ""}',
    f'{{"preferences": [{PAIR}], "description": 3}}',
    f'{{"preferences": [{PAIR}], "description": "\\ud800"}}',
    '{"preferences": [null], "description": ""}',
    '{"preferences": ["ab"], "description": ""}',
    '{"preferences": [{"prompt": "p", "chosen": "a", "rejected": "a"}], "description": ""}',
    '{"preferences": [{"prompt": "p", "chosen": 1, "rejected": "a"}], "description": ""}',
    '{"preferences": [{"prompt": ["user"], "chosen": "b", "rejected": "a"}], "description": ""}',
    '{"preferences": [{"prompt": [["user", 3]], "chosen": "b", "rejected": "a"}], "description": ""}',
    f'{{"preferences": [{", ".join([PAIR] * 9)}], "description": ""}}',
]


def test_saved_user_with_other_content_is_refused(tmp_path: Path) -> None:
    wrong = [{"texts": np.frombuffer(text.encode(), np.uint8)} for text in WRONG_TEXTS]
    wrong += [{"other": np.zeros(2, np.uint8)}, {"texts": np.zeros(2, np.float32)}]
    wrong += [
        {"texts": np.frombuffer(f'{{"preferences": [{PAIR}], "description": ""}}'.encode(), np.uint8)[None]}
    ]
    for i, arrays in enumerate(wrong):
        write_user(tmp_path / f"{i}", arrays, fingerprint=make_language_reward().fingerprint)
        with pytest.raises(CheckpointError, match=r"cannot read the saved context .* Adapt the user again"):
            UserReward.load(tmp_path / f"{i}", make_language_reward())


def test_a_language_model_has_no_blocks_to_leave_out(tmp_path: Path) -> None:
    make_language_reward().save(tmp_path / "reward")
    with pytest.raises(CheckpointError, match="has no block 'style' to leave out"):
        PersonalizedReward.load(tmp_path / "reward", without=["style"])


def test_saved_reward_whose_decoder_was_altered_is_refused(tmp_path: Path) -> None:
    make_language_reward().save(tmp_path / "reward")
    file = tmp_path / "reward/decoder/model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="differ from what was saved"):
        PersonalizedReward.load(tmp_path / "reward")


def test_update_in_the_parallel_layout_reads_the_new_shots_only(monkeypatch: pytest.MonkeyPatch) -> None:
    reward = make_language_reward("scalar", "parallel")
    scoring: Any = reward.scoring
    ana = reward.adapt(PAIRS[:3])
    read = []
    prefill = scoring.reader._prefill
    monkeypatch.setitem(
        scoring.reader.__dict__,
        "_prefill",
        lambda *x: read.append((x[3][1].episode > 0).sum()) or prefill(*x),
    )
    ana.update(PAIRS[3:])
    assert read == [len(scoring.parts.template.shot(1, PAIRS[3]))]


def test_cache_of_contexts_is_bounded_and_evicted_users_score_the_same() -> None:
    reward = make_language_reward()
    users = [reward.adapt([pair]) for pair in PAIRS]
    expected = [user.score("p", CANDIDATES) for user in users]
    scoring: Any = reward.scoring
    kept = [scoring.reader.key_values(user.state) for user in users]
    one = sum(leaf.nbytes for leaf in jax.tree.leaves(kept)) // len(users)
    bounded = dataclasses.replace(scoring, cache_bytes=2 * one)
    small = PersonalizedReward(reward.config, bounded)
    users = [small.adapt([pair]) for pair in PAIRS]
    assert one <= bounded.reader.cache.nbytes <= 2 * one
    for user, scores in zip(users, expected, strict=True):
        np.testing.assert_allclose(user.score("p", CANDIDATES), scores, atol=1e-5)
        assert bounded.reader.cache.nbytes <= 2 * one


def test_threads_share_a_user() -> None:
    ana = make_language_reward().adapt(PAIRS)
    expected = ana.score("p", CANDIDATES)
    results = []
    threads = [
        threading.Thread(target=lambda: results.extend(ana.score("p", CANDIDATES) for _ in range(3)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 12 and all(np.array_equal(result, expected) for result in results)


def test_candidate_without_room_after_the_context_is_limit_error_with_its_length() -> None:
    ana = make_language_reward().adapt(PAIRS)
    room = 512 - ana.state.size
    with pytest.raises(
        LimitError, match=rf"candidates\[1\] have [\d,]+ tokens; .* reads {room} after .*, and 512 in all"
    ):
        ana.score("p", ["warm", "x" * (room - 2)])
    ana.score("p", ["warm", "x" * (room - 4)])


def test_context_without_room_drops_the_oldest_pairs_with_a_warning() -> None:
    reward = make_language_reward()
    long = [Preference("q", f"warm {i} " * 30, "cold") for i in range(4)]
    with pytest.warns(UserWarning, match=r"the oldest \d of 4 context pairs do not fit into 256 tokens"):
        ana = reward.adapt(long)
    scoring: Any = reward.scoring
    kept = scoring.reader.laid(ana.state.texts)[0].shots
    assert 0 < kept < 4
    np.testing.assert_allclose(
        ana.score("p", CANDIDATES), reward.adapt(long[-kept:]).score("p", CANDIDATES), atol=1e-5
    )


@pytest.mark.parametrize(("kind", "layout"), KINDS[:3])
def test_long_contexts_are_read_alike_in_training_measurement_and_serving(kind: str, layout: str) -> None:
    """The same shots are dropped, whatever is asked, and no served row is longer than a row of training."""
    scoring: Any = make_language_reward(kind, layout).scoring
    parts = dataclasses.replace(scoring.parts, form=dataclasses.replace(scoring.parts.form, context=150))
    reward = PersonalizedReward(scoring.config, dataclasses.replace(scoring, parts=parts))
    context = [Preference(f"q{i}", f"warm {i} " * 12, "cold") for i in range(4)]
    short, long = Preference("?", "warm", "cold"), Preference("?", "x" * 300, "cold " * 40)
    with pytest.warns(UserWarning, match="do not fit"):
        ana = reward.adapt(context)
        mean, _ = reward.margins([context] * 2, [[short, long], [long]])
    kept = reward.scoring.reader.laid(ana.state.texts)[0]  # type: ignore[union-attr]
    assert 0 < kept.shots < 4
    rows = pack_episodes(parts.template, [(context, [short])], parts.form).rows
    assert rows.tokens.shape[1] == 512
    np.testing.assert_array_equal(rows.tokens[0, : len(kept.tokens)], kept.tokens)
    for query, margin in ((short, mean[0, 0]), (long, mean[0, 1]), (long, mean[1, 0])):
        chosen, rejected = ana.score(query.prompt, [query.chosen, query.rejected])
        np.testing.assert_allclose(chosen - rejected, margin, atol=2e-4)
    with pytest.raises(LimitError, match="512 in all"):
        ana.score("?", ["x" * 500])
    with pytest.raises(LimitError, match="512 in all"):
        reward.margins([context], [[Preference("?", "x" * 500, "cold")]])


def test_empty_and_identical_candidates() -> None:
    for kind in ("implicit", "gaussian_process"):
        ana = make_language_reward(kind).adapt(PAIRS)
        assert ana.score("p", []).shape == (0,)
        scores = ana.score("p", ["", "warm", "warm"])
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(scores[1], scores[2], atol=1e-6)
        assert ana.preference_probability("p", "warm", "warm") == 0.5


def test_uncertainty_of_the_gaussian_process_shrinks_and_of_others_is_nan() -> None:
    process = make_language_reward("gaussian_process")
    few, many = (process.adapt(pairs).uncertainty("p", CANDIDATES) for pairs in ([], PAIRS))
    assert (many <= few + 1e-6).all() and many.sum() < few.sum()
    assert np.isnan(make_language_reward().adapt(PAIRS).uncertainty("p", CANDIDATES)).all()


@pytest.mark.parametrize(("kind", "layout"), KINDS[1:], ids=["implicit", "scalar", "gaussian_process"])
def test_int8_weights_score_alike_serve_the_same_users_and_are_not_saved(
    kind: str, layout: str, tmp_path: Path
) -> None:
    pytest.importorskip("qwix")
    make_language_reward(kind, layout).save(tmp_path / "reward")
    full = PersonalizedReward.load(tmp_path / "reward")
    small = PersonalizedReward.load(tmp_path / "reward", weights="int8")
    full.adapt(PAIRS).save(tmp_path / "ana")
    scores = full.adapt(PAIRS).score("p", CANDIDATES)
    rounded = UserReward.load(tmp_path / "ana", small).score("p", CANDIDATES)
    error = rounded - scores
    assert 0 < np.ptp(error) < 0.05 * np.ptp(scores)  # only differences within a prompt mean anything
    with pytest.raises(CheckpointError, match="int8"):
        small.save(tmp_path / "other")


def test_int8_weights_of_a_reward_that_is_no_language_model_raise(tmp_path: Path) -> None:
    from tiny_reward import make_reward as make_feature_reward

    make_feature_reward().save(tmp_path / "reward")
    with pytest.raises(FspoError, match="not a language model"):
        PersonalizedReward.load(tmp_path / "reward", weights="int8")


def test_it_is_explained_by_its_pairs_and_asked_at_random_without_a_posterior(
    reward: PersonalizedReward,
) -> None:
    user, drafts = reward.adapt(PAIRS), ["yes it is", "no"]
    scores = user.score("q", drafts)
    found = user.explain("q", drafts)
    for place, pair in enumerate(PAIRS):
        without = user.without([pair]).score("q", drafts)
        pulled = scores[0] - scores.mean() - (without[0] - without.mean())
        assert found[0].pulls[place] == pytest.approx(pulled, abs=1e-4) and found[0].blocks == {}
    assert next_pair(user, [("q", drafts)], by="random").prompt == "q"
    if np.isnan(user.uncertainty("q", drafts)).any():
        with pytest.raises(FspoError, match="no uncertainty"):
            next_pair(user, [("q", drafts)])
    else:
        assert next_pair(user, [("q", drafts)]).value >= 0
    with pytest.raises(FspoError, match="no beliefs that can be said in words"):
        user.beliefs()
    turned = Preference(PAIRS[0].prompt, PAIRS[0].rejected, PAIRS[0].chosen)
    found = reward.adapt([PAIRS[0], turned]).contradictions()
    assert all({line.place, line.against} == {0, 1} for line in found)
