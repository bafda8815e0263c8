"""Named qualities of a response, as a language model sees them: a block whose columns can be said in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fspo_jax.models.features.contract import Items
from fspo_jax.models.features.likelihoods import Likelihoods

ATTRIBUTES: Mapping[str, str] = {
    "brief": "Be brief.",
    "detailed": "Explain it in detail.",
    "formal": "Write formally.",
    "casual": "Write casually, like to a friend.",
    "warm": "Be warm and encouraging.",
    "polite": "Be polite and respectful.",
    "cautious": "Be cautious and say what is uncertain.",
    "confident": "Be confident and direct.",
    "critical": "Be critical.",
    "balanced": "Show both sides.",
    "concrete": "Be concrete and practical.",
    "with_examples": "Give examples.",
    "factual": "Give facts and numbers.",
    "personal": "Speak from personal experience.",
    "emotional": "Speak about feelings.",
    "simple": "Use simple words, like for a child.",
    "technical": "Use technical terms, like for an expert.",
    "humorous": "Be funny.",
    "imaginative": "Be creative and imaginative.",
    "structured": "Use headings and a list.",
}
"""Name of each column, and the instruction that asks for it. Raise `VERSION` whenever one changes."""

WORDS: Mapping[str, str] = {
    "brief": "brief responses",
    "detailed": "detailed explanations",
    "formal": "formal writing",
    "casual": "casual writing",
    "warm": "warmth and encouragement",
    "polite": "politeness",
    "cautious": "caution about what is uncertain",
    "confident": "confident, direct statements",
    "critical": "criticism",
    "balanced": "both sides of a question",
    "concrete": "concrete, practical advice",
    "with_examples": "examples",
    "factual": "facts and numbers",
    "personal": "personal experience",
    "emotional": "feelings",
    "simple": "simple words",
    "technical": "technical terms",
    "humorous": "humour",
    "imaginative": "imagination",
    "structured": "headings and lists",
}
"""Name of each column, and what a response with more of it has, in words that go on from "likes"."""

VERSION = 1

TOKENS = 64
"""Number of tokens at the beginning of a response that are read."""

SCALE = 0.2
"""What the columns are divided by, in nats per token."""


class Attributes:
    """How much more likely the response is when the prompt asks for a quality: one column for each of `ATTRIBUTES`.

    The mean log-probability of a token of the response given the prompt with an instruction, minus the same without it.
    The first 64 tokens of a response are read, once for each instruction and once without.

    Args:
        name: Of the block.
        likelihoods: Of the language model.
    """

    width = len(ATTRIBUTES)
    columns: Mapping[str, str] = WORDS
    reads_encoder = False

    def __init__(self, name: str, likelihoods: Likelihoods):
        self.name, self.fingerprint = name, f"attributes-{VERSION}-{likelihoods.fingerprint}"
        self._likelihoods = likelihoods

    def values(self, items: Items) -> np.ndarray:
        model, asked = self._likelihoods, ["", *ATTRIBUTES.values()]
        responses = model.responses(items.responses, TOKENS) * len(asked)
        prompts = [one for instruction in asked for one in model.prompts(items.prompts, instruction)]
        means = model.means(prompts, responses).reshape(len(asked), -1)
        return ((means[1:] - means[0]) / SCALE).T
