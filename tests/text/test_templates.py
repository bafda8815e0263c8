import random

import numpy as np
import pytest
from tiny_language import TOKENIZER
from tokenizer_kinds import KINDS

from fspo_jax.text.templates import TASK, ZERO_SHOT_TASK, make_template
from fspo_jax.text.tokenizer import STRUCTURE, TextTokenizer
from fspo_jax.types import Message, Preference

MARK = TOKENIZER.structure
PAIR = Preference("warm or cold?", "  warm. ", "cold.\n")


def read(tokens: np.ndarray) -> str:
    return TOKENIZER.decode(tokens.tolist())


def test_fspo_v1_is_byte_exact() -> None:
    template = make_template("fspo_v1", TOKENIZER, 7)
    context = [template.head(2), template.shot(1, PAIR), template.shot(2, PAIR), template.tail(2)]
    prompt = read(np.concatenate([*context, template.question("small or large?")]))
    assert prompt == (
        "# Example 1\n## Question \nwarm or cold?\n## Preferred Response \nwarm.\n## Dispreferred Response \ncold.\n\n"
        "# Example 2\n## Question \nwarm or cold?\n## Preferred Response \nwarm.\n## Dispreferred Response \ncold.\n\n"
        "# Task\nGiven the examples above, generate a preferred response to the following question.\n"
        "## Question \nsmall or large?\n"
    )
    completion = template.response("", " large. ")
    assert read(completion[:-1]) == "## Preferred Response \nlarge.\n" and completion[-1] == 7
    assert read(template.tail(0)) == "# Task\nGenerate a response to the following question.\n"


@pytest.mark.parametrize("kind", KINDS)
def test_fspo_v1_has_the_tokens_of_the_whole_text(kind: str) -> None:
    tokenizer = TextTokenizer(KINDS[kind])
    template = make_template("fspo_v1", tokenizer, 2)
    for shots in (0, 2):
        parts = [*(template.shot(i + 1, PAIR) for i in range(shots)), template.tail(shots)]
        parts += [template.question("the cat?"), template.response("", "cold\n\n# sat")[:-1]]
        whole = "".join(
            f"# Example {i + 1}\n## Question \nwarm or cold?\n## Preferred Response \nwarm.\n"
            "## Dispreferred Response \ncold.\n\n"
            for i in range(shots)
        )
        whole += (TASK if shots else ZERO_SHOT_TASK) + "## Question \nthe cat?\n"
        whole += "## Preferred Response \ncold\n\n# sat\n"
        assert np.concatenate(parts).tolist() == tokenizer.encode([whole])[0].tolist()
    response = template.response("", "cold")
    assert template.opening().tolist() == response[: len(template.opening())].tolist()


def test_structured_marks_every_part_by_id() -> None:
    template = make_template("structured", TOKENIZER, 7)
    text = {
        value: TOKENIZER.encode([value])[0].tolist() for value in ("warm or cold?", "  warm. ", "cold.\n")
    }
    assert template.shot(1, PAIR).tolist() == [
        MARK["<shot>"],
        MARK["<prompt>"],
        *text["warm or cold?"],
        MARK["<chosen>"],
        *text["  warm. "],
        MARK["<rejected>"],
        *text["cold.\n"],
    ]
    assert template.question("warm or cold?").tolist() == [
        MARK["<prompt>"],
        *text["warm or cold?"],
        MARK["<chosen>"],
    ]
    assert template.response("", "cold.\n").tolist() == [*text["cold.\n"], MARK["<end>"]]


def test_structured_conversation_marks_each_turn_and_keeps_unknown_roles_as_text() -> None:
    template = make_template("structured", TOKENIZER, 7)
    prompt = (Message("user", "warm"), Message("narrator", "cold"))
    assert template.question(prompt).tolist() == [
        MARK["<prompt>"],
        MARK["<user>"],
        *TOKENIZER.encode(["warm"])[0],
        MARK["<role>"],
        *TOKENIZER.encode(["narrator"])[0],
        MARK["<role>"],
        *TOKENIZER.encode(["cold"])[0],
        MARK["<chosen>"],
    ]


def test_structured_role_and_content_are_told_apart() -> None:
    template = make_template("structured", TOKENIZER, 7)
    one, other = (template.question((Message(*turn),)) for turn in (("to", "x"), ("t", "ox")))
    assert one.tolist() != other.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_structured_text_never_forges_structure(seed: int) -> None:
    """Whatever the texts, the structure of a shot is the one of harmless texts."""
    template = make_template("structured", TOKENIZER, 7)
    generator = random.Random(seed)
    pieces = [
        *STRUCTURE,
        "assistant",
        "user:",
        "# Example 2\n## Preferred Response \n",
        "<",
        ">",
        "|",
        "\x00",
        "\\u003c",
        "é",
    ]
    structure = set(MARK.values())

    def skeleton(tokens: np.ndarray) -> list[int]:
        return [token for token in tokens.tolist() if token in structure]

    plain = skeleton(template.shot(1, PAIR))
    for _ in range(200):
        prompt, chosen, rejected = (
            "".join(generator.choices(pieces, k=generator.randint(1, 9))) + "." for _ in range(3)
        )
        if chosen != rejected:
            assert skeleton(template.shot(1, Preference(prompt, chosen, rejected))) == plain
        assert skeleton(template.response("", chosen)) == [MARK["<end>"]]


def test_remembered_tokens_cannot_be_changed() -> None:
    template = make_template("structured", TOKENIZER, 7, remember=4)
    first = template.response("", "warm")
    first[:] = 0
    assert template.response("", "warm")[-1] == MARK["<end>"]


@pytest.mark.parametrize("name", ["structured", "fspo_v1"])
def test_row_begins_as_the_tokenizer_begins(name) -> None:
    tokenizer = TextTokenizer(KINDS["gemma"])
    template = make_template(name, tokenizer, 2)
    assert all(template.head(shots)[0] == 1 for shots in (0, 3))  # <s>
    assert not np.isin(1, np.concatenate([template.shot(1, PAIR), template.tail(1), template.question("?")]))
