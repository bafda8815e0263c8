"""Writing with lower layers: token by token it must be what the whole model gives for the whole response."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest
from tiny_language import PAIRS, split_base, split_reward

from fspo_jax import Tokenwise
from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.text.packing import pack_episodes
from fspo_jax.types import Preference, Sampling

PROMPT = "warm or cold?"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_base(tmp_path_factory.mktemp("base") / "reward")


@pytest.fixture(scope="module")
def reward(directory: Path) -> PersonalizedReward:
    return split_reward(directory, "implicit", "ipo", pool=3)


def whole_logits(user: UserReward, response: str) -> np.ndarray:
    """Logits of the policy at every token of a response and at its end, from a row of training, `[n, V]`."""
    scoring: Any = user.base.scoring
    parts = scoring.parts
    with parts.reading():
        query = Preference(PROMPT, response, "x")
        packing = pack_episodes(parts.template, [(user.state.texts.preferences, [query])], parts.form)
        rows = parts.read_rows(packing.rows)
    decoder = parts.model.decoder_of(scoring.params, scoring.frozen)
    row, pair = packing.places[0][0]
    hidden = parts.model.hidden(
        decoder,
        jax.tree.map(lambda leaf: leaf[row : row + 1], rows.tokens),
        type(rows.layout)(*(leaf[row : row + 1] for leaf in rows.layout)),
    )
    places = rows.predictors[row][rows.owners[row] == 2 * pair]
    return np.asarray(hidden[0, places] @ parts.model.bind(decoder).output_matrix().T)


@pytest.mark.parametrize("pairs", [0, 3])
def test_each_token_written_at_temperature_zero_is_the_most_probable_one_of_the_whole_response(
    reward: PersonalizedReward, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, writing = reward.adapt(PAIRS[:pairs]), cast(Any, reward.writing)
    draft = writing.begin(user.state, PROMPT, Sampling(temperature=0.0, max_tokens=12))
    (written,) = writing.drafting.continuations(draft, 1, 12)
    tokens = written.state.drafts.tokens[0][: 12 - written.room]
    assert len(tokens) > 3
    # What a random model writes is not how its tokenizer would divide the text.
    lower = writing.scoring.parts.lower
    pieces = {(PROMPT, "as written"): np.append(tokens, lower.end)}
    divided = lower._tokens
    monkeypatch.setattr(lower, "_tokens", lambda piece: pieces.get(piece, divided(piece)))
    logits = np.where(writing.drafting.allowed, whole_logits(user, "as written"), -np.inf)
    assert logits[: len(tokens)].argmax(1).tolist() == tokens.tolist()
    assert written.ended == (len(tokens) < 12)
    if written.ended:
        assert logits[len(tokens)].argmax() in writing.drafting.end_tokens
    lower._pieces.pop((PROMPT, "as written", 1))


def test_pairs_change_what_is_written_and_blocks_go_on_where_they_stopped(reward: PersonalizedReward) -> None:
    user, nobody = reward.adapt(PAIRS), reward.adapt()
    given = {"temperature": 1.0, "max_tokens": 12, "n": 4}
    assert user.generate(PROMPT, **given) != nobody.generate(PROMPT, **given)
    writing = cast(Any, reward.writing)
    draft = writing.begin(user.state, PROMPT, Sampling(temperature=0.0, max_tokens=12))
    (at_once,) = writing.drafting.continuations(draft, 1, 12)
    (part,) = writing.drafting.continuations(draft, 1, 5)
    (rest,) = writing.drafting.continuations(part, 1, 7)
    assert rest.text == at_once.text


def test_the_log_ratio_guides_the_reference_of_a_split_model(reward: PersonalizedReward) -> None:
    user = reward.adapt(PAIRS)
    policy, guided = (
        user.generate(PROMPT, temperature=0.0, max_tokens=8, guidance=guidance)
        for guidance in (None, Tokenwise(1.0))
    )
    assert guided == policy  # the reference and once the log-ratio are the policy
