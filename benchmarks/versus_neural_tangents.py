"""Tangent kernels beside neural-tangents: seconds and digits, in one run.

neural-tangents 0.6.5 (archived in 2024) needs an older JAX, NumPy and SciPy, hence an environment of its own.
In the folder of this project, with Python 3.10 or 3.11:

    python3.11 -m venv .venv-neural-tangents
    .venv-neural-tangents/bin/pip install --no-deps neural-tangents==0.6.5
    .venv-neural-tangents/bin/pip install jax==0.4.23 jaxlib==0.4.23 "numpy<2" "scipy<1.13" frozendict --editable .
    .venv-neural-tangents/bin/python benchmarks/versus_neural_tangents.py

``--no-deps`` leaves out TensorFlow, which only the empirical kernels of TensorFlow models need.
"""

import sys
import types

import numpy as np
from baselines import seconds, tangent_kernel

import mfdnn

T, L, WEIGHT, BIAS = 1000, 5, 2.0, 0.1
FEW = 150  # samples that its numerical activation does; its time is scaled up to T
IMAGES, FEW_IMAGES = 200, 20  # digits of 8 x 8, in three convolutions, flattened


def theirs(stax, layer):
    """Jitted NTK function of `L` weight layers."""
    import jax

    dense = dict(W_std=WEIGHT**0.5, b_std=BIAS**0.5)
    hidden = [part for _ in range(L - 1) for part in (stax.Dense(1000, **dense), layer)]
    kernel = stax.serial(*hidden, stax.Dense(1, **dense))[2]
    return jax.jit(lambda X: kernel(X, None, "ntk"))


def ours(name, X):
    """The same kernel."""
    net = mfdnn.mlp([X.shape[1], *[1000] * (L - 1), 1], name, sigma_w2=WEIGHT, sigma_b2=BIAS)
    return mfdnn.ntk(net, X, parameterisation="ntk")


def theirs_of_images(stax, layer):
    """Jitted NTK function of three convolutions and a read-out of sites side by side."""
    import jax

    weights = dict(W_std=WEIGHT**0.5, b_std=BIAS**0.5)
    hidden = [part for _ in range(3) for part in (stax.Conv(100, (3, 3), padding="SAME", **weights), layer)]
    kernel = stax.serial(*hidden, stax.Flatten(), stax.Dense(1, **weights))[2]
    return jax.jit(lambda X: kernel(X, None, "ntk"))


def ours_of_images(name, X):
    """The same kernel, of images (T, 1, 8, 8)."""
    hidden = [part for _ in range(3) for part in (mfdnn.Conv(100, 3, WEIGHT, BIAS), mfdnn.Pointwise(name))]
    net = mfdnn.Network(X.shape[1:], [*hidden, mfdnn.Flatten(), mfdnn.Dense(1, WEIGHT, BIAS)])
    return mfdnn.ntk(net, X, parameterisation="ntk")


def images(layers):
    """Times of both, and how far they differ."""
    X = mfdnn.datasets.digits(IMAGES, rng=0)[0].reshape(-1, 1, 8, 8)
    theirs_last = np.moveaxis(X, 1, -1)
    for name in ("relu", "tanh"):
        layer, n = layers[name][0], IMAGES if name == "relu" else FEW_IMAGES
        kernel = theirs_of_images(stax_of(), layer)
        found = np.asarray(kernel(theirs_last[:n]))  # compiles
        mine = ours_of_images(name, X)
        difference = np.max(np.abs(found / mine[:n, :n] - 1))
        their_seconds = seconds(lambda: kernel(theirs_last[:n]).block_until_ready(), 5) * (IMAGES / n) ** 2  # noqa: B023
        my_seconds = seconds(lambda: ours_of_images(name, X), 5)  # noqa: B023
        scaled = "" if n == IMAGES else f" (scaled up from T = {n})"
        print(
            f"{name:<5} of {IMAGES} images: theirs {their_seconds:8.3f} s{scaled};  ours {my_seconds:.3f} s;  "
            f"{their_seconds / my_seconds:.1f} x;  they differ by {difference:.0e}"
        )


def stax_of():
    """Its module of layers."""
    from neural_tangents import stax

    return stax


def exact(name, X):
    """The same for a few inputs by brute force."""
    sys.path.insert(0, "tests")
    import naive

    p = naive.phi(name)
    products = np.vectorize(lambda q1, q2, c: tuple(naive.expect_product(p, q1, c, q2, d) for d in (0, 1)))
    return tangent_kernel(products, X, L, WEIGHT, BIAS)


def main():
    try:
        # Its TensorFlow half would import TensorFlow.
        sys.modules["neural_tangents.experimental"] = types.ModuleType("experimental")
        import jax
        import neural_tangents
        from neural_tangents import stax
    except ImportError:
        print("neural-tangents is not installed here; the first lines of this file say how to set it up.")
        return
    jax.config.update("jax_enable_x64", True)
    print(f"neural-tangents {neural_tangents.__version__}, JAX {jax.__version__}; T = {T}, L = {L}, float64")
    X = np.random.default_rng(0).standard_normal((T, 784))
    layers = {
        "relu": (stax.Relu(), T),
        "erf": (stax.Erf(), T),
        "tanh": (stax.ElementwiseNumerical(jax.numpy.tanh, deg=25), FEW),
    }
    for name, (layer, n) in layers.items():
        kernel = theirs(stax, layer)
        found = np.asarray(kernel(X[:n]))  # compiles
        mine = ours(name, X)
        their_seconds = seconds(lambda: kernel(X[:n]).block_until_ready(), 5) * (T / n) ** 2  # noqa: B023
        my_seconds = seconds(lambda: ours(name, X), 5)  # noqa: B023
        reference = exact(name, X[:3])
        errors = [np.max(np.abs(k[:3, :3] / reference - 1)) for k in (found, mine)]
        scaled = "" if n == T else f" (scaled up from T = {n})"
        print(
            f"{name:<5} theirs {their_seconds:8.3f} s{scaled}, error {errors[0]:.0e};  "
            f"ours {my_seconds:.3f} s, error {errors[1]:.0e};  {their_seconds / my_seconds:.1f} x"
        )
    images(layers)


if __name__ == "__main__":
    main()
