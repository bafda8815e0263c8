"""The benchmarks of language models and of personas run, in small; their numbers mean nothing here."""

import dataclasses
import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_files import FOLDER, load


@pytest.fixture(scope="module")
def lm():
    return load("lm")


@pytest.fixture(scope="module")
def shape(lm):
    shapes = sys.modules["lm_shapes"]
    return shapes.Shape(shapes.llama(512, 16, 24, 1, 2, 1, 8), 3, 5, "float32")


@pytest.mark.slow
def test_every_part_of_the_benchmark_runs_in_small(lm, shape):
    found = lm.training(shape, 1, 1, 2)
    assert found["wall_ratio"] > 0 and found["counted_flops_ratio"] > 1
    assert lm.rerank_of(shape, 1, candidates=4, prompts_per_batch=2)["ratio"] > 0
    assert lm.memory_of(shape)["temporary_bytes"] > 0
    assert set(lm.utilisation(shape, 1, 1)) >= {"utilisation", "tokens_per_second"}


def test_matrix_flops_counts_every_turn_of_a_loop(lm):
    import jax
    import jax.numpy as jnp

    def looped(a, b):
        return jax.lax.scan(lambda x, _: (x @ b, None), a, None, length=5)[0]

    assert lm.matrix_flops(looped, jnp.ones((4, 8)), jnp.ones((8, 8))) == 5 * 2 * 4 * 8 * 8


class Held:
    """Features of a statement: what its trait's holder says points the same way for every trait."""

    blocks, dimension, fingerprint = {"held": 4}, 4, "held"

    def __call__(self, prompts, responses):
        noise = np.random.default_rng(0).normal(0.0, 0.1, (len(responses), 4))
        noise[:, 0] += [1.0 if text.split()[1] == "True" else -1.0 for text in responses]
        return noise.astype(np.float32)


@pytest.fixture
def personas(monkeypatch):
    module = load("personas")
    for name, value in {"PERSONAS": 200, "JUDGED": 100, "DIVERSITY": (4,), "NOISE": (0.0, 0.4)}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "make_featurizer", lambda *_: Held())
    return module


@pytest.fixture
def statements(tmp_path):
    path = tmp_path / "statements.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for trait in range(40):
            for i in range(30):
                for says in (True, False):
                    row = {"trait": f"t{trait}", "statement": f"{trait} {says} {i}", "holder_says": says}
                    file.write(json.dumps(row) + "\n")
    return str(path)


def test_the_ablation_of_personas_judges_on_traits_of_the_other_part(personas, statements, tmp_path):
    taken = {
        json.loads(row)["trait"]
        for row in Path(personas.some_traits(statements, 4, 0, tmp_path)).read_text().splitlines()
    }
    assert len(taken) == 4 and {personas.part_of(trait) for trait in taken} == {"first"}
    judged = {text.split()[0] for _, text in personas.Ablation(statements, 1)._items}
    assert judged and {personas.part_of(f"t{trait}") for trait in judged} == {"last"}


@pytest.mark.slow
def test_the_ablation_of_personas_prints_a_row_for_each_kind(personas, statements, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["personas.py", statements, "--seeds", "1", "--steps", "100"])
    personas.main()
    printed = capsys.readouterr().out
    rows = json.loads(printed[printed.index("{\n") :])["rows"]
    assert [(row["traits"], row["label_noise"]) for row in rows] == [(4, 0.0), (4, 0.4)]
    # Personas of three traits hold two of them alike at least, and every trait's holder looks the same.
    assert rows[0]["accuracy@8"][1] > rows[0]["accuracy@0"][2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_decoder_benchmark_scores_what_transformers_scores(tmp_path):
    pytest.importorskip("torch", reason="the benchmark compares with torch")
    import transformers

    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, eos_token_id=3)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    benchmark = load("decoder")
    generator = np.random.default_rng(0)
    context, rows = generator.integers(0, 50, 9), generator.integers(0, 50, (4, 7))
    theirs = benchmark.of_torch(tmp_path, context, rows)
    for _ in range(2):  # the cache is as before
        np.testing.assert_allclose(benchmark.of_fspo(tmp_path, context, rows)(), theirs(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("others", [0, 1])
def test_optimum_of_the_linear_communities_is_the_integral_over_the_posterior(monkeypatch, others):
    """One column: two weights, and a third for another person, on a dense grid."""
    world = load("linear_communities")
    monkeypatch.setattr(world, "COMMUNITY_DEVIATION", np.array([1.2]))
    monkeypatch.setattr(world, "PERSON_DEVIATION", np.array([0.7]))
    known = world.Posterior(np.full((1, others, 2, 1), -1.5), np.array([[[1.0], [0.5], [-0.3]]]))
    queries = np.array([[[1.0], [-2.0]]])
    found = world.optimal(known, queries, draws=4000, seed=0)[0]

    line = np.linspace(-5, 5, 101)
    community, person, other = np.meshgrid(line, line, line, indexing="ij")
    log = -0.5 * (community**2 + person**2 + other**2)
    weight = 1.0 + 1.2 * community + 0.7 * person
    for x in (1.0, 0.5, -0.3):
        log -= np.logaddexp(0, -x * weight)
    for _ in range(2 * others):
        log -= np.logaddexp(0, 1.5 * (1.0 + 1.2 * community + 0.7 * other))
    share = np.exp(log - log.max())
    expected = [(share / (1 + np.exp(-x * weight))).sum() / share.sum() for x in (1.0, -2.0)]
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.slow
def test_linear_communities_compare_the_trained_scorer_with_the_optimum(monkeypatch):
    world = load("linear_communities")
    sizes = {"PEOPLE": (0, 2), "SHOTS": (0, 2), "TRAINED_ON": (6, 12, 12), "QUERIES": 40}
    small = dataclasses.replace(world.SCORER, components=1, community_components=1, newton_steps=3)
    for name, value in {**sizes, "SCORER": small}.items():
        monkeypatch.setattr(world, name, value)
    rows = world.run(0, communities=8, steps=60, draws=40)
    assert [(row["people"], row["shots"]) for row in rows] == [(0, 0), (0, 2), (2, 0), (2, 2)]
    for row in rows:
        assert row["bayes_optimal"] > 0.55 and abs(row["accuracy"] - row["bayes_optimal"]) < 0.1
    assert rows[-1]["bayes_optimal"] > rows[0]["bayes_optimal"] + 0.02


def test_asking_measures_every_way_of_asking_on_the_same_people():
    from tiny_reward import make_reward

    from fspo_jax.types import CandidateSet, Preference, User

    asking, reward = load("asking"), make_reward()
    pairs = tuple(Preference(f"q{i}", f"good {i}", f"bad {i}") for i in range(12))
    person = User("ana", pairs, candidate_sets=(CandidateSet("q", ("good", "bad"), (2.0, 0.5)),))
    path = asking.of_person(reward, person, 3, 4, 0)
    found = asking.table([path] * 2)
    assert set(found) == {"bald", "eubo", "random"}
    # Everybody starts from the same reward, and the differences to random pairs are those of the accuracies.
    assert len({found[by]["accuracy"][0][0] for by in found}) == 1
    for row in found.values():
        differences = np.array(row["accuracy"])[:, 0] - np.array(found["random"]["accuracy"])[:, 0]
        np.testing.assert_allclose(np.array(row["minus_random"])[:, 0], differences, atol=0.11)
        assert len(row["accuracy"]) == len(row["regret"]) == 4
    assert all(value in (0.0, 1.5) for value in path["bald"].regret)
    assert 0 <= found["bald"]["other_answer_changes_next"][0] <= 1
    # A pool that shares its responses with the queries is no pool.
    same = User("bo", tuple(Preference(f"q{i}", "good", "bad") for i in range(12)))
    assert asking.of_person(reward, same, 3, 4, 0) is None


def test_planted_beliefs_have_the_sign_of_the_planted_taste():
    from tiny_reward import make_worded_reward

    from fspo_jax.types import Preference

    pool = [
        Preference(f"q{i}", f"A fine day for it, {i}! \U0001f642", f"A fine day for it, {i}.")
        for i in range(12)
    ]
    found = load("planted_beliefs").measure(make_worded_reward(), pool)
    assert found["people"] >= 4 and found["people"] % 2 == 0
    for counts in found["beliefs"].values():
        assert counts["sure and right"] <= counts["sure"] <= found["people"]
    assert found["beliefs"]["pool"]["right"] == found["people"]


def test_caution_chooses_by_a_lower_bound_and_counts_its_failures():
    from fspo_jax.types import CandidateSet, User

    class Known:
        """Sure of what is short; likes what is long."""

        def adapt(self, pairs):
            return self

        def score_with_uncertainty(self, prompt, texts):
            sizes = np.array([len(text) for text in texts], float)
            return sizes, sizes * (1.0 if prompt == "q" else 0.0)

    texts = ("a", "aa", "aaaa")
    sets = tuple(CandidateSet(prompt, texts, (0.0, 1.0, 3.0)) for prompt in "qp")
    caution = load("caution")
    found = caution.of_person(Known(), User("ana", (), candidate_sets=sets), 0)
    by = dict(zip(caution.CAUTIONS, found.tolist(), strict=True))
    assert by[0.0] == [100.0, 0.0, 0.0, 0.0]
    # In one of two sets the shortest is chosen, against the scores.
    assert by[2.0] == [50.0, 1.5, 0.0, 50.0] and by[4.0] == by[2.0]
    table = caution.measure(Known(), [User("ana", (), candidate_sets=sets)])
    assert table["8 pairs"]["2.0"]["turned"] == [50.0, 50.0, 50.0]


def test_beliefs_about_the_persona_world_are_compared_with_what_its_personas_like():
    from tiny_reward import make_worded_reward

    found = load("planted_beliefs").of_world(make_worded_reward(), 2, 5)
    domains = ("reviews", "elix_easy", "elix_hard", "roleplay")
    assert found["all"]["people"] == 8 and all(found[domain]["people"] == 2 for domain in domains)
    for domain in ("all", *domains):
        row = found[domain]
        assert 0 <= row["strongest"][0] <= 100 and row["sure_and_right"] <= row["sure"]


SERVE_TINY = """
import sys
sys.path.insert(0, "tests")
import fspo_jax.cli.serving as serving
from fspo_jax.cli import main
from tiny_reward import make_reward
serving.load_reward = lambda _: make_reward()
sys.exit(main(["serve", "fspo-mini", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_service_answers_under_load_and_loses_nothing_when_killed(monkeypatch):
    monkeypatch.chdir(FOLDER.parent)
    found = load("service").run([sys.executable, "-c", SERVE_TINY], seconds=0.5, clients=2, kills=1)
    assert found["load"]["requests_per_second"] > 1 and found["load"]["errors"] == 0
    killed = found["killed"]
    assert killed["acknowledged"] > 0
    assert (killed["lost"], killed["doubled"], killed["integrity"]) == (0, 0, "ok")


def test_length_control_takes_away_what_comes_from_length_alone():
    guidance = load("guidance")
    generator = np.random.default_rng(0)
    words = generator.normal(10.0, 20.0, 4000)
    longer = (words > 0).astype(float)
    assert longer.mean() > 0.65 and guidance.length_controlled(longer, words) == pytest.approx(0.5, abs=0.1)
    luck = (generator.random(4000) < 0.8).astype(float)
    assert guidance.length_controlled(luck, words) == pytest.approx(0.8, abs=0.03)
    assert guidance.win(np.array([1.0, 0.0, -1.0])).tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("few-shot", "examples"), ("few-shot:8:16", "examples and guidance 8 x 16"),
        ("few-shot:1:48:0.5", "examples, at 0.5"), ("blockwise:1:48:0.5", "plain, at 0.5"),
        ("blockwise:8:16", "guidance 8 x 16"), ("best-of:8", "best of 8"), ("own:2", "own 2"),
    ],
)  # fmt: skip
def test_the_picture_calls_rows_by_their_words(row, words):
    assert load("guidance_picture").in_words(row) == words


def test_rows_are_compared_answer_by_answer_and_over_people():
    guidance = load("guidance")
    people = [
        SimpleNamespace(name=name, utility=sign)
        for name, sign in (("a", len), ("b", lambda text: -len(text)))
    ]
    cases = [SimpleNamespace(person=people[i]) for i in (0, 0, 1)]
    texts = {"policy": ["long text", "same", "long text"], "few-shot": ["short", "same", "short"]}
    found = guidance.against(cases, texts)
    assert list(found) == ["policy"]  # few-shot is not compared with itself
    assert found["policy"]["few-shot"]["winrate"][0] == 37.5  # a: one win, one tie; b: one loss


def test_true_utilities_of_free_text_follow_length_sentiment_and_tastes():
    taste = load("guidance_taste")
    assert taste.sentiment("A great and lovely hotel.") > 0 > taste.sentiment("Awful, rude and dirty.")
    assert taste.sentiment("") == taste.sentiment("It is a hotel.") == 0
    people, agreement = taste.review_people(6, 2, 4, 7)
    assert agreement["correlation_of_sentiment"] > 0.7
    for person in people:
        assert not set(person.prompts) & {pair.prompt for pair in person.pairs}
        assert person.without_length("good " * 3) == person.without_length("good good good indeed it is")
    drafts = {f"p{i}": ["Short!", "A somewhat longer text, is it not?", "One more."] for i in range(4)}
    (person,) = taste.taste_people(1, 3, drafts, ["new"], 0)
    assert len(person.pairs) == 3 and np.isfinite(person.utility(""))


def test_what_people_like_is_said_in_words_and_is_their_true_utility():
    taste = load("guidance_taste")
    assert taste.said({"length": -3.0, "lists": 2.0, "questions": 0.1}) == (
        "This person likes answers that are short and that contain lists."
    )
    assert taste.said({}) == taste.said({"length": 0.0}) == ""
    drafts = {f"p{i}": ["Short!", "A somewhat longer text, is it not?", "One more."] for i in range(4)}
    people = taste.review_people(3, 2, 4, 7)[0] + taste.taste_people(3, 3, drafts, ["new"], 0)
    for person in people:
        prompt, texts = person.pool[0]
        true = [person.utility(text) for text in texts]
        told = [
            sum(weight * person.properties[name](prompt, text) for name, weight in person.likes.items())
            for text in texts
        ]
        assert np.diff(told) == pytest.approx(np.diff(true))


@pytest.mark.slow
def test_descriptions_are_measured_in_small(tmp_path, monkeypatch):
    from tiny_decoder import LLAMA, write_decoder

    writer = readable(write_decoder(tmp_path / "writer", dataclasses.replace(LLAMA, positions=8192)))
    benchmark = load("descriptions")
    output = tmp_path / "a.json"
    given = "fspo-mini --personas 4 --prompts 1 --max-tokens 6".split()
    monkeypatch.setattr(
        sys, "argv", ["descriptions.py", *given, "--writer", str(writer), "--output", str(output)]
    )
    benchmark.main()
    found = json.loads(output.read_text())
    assert list(found["rows"]) == ["plain", "true", "inferred", "another", "none"]
    for kind in ("true", "another", "none"):
        assert all(0 <= found["rows"][kind][name][0] <= 100 for name in ("winrate", "accuracy, asked"))
    assert found["rows"]["none"]["accuracy, likelihood"][0] == 50.0  # nothing raises it
    assert found["examples"][0]["descriptions"]["true"] != found["examples"][0]["descriptions"]["another"]


def readable(writer):
    """The writer, with a tokenizer that turns tokens back into text."""
    from tokenizers import Tokenizer, decoders

    tokenizer = Tokenizer.from_file(str(writer / "tokenizer.json"))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(writer / "tokenizer.json"))
    return writer


@pytest.mark.slow
@pytest.mark.parametrize("policy", [False, True])
def test_guidance_of_both_kinds_of_rewards_is_measured_in_small(policy, tmp_path, monkeypatch, capsys):
    from tiny_decoder import LLAMA, write_decoder
    from tiny_language import lora_reward, tiny_config
    from tiny_reward import make_reward

    writer = readable(write_decoder(tmp_path / "writer", dataclasses.replace(LLAMA, positions=8192)))
    guidance, reward = load("guidance"), make_reward()
    if policy:
        scorer = {"base": str(writer), "lora_rank": 2, "row_length": 8192}
        reward = lora_reward(tiny_config("ipo", "implicit", scorer=scorer))
    monkeypatch.setattr(guidance.PersonalizedReward, "load", lambda path: reward)
    rows = (
        [*guidance.POLICY_ROWS, "policy-of:runs/other"]
        if policy
        else ["blockwise:2:16", "best-of:2", "few-shot", "few-shot:2:4", "few-shot:2:4:0"]
    )
    given = "x --personas 2 --prompts 1 --pairs 1 --max-tokens 4 --rows".split()
    picture, output = tmp_path / "a.svg", tmp_path / "a.json"
    files = ["--output", str(output), *([] if policy else ["--picture", str(picture)])]
    monkeypatch.setattr(sys, "argv", ["guidance.py", *given, *rows, "--writer", str(writer), *files])
    guidance.main()
    found = json.loads(output.read_text())
    assert found["cases"] == 2 and list(found["rows"]) == ["plain", *rows]
    assert all(0 <= found["rows"][row]["winrate"][0] <= 100 for row in rows)
    assert set(found["against"]) == set(rows) - (set() if policy else {"few-shot"})
    if policy:  # the other policy is this one here, and answers alike
        assert found["against"]["policy"]["policy-of:runs/other"]["winrate"] == [50.0] * 3
    assert policy or picture.read_text().startswith("<svg")
    again = tmp_path / "b.svg"
    monkeypatch.setattr(sys, "argv", ["guidance.py", "--draw", str(output), "--picture", str(again)])
    guidance.main()
    assert again.read_text().startswith("<svg") and (policy or again.read_text() == picture.read_text())
    if not policy:  # making the cases may take all the time
        late = ["guidance.py", *given, "few-shot", "--writer", str(writer), "--minutes", "0"]
        monkeypatch.setattr(sys, "argv", late)
        capsys.readouterr()
        guidance.main()
        assert '"cases": 1,' in capsys.readouterr().out
