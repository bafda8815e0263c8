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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fspo_jax.config import PreferentialGPConfig
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module

STEP_SIZES = np.array([1.0, 0.5, 0.25, 0.05], np.float32)
"""Damping factors of the Newton steps. The best is used, so that strong kernels do not make it oscillate."""


class Laplace(NamedTuple):
    """Gaussian approximation of the posterior of `w`, in the dual.

    Attributes:
        mean: `float32 [R]`, posterior mean of `w`.
        differences: `float32 [K, R]`, `D`: representation of chosen minus rejected, zero for masked slots.
        precision: `float32 [K, K]`, `M`: the posterior covariance is `I - D^T M D`.
    """

    mean: jax.Array
    differences: jax.Array
    precision: jax.Array


def spd_inverse(matrix: jax.Array) -> jax.Array:
    """Inverse of a small symmetric matrix with eigenvalues of at least 1, `[K, K]`.

    The sweep operator costs K rank-one updates of plain arithmetic. (LAPACK's batched calls
    and large matrix products in one compiled loop make XLA's CPU runtime hang on two cores.) The last Newton-Schulz
    step `2 X - X A X` squares the rounding error and has the exact gradient, so the sweeps are not differentiated.
    """
    size = len(matrix)

    def sweep(k: jax.Array, swept: jax.Array) -> jax.Array:
        unit = jnp.arange(size) == k
        pivot = jnp.where(unit, jnp.diagonal(swept), 0.0).sum()
        column = jnp.where(unit, swept, 0.0).sum(1)
        # Symmetric sweep: the pivot row and column become column / pivot, the pivot itself -1 / pivot.
        others = jnp.where(unit, 0.0, column)
        updated = jnp.where(unit | unit[:, None], 0.0, swept - jnp.outer(others, others) / pivot)
        return updated + (jnp.outer(unit, others) + jnp.outer(others, unit) - jnp.outer(unit, unit)) / pivot

    inverse = jax.lax.stop_gradient(-jax.lax.fori_loop(0, size, sweep, jax.lax.stop_gradient(matrix)))
    return 2.0 * inverse - inverse @ matrix @ inverse


def spd_log_determinant(matrix: jax.Array) -> jax.Array:
    """Log determinant of a small symmetric matrix with eigenvalues of at least 1, by the pivots of elimination.

    Its gradient is the inverse, which `spd_inverse` computes without LAPACK.
    """
    size = len(matrix)

    def eliminate(k: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        rest, total = carry
        unit = jnp.arange(size) == k
        pivot = jnp.where(unit, jnp.diagonal(rest), 0.0).sum()
        column = jnp.where(unit, rest, 0.0).sum(1)
        below = jnp.where(jnp.arange(size) > k, column, 0.0)
        return rest - jnp.outer(below, below) / pivot, total + jnp.log(pivot)

    fixed = jax.lax.stop_gradient(matrix)
    value = jax.lax.fori_loop(0, size, eliminate, (fixed, jnp.zeros((), matrix.dtype)))[1]
    inverse = jax.lax.stop_gradient(spd_inverse(fixed))
    return value + (inverse * (matrix - fixed)).sum()


def laplace_posterior(
    differences: jax.Array, offsets: jax.Array, mask: jax.Array, newton_steps: int = 8
) -> Laplace:
    """Posterior of `w ~ N(0, I)` given labels with likelihood `sigmoid(offset_i + w . difference_i)`.

    Newton's method on the concave log posterior converges quadratically, so only the last step is differentiated:
    at the optimum its Jacobian with respect to the iterate vanishes, which makes that gradient exact.

    Args:
        differences: `float32 [K, R]`, representation of chosen minus rejected.
        offsets: `float32 [K]`, population margin of each pair, nats.
        mask: `bool [K]`, false for padding.
        newton_steps: Fixed number of steps.

    Returns:
        The approximation, or the prior if all pairs are masked.
    """
    differences = jnp.where(mask[:, None], differences, 0.0)
    gram = differences @ differences.T
    eye = jnp.eye(len(mask), dtype=gram.dtype)

    def curvature(latent: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns gradient `[K]` and curvature `[K]` of the log likelihood, and `(curvature^-1 + gram)^-1`."""
        gradient = jnp.where(mask, jax.nn.sigmoid(-(offsets + latent)), 0.0)
        weight = jnp.maximum(gradient * (1.0 - gradient), 1e-6)  # the root's gradient needs > 0
        root = jnp.where(mask, jnp.sqrt(weight), 0.0)
        return gradient, root * root, root[:, None] * spd_inverse(eye + root[:, None] * gram * root) * root

    def newton(alpha: jax.Array, gram: jax.Array) -> jax.Array:
        latent = gram @ alpha
        gradient, weight, precision = curvature(latent)
        target = weight * latent + gradient
        return target - precision @ (gram @ target)

    def damped_newton(alpha: jax.Array, _: None) -> tuple[jax.Array, None]:
        direction = newton(alpha, gram) - alpha
        trials = alpha + STEP_SIZES[:, None] * direction
        latents = gram @ alpha + STEP_SIZES[:, None] * (gram @ direction)
        misfit = jnp.where(mask, jax.nn.softplus(-(offsets + latents)), 0.0)
        best = jnp.argmin((misfit + 0.5 * trials * latents).sum(-1))
        return alpha + (jax.nn.one_hot(best, len(STEP_SIZES)) @ STEP_SIZES) * direction, None

    converged, _ = jax.lax.scan(damped_newton, jnp.zeros_like(offsets), None, length=newton_steps)
    alpha = newton(jax.lax.stop_gradient(converged), gram)
    return Laplace(alpha @ differences, differences, curvature(gram @ alpha)[2])


def posterior_variance(rows: jax.Array, precision: jax.Array, differences: jax.Array) -> jax.Array:
    """Returns the posterior variance of `w . difference`, `[N]`, for `differences [N, R]`.

    Args:
        rows: `differences` of a `Laplace`.
        precision: `precision` of the same.
        differences: Representations of one candidate minus another.
    """
    cross = differences @ rows.T
    variance = jnp.square(differences).sum(-1) - (cross @ precision * cross).sum(-1)
    return jnp.maximum(variance, 0.0)


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

    def encode_context(params: Params, context: jax.Array, mask: jax.Array) -> Laplace:
        difference = context[:, 0] - context[:, 1]
        posterior = laplace_posterior(difference[:, 1:], difference[:, 0], mask, config.newton_steps)
        return posterior._replace(mean=jnp.exp(params["log_correction"][0]) * posterior.mean)

    def score(params: Params, state: Laplace, candidates: jax.Array) -> jax.Array:
        return candidates[:, 0] + candidates[:, 1:] @ state.mean

    def variance(params: Params, state: Laplace, a: jax.Array, b: jax.Array) -> jax.Array:
        variance = posterior_variance(state.differences, state.precision, a[:, 1:] - b[:, 1:])
        return jnp.exp(params["log_correction"][1]) * variance

    return Scorer(init, represent, encode_context, score, variance)
