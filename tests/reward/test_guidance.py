"""Responses that are guided by a user's reward while they are written."""

from __future__ import annotations

import gc
import json
import pickle
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_decoder import LLAMA, write_decoder
from tiny_language import PAIRS, WORDS, lora_reward, make_language_reward, tiny_config
from tokenizers import Tokenizer, decoders

import fspo_jax as fspo
from fspo_jax.errors import CheckpointError, DataError, FspoError, LimitError
from fspo_jax.models.language.chat_writer import ChatWriter, load_writer
from fspo_jax.reward import UserReward
from fspo_jax.reward.written import Blockwise, Tokenwise, Written
from fspo_jax.types import Draft, Message, Prompt, Sampling, TokenLayout

CHAT = (
    "{% for message in messages %}{{ message['role'] + '\n' + message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny decoder with a chat format and a tokenizer that reads its tokens back."""
    directory = write_decoder(tmp_path_factory.mktemp("writer") / "tiny")
    file = str(directory / "tokenizer.json")
    tokenizer = Tokenizer.from_file(file)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(file)
    (directory / "chat_template.jinja").write_text(CHAT)
    return directory


@pytest.fixture(scope="module")
def writer(directory: Path) -> ChatWriter:
    return load_writer(directory)


@pytest.fixture(scope="module")
def user(directory: Path) -> UserReward:
    """An implicit reward with adapters over the same decoder, whose policy differs from its reference."""
    config = tiny_config(
        "ipo", "implicit", scorer={"base": str(directory), "lora_rank": 2, "row_length": 512}
    )
    return lora_reward(config).adapt(PAIRS[:2])


def logits_of(writer: ChatWriter, tokens: Sequence[int]) -> np.ndarray:
    """Logits after a whole sequence, without a cache."""
    size = np.ones((1, len(tokens)), np.int32)
    layout = TokenLayout(np.arange(len(tokens))[None], size, 0 * size, 0 * size)
    network = writer.model.network(writer.model.params)
    hidden, _ = network(jnp.array([tokens], jnp.int32), layout)
    return np.asarray(hidden[0, -1] @ network.output_matrix().T)


def test_writer_at_temperature_zero_is_the_argmax_of_the_whole_sequence(writer: ChatWriter) -> None:
    prompt = (Message("user", "the cat"), Message("assistant", "sat"), Message("user", "why?"))
    tokens, expected = writer.model.chat.opening(prompt).tolist(), []
    for _ in range(8):
        logits = np.where(writer.drafting.allowed, logits_of(writer, tokens + expected), -np.inf)
        if int(logits.argmax()) == LLAMA.end_tokens[0]:
            break
        expected.append(int(logits.argmax()))
    draft = writer.begin(prompt, Sampling(temperature=0.0, max_tokens=8))
    (found,) = writer.continuations(draft, 1, 8)
    assert found.text == writer.model.tokenizer.decode(expected).strip() and expected
    assert found.room == 8 - len(expected)


def test_writer_stops_where_its_positions_end_and_says_whether_it_ended(writer: ChatWriter) -> None:
    before = len(writer.model.chat.opening("hi"))
    draft = writer.begin("hi", Sampling(max_tokens=1000))
    assert draft.room == LLAMA.positions - before
    found = writer.continuations(draft, 8, 1000)
    assert all(one.ended == (one.room > 0) for one in found)
    assert {True, False} == {one.ended for seed in range(3) for one in some(writer, seed)}
    with pytest.raises(LimitError, match=r"the prompt has .* tokens; this model reads 96"):
        writer.begin("word " * 100, Sampling())
    assert len(writer("hi", 3)) == 3


def some(writer: ChatWriter, seed: int) -> list[Draft]:
    return writer.continuations(writer.begin("hi", Sampling(max_tokens=24, seed=seed)), 8, 24)


@pytest.mark.parametrize("own", [False, True])
def test_one_continuation_is_plain_sampling_whatever_the_length_of_a_block(
    own: bool, writer: ChatWriter, user: UserReward
) -> None:
    given = {"writer": None if own else writer, "max_tokens": 11}
    for seed in range(3):
        (plain,) = user.generate("red?", seed=seed, **given)
        for tokens in (1, 4, 11, 50):
            (guided,) = user.generate("red?", seed=seed, guidance=Blockwise(1, tokens), **given)
            assert guided == plain and guided.ended == plain.ended
            assert (plain.way, guided.way) == ("sampled", "blockwise")


def test_blocks_as_long_as_the_response_are_best_of_n(writer: ChatWriter, user: UserReward) -> None:
    given = {"writer": writer, "max_tokens": 9, "seed": 3}
    texts = user.generate("red?", n=6, **given)
    assert len(set(texts)) > 1
    (found,) = user.generate("red?", guidance=Blockwise(6, 9), **given)
    assert found == fspo.rerank(user, "red?", texts)[0].text
    for n in (0, 1.5, True):
        with pytest.raises(DataError, match="n must be a positive integer"):
            writer("red?", n)


def test_several_guided_responses_have_seeds_one_after_the_other(
    writer: ChatWriter, user: UserReward
) -> None:
    given = {"writer": writer, "guidance": Blockwise(3, 4), "max_tokens": 8}
    several = user.generate("red?", n=3, seed=5, **given)
    assert several == [user.generate("red?", seed=5 + i, **given)[0] for i in range(3)]


class Words:
    """Writes one of some words at a time; the end of a response is a full stop."""

    def __init__(self, choices: Sequence[Sequence[str]], continues: bool = True):
        self.choices, self.continues, self.asked = choices, continues, []

    def begin(self, prompt: Prompt, sampling: Sampling) -> Draft:
        return Draft("", sampling.max_tokens, False, ())

    def continuations(self, draft: Draft, n: int, tokens: int) -> list[Draft]:
        self.asked.append((draft.text, n, tokens))
        words = [self.choices[len(draft.state)][i] for i in range(n)]
        used = min(tokens, draft.room)
        return [
            Draft(f"{draft.text} {word}".strip(), draft.room - used, word.endswith("."), (*draft.state, word))
            for word in words
        ]


class Counts(UserReward):
    """Likes the letter a."""

    def __init__(self) -> None:
        pass

    def score_with_uncertainty(self, prompt: Any, candidates: Any) -> tuple[np.ndarray, np.ndarray]:
        liked = np.array([text.count("a") for text in candidates], np.float32)
        return liked, liked


def test_guided_response_after_the_largest_seed_has_seed_0() -> None:
    seeds = []

    class Seeds(Words):
        def begin(self, prompt: Prompt, sampling: Sampling) -> Draft:
            seeds.append(sampling.seed)
            return super().begin(prompt, sampling)

    Counts().generate("p", n=2, writer=Seeds([["a."]]), guidance=Blockwise(1, 1), seed=2**63 - 1)
    assert seeds == [2**63 - 1, 0]


def test_the_best_continuation_is_kept_until_it_ends_or_the_room_is_used() -> None:
    choices = [["b", "a", "c"], ["aa", "b.", "b"], ["b", "a.", "b"], ["never"] * 3]
    words = Words(choices)
    (found,) = Counts().generate("p", writer=words, guidance=Blockwise(3, 5), max_tokens=100)
    assert (found, found.way, found.ended) == ("a aa a.", "blockwise", True)
    (cautious,) = Counts().generate("p", writer=Words(choices), guidance=Blockwise(3, 5, caution=2.0))
    assert cautious == "b b."  # what it likes it is least sure of
    assert words.asked == [("", 3, 5), ("a", 3, 5), ("a aa", 3, 5)]
    (cut,) = Counts().generate("p", writer=Words(choices), guidance=Blockwise(3, 5), max_tokens=8)
    assert (cut, cut.ended) == ("a aa", False)
    whole = Words(choices, continues=False)
    (found,) = Counts().generate("p", writer=whole, guidance=Blockwise(3, 5), max_tokens=100)
    assert (found, found.way, whole.asked) == ("a", "best of n", [("", 3, 100)])


def test_a_reward_of_features_guides_any_writer(reward: Any, writer: ChatWriter) -> None:
    ana = reward.adapt([fspo.Preference("red?", f"{word} x.", f"{word}.") for word in WORDS[:3]])
    (found,) = ana.generate("red?", writer=writer, guidance=Blockwise(4, 3), max_tokens=9)
    assert isinstance(found, Written) and found.way == "blockwise"
    assert ana.generate("red?", writer=writer, n=2, max_tokens=4)[0].way == "sampled"
    for wrong in (lambda: ana.generate("p"), lambda: ana.generate("p", guidance=Blockwise())):
        with pytest.raises(FspoError, match=r"cannot write them\. Pass a writer"):
            wrong()
    for wrong in (
        lambda: ana.generate("p", writer=writer, guidance=Tokenwise()),
        lambda: ana.logits_processor("p"),
    ):
        with pytest.raises(FspoError, match="reward = 'implicit'"):
            wrong()


def test_wrong_writers_and_guidance_are_data_errors(user: UserReward) -> None:
    with pytest.raises(DataError, match="writer must come from load_writer or openai_endpoint"):
        user.generate("p", writer="smollm2-135m")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="guidance must be a Blockwise, a Tokenwise or None"):
        user.generate("p", guidance=8)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="needs the logits of the writer"):
        user.generate("p", writer=Words([]), guidance=Tokenwise())
    for wrong in ({"n": 0}, {"tokens": 0}, {"n": True}, {"tokens": 1.5}):
        with pytest.raises(DataError, match="must be a positive integer"):
            Blockwise(**wrong)  # type: ignore[arg-type]
    for strength in (-1, float("nan"), "1", 1e4):
        with pytest.raises(DataError, match="strength must be a number between"):
            Tokenwise(strength)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="is not a directory"):
        load_writer("no-such-model")


def test_written_text_is_a_string_that_can_be_copied() -> None:
    text = Written("hi", "blockwise", False)
    again = pickle.loads(pickle.dumps(text))
    assert (again, again.way, again.ended) == ("hi", "blockwise", False)
    assert json.dumps([text]) == '["hi"]'


def test_token_guidance_of_strength_zero_and_one_are_the_writer_and_the_policy(
    writer: ChatWriter, user: UserReward
) -> None:
    given = {"max_tokens": 8, "n": 3, "seed": 2}
    plain = user.generate("red?", writer=writer, **given)
    assert user.generate("red?", writer=writer, guidance=Tokenwise(0.0), **given) == plain
    guided = user.generate("red?", writer=writer, guidance=Tokenwise(2.0), **given)
    assert guided != plain and guided[0].way == "tokenwise"
    assert user.generate("red?", guidance=Tokenwise(1.0), **given) == user.generate("red?", **given)
    assert user.generate("red?", guidance=Tokenwise(0.0), **given) != user.generate("red?", **given)
    shown = fspo.with_examples(writer, [fspo.Preference("a?", "b", "c")])
    with_examples = user.generate("red?", writer=shown, **given)
    assert user.generate("red?", writer=shown, guidance=Tokenwise(0.0), **given) == with_examples != plain
    both = user.generate("red?", writer=shown, guidance=Tokenwise(2.0), **given)
    assert both != with_examples and both != guided

    class Logged:  # a wrapper of a user, which may change what is continued
        def __init__(self, writer: ChatWriter) -> None:
            self.writer = writer

        def __getattr__(self, name: str) -> Any:
            return getattr(self.writer, name)

    for wrapped in (Logged(writer), Logged(shown), fspo.with_examples(Logged(writer), [])):
        with pytest.raises(DataError, match=r"needs the logits of the writer.*not a Logged"):
            user.generate("red?", writer=wrapped, guidance=Tokenwise())
    without = make_language_reward().adapt(PAIRS)  # another tokenizer, with more tokens
    with pytest.raises(FspoError, match="has 261 tokens, but this reward's model reads"):
        without.generate("red?", writer=writer, guidance=Tokenwise())


class Scores(np.ndarray):
    """What a logits processor needs of a tensor."""

    def new_tensor(self, values: np.ndarray) -> np.ndarray:
        return values


def test_logits_processor_is_freed_with_its_last_use(user: UserReward) -> None:
    processor = user.logits_processor("red?")
    assert processor(np.array([[3]]), np.zeros((1, LLAMA.vocabulary)).view(Scores)).any()
    gone = weakref.ref(processor)
    del processor
    gc.collect()
    assert gone() is None


def test_logits_processor_gives_the_scores_that_the_sampler_draws_from(
    directory: Path, writer: ChatWriter, user: UserReward
) -> None:
    torch = pytest.importorskip("torch", reason="transformers' generate needs torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(str(directory), dtype=torch.float32)
    prompt, tokens = "red?", writer.model.chat.opening("red?").tolist()
    ids = torch.tensor([tokens])
    for beams in (1, 3):  # beam search moves rows
        out = model.generate(
            ids, max_new_tokens=8, do_sample=False, num_beams=beams, pad_token_id=2, return_dict_in_generate=True,
            output_scores=True, suppress_tokens=np.flatnonzero(~writer.drafting.allowed).tolist(),
            logits_processor=[user.logits_processor(prompt, 2.0)],
        )  # fmt: skip
        if beams == 1:
            new = out.sequences[0, len(tokens) :].tolist()
            (ours,) = user.generate(
                prompt, writer=writer, guidance=Tokenwise(2.0), temperature=0.0, max_tokens=8
            )
            kept = new[: new.index(2)] if 2 in new else new
            assert ours == writer.model.tokenizer.decode(kept).strip() and len(kept) > 3
    processor = user.logits_processor(prompt, 2.0)
    nothing = torch.zeros((2, LLAMA.vocabulary))
    rows = [[*tokens, 40, 50, 60], [*tokens, 40, 70, 80]]
    for size, order in ((0, (0, 1)), (1, (0, 1)), (2, (1, 0)), (3, (0, 1))):
        given = torch.tensor([rows[i][: len(tokens) + size] for i in order])
        kept = processor(given, nothing)
    fresh = user.logits_processor(prompt, 2.0)
    for size in range(4):
        once = fresh(torch.tensor([rows[1][: len(tokens) + size]]), nothing[:1])
    np.testing.assert_allclose(kept[1], once[0], atol=1e-4)
    assert float(once.abs().max()) > 0.1
    with pytest.raises(FspoError, match="Guide a model with the same tokenizer"):
        fresh(torch.tensor([tokens]), nothing[:1, :100])
