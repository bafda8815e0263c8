"""Preferential Gaussian process: meta-learned Bayesian adaptation in closed form.

Reward of a user: `r(x, y) = s(phi) + w . psi(phi)`, `w ~ N(0, I)`. The population reward `s` and the feature map
`psi` are meta-learned; the posterior of `w` given the user's labelled pairs is a Laplace approximation under the
Bradley-Terry likelihood, by Newton steps in the dual (K x K systems). Laplace's mode is
nearer to zero than the posterior mean, and its variance is too large; both errors grow with the strength of the prior.
Two learned factors correct them.

Source: Chu and Ghahramani (2005), Preference learning with Gaussian processes; Rasmussen and Williams (2006),
algorithm 3.1; Patacchiola et al. (2020), Deep kernel transfer.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from fspo_jax.config import PreferentialGPConfig
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module
from fspo_jax.models.scorers.laplace import Laplace, laplace_posterior, posterior_variance


class FeatureMap(nnx.Module):
    """Maps features to `[s, psi]`: population reward and kernel features.

    `s` is the sum of a hidden layer and a linear layer. `psi` joins a learned map of the same form with the features
    themselves, scaled by one learned amplitude (the isotropic term). So a user can also have a taste that did not
    matter to anybody in meta-training. `s` and `psi` share no weights, because what most people like says little about
    how they differ.
    """

    def __init__(self, features: int, config: PreferentialGPConfig, rngs: nnx.Rngs):
        linear = partial(nnx.Linear, use_bias=False, rngs=rngs)
        self.population_hidden = nnx.Linear(features, config.hidden, rngs=rngs)
        self.population = linear(config.hidden, 1)
        self.population_linear = linear(features, 1, kernel_init=nnx.initializers.zeros_init())
        self.kernel_hidden = nnx.Linear(features, config.hidden, rngs=rngs)
        self.kernel = linear(config.hidden, config.width)
        self.kernel_linear = linear(features, config.width)
        self.log_correction = nnx.Param(jnp.zeros(2))  # of the mean and the variance of the posterior
        self.log_amplitudes = nnx.Param(jnp.log(jnp.array([1.0, 0.3])))

    def __call__(self, features: jax.Array) -> jax.Array:
        population = self.population(nnx.gelu(self.population_hidden(features)))
        learned = self.kernel(nnx.gelu(self.kernel_hidden(features))) + self.kernel_linear(features)
        amplitudes = jnp.exp(self.log_amplitudes[...])
        return jnp.concatenate(
            [
                population + self.population_linear(features),
                amplitudes[0] * learned * learned.shape[-1] ** -0.5,
                amplitudes[1] * features * features.shape[-1] ** -0.5,
            ],
            axis=-1,
        )


def preferential_gp(config: PreferentialGPConfig, features: int) -> Scorer:
    """The scorer: `representation = [s, psi]`, user state = `Laplace` with the corrected mean.

    The order of the context does not matter (up to rounding). Zero shots give the population reward. If the population
    margins of the context are zero, flipping all labels reverses the personal part exactly.
    """
    init, bind = pure_module(lambda rngs: FeatureMap(features, config, rngs))

    def represent(params: Params, features: jax.Array) -> jax.Array:
        return bind(params)(features)

    def encode_context(
        params: Params, context: jax.Array, mask: jax.Array, ages: jax.Array | None = None
    ) -> Laplace:
        difference = context[:, 0] - context[:, 1]
        posterior = laplace_posterior(difference[:, 1:], difference[:, 0], mask, config.newton_steps, ages)
        return posterior._replace(mean=jnp.exp(params["log_correction"][0]) * posterior.mean)

    def score(params: Params, state: Laplace, candidates: jax.Array) -> jax.Array:
        return candidates[:, 0] + candidates[:, 1:] @ state.mean

    def variance(params: Params, state: Laplace, a: jax.Array, b: jax.Array) -> jax.Array:
        variance = posterior_variance(state.differences, state.precision, a[:, 1:] - b[:, 1:])
        return jnp.exp(params["log_correction"][1]) * variance

    return Scorer(init, represent, encode_context, score, variance, weighs_pairs=True)
