"""True utilities of texts that no template made: what `guidance.py` judges by.

Personas of two kinds have a utility that can be measured on any text. Those of the domain `reviews` care for length and
sentiment; the length is exact, the sentiment is counted in words. Those with tastes care for two or three of `TASTES`
(length, long words, questions, lists, ...), which are exact. The other domains of the persona world (the level of an
explanation, viewpoints) are known for their own templates only, so they are not judged here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fspo_jax.config import PersonaSource
from fspo_jax.data.personas.candidates import TASTES, taste_values
from fspo_jax.data.personas.reviews import length_attribute
from fspo_jax.data.personas.sampling import draw_preferences, seeded
from fspo_jax.data.personas.world import make_world
from fspo_jax.types import Preference, Prompt

PRAISE = """
good great excellent wonderful wonderfully lovely love loved loves best beautiful beautifully perfect perfectly
fantastic amazing awesome brilliant superb delightful delicious charming comfortable cosy friendly warm warmly fresh
clean spotless smooth quick quiet sturdy elegant clever fun funny enjoy enjoyed enjoyable impressive recommend
recommended reliable fair generous gorgeous joy pleasure pleased happy glad kind gripping exciting rich tender crisp
clear bright sharp solid easy easily effortless effortlessly nice pleasant incredible outstanding favorite favourite
treasure delighted surprisingly heavenly peaceful safe superior satisfied helpful stunning magnificent
""".split()
COMPLAINT = """
bad badly poor poorly terrible terribly awful horrible horribly worst worse hate hated ugly dull boring bland greasy
stale cold rude dirty filthy broken broke cheap flimsy weak noisy loud slow annoying disappointing disappointed
disappointment disgusting nightmare outrageous overpriced useless waste wasted failed failure fails cramped sticky
smelled tinny muffled hurt cracked dragged flat clumsy lazy wooden painfully predictable stiff tedious grating shaky
silly irritating mess leaked jammed junk dreadful unpleasant uncomfortable unfriendly unfortunately lost damaged errors
sadly regret avoid problem problems wrong difficult hard lacks lacking inedible mediocre sagged mould frightening
""".split()

SAID = {
    "sentiment": ("praise", "complain"),
    "length": ("are long", "are short"),
    "long_words": ("use long words", "use short words"),
    "long_sentences": ("have long sentences", "have short sentences"),
    "lists": ("contain lists", "contain no lists"),
    "exclamation": ("have exclamation marks", "have no exclamation marks"),
    "questions": ("ask questions", "ask no questions"),
    "addressing": ("say 'you' to the reader", "do not say 'you' to the reader"),
    "first_person": ("say 'I' or 'we'", "do not say 'I' or 'we'"),
    "hedging": ("say what may, might or could be", "never say may, might, could or can"),
    "figures": ("contain numbers", "contain no numbers"),
}
"""What answers do that have more of a property, and less of it."""

MOST_SAID, LEAST_SAID = 3, 0.25
"""Number of tastes that a description names; and the weakest one, as a share of the strongest."""

TASTE_NATS = 8.0
"""Size of a person's weights of the tastes, in nats per standard deviation."""


class Person(NamedTuple):
    """Somebody never trained on.

    Attributes:
        name: Unique.
        pairs: Labelled pairs.
        prompts: What is to be written about; none is in a pair.
        utility: True utility of a text, in nats.
        without_length: The same without what it says of length.
        likes: What one standard deviation of each property is worth, in nats.
        properties: The properties, in standard deviations over `pool`.
        pool: Prompts with responses; those of the pairs are among them.
    """

    name: str
    pairs: tuple[Preference, ...]
    prompts: tuple[str, ...]
    utility: Callable[[str], float]
    without_length: Callable[[str], float]
    likes: Mapping[str, float]
    properties: Mapping[str, Callable[[Prompt, str], float]]
    pool: Sequence[tuple[str, Sequence[str]]]


def said(likes: Mapping[str, float]) -> str:
    """A description of a person, in words: what they like, the strongest taste first; empty for no tastes."""
    order = sorted(likes, key=lambda name: -abs(likes[name]))
    least = LEAST_SAID * abs(likes[order[0]]) if order else 0.0
    named = [SAID[name][int(likes[name] < 0)] for name in order[:MOST_SAID] if abs(likes[name]) > least]
    if not named:
        return ""
    return f"This person likes answers that {' and that '.join(named)}."


def sentiment(text: str) -> float:
    """Share of praising less that of complaining words among both, -1 to 1; one more word counts as neither."""
    words = re.findall(r"[a-z]+", text.lower())
    praise, complaint = sum(word in PRAISES for word in words), sum(word in COMPLAINTS for word in words)
    return (praise - complaint) / (praise + complaint + 1)


PRAISES, COMPLAINTS = frozenset(PRAISE), frozenset(COMPLAINT)


def review_people(count: int, prompts: int, pairs: int, seed: int) -> tuple[list[Person], dict[str, float]]:
    """Personas of the domain `reviews` with pairs of its texts; and how well words tell the sentiment of these."""
    source = PersonaSource(
        seed=seed, personas=count, prompts=pairs * 4 + prompts, pairs=pairs, domains=("reviews",)
    )
    world = make_world(source)
    known = world.prompt_sets[: pairs * 4]
    asked = tuple(one.prompt for one in world.prompt_sets[pairs * 4 :])
    texts = [text for one in known for text in one.responses]
    true = np.concatenate([one.attributes[:, 0] for one in known])
    found = np.array([sentiment(text) for text in texts])
    agreement = {"correlation_of_sentiment": round(float(np.corrcoef(found, true)[0, 1]), 3)}
    pool = [(one.prompt, one.responses) for one in known]
    deviation = {"sentiment": found.std(), "length": np.std([length_attribute(text) for text in texts])}
    properties = {
        "sentiment": lambda prompt, text: sentiment(text) / deviation["sentiment"],
        "length": lambda prompt, text: length_attribute(text or ".") / deviation["length"],
    }
    people = []
    for persona in world.personas:
        utilities = [one.utilities(persona) for one in known]
        drawn, _ = draw_preferences(
            [one.prompt for one in known],
            [one.responses for one in known],
            utilities,
            pairs,
            0.0,
            seeded(seed, persona.persona_id),
        )
        liking, length = persona.weights

        def utility(text: str, liking: float = liking, length: float = length) -> float:
            return liking * sentiment(text) + length * length_attribute(text or ".")

        people.append(
            Person(
                persona.persona_id,
                drawn,
                asked,
                utility,
                lambda text, liking=liking: liking * sentiment(text),
                {"sentiment": liking * deviation["sentiment"], "length": length * deviation["length"]},
                properties,
                pool,
            )
        )
    return people, agreement


def taste_people(
    count: int, pairs: int, drafts: dict[str, Sequence[str]], prompts: Sequence[str], seed: int
) -> list[Person]:
    """Personas with tastes, who labelled pairs of a writer's own drafts.

    Args:
        drafts: Prompts of the pairs, each with the drafts of the writer.
        prompts: What is to be written about.
    """
    texts = {prompt: list(dict.fromkeys(text for text in those if text)) for prompt, those in drafts.items()}
    values = {prompt: np.array([taste_values(text) for text in those]) for prompt, those in texts.items()}
    stacked = np.concatenate(list(values.values()))
    mean, deviation = stacked.mean(0), stacked.std(0)
    used = np.flatnonzero(deviation > 0)  # what never varies can be no taste
    names = list(TASTES)
    length = names.index("length")
    properties = {
        names[i]: lambda prompt, text, i=i: taste_values(text or ".")[i] / deviation[i] for i in used.tolist()
    }
    people = []
    for number in range(count):
        generator = seeded(seed, "tastes", number)
        weights = np.zeros(len(TASTES))
        cares = generator.choice(used, generator.integers(2, 4), replace=False)
        weights[cares] = generator.normal(size=len(cares))
        weights *= TASTE_NATS / np.linalg.norm(weights)
        likes = {names[i]: float(weights[i]) for i in np.flatnonzero(weights).tolist()}
        weights[used] /= deviation[used]
        rest = weights.copy()
        rest[length] = 0.0

        def utility(text: str, weights: np.ndarray = weights) -> float:
            return float((np.array(taste_values(text or ".")) - mean) @ weights)

        drawn, _ = draw_preferences(
            list(texts),
            list(texts.values()),
            [(values[prompt] - mean) @ weights for prompt in texts],
            pairs,
            0.0,
            generator,
        )
        people.append(
            Person(
                f"tastes-{number:05d}",
                drawn,
                tuple(prompts),
                utility,
                lambda text, w=rest: utility(text, w),
                likes,
                properties,
                list(texts.items()),
            )
        )
    return people
