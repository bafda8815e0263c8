"""Whether a response has to do with its prompt, and whether it is an answer at all.

A response must still answer, however much somebody likes how it is written. The two columns are penalties in nats: zero
for anything that may be an answer, so that they say next to nothing about pairs of real responses, and large for what
is clearly none. They belong to the reward of everyone; no taste turns them around. Nothing of them is learned, since
training data hardly ever has such a response.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from fspo_jax.models.features.contract import Items
from fspo_jax.text.prompts import render_prompt
from fspo_jax.types import Prompt

INTERACTION = "interaction"
"""Name of the block of features."""

OFF_TOPIC, DEGENERATE, NOTHING = 8.0, 12.0, 30.0
"""Largest penalties, in nats: of what is off-topic; of what says that it is no answer, or repeats itself, which some
people still choose; and of what says nothing at all."""

RELEVANT, IRRELEVANT = 0.25, 0.05
"""Evidence of relevance from which on nothing is off-topic, and up to which everything is."""

OVERLAP_WEIGHT = 0.3
"""How much evidence it is that all content words of the prompt are in the response."""

SURE_WORDS = 8
"""A shorter response says so little that it may be an answer to many prompts: its penalty grows with its words."""

FEWEST_WORDS, REPEATED, ALL_REPEATED = 12, 0.5, 0.75
"""Responses with fewer words do not count as repetitive. Share of three-word sequences that were there before from
which a response is degenerate, and at which it is wholly so."""

WORD = re.compile(r"\w+(?:['’]\w+)*")
STEM = 5
"""Characters by which words are compared, so that `vaccine` is in `vaccinated`."""

FILLERS = frozenset(
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed eiusmod tempor incididunt labore dolore magna aliqua "
    "placeholder todo tbd xxx".split()
)
COMMON = frozenset(
    # English, German, French and Spanish words that say nothing of a topic.
    "the and are was were has had have having can could may might must shall should will would did does doing done you "
    "your yours she her hers him his its our ours they them their who whom whose what when where which why how this "
    "that these those there here for from with without into onto about above after again also any all because been "
    "before being between both but not nor yet per down during each ever every few get good give one two just know "
    "let like make many more most much need now off only other out over own same say see some such take tell than "
    "thank then too try use very want way well while ask please help write short explain someone myself "
    "der die das den dem des ein eine einen einem einer eines ich mir mich mein meine wir uns ist sind war wird wurde "
    "werde werden und oder aber auch für von vom mit aus bei bis zum zur auf nach über wie was wer wen wem wann warum "
    "weil wenn nicht kein dass diese dieser dieses kann haben hat sein man schreib bitte zwischen unterschied "
    "les des une est sont que qui quoi dans avec sur par pas pour faire cette mon mes ses nous vous elle comment "
    "pourquoi quel quelle fait cas los las una del que por para con sin mis sus esta este está más cómo como qué cuál "
    "dónde donde puedo hacer cada entre".split()
)
JUDGED = re.compile(
    r"\bwhich (?:one )?(?:of (?:these|the|the following) )?(?:two )?"
    r"(?:statement|argument|comment|opinion|claim|review)s?\b",
    re.IGNORECASE,
)
"""Prompts of surveys, whose responses are texts to judge and no answers. Such texts need not name their topic."""

NO_ANSWER = re.compile(
    r"\W*(?:(?:sorry|well|hm+|uh+|honestly)\W+)?"
    r"(?:i (?:really |just |honestly )?(?:do not|don['’]t|dont) know(?: that| this| the answer)?"
    r"|i have no idea|no idea|(?:i['’]?m |i am )?not sure|idk|dunno|n/?a|no comment|no answer"
    r"|(?:das )?wei(?:ß|ss) ich (?:leider )?nicht|ich wei(?:ß|ss) (?:es )?(?:leider )?nicht|keine ahnung"
    r"|je ne sais pas|aucune idée|no (?:lo )?sé|ni idea)(?:\W+sorry)?\W*",
    re.IGNORECASE,
)


class Interaction:
    """Two penalties: `off_topic` and `degenerate`.

    `off_topic` is a hinge on evidence of relevance: the cosine of the run's encoder between prompt and response, plus a
    part of the share of the prompt's content words that the response has. A small English encoder says little of short
    texts, so they have a part of it, and next to nothing of statements that a prompt asks to judge, so they have none.
    `degenerate` says that there is no answer: no word, placeholder text, mostly repetitions, the prompt itself, or
    nothing but "I don't know". Words are compared to those of a conversation and to those of its last message,
    whichever fits the response better.
    """

    name, width, fingerprint, reads_encoder = INTERACTION, 2, "interaction-4", True
    columns: Mapping[str, str] = MappingProxyType(
        {"off_topic": "responses that are off-topic", "degenerate": "responses that are no answer"}
    )

    def values(self, items: Items) -> np.ndarray:
        cosines = (items.prompt_vectors * items.response_vectors).mean(1)
        rows = zip(items.prompts, items.responses, cosines.tolist(), strict=True)
        return np.array([_penalties(*row) for row in rows], np.float32).reshape(-1, self.width)


def _penalties(prompt: Prompt, response: str, cosine: float) -> tuple[float, float]:
    last = prompt if isinstance(prompt, str) else prompt[-1].content
    words = [word.lower() for word in WORD.findall(response)]
    overlap = max(_overlap(text, words) for text in {render_prompt(prompt), last})
    evidence = RELEVANT if JUDGED.search(last) else cosine + OVERLAP_WEIGHT * overlap
    off_topic = _hinge(RELEVANT - evidence, RELEVANT - IRRELEVANT) * min(len(words) / SURE_WORDS, 1.0)
    return OFF_TOPIC * off_topic, _degenerate(last, response, words)


def _hinge(value: float, whole: float) -> float:
    """From 0 for a value of at most 0 to 1 for one of at least `whole`."""
    return min(max(value / whole, 0.0), 1.0)


def _overlap(prompt: str, words: Sequence[str]) -> float:
    """The share of the prompt's content words that are in the response."""
    wanted = {word.lower() for word in WORD.findall(prompt)}
    content = {word[:STEM] for word in wanted if len(word) > 2 and word not in COMMON}
    return len(content & {word[:STEM] for word in words}) / len(content) if content else 0.0


def _degenerate(prompt: str, response: str, words: list[str]) -> float:
    """The penalty of a response that is no answer, in nats."""
    if not response.strip(string.punctuation + string.whitespace):
        return NOTHING
    if words and sum(word in FILLERS for word in words) > max(0.3 * len(words), 2):
        return NOTHING
    if NO_ANSWER.fullmatch(response):
        return DEGENERATE
    asked = [word.lower() for word in WORD.findall(prompt)]
    if words and len(asked) > 1 and words == asked * (len(words) // len(asked)):
        return NOTHING  # the prompt, once or more
    triples = list(zip(words, words[1:], words[2:], strict=False))
    if len(words) < FEWEST_WORDS or not triples:
        return 0.0
    return DEGENERATE * _hinge(1 - len(set(triples)) / len(triples) - REPEATED, ALL_REPEATED - REPEATED)
