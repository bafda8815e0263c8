"""Laplace's approximation of a posterior under labelled pairs, in the dual: K x K systems for K pairs.

Source: Rasmussen and Williams (2006), Gaussian processes for machine learning, algorithm 3.1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

STEP_SIZES = np.array([1.0, 0.5, 0.25, 0.05], np.float32)
"""Damping factors of the Newton steps. The best is used, so that strong kernels do not make it oscillate."""


MOST_SWEPT = 96
"""Larger matrices are inverted by LAPACK. They occur outside of training only."""


class Laplace(NamedTuple):
    """Gaussian approximation of the posterior of `w`, in the dual.

    Attributes:
        mean: `float32 [R]`, posterior mean of `w`.
        differences: `float32 [K, R]`, `D`: representation of chosen minus rejected, zero for masked slots; multiplied
            by `Drift.today`.
        precision: `float32 [K, K]`, `M`: the posterior covariance is `I - D^T M D`.
    """

    mean: jax.Array
    differences: jax.Array
    precision: jax.Array


def spd_inverse(matrix: jax.Array) -> jax.Array:
    """Inverse of a symmetric matrix with eigenvalues of at least 1, `[K, K]`.

    A small one is inverted by the sweep operator, K rank-one updates of plain arithmetic. (LAPACK's batched calls
    and large matrix products in one compiled loop make XLA's CPU runtime hang on two cores.) The last Newton-Schulz
    step `2 X - X A X` squares the rounding error and has the exact gradient, so the sweeps are not differentiated.
    """
    size = len(matrix)
    if size > MOST_SWEPT:
        fixed = jax.lax.stop_gradient(matrix)
        inverse = jax.scipy.linalg.cho_solve(
            (jnp.linalg.cholesky(fixed), True), jnp.eye(size, dtype=matrix.dtype)
        )
        return 2.0 * inverse - inverse @ matrix @ inverse

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
    if size > MOST_SWEPT:
        value = 2.0 * jnp.log(jnp.diagonal(jnp.linalg.cholesky(fixed))).sum()
    else:
        value = jax.lax.fori_loop(0, size, eliminate, (fixed, jnp.zeros((), matrix.dtype)))[1]
    inverse = jax.lax.stop_gradient(spd_inverse(fixed))
    return value + (inverse * (matrix - fixed)).sum()


class Dual(NamedTuple):
    """Gaussian approximation of the posterior of K margins, and through them of everything they are linear in.

    Attributes:
        alpha: `float32 [K]`, the posterior mean of the margins is `gram @ alpha`.
        precision: `float32 [K, K]`, `M`: the posterior covariance of the margins is `gram - gram M gram`.
    """

    alpha: jax.Array
    precision: jax.Array


def laplace_dual(gram: jax.Array, offsets: jax.Array, weights: jax.Array, newton_steps: int = 8) -> Dual:
    """Posterior of margins `f ~ N(0, gram)` given labels with likelihood `sigmoid(offset_i + f_i) ^ weight_i`.

    Newton's method on the concave log posterior converges quadratically, so only the last step is differentiated:
    at the optimum its Jacobian with respect to the iterate vanishes, which makes that gradient exact.

    Args:
        gram: `float32 [K, K]`, prior covariance of the margins.
        offsets: `float32 [K]`, prior mean of the margins, nats.
        weights: `bool [K]`, or `float32 [K]` from 0 to 1: how much each label counts; 0 for padding.
        newton_steps: Fixed number of steps.

    Returns:
        The approximation, or the prior if all weights are 0.
    """
    weights = weights.astype(gram.dtype)
    eye = jnp.eye(len(weights), dtype=gram.dtype)

    def curvature(latent: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns gradient `[K]` of the log likelihood and the root `[K]` of its negative curvature."""
        slope = jax.nn.sigmoid(-(offsets + latent))
        weight = weights * jnp.maximum(slope * (1.0 - slope), 1e-6)  # the root's gradient needs > 0
        return weights * slope, jnp.where(weights > 0.0, jnp.sqrt(jnp.where(weights > 0.0, weight, 1.0)), 0.0)

    def precision(root: jax.Array) -> jax.Array:
        """Returns `(curvature^-1 + gram)^-1`."""
        return root[:, None] * spd_inverse(eye + root[:, None] * gram * root) * root

    def newton(alpha: jax.Array, gram: jax.Array) -> jax.Array:
        latent = gram @ alpha
        gradient, root = curvature(latent)
        target = root * root * latent + gradient
        if len(weights) <= MOST_SWEPT:
            return target - precision(root) @ (gram @ target)
        factor = jnp.linalg.cholesky(eye + root[:, None] * gram * root)
        return target - root * jax.scipy.linalg.cho_solve((factor, True), root * (gram @ target))

    def damped_newton(alpha: jax.Array, _: None) -> tuple[jax.Array, None]:
        direction = newton(alpha, gram) - alpha
        trials = alpha + STEP_SIZES[:, None] * direction
        latents = gram @ alpha + STEP_SIZES[:, None] * (gram @ direction)
        misfit = weights * jax.nn.softplus(-(offsets + latents))
        best = jnp.argmin((misfit + 0.5 * trials * latents).sum(-1))
        return alpha + (jax.nn.one_hot(best, len(STEP_SIZES)) @ STEP_SIZES) * direction, None

    converged, _ = jax.lax.scan(damped_newton, jnp.zeros_like(offsets), None, length=newton_steps)
    alpha = newton(jax.lax.stop_gradient(converged), gram)
    return Dual(alpha, precision(curvature(gram @ alpha)[1]))


def laplace_evidence(
    gram: jax.Array, offsets: jax.Array, weights: jax.Array, newton_steps: int
) -> tuple[jax.Array, jax.Array]:
    """Log probability of the labels of margins with this prior, nats, and `Dual.alpha`."""
    dual = laplace_dual(gram, offsets, weights, newton_steps)
    margins = offsets + gram @ dual.alpha
    slope = weights * jnp.maximum(jax.nn.sigmoid(margins) * jax.nn.sigmoid(-margins), 1e-6)
    root = jnp.where(weights > 0, jnp.sqrt(jnp.where(weights > 0, slope, 1.0)), 0.0)
    volume = spd_log_determinant(jnp.eye(len(weights)) + root[:, None] * gram * root)
    fit = (weights * jax.nn.log_sigmoid(margins)).sum()
    return fit - 0.5 * dual.alpha @ gram @ dual.alpha - 0.5 * volume, dual.alpha


class Drift(NamedTuple):
    """How a taste at the time of each pair goes with that of today: each weight is a smooth function of time.

    Attributes:
        today: `float32 [K]`, correlation of the weights at the time of a pair with those of today.
        likeness: `float32 [K, K]`, correlation of the weights at the times of two pairs.
    """

    today: jax.Array
    likeness: jax.Array


def drift_of(ages: jax.Array | None, count: int) -> Drift:
    """Correlations of times with `ages [K]` in half-lives, from 0; without ages 1, for K = `count`.

    The correlation is `2 ** -(difference of ages) ** 2`, the squared exponential kernel.
    """
    if ages is None:
        return Drift(jnp.ones(count), jnp.ones((count, count)))
    return Drift(jnp.exp2(-jnp.square(ages)), jnp.exp2(-jnp.square(ages[:, None] - ages)))


def laplace_posterior(
    differences: jax.Array,
    offsets: jax.Array,
    mask: jax.Array,
    newton_steps: int = 8,
    ages: jax.Array | None = None,
) -> Laplace:
    """Posterior of `w ~ N(0, I)` given labels with likelihood `sigmoid(offset_i + w . difference_i)`.

    Args:
        differences: `float32 [K, R]`, representation of chosen minus rejected.
        offsets: `float32 [K]`, population margin of each pair, nats.
        mask: `bool [K]`, false for padding, or weights as in `laplace_dual`.
        newton_steps: Fixed number of steps.
        ages: `float32 [K]`, as in `drift_of`; the posterior is that of the weights of today.

    Returns:
        The approximation, or the prior if all pairs are masked.
    """
    differences = jnp.where((mask > 0)[:, None], differences, 0.0)
    drift = drift_of(ages, len(mask))
    dual = laplace_dual(drift.likeness * (differences @ differences.T), offsets, mask, newton_steps)
    today = drift.today[:, None] * differences
    return Laplace(dual.alpha @ today, today, dual.precision)


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
