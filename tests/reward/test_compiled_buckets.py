"""Which programs are compiled, and when."""

from tiny_reward import PAIRS, make_reward

from fspo_jax.reward.engines.scorer_programs import programs_of
from fspo_jax.types import Preference


def test_score_compiles_once_a_bucket():
    programs_of.cache_clear()
    reward = make_reward(seed=3)
    ana = reward.adapt(PAIRS)
    for count in (1, 3, 32, 33, 256, 257, 300):
        ana.score("p", [f"text {i}" for i in range(count)])
    programs = reward.scoring.programs
    assert programs.score_and_deviation._cache_size() == 3  # 32, 256 and 512
    for shots in range(6):
        reward.adapt(PAIRS[:shots])
    assert programs.encode_weighed._cache_size() == 2  # 4 and 8


def test_warm_up_compiles_all_that_adapt_and_score_need_up_to_256_candidates():
    programs_of.cache_clear()
    reward = make_reward(seed=4, max_context=20)
    reward.warm_up()
    its = reward.scoring.programs
    programs = its.encode_weighed, its.encode_folded, its.score_and_deviation, its.represent
    compiled = [program._cache_size() for program in programs]
    # Contexts of 4, 8, 16, 32 and 64 pairs, and one with folded pairs; each with 32 and 256 candidates.
    assert compiled[:3] == [5, 1, 12] and compiled[3] >= 1  # `represent` is compiled for other tests, too
    many = [Preference("p", f"a{i}", f"b{i}") for i in range(130)]
    for shots in (*range(21), 64, 65, 130):
        ana = reward.adapt(many[:shots])
        for count in (1, 32, 33, 256):
            ana.score("p", [f"text {i}" for i in range(count)])
    assert [program._cache_size() for program in programs] == compiled
