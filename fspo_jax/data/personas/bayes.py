"""The Bayes-optimal predictor of a persona world: no model can do better on average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fspo_jax.config import PersonaSource
from fspo_jax.data.personas.sampling import seeded
from fspo_jax.data.personas.world import World, make_world, sample_weights
from fspo_jax.types import CandidateSet, Preference


class BayesOptimal:
    """Posterior over personas by importance sampling from the true prior, utilities and label noise.

    It knows how the world makes personas, but not which persona it faces. It draws personas from the prior of the
    user's domain, weights each by the likelihood of the context, and reports the posterior mean over the draws.

    Args:
        source: The persona world of the users.
        draws: Number of personas drawn per domain. They are not the personas of the world, except by chance.
        seed: Seed of the draws.
    """

    def __init__(self, source: PersonaSource, *, draws: int = 50_000, seed: int = 0):
        self.world: World = make_world(source)
        self._noise = source.label_noise
        self._weights: dict[str, np.ndarray] = {
            domain: sample_weights(domain, seeded(seed, domain, "bayes"), draws).T.astype(np.float32)
            for domain in source.domains
        }

    def probabilities(self, context: Sequence[Preference], queries: Sequence[Preference]) -> np.ndarray:
        """Probability that the user chose `chosen`, for each query, `float64 [Q]`, given the labelled context.

        Raises:
            DataError: A prompt or response does not belong to this world.
        """
        domain = self._domain(queries[0])
        return self._label_probability(domain, queries) @ self._posterior(domain, context)

    def expected_utilities(self, context: Sequence[Preference], candidates: CandidateSet) -> np.ndarray:
        """Posterior mean of the utility of each candidate, `float64 [C]`, in nats."""
        rows = [self.world.attributes(candidates.prompt, text) for text in candidates.candidates]
        domain = rows[0][0]
        mean = self._weights[domain] @ self._posterior(domain, context)
        return np.stack([attributes for _, attributes in rows]) @ mean

    def _domain(self, preference: Preference) -> str:
        return self.world.attributes(preference.prompt, preference.chosen)[0]

    def _label_probability(self, domain: str, pairs: Sequence[Preference]) -> np.ndarray:
        """Probability of each label under each drawn persona, `float32 [N, draws]`."""
        differences = np.stack(
            [
                self.world.attributes(p.prompt, p.chosen)[1] - self.world.attributes(p.prompt, p.rejected)[1]
                for p in pairs
            ],
            dtype=np.float32,
        )
        preferred = 0.5 * (1.0 + np.tanh(0.5 * (differences @ self._weights[domain])))
        return self._noise + (1.0 - 2.0 * self._noise) * preferred

    def _posterior(self, domain: str, context: Sequence[Preference]) -> np.ndarray:
        """Normalised importance weights `float64 [draws]`."""
        draws = self._weights[domain].shape[1]
        context = [pair for pair in context if self._domain(pair) == domain]  # domains are independent
        if not context:
            return np.full(draws, 1.0 / draws)
        likelihood = np.log(np.maximum(self._label_probability(domain, context), 1e-30)).sum(0, np.float64)
        weights = np.exp(likelihood - likelihood.max())
        return weights / weights.sum()
