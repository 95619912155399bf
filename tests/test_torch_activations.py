"""PyTorch's own activations, wrapped in float64: the numbers of the function that is meant."""

import numpy as np
import pytest
from test_activations_as_typed import test_kinks_are_those_of_the_function as assert_kinks_are_those_of
from test_activations_as_typed import test_what_is_typed_is_what_is_meant as assert_what_is_meant
from textbook_activations import CATALOGUE, Textbook, leaky

import mfdnn

# Warnings about the inside of PyTorch are not this package's.
pytestmark = [
    pytest.mark.torch,
    pytest.mark.jit,
    pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning"),
]

# Names in torch.nn with their arguments, and names in the catalogue.
MODULES = {
    "ReLU": "relu",
    "LeakyReLU": "leaky relu",
    "RReLU": "rrelu in evaluation",
    "ReLU6": "relu6",
    "ELU": "elu",
    "SELU": "selu",
    "CELU 2": "celu",
    "GELU": "gelu",
    "GELU tanh": "gelu, tanh form",
    "SiLU": "silu",
    "Mish": "mish",
    "Softplus": "softplus",
    "Softplus 3": "softplus of beta",
    "LogSigmoid": "log sigmoid",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Tanhshrink": "tanh shrink",
    "Hardtanh": "hard tanh",
    "Hardsigmoid": "hard sigmoid",
    "Hardswish": "hard swish",
    "Hardshrink": "hard shrink",
    "Softshrink": "soft shrink",
    "Softsign": "softsign",
    "Threshold 0.1 2": "threshold",
}


def module(torch, words):
    """The module in evaluation: `words` are its name and its arguments."""
    name, *arguments = words.split()
    if arguments == ["tanh"]:
        return torch.nn.GELU(approximate="tanh").eval()
    return getattr(torch.nn, name)(*map(float, arguments)).eval()


def wrapped(torch, function):
    """As a function of arrays."""
    return lambda x: function(torch.from_numpy(np.ascontiguousarray(x))).numpy()


@pytest.mark.parametrize("words", MODULES)
def test_modules(torch, words):
    act = mfdnn.activation(wrapped(torch, module(torch, words)))
    book = CATALOGUE[MODULES[words]]
    assert_what_is_meant(book, act)
    assert_kinks_are_those_of(book, act)


def test_learned_slopes_and_functions(torch):
    prelu = torch.nn.PReLU().double().requires_grad_(False)  # 0.25, and wants a place for channels
    typed = wrapped(torch, lambda x: prelu(x.reshape(-1, 1)).reshape(x.shape))
    assert_what_is_meant(Textbook(*leaky(0.25), ()), mfdnn.activation(typed))
    for function in (torch.relu, torch.tanh, torch.sin, torch.special.ndtr):
        assert mfdnn.fixed_point(wrapped(torch, function), 1.5, 0.05).q > 0


def test_the_threshold_of_softplus_is_no_jump(torch):
    for threshold in (18, 20, 30):
        typed = wrapped(torch, lambda x, t=threshold: torch.nn.functional.softplus(x, threshold=t))
        fp = mfdnn.fixed_point(typed, 1.5, 0.05)
        expected = mfdnn.fixed_point("softplus", 1.5, 0.05)
        assert fp.phase == expected.phase == "ordered"
        assert fp.chi_1 == pytest.approx(expected.chi_1, rel=1e-10)


def test_single_precision_is_refused_with_a_reason(torch):
    with pytest.raises(TypeError, match=r"float32 .* let it compute in float64"):
        mfdnn.activation(lambda x: torch.nn.functional.gelu(torch.from_numpy(x).float()).numpy())
    with pytest.raises(ValueError, match=r"in single precision, which is noisy; compute it in .* float64"):
        mfdnn.expect(lambda x: torch.tanh(torch.from_numpy(x).float()).double().numpy(), 1.0)
