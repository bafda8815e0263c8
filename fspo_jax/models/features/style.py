"""Style features of a response: length, formatting, punctuation, wording, readability.

Sentence embeddings say little about these. Each feature is scaled by a fixed constant to about unit size. For the empty
text all features are zero.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

STYLE = "style"
"""Name of the block of features."""

STYLE_VERSION = 1
"""Part of the block's fingerprint. Raise it whenever a feature changes."""

WORD = re.compile(r"\w+(?:['’]\w+)*")
# Each reads a text once: `\s*` over lines, or a run of marks tried from each of its marks, would take its square.
SENTENCE = re.compile(r"(?<![.!?。！？])[.!?。！？]++(?:\s|$)|[。！？]")
VOWELS = re.compile(r"[aeiouy]+", re.IGNORECASE)
BULLET = re.compile(r"^[^\S\n]*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s|^\*\*[^*\n]+\*\*:?\s*$", re.MULTILINE)
EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
HEDGES = frozenset(
    "maybe perhaps might may could possibly probably likely seems seem appears somewhat generally usually often".split()
)
CERTAIN = frozenset(
    "always never must certainly definitely clearly absolutely undoubtedly every all none".split()
)
FIRST = frozenset("i me my mine myself we us our ours i'm i've i'd i'll we're we've".split())
SECOND = frozenset("you your yours yourself you're you've you'll".split())
NEGATIONS = frozenset(
    "not no never nothing nobody neither nor cannot can't don't doesn't didn't won't isn't aren't".split()
)
CONNECTIVES = frozenset(
    "because therefore however although since thus hence whereas while but so then".split()
)


class _Text:
    """Counts that several features share."""

    def __init__(self, text: str):
        self.text = text
        self.words = [word.lower().replace("’", "'") for word in WORD.findall(text)]
        self.word_count = max(len(self.words), 1)
        self.sentences = max(len(SENTENCE.findall(text)), 1)
        self.syllables = sum(max(len(VOWELS.findall(word)), 1) for word in self.words)

    def share(self, words: frozenset[str]) -> float:
        return sum(word in words for word in self.words) / self.word_count

    def per_sentence(self, marks: str) -> float:
        return min(sum(self.text.count(mark) for mark in marks) / self.sentences, 5.0)


FEATURES: dict[str, Callable[[_Text], float]] = {
    "log_characters": lambda t: math.log1p(len(t.text)) / 2 - 2.5,
    "log_words": lambda t: math.log1p(len(t.words)) / 1.5 - 2,
    "log_sentences": lambda t: math.log(t.sentences) - 0.7,
    "words_per_sentence": lambda t: min(t.word_count / t.sentences, 60) / 10 - 1.5,
    "characters_per_word": lambda t: min(sum(map(len, t.words)) / t.word_count, 12) - 4.5,
    "syllables_per_word": lambda t: 3 * (min(t.syllables / t.word_count, 4) - 1.5),
    "long_words": lambda t: 6 * (sum(len(word) > 7 for word in t.words) / t.word_count - 0.2),
    "distinct_words": lambda t: 4 * (len(set(t.words)) / t.word_count - 0.8),
    "bullets": lambda t: math.log1p(len(BULLET.findall(t.text))),
    "headings": lambda t: math.log1p(len(HEADING.findall(t.text))),
    "lines": lambda t: math.log1p(t.text.count("\n")),
    "code": lambda t: float("```" in t.text) + 0.5 * float("`" in t.text),
    "bold": lambda t: math.log1p(t.text.count("**") // 2),
    "exclamations": lambda t: 2 * t.per_sentence("!！"),
    "questions": lambda t: 2 * t.per_sentence("?？"),
    "commas": lambda t: t.per_sentence(",;:，；：") - 1,
    "brackets": lambda t: 2 * t.per_sentence("("),
    "quotes": lambda t: t.per_sentence('"“”«»'),
    "emoji": lambda t: math.log1p(len(EMOJI.findall(t.text))),
    "digits": lambda t: 10 * sum(map(str.isdigit, t.text)) / len(t.text),
    "capitals": lambda t: 10 * (min(sum(map(str.isupper, t.text)) / len(t.text), 0.5) - 0.03),
    "hedges": lambda t: 15 * t.share(HEDGES),
    "certainty": lambda t: 15 * t.share(CERTAIN),
    "first_person": lambda t: 10 * t.share(FIRST),
    "second_person": lambda t: 10 * t.share(SECOND),
    "negations": lambda t: 12 * t.share(NEGATIONS),
    "connectives": lambda t: 12 * t.share(CONNECTIVES),
}
"""Name of each feature, and the function that computes it."""


WORDS: dict[str, str] = {
    "log_characters": "long responses",
    "log_words": "many words",
    "log_sentences": "many sentences",
    "words_per_sentence": "long sentences",
    "characters_per_word": "long words",
    "syllables_per_word": "words of many syllables",
    "long_words": "many words of more than seven letters",
    "distinct_words": "a varied vocabulary",
    "bullets": "lists",
    "headings": "headings",
    "lines": "many lines",
    "code": "code",
    "bold": "bold text",
    "exclamations": "exclamation marks",
    "questions": "questions",
    "commas": "commas and semicolons",
    "brackets": "remarks in brackets",
    "quotes": "quotations",
    "emoji": "emoji",
    "digits": "numbers",
    "capitals": "capital letters",
    "hedges": 'hedging words, such as "maybe"',
    "certainty": 'words of certainty, such as "always"',
    "first_person": 'the first person, "I" and "we"',
    "second_person": 'being addressed as "you"',
    "negations": "negations",
    "connectives": 'connectives, such as "because"',
}
"""Name of each feature, and what a response with more of it has, in words that go on from "likes"."""


def style_features(text: str) -> np.ndarray:
    """Returns the style features of a text, `float32 [len(FEATURES)]`, in the order of `FEATURES`."""
    if not text:
        return np.zeros(len(FEATURES), np.float32)
    counts = _Text(text)
    return np.array([feature(counts) for feature in FEATURES.values()], np.float32)


class Style:
    """The style features as a block, with one column each."""

    name, width, fingerprint = STYLE, len(FEATURES), f"style-{STYLE_VERSION}"
    columns: Mapping[str, str] = WORDS

    def values(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([style_features(text) for text in texts])
