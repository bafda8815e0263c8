"""How likely a response is as an assistant's answer to its prompt, as a block of features.

It tells answers that fit their prompt from others, and plain wording from odd wording.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from fspo_jax.models.features.contract import Items
from fspo_jax.models.features.likelihoods import RESPONSE_TOKENS, Likelihoods

CENTRE, SCALE, EXPLAINED = -3.5, 0.7, 0.3
"""What the columns are shifted and divided by, in nats per token."""


class LogLikelihood:
    """Two columns: the mean log-probability of a token of the response, and how much of it the prompt explains.

    The first is given the prompt as a turn of the user. The second is the first minus the same given an empty turn.
    Both are scaled by fixed constants to about unit size among the answers to one prompt. The first 256 tokens of a
    response are read, and the last 256 of a prompt.

    Args:
        name: Of the block.
        likelihoods: Of the language model.
    """

    width = 2
    columns: Mapping[str, str] = MappingProxyType(
        {
            "log_likelihood": "plain, predictable wording",
            "explained_by_prompt": "responses that follow from the prompt",
        }
    )
    reads_encoder = False

    def __init__(self, name: str, likelihoods: Likelihoods):
        self.name, self.fingerprint = name, f"log_likelihood-1-{likelihoods.fingerprint}"
        self._likelihoods = likelihoods

    def values(self, items: Items) -> np.ndarray:
        model = self._likelihoods
        responses = model.responses(items.responses, RESPONSE_TOKENS)
        prompts = model.prompts(items.prompts) + model.prompts([""]) * len(responses)
        given, alone = np.split(model.means(prompts, responses * 2), 2)
        return np.stack([(given - CENTRE) / SCALE, (given - alone) / EXPLAINED], 1)
