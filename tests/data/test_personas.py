import numpy as np
import pytest

from fspo_jax.config import PersonaSource
from fspo_jax.data.personas import make_world, world_users
from fspo_jax.data.personas.bayes import BayesOptimal
from fspo_jax.errors import ConfigError, DataError, LimitError

SOURCE = PersonaSource(seed=0, personas=40, prompts=60)
FRACTIONS = {"validation_fraction": 0.2, "test_fraction": 0.25, "split_seed": 0}


@pytest.fixture(scope="module")
def world():
    return make_world(SOURCE)


@pytest.fixture(scope="module")
def parts():
    return {split: world_users(SOURCE, split, **FRACTIONS) for split in ("train", "validation", "test")}


def test_make_world_same_seed_same_world_other_seed_other_texts(world):
    def texts(world):
        return [text for prompt_set in world.prompt_sets for text in prompt_set.responses]

    again, other = make_world(SOURCE), make_world(PersonaSource(seed=1, personas=40, prompts=60))
    assert texts(world) == texts(again)
    assert [p.description for p in world.personas] == [p.description for p in again.personas]
    shared = set(texts(world)) & set(texts(other))
    assert len(shared) < 0.02 * len(texts(world))


def test_make_world_no_text_or_prompt_twice(world):
    texts = [text for prompt_set in world.prompt_sets for text in prompt_set.responses]
    prompts = [prompt_set.prompt for prompt_set in world.prompt_sets]
    assert len(set(texts)) == len(texts) == 4 * 60 * 8
    assert len(set(prompts)) == len(prompts) == 4 * 60


def test_world_users_splits_share_no_persona_prompt_text_or_topic(parts, world):
    ids, prompts, texts = [], [], []
    for users in parts.values():
        ids.append({user.user_id for user in users})
        rows = [(p.prompt, t) for u in users for p in u.preferences for t in (p.chosen, p.rejected)]
        rows += [(s.prompt, t) for u in users for s in u.candidate_sets for t in s.candidates]
        prompts.append({prompt for prompt, _ in rows})
        texts.append({text for _, text in rows})
    topic = {prompt_set.prompt: (prompt_set.domain, prompt_set.topic) for prompt_set in world.prompt_sets}
    topics = [{topic[prompt] for prompt in part} for part in prompts]
    for kind in (ids, prompts, texts, topics):
        assert not kind[0] & kind[1] and not kind[0] & kind[2] and not kind[1] & kind[2]
    assert sum(map(len, ids)) == 4 * 40


def test_world_users_labels_follow_the_true_utility(parts, world):
    personas = {persona.persona_id: persona for persona in world.personas}
    expected, observed = [], []
    for user in parts["train"]:
        weights = personas[user.user_id].weights
        for p in user.preferences:
            chosen, rejected = (world.attributes(p.prompt, t)[1] for t in (p.chosen, p.rejected))
            margin = (chosen - rejected) @ weights
            observed.append(margin > 0)
            expected.append(1 / (1 + np.exp(-abs(margin))))
    assert abs(np.mean(observed) - np.mean(expected)) < 0.01
    for user in parts["test"][:20]:
        for candidates in user.candidate_sets:
            rows = [world.attributes(candidates.prompt, text)[1] for text in candidates.candidates]
            np.testing.assert_allclose(candidates.utilities, np.array(rows) @ personas[user.user_id].weights)


def test_world_users_label_noise_flips_its_share():
    def wrong(noise):
        source = PersonaSource(seed=0, personas=100, prompts=40, domains=("reviews",), label_noise=noise)
        world = make_world(source)
        weights = {persona.persona_id: persona.weights for persona in world.personas}
        margins = [
            (world.attributes(p.prompt, p.chosen)[1] - world.attributes(p.prompt, p.rejected)[1])
            @ weights[u.user_id]
            for u in world_users(source, "train", **FRACTIONS)
            for p in u.preferences
        ]
        return np.mean(np.array(margins) < 0)

    clean = wrong(0.0)
    assert abs(wrong(0.2) - (clean + 0.2 * (1 - 2 * clean))) < 0.03


def test_world_users_description_never_reaches_the_preferences(parts, world):
    descriptions = {persona.description for persona in world.personas}
    assert all(len(description) > 20 for description in descriptions)
    for user in (user for users in parts.values() for user in users):
        for p in user.preferences:
            assert not any(
                description in f"{p.prompt}\n{p.chosen}\n{p.rejected}" for description in descriptions
            )


def test_world_users_people_differ(parts):
    """Two personas of a domain disagree on a good part of the candidate pairs."""
    from fspo_jax.data.cards import data_card

    card = data_card(parts["test"])
    assert 0.3 < card.disagreement < 0.55
    assert 0.02 < card.label_entropy < 0.25


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"personas": 0}, ConfigError, "'personas' of a persona source must be at least 1"),
        ({"label_noise": 0.7}, ConfigError, "label_noise must be between 0 and 0.5"),
        ({"domains": ("reviews", "reviews")}, ConfigError, "must name one domain or more, each once"),
        ({"responses": 99}, LimitError, "at most 32 per prompt"),
    ],
)
def test_make_world_bad_source_raises(changes, error, message):
    with pytest.raises(error, match=message):
        make_world(PersonaSource(**{"seed": 0, "personas": 4, "prompts": 4} | changes))


@pytest.fixture(scope="module")
def bayes():
    return BayesOptimal(SOURCE, draws=5_000)


def test_bayes_optimal_without_context_is_the_prior_mean(bayes, parts):
    user = parts["test"][0]
    world = bayes.world
    p = user.preferences[0]
    domain, chosen = world.attributes(p.prompt, p.chosen)
    margins = (chosen - world.attributes(p.prompt, p.rejected)[1]) @ bayes._weights[domain]
    assert bayes.probabilities((), [p])[0] == pytest.approx((1 / (1 + np.exp(-margins))).mean())


def test_bayes_optimal_learns_from_the_context_and_is_calibrated(bayes, parts):
    accuracy, gap = {}, {}
    for shots in (0, 8):
        p = np.concatenate(
            [bayes.probabilities(u.preferences[:shots], u.preferences[16:32]) for u in parts["test"]]
        )
        confidence = np.maximum(p, 1 - p)
        accuracy[shots] = np.mean(p > 0.5)
        gap[shots] = abs(confidence.mean() - accuracy[shots])
    assert accuracy[8] > 0.85 > 0.7 > accuracy[0]
    assert gap[8] < 0.04


def test_bayes_optimal_picks_have_high_true_utility(bayes, parts):
    from fspo_jax.metrics import winrate_against_random

    wins = [
        winrate_against_random(
            np.array(s.utilities), int(np.argmax(bayes.expected_utilities(u.preferences[:8], s)))
        )
        for u in parts["test"]
        for s in u.candidate_sets
    ]
    assert np.mean(wins) > 0.83


def test_bayes_optimal_unknown_text_raises(bayes, parts):
    from fspo_jax.types import Preference

    with pytest.raises(DataError, match="has no response"):
        bayes.probabilities((), [Preference("p", "x", "y")])


def test_bayes_optimal_learns_nothing_from_pairs_of_another_domain():
    source = PersonaSource(seed=0, personas=6, prompts=12, domains=("reviews", "elix_easy"))
    users = world_users(source, "train", validation_fraction=0.2, test_fraction=0.2, split_seed=0)
    first, other = (next(u for u in users if u.group.startswith(name)) for name in ("reviews", "elix_easy"))
    bayes = BayesOptimal(source, draws=200)
    queries = first.preferences[:4]
    plain = bayes.probabilities((), queries)
    np.testing.assert_array_equal(bayes.probabilities(other.preferences[4:8], queries), plain)
    assert np.abs(bayes.probabilities(first.preferences[4:8], queries) - plain).max() > 0.01
