"""Losses of the margin, one value per element: nothing is averaged or masked here, the training step does it once.

The margin of a pair is `m = r(chosen) - r(rejected)`, in nats. A positive margin agrees with the label.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def probit_scale(margin: jax.Array, variance: jax.Array) -> jax.Array:
    """Shrinks an uncertain margin, so that its sigmoid is the probability of the label.

    A scorer that knows its uncertainty gives a normal distribution of the margin, `N(m, v)`. The probability of the
    label is the expected sigmoid under it, which has no closed form. The probit approximation is within 0.02 of it:

        E[sigmoid(x)], x ~ N(m, v)   is about   sigmoid(m / sqrt(1 + pi v / 8))

    Args:
        margin: Mean of the margin, in nats; floats of any shape.
        variance: Variance of the margin, in nats squared, zero or positive; same shape. Zero leaves the margin as is.

    Returns:
        The scaled margin, in nats, of the same shape. Its sign never changes.

    Raises:
        AssertionError: The shapes differ.

    Source: MacKay (1992), The evidence framework applied to classification networks.

    Example:
        >>> scaled = probit_scale(jnp.array([2.0, 2.0]), jnp.array([0.0, 24 / jnp.pi]))
        >>> scaled.tolist()                                  # the second is divided by sqrt(1 + 3)
        [2.0, 1.0]
    """
    chex.assert_equal_shape([margin, variance])
    return margin / jnp.sqrt(1.0 + jnp.pi * variance / 8.0)


def bradley_terry(margin: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Negative log-likelihood of the label under the Bradley-Terry model. On implicit rewards this is the DPO loss.

    The model says that the chosen response wins with probability `sigmoid(m)`. With a share `s` of labels taken to be
    wrong, the loss is the mean over both labels:

        loss = (1 - s) (-log sigmoid(m)) + s (-log sigmoid(-m)) = softplus(-m) + s m

    Args:
        margin: r(chosen) - r(rejected), in nats; floats of any shape.
        label_smoothing: Share of labels taken to be wrong, from 0 to 0.5.

    Returns:
        The loss of each element, in nats, of the same shape. A margin of zero costs log 2.

    Source: Bradley and Terry (1952), Rank analysis of incomplete block designs; Rafailov et al. (2023), Direct
    preference optimization, arXiv 2305.18290, equation 7; Mitchell (2023), A note on DPO with noisy preferences.

    Example:
        >>> [round(x, 3) for x in bradley_terry(jnp.array([0.0, 2.0, -2.0])).tolist()]
        [0.693, 0.127, 2.127]
        >>> round(float(bradley_terry(jnp.array(2.0), label_smoothing=0.1)), 3)         # 0.127 + 0.1 * 2
        0.327
    """
    return jax.nn.softplus(-margin) + label_smoothing * margin


def ipo(margin: jax.Array, beta: float = 0.5) -> jax.Array:
    """Identity preference optimisation: the squared distance of the margin to a fixed target.

        loss = (m - 1 / (2 beta))^2

    The Bradley-Terry loss rewards ever larger margins. This one has its minimum at a finite margin, so it does not
    overfit labels that never contradict each other.

    Args:
        margin: r(chosen) - r(rejected), in nats; floats of any shape. For a language model's implicit reward pass the
            difference of log-probability ratios, which is the margin divided by its beta.
        beta: Strength of the regularisation, above 0. A smaller beta asks for a larger margin.

    Returns:
        The loss of each element, in nats squared, of the same shape.

    Source: Azar et al. (2023), A general theoretical paradigm to understand learning from human preferences,
    arXiv 2310.12036, equation 17.

    Example:
        >>> ipo(jnp.array([0.0, 1.0, 3.0])).tolist()         # the target is 1 / (2 * 0.5) = 1
        [1.0, 0.0, 4.0]
    """
    return jnp.square(margin - 1.0 / (2.0 * beta))
