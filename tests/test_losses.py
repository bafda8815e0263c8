"""Losses of the margin: values written as formulas, shapes, and the same result compiled and uncompiled."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fspo_jax.losses import bradley_terry, ipo, probit_scale

MARGINS = np.array([[-30.0, -2.0, -0.5], [0.0, 1.0, 30.0]], np.float32)
LOSSES = {
    "bradley_terry": (bradley_terry, lambda m: np.log1p(np.exp(-m))),
    "smoothed": (
        lambda m: bradley_terry(m, 0.2),
        lambda m: 0.8 * np.log1p(np.exp(-m)) + 0.2 * np.log1p(np.exp(m)),
    ),
    "ipo": (lambda m: ipo(m, 0.25), lambda m: (m - 2.0) ** 2),
    "probit_scale": (
        lambda m: probit_scale(m, jnp.full_like(m, 3.0)),
        lambda m: m / np.sqrt(1 + 3 * np.pi / 8),
    ),
}


class LossTest(chex.TestCase):
    """Each loss as plain JAX, under `jit`, and on host arrays."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)
    def test_loss_per_element_equals_its_formula(self) -> None:
        for name, (loss, formula) in LOSSES.items():
            found = self.variant(loss)(MARGINS)
            chex.assert_shape(found, MARGINS.shape)
            chex.assert_tree_all_finite(found)
            expected = formula(MARGINS.astype(np.float64))
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_bradley_terry_gradient_of_a_wrong_margin_is_bounded() -> None:
    gradient = jax.vmap(jax.grad(bradley_terry))(jnp.array([-1e4, 0.0, 1e4]))
    np.testing.assert_allclose(gradient, [-1.0, -0.5, 0.0])


def test_probit_scale_is_close_to_the_expected_sigmoid() -> None:
    draws = np.random.default_rng(0).normal(size=200_000)
    for mean, variance in ((0.5, 1.0), (-2.0, 4.0), (3.0, 25.0)):
        expected = (1 / (1 + np.exp(-(mean + np.sqrt(variance) * draws)))).mean()
        found = jax.nn.sigmoid(probit_scale(jnp.array(mean), jnp.array(variance)))
        assert float(found) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("compiled", [False, True])
def test_probit_scale_shapes_that_differ_are_refused(compiled: bool) -> None:
    scale = jax.jit(probit_scale) if compiled else probit_scale
    with pytest.raises(AssertionError, match="shape"):
        scale(jnp.zeros(3), jnp.zeros(1))
