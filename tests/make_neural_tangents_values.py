"""Kernels of neural-tangents, and of mpmath near copies, written to neural_tangents_values.json.

    python tests/make_neural_tangents_values.py

in an environment with neural-tangents 0.6.5 and JAX 0.4.23, as the first lines of benchmarks/versus_neural_tangents.py
set it up, and mpmath. Networks of three weight layers, in NTK parameterisation, 64-bit; activations with closed forms.
"""

import json
import sys
import types
from pathlib import Path

import numpy as np

NETWORKS = {"relu": (2.0, 0.1), "leaky_relu": (1.8, 0.0), "erf": (1.5, 0.3), "sin": (1.2, 0.2), "abs": (1.0, 0.05)}
TRAINING, TEST = 5, 3
GAPS = (1e-3, 1e-6, 1e-9, 1e-12)


def inputs():
    """(8, 4): of several lengths, one close to another, the last a copy of the second."""
    rng = np.random.default_rng(15)
    X = rng.standard_normal((TRAINING + TEST, 4)) * np.linspace(0.5, 2.0, TRAINING + TEST)[:, None]
    X[3] = X[2] + 1e-3 * X[0]
    X[7] = X[1]
    return X


def near_copies(gap):
    """Two unit vectors (2, 2) whose cosine is 1 - gap."""
    return np.array([[1.0, 0.0], [1.0 - gap, np.sqrt(gap * (2 - gap))]])


def relu_kernels(x):
    """NNGP and NTK of these two under relu with sigma_w2 = 2, no bias and two hidden layers, from fifty digits."""
    import mpmath

    mpmath.mp.dps = 50
    rows = [[mpmath.mpf(float(v)) for v in row] for row in x]
    q1, q2, k = (2 * sum(a * b for a, b in zip(rows[s], rows[t], strict=True)) / 2 for s, t in ((0, 0), (1, 1), (0, 1)))
    theta, root = k, mpmath.sqrt(q1 * q2)
    for _ in range(2):
        angle = mpmath.acos(k / root)
        k = root * (mpmath.sin(angle) + (mpmath.pi - angle) * mpmath.cos(angle)) / mpmath.pi
        theta = k + theta * (mpmath.pi - angle) / mpmath.pi
    return float(k), float(theta)


def main():
    sys.modules["neural_tangents.experimental"] = types.ModuleType("experimental")  # which would import TensorFlow
    import jax
    import neural_tangents
    from neural_tangents import stax

    jax.config.update("jax_enable_x64", True)
    layers = {
        "relu": stax.Relu(),
        "leaky_relu": stax.LeakyRelu(0.01),
        "erf": stax.Erf(),
        "sin": stax.Sin(),
        "abs": stax.Abs(),
    }
    X = inputs()
    values = {"made with": f"neural-tangents {neural_tangents.__version__}, JAX {jax.__version__}"}
    for name, (weight, bias) in NETWORKS.items():
        dense = {"W_std": weight**0.5, "b_std": bias**0.5}
        parts = [stax.Dense(50, **dense), layers[name], stax.Dense(50, **dense), layers[name], stax.Dense(1, **dense)]
        kernel = stax.serial(*parts)[2]
        train, test = X[:TRAINING], X[TRAINING:]
        values[name] = {
            kind: {
                part: np.asarray(kernel(train, others, kind)).tolist()
                for part, others in (("square", None), ("others", test))
            }
            for kind in ("nngp", "ntk")
        }
    values["relu near copies"] = {str(gap): relu_kernels(near_copies(gap)) for gap in GAPS}
    Path(__file__).with_name("neural_tangents_values.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
