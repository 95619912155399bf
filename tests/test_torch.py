"""The same networks written in PyTorch: outputs, Jacobian products and Fisher eigenvalues, by its derivatives.

Parameters of a layer and of `torch.nn` have the same order: weight (fan_out, fan_in) and bias, gain and shift.
"""

import numpy as np
import pytest

import mfdnn
from mfdnn.datasets import gaussian_inputs

# Warnings about the inside of PyTorch are not this package's.
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")]

ACTIVATIONS = {"tanh": "Tanh", "relu": "ReLU", "gelu": "GELU", "silu": "SiLU"}
M0, C, T = 6, 3, 9
Dense, Phi, Residual = mfdnn.Dense, mfdnn.Pointwise, mfdnn.Residual
Batch, LayerN = mfdnn.BatchNorm, mfdnn.LayerNorm

NETWORKS = {
    "tanh": [Dense(12, 1.5, 0.1), Phi("tanh"), Dense(11, 1.5, 0.1), Phi("tanh"), Dense(C, 1.5, 0.1)],
    "relu without bias": [Dense(12, 2.0, bias=False), Phi("relu"), Dense(C, 2.0, bias=False)],
    "residual": [Dense(8, 1.0, 0.1), Residual([Phi("gelu"), Dense(8, 1.5, 0.2)]), Dense(C, 1.0, 0.1)],
    "batch norm": [  # of PyTorch: eps > 0
        Dense(12, 1.5, 0.1),
        Batch(1.2, 0.1, eps=1e-5),
        Phi("relu"),
        Dense(10, 2.0, 0.1),
        Batch(eps=0.2, affine=False),
        Phi("silu"),
        Dense(C, 1.5, 0.1),
        Batch(eps=1e-3),
    ],
    "layer norm": [
        LayerN(affine=False),
        Dense(12, 1.5, 0.1),
        LayerN(0.8, 0.2, eps=0.1),
        Phi("tanh"),
        Dense(C, 1.5, 0.1),
        LayerN(1.5),
    ],
}


def module(torch, layers, fan_in):
    """The layers as a module in training mode: statistics of the batch."""

    class Branch(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return x + self.inner(x)

    found = []
    for layer in layers:
        options = {"dtype": torch.float64}
        if isinstance(layer, Dense):
            found.append(torch.nn.Linear(fan_in, layer.units, bias=layer.bias, **options))
            fan_in = layer.units
        elif isinstance(layer, Phi):
            found.append(getattr(torch.nn, ACTIVATIONS[layer.activation.name])())
        elif isinstance(layer, Residual):
            found.append(Branch(module(torch, layer.layers, fan_in)))
        elif isinstance(layer, Batch):
            options |= {"eps": layer.eps, "affine": layer.affine, "track_running_stats": False}
            found.append(torch.nn.BatchNorm1d(fan_in, **options))
        else:
            options |= {"eps": layer.eps, "elementwise_affine": layer.affine}
            found.append(torch.nn.LayerNorm(fan_in, **options))
    return torch.nn.Sequential(*found).train()


class Twin:
    """A sampled network, and the map from parameter vectors to outputs of the same one in PyTorch."""

    def __init__(self, torch, name):
        self.one, self.X = (
            mfdnn.sample(mfdnn.Network(M0, NETWORKS[name]), rng=0),
            gaussian_inputs(T, M0, rng=1),
        )
        net, x = module(torch, NETWORKS[name], M0), torch.from_numpy(self.X)
        shapes = {key: value.shape for key, value in net.named_parameters()}
        assert [a.shape for group in self.one.parameters for a in group if a is not None] == [
            *shapes.values()
        ]

        def outputs(theta):
            parts = torch.split(theta, [shape.numel() for shape in shapes.values()])
            named = {key: part.reshape(shapes[key]) for key, part in zip(shapes, parts, strict=True)}
            return torch.func.functional_call(net, named, (x,))

        self.outputs = outputs
        self.theta = torch.from_numpy(self.one.flatten(self.one.parameters))


@pytest.fixture(params=NETWORKS)
def twin(torch, request):
    return Twin(torch, request.param)


# Sums of at most twelve terms, through six layers that amplify rounding at most tenfold.
RTOL = 1e-12


def test_outputs(twin):
    found = twin.one(twin.X)
    np.testing.assert_allclose(found, twin.outputs(twin.theta).numpy(), atol=RTOL * np.abs(found).max())


def test_jvp(twin, torch):
    v = np.random.default_rng(2).standard_normal(twin.one.n_parameters)
    _, expected = torch.func.jvp(twin.outputs, (twin.theta,), (torch.from_numpy(v),))
    found = twin.one.jvp(twin.X, v)
    np.testing.assert_allclose(found, expected.numpy(), atol=RTOL * np.abs(found).max())


def test_vjp(twin, torch):
    u = np.random.default_rng(3).standard_normal((T, C))
    (expected,) = torch.func.vjp(twin.outputs, twin.theta)[1](torch.from_numpy(u))
    found = twin.one.vjp(twin.X, u)
    np.testing.assert_allclose(found, expected.numpy(), atol=RTOL * np.abs(found).max())


def test_fisher_eigenvalues(twin, torch):
    """Of J^T J / T for the whole Jacobian J."""
    J = torch.func.jacrev(twin.outputs)(twin.theta).reshape(T * C, -1)
    expected = torch.linalg.eigvalsh(J @ J.T / T).numpy()[::-1]
    found = mfdnn.fisher_spectrum(twin.one, twin.X)
    assert found.largest == pytest.approx(expected[0], rel=RTOL)
    np.testing.assert_allclose(found.eigenvalues, expected[: found.eigenvalues.size], atol=RTOL * expected[0])
