"""Phase diagrams of 512 x 512 points: every table built anew, kernels compiled before."""

from concurrent.futures import ThreadPoolExecutor

import naive
import numpy as np
import pytest
from baselines import cores, diagram, seconds

import mfdnn
from mfdnn import activations

SIZE = 512
SPEEDUPS: list[float] = []  # of two threads
PLAIN = 16  # points a side of the plain diagram, whose time is scaled up
USERS = {
    "lambda x: np.tanh(x) + 0.1 * x": lambda: lambda x: np.tanh(x) + 0.1 * x,
    "lambda x: np.maximum(np.tanh(x), -0.3)": lambda: lambda x: np.maximum(np.tanh(x), -0.3),
    "lambda x: np.tanh(20 * x)": lambda: lambda x: np.tanh(20 * x),
}


def axes(n):
    return np.linspace(0.1, 4, n), np.linspace(0, 0.5, n)


def fresh(name):
    """An activation that nothing is known about yet."""
    if name in USERS:
        return mfdnn.activation(USERS[name]())
    activations._built_in.cache_clear()
    return mfdnn.activation(name)


@pytest.fixture(scope="module", autouse=True)
def compiled():
    for name in ("tanh", "relu", "hard_tanh", "gelu"):
        mfdnn.phase_diagram(name, *axes(9))


@pytest.fixture(scope="module")
def plain():
    """Seconds of the plain diagram of tanh for as many points."""
    return seconds(lambda: diagram(np.tanh, *axes(PLAIN)), repeats=1) * (SIZE / PLAIN) ** 2


def residual(name, found, n_q=20, n_c=5):
    """Largest residual of q* (relative) and of c* at random points, by the definition of the maps."""
    act = mfdnn.activation(USERS[name]() if name in USERS else name)
    p = naive.Phi(name, act, act.slope, act.kinks) if name in USERS else naive.phi(name, **act.parameters)
    worst = 0.0
    known = np.argwhere(np.isin(found.status, ["ok"]) & (found.q > 1e-9) & np.isfinite(found.q))
    for k, (i, j) in enumerate(np.random.default_rng(0).permutation(known)[:n_q]):
        q, c, w2, b2 = found.q[i, j], found.c[i, j], found.sigma_w2[i], found.sigma_b2[j]
        worst = max(worst, abs(naive.q_map(p, q, w2, b2) - q) / q)
        if k < n_c:
            worst = max(worst, abs(naive.c_map(p, c, q, w2, b2) - c))
    return worst


@pytest.mark.parametrize("name", [*mfdnn.activation_names(), *USERS])
def test_diagram(name, timed, row, plain):
    def setup():
        return (fresh(name), *axes(SIZE)), {}

    with cores(1), ThreadPoolExecutor(1) as pool:
        one = timed(lambda *args: mfdnn.phase_diagram(*args, executor=pool), rounds=2, setup=setup)
    with cores(2), ThreadPoolExecutor(2) as pool:
        two = seconds(lambda: mfdnn.phase_diagram(*setup()[0], executor=pool), repeats=2)
    worst = residual(name, mfdnn.phase_diagram(fresh(name), *axes(SIZE)))
    SPEEDUPS.append(one / two)
    row(
        f"{SIZE} x {SIZE} diagram, {name}",
        "<= 1 s on one core, tables included; residual <= 1e-9",
        f"{one:.2f} s, {worst:.0e}; two cores {one / two:.2f}x; plain {plain / one:.0f}x slower",
        one <= 1 and worst <= 1e-9,
    )


def test_two_threads(benchmark, row):
    """Tables are built by one thread for the most part, so more points gain more: here 1024 x 1024 known ones."""
    act = mfdnn.activation("tanh")
    mfdnn.phase_diagram(act, *axes(9))

    def solve(workers):
        with cores(workers), ThreadPoolExecutor(workers) as pool:
            return seconds(lambda: mfdnn.phase_diagram(act, *axes(2 * SIZE), executor=pool))

    one = solve(1)
    two = benchmark.pedantic(lambda: solve(2), rounds=1)
    row(
        "the same on two cores, tables included",
        "1.8x",
        f"{min(SPEEDUPS):.2f}x to {max(SPEEDUPS):.2f}x, median {np.median(SPEEDUPS):.2f}x",
        np.median(SPEEDUPS) >= 1.8,
    )
    benchmark.extra_info["rows"].append(
        [
            "1024 x 1024 diagram of tanh, tabulated, on two cores",
            "1.8x",
            f"{one:.2f} s, {one / two:.2f}x",
            bool(one / two >= 1.8),
        ]
    )
