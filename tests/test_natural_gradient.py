"""Learning rates of approximate natural gradient, against the matrices written out."""

import numpy as np
import pytest
from test_sampled import draw, jacobian

import mfdnn
from mfdnn import natural_gradient_rate
from mfdnn.architectures import mlp

DAMPING = 1e-9  # of the largest eigenvalue: what is left of it, and rounding over it, stay below TOLERANCE
TOLERANCE = 1e-4


def network(n_layers, n_outputs=2):
    return mlp([14] + [18 + 2 * i for i in range(n_layers - 1)] + [n_outputs], "tanh", 2.0, 0.1)


def parts(n_layers, n_outputs, n_samples):
    """Jacobian (TC, P) of each weight layer, rows sample by sample, and the layers' activity."""
    one, X, _ = draw(network(n_layers, n_outputs), n_samples)
    sizes = np.cumsum([sum(a.size for a in pair) for pair in one.parameters])[:-1]
    return np.split(jacobian(one, X), sizes, axis=1), one.activity(X)


def response(J, G, n_samples):
    """(1/T) J G^-1 J^T with a little damping of G."""
    G = G + DAMPING * np.abs(np.linalg.eigvalsh(G)).max() * np.eye(len(G))
    return J @ np.linalg.solve(G, J.T) / n_samples


def block_diagonal(blocks):
    sizes = np.cumsum([0, *(b.shape[1] for b in blocks)])
    whole = np.zeros((sum(len(b) for b in blocks), sizes[-1]))
    row = 0
    for b, left in zip(blocks, sizes, strict=False):
        whole[row : row + len(b), left : left + b.shape[1]] = b
        row += len(b)
    return whole


def tridiagonal(n):
    return np.array([[float(abs(i - j) <= 1) for j in range(n)] for i in range(n)])


NAMES = ("exact", "block_diagonal", "block_tridiagonal", "given")
CASES = [
    (name, n) for name in NAMES for n in (1, 2, 3, 4) if (name, n) != ("block_tridiagonal", 2)
]  # singular


@pytest.mark.parametrize(("name", "n_layers"), CASES)
def test_layer_wise_approximations_are_isotropic(name, n_layers):
    layers, _ = parts(n_layers, 2, 4)
    rng = np.random.default_rng(n_layers)
    sigma = {
        "exact": np.ones((n_layers, n_layers)),
        "block_diagonal": np.eye(n_layers),
        "block_tridiagonal": tridiagonal(n_layers),
        "given": np.eye(n_layers) + 0.3 * rng.standard_normal((n_layers, n_layers)),
    }[name]
    S = block_diagonal(layers)
    G = S.T @ np.kron(sigma, np.eye(8)) @ S / 4
    found = natural_gradient_rate(network(n_layers), sigma if name == "given" else name, 4)
    assert found.caution == ""
    assert np.abs(response(np.hstack(layers), G, 4) - found.isotropy * np.eye(8)).max() < TOLERANCE
    assert found.rate == float(found) == 1 / found.isotropy


@pytest.mark.parametrize(("n_layers", "n_outputs"), [(1, 2), (2, 3), (3, 1), (3, 2)])
@pytest.mark.parametrize("name", ["kfac", "kfac_unscaled"])
def test_kfac_is_isotropic(name, n_layers, n_outputs):
    n = 4
    layers, activity = parts(n_layers, n_outputs, n)
    total = 0.0
    for i, layer in enumerate(activity):
        h = np.hstack([layer.h, np.ones((n, 1))])  # biases as weights of a constant
        delta = layer.delta.swapaxes(0, 1).reshape(n * n_outputs, -1)  # sample by sample
        J = np.einsum("ri,rj->rij", delta, np.repeat(h, n_outputs, axis=0)).reshape(len(delta), -1)
        assert np.allclose(J @ J.T, layers[i] @ layers[i].T)
        A, B = h.T @ h / n, delta.T @ delta / n
        if i == n_layers - 1:
            assert np.allclose(B, np.eye(n_outputs))  # linear outputs
            B = B / n if name == "kfac" else B
        # J (A x B)^-1 J^T / T, factor by factor: the inverse of the whole would lose twice the digits.
        inputs = np.repeat(np.repeat(n * response(h, A, n), n_outputs, axis=0), n_outputs, axis=1)
        total = total + inputs * response(delta, B, n)
    found = natural_gradient_rate(network(n_layers, n_outputs), name, n)
    assert found.caution == ""
    assert np.abs(total - found.isotropy * np.eye(n * n_outputs)).max() < TOLERANCE


@pytest.mark.parametrize("n_layers", range(1, 13))
def test_block_tridiagonal_is_its_own_matrix(n_layers):
    if n_layers % 3 == 2:
        with pytest.raises(ValueError, match=f"singular for {n_layers} weight layers, as for any 3s"):
            natural_gradient_rate(network(n_layers), "block_tridiagonal")
        with pytest.raises(ValueError, match="invertible matrix, got a singular one"):
            natural_gradient_rate(network(n_layers), tridiagonal(n_layers))
    else:
        found = natural_gradient_rate(network(n_layers), "block_tridiagonal")
        given = natural_gradient_rate(network(n_layers), tridiagonal(n_layers))
        assert found.isotropy == pytest.approx(given.isotropy, rel=1e-12)


def test_one_step_at_the_rate_fits_a_linearised_network():
    layers, _ = parts(3, 2, 4)
    J = np.hstack(layers)
    F = block_diagonal([layer.T @ layer / 4 for layer in layers])
    error = np.random.default_rng(0).standard_normal(8)
    rate = natural_gradient_rate(network(3), "block_diagonal")
    G = F + DAMPING * np.linalg.eigvalsh(F)[-1] * np.eye(len(F))
    step = -float(rate) * np.linalg.solve(G, J.T @ error / 4)
    assert np.linalg.norm(error + J @ step) < TOLERANCE * np.linalg.norm(error)


@pytest.mark.parametrize("n_samples", [4, 16, 20, 24])
@pytest.mark.parametrize("name", ["exact", "block_diagonal", "kfac"])
def test_layers_that_are_too_narrow_are_told(name, n_samples):
    """14-18-1: Jacobians of layers lack rank above 19 samples, A and B of K-FAC above 15 and 18."""
    net = network(2, 1)
    layers, activity = parts(2, 1, n_samples)
    if name == "kfac":
        factors = [np.hstack([layer.h, np.ones((n_samples, 1))]) for layer in activity]
        factors.append(activity[0].delta[0])
    else:
        factors = [np.hstack(layers)] if name == "exact" else layers
    full = all(np.linalg.matrix_rank(one) == n_samples for one in factors)
    assert (natural_gradient_rate(net, name, n_samples).caution == "") == full


def test_what_is_too_narrow_is_named():
    net = network(2, 3)
    assert natural_gradient_rate(net, "kfac", 20).caution == (
        "Weight layer 0 has 15 features for 20 samples: A is singular."
    )
    assert "18 units for T C = 30 errors: B is" in natural_gradient_rate(net, "kfac", 10).caution
    assert (
        "Weight layer 1 has 3 units of 19 features"
        in natural_gradient_rate(net, "block_diagonal", 30).caution
    )
    assert "327 parameters are too few" in natural_gradient_rate(net, n_samples=200).caution
    assert natural_gradient_rate(net, "block_diagonal").caution == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("kfca",), "`approximation` must be one of .* did you mean kfac"),
        (("kfac",), "`n_samples` is needed for kfac"),
        (("kfac", 0), "`n_samples` must be an integer >= 1"),
        ((np.ones((2, 3)),), r"matrix \(L, L\) = \(2, 2\), got shape \(2, 3\)"),
        ((np.eye(3),), r"got shape \(3, 3\)"),
        ((np.diag([1.0, -1.0]),), "errors never shrink"),
        ((np.full((2, 2), np.nan),), "must be finite"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        natural_gradient_rate(network(2), *arguments)


def test_wrong_networks_are_named():
    with pytest.raises(TypeError, match="`net` must be a Network, got str"):
        natural_gradient_rate("kfac")
    body = [mfdnn.Dense(8), mfdnn.Pointwise("relu"), mfdnn.Dense(3)]
    for layers in ([body[0], mfdnn.MeanSubtraction(), *body[1:]], [*body, mfdnn.LayerNorm(affine=False)]):
        with pytest.raises(ValueError, match="must treat samples one by one"):
            natural_gradient_rate(mfdnn.Network(5, layers))
    with pytest.raises(ValueError, match="trained gains, which would be blocks of their own"):
        natural_gradient_rate(mfdnn.Network(5, [body[0], mfdnn.LayerNorm(), *body[1:]]))
    without = mfdnn.Network(5, [body[0], mfdnn.LayerNorm(affine=False), *body[1:]])
    assert natural_gradient_rate(without, "block_diagonal").isotropy == 2


def test_exact_needs_no_sizes_and_results_are_plain():
    assert natural_gradient_rate(network(1)).rate == 1.0
    assert natural_gradient_rate(network(3, 1), "kfac", 12).to_dict() == {
        "isotropy": 36.0,
        "rate": 1 / 36,
        "approximation": "kfac",
        "n_layers": 3,
        "caution": "",
    }
