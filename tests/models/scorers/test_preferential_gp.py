import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.optimize import minimize

from fspo_jax.config import PreferentialGPConfig
from fspo_jax.models.scorers.laplace import (
    Laplace,
    laplace_posterior,
    posterior_variance,
    spd_inverse,
    spd_log_determinant,
)
from fspo_jax.models.scorers.preferential_gp import preferential_gp

SHOTS, FEATURES = 5, 12

posterior_of = jax.jit(laplace_posterior, static_argnames="newton_steps")


@pytest.fixture(scope="module")
def gp():
    """The scorer, whose context of SHOTS pairs is read by a compiled program, and its initial parameters."""
    scorer = preferential_gp(PreferentialGPConfig("preferential_gp", hidden=16, width=8), FEATURES)
    return scorer._replace(encode_context=jax.jit(scorer.encode_context)), scorer.init(jax.random.key(0))


def variance_of(posterior: Laplace, differences):
    return posterior_variance(posterior.differences, posterior.precision, differences)


def data(pairs: int = 6, width: int = 9, scale: float = 1.0):
    generator = np.random.default_rng(0)
    differences = (scale * generator.normal(size=(pairs, width))).astype(np.float32)
    return differences, generator.normal(size=pairs).astype(np.float32)


def primal_optimum(differences, offsets):
    """Mean and covariance of the Laplace approximation by plain Newton steps on `w`, in float64."""
    differences, offsets = differences.astype(np.float64), offsets.astype(np.float64)
    w = np.zeros(differences.shape[1])
    for _ in range(200):
        p = 1 / (1 + np.exp(offsets + differences @ w))
        hessian = np.eye(len(w)) + (differences.T * (p * (1 - p))) @ differences
        w += 0.5 * np.linalg.solve(hessian, differences.T @ p - w)
    return w, np.linalg.inv(hessian)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_laplace_posterior_equals_primal_newton(scale):
    differences, offsets = data(scale=scale)
    mean, covariance = primal_optimum(differences, offsets)
    posterior = posterior_of(differences, offsets, np.ones(6, bool))
    np.testing.assert_allclose(posterior.mean, mean, atol=2e-4)
    asked = np.random.default_rng(1).normal(size=(5, 9)).astype(np.float32)
    np.testing.assert_allclose(
        variance_of(posterior, asked), np.einsum("nr,rs,ns->n", asked, covariance, asked), rtol=2e-3
    )


def test_laplace_posterior_strong_kernel_against_population_converges():
    # Undamped Newton steps overshoot here: the population is sure of the opposite and the prior is wide.
    differences, _ = data(scale=30.0)
    offsets = np.full(6, -12.0, np.float32)
    posterior = posterior_of(differences, offsets, np.ones(6, bool), newton_steps=16)

    def objective(w):
        return np.logaddexp(0, -(offsets + differences @ w)).sum() + 0.5 * w @ w

    best = minimize(objective, np.zeros(9)).fun
    assert objective(np.asarray(posterior.mean, np.float64)) <= 1.01 * best


def test_laplace_posterior_gradient_equals_finite_differences():
    with jax.enable_x64(True):
        differences, offsets = (jnp.asarray(x, jnp.float64) for x in data())
        mask = jnp.arange(6) < 5

        def value(differences, offsets):
            posterior = posterior_of(differences, offsets, mask, newton_steps=12)
            asked = differences[:2] + 0.5
            return (posterior.mean**3).sum() + variance_of(posterior, asked).sum()

        check_grads(jax.jit(value), (differences, offsets), order=1, modes=("rev",), rtol=1e-5)


def test_laplace_posterior_all_masked_is_the_prior():
    differences, offsets = data()
    posterior = posterior_of(differences, offsets, np.zeros(6, bool))
    np.testing.assert_array_equal(posterior.mean, 0)
    np.testing.assert_allclose(variance_of(posterior, differences), np.square(differences).sum(-1), rtol=1e-6)


def test_posterior_variance_more_pairs_never_know_less():
    differences, offsets = data()
    asked = np.random.default_rng(1).normal(size=(5, 9)).astype(np.float32)
    known = [variance_of(posterior_of(differences, 0 * offsets, np.arange(6) < k), asked) for k in (0, 1)]
    assert (known[1] <= known[0] + 1e-5).all()
    again = posterior_of(np.repeat(differences[:1], 6, 0), 0 * offsets, np.ones(6, bool))
    assert (variance_of(again, differences[:1]) < variance_of(again, differences[1:2])).all()


def test_spd_inverse_is_the_inverse_with_its_gradient():
    differences, _ = data(pairs=5)
    matrix = differences @ differences.T + np.eye(5, dtype=np.float32)
    np.testing.assert_allclose(spd_inverse(matrix), np.linalg.inv(matrix), atol=1e-6)
    weights = np.random.default_rng(2).normal(size=(5, 5)).astype(np.float32)
    ours, theirs = (
        jax.grad(lambda m, inverse=inverse: (weights * inverse(m)).sum())(matrix)
        for inverse in (spd_inverse, jnp.linalg.inv)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_preferential_gp_flipped_labels_turn_the_personal_part_around(gp):
    """Exact where the population margins of the context are zero, as its docstring promises."""
    scorer, params = gp
    generator = np.random.default_rng(0)
    context = scorer.represent(params, generator.normal(size=(SHOTS, 2, FEATURES)).astype(np.float32))
    context = context.at[..., 0].set(0.0)
    candidates = scorer.represent(params, generator.normal(size=(7, FEATURES)).astype(np.float32))

    def personal(context):
        state = scorer.encode_context(params, context, jnp.ones(SHOTS, bool))
        return scorer.score(params, state, candidates) - candidates[:, 0]

    np.testing.assert_allclose(personal(context), -personal(context[:, ::-1]), atol=1e-5)


def test_preferential_gp_correction_scales_personal_part_and_variance(gp):
    scorer, plain = gp
    corrected = plain | {"log_correction": jnp.log(jnp.array([2.0, 0.5]))}
    generator = np.random.default_rng(0)
    context = scorer.represent(plain, generator.normal(size=(SHOTS, 2, FEATURES)).astype(np.float32))
    a, b = scorer.represent(plain, generator.normal(size=(2, 7, FEATURES)).astype(np.float32))
    states = [scorer.encode_context(p, context, jnp.ones(SHOTS, bool)) for p in (plain, corrected)]
    personal = [
        scorer.score(p, state, a) - a[:, 0] for p, state in zip((plain, corrected), states, strict=True)
    ]
    np.testing.assert_allclose(personal[1], 2.0 * personal[0], rtol=1e-4)
    variances = [scorer.variance(p, state, a, b) for p, state in zip((plain, corrected), states, strict=True)]
    np.testing.assert_allclose(variances[1], 0.5 * variances[0], rtol=1e-4)


def test_preferential_gp_zero_shots_is_the_population_reward(gp):
    scorer, params = gp
    candidates = scorer.represent(
        params, np.random.default_rng(0).normal(size=(7, FEATURES)).astype(np.float32)
    )
    state = scorer.encode_context(params, jnp.zeros((SHOTS, 2, candidates.shape[1])), jnp.zeros(SHOTS, bool))
    np.testing.assert_allclose(scorer.score(params, state, candidates), candidates[:, 0], rtol=1e-6)


def test_spd_log_determinant_equals_numpy_with_the_inverse_as_gradient():
    rows = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    matrix = np.eye(7, dtype=np.float32) + rows @ rows.T
    value, gradient = jax.value_and_grad(spd_log_determinant)(jnp.asarray(matrix))
    np.testing.assert_allclose(value, np.linalg.slogdet(matrix)[1], rtol=1e-5)
    np.testing.assert_allclose(gradient, np.linalg.inv(matrix), atol=1e-5)
