"""Singular values of the input-output Jacobian: the verb ``mfdnn jacobian``."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from .._support.validation import positive_integer
from .arguments import (
    DEFAULT_ACTIVATION,
    DEFAULT_HIDDEN,
    DEFAULT_INPUTS,
    network_of,
    parse_activation,
    parse_widths,
)
from .output import Output, table
from .words import number, seed, whole_number

__all__ = ["add_jacobian", "run_jacobian"]

SHARES = (0.01, 0.1, 0.5, 0.9, 0.99)


def add_jacobian(parser: argparse.ArgumentParser) -> None:
    """Its arguments, besides those of the network."""
    group = parser.add_argument_group("Jacobian")
    group.add_argument("--q0", type=number, help="mean square of the input (default: 1)")
    group.add_argument(
        "--isometric",
        type=number,
        metavar="VARIANCE",
        help="orthogonal weights at criticality whose squared singular values have that variance, in place of "
        "--sigma-w2, --sigma-b2, --init, --weights and --q0",
    )
    group.add_argument(
        "--networks", type=whole_number, metavar="N", help="sample N networks and put their singular values beside"
    )
    group.add_argument("--seed", type=seed, default=0, help="seed of the sampled networks (default: 0)")


def run_jacobian(args: argparse.Namespace) -> Output:
    """Density, distribution, edges, atoms; sampled networks beside them."""
    from ..jacobian import jacobian_spectrum

    lines = []
    if args.isometric is not None:
        lines.append(_isometric(args))
    net = network_of(args)
    found = jacobian_spectrum(net, q0=args.q0)
    lines = [f"{net!r}, squared singular values of its Jacobian", *lines]
    lines.append(f"mean       {found.mean:.8g}")
    lines.append(f"variance   {found.relative_variance:.8g}, over the mean squared")
    for low, high in zip(found.edges[::2], found.edges[1::2], strict=True):
        lines.append(f"support    {low:.8g} to {high:.8g}")
    lines += [f"atom       {place:.8g}, a share of {mass:.6g}" for place, mass in found.atoms]
    values = None if args.networks is None else _sampled(net, args)
    summary: dict[str, Any] = {"share below": np.array(SHARES), "theory": _quantiles(found, SHARES)}
    if values is not None:
        summary["sampled"] = np.quantile(values**2, SHARES)
        lines.append(f"sampled    mean {np.mean(values**2):.6g}, largest {np.max(values) ** 2:.6g}")
    lines += ["", table(summary)]
    columns = {"place": found.grid, "density": found.density, "share below": found.cdf(found.grid)}

    def draw() -> Any:
        from matplotlib import pyplot

        from ..plots import jacobian_spectrum as plot

        figure, ax = pyplot.subplots(layout="constrained")
        plot(found, ax=ax, singular_values=values)
        return figure

    data = {"network": repr(net), **found.to_dict(), "singular_values": None if values is None else values.tolist()}
    return Output("\n".join(lines), data, columns, draw)


def _isometric(args: argparse.Namespace) -> str:
    """Its variances, which the network then has; a line that tells them."""
    from ..jacobian import isometric_init

    others = ("arch", "blocks", "norm", "sigma_w2", "sigma_b2", "init", "weights", "q0")
    taken = [name for name in others if getattr(args, name) is not None]
    if taken:
        option = "--" + taken[0].replace("_", "-")
        raise ValueError(f"`--isometric` chooses the initialisation of fully connected layers; leave out {option}.")
    act = parse_activation(args.activation or DEFAULT_ACTIVATION)
    args.widths = args.widths or parse_widths(f"{DEFAULT_INPUTS}-{DEFAULT_HIDDEN}")
    depth = len(args.widths) - 2
    if depth < 1:
        raise ValueError("`--isometric` is of the slopes between layers; give WIDTHS with a hidden layer.")
    init = isometric_init(act, depth, args.isometric)
    args.sigma_w2, args.sigma_b2, args.q0, args.weights = init.sigma_w2, init.sigma_b2, init.q0, "orthogonal"
    return (
        f"isometric  sigma_w^2 = {init.sigma_w2:.10g}, sigma_b^2 = {init.sigma_b2:.6g}, q* = {init.q:.6g}, inputs of "
        f"mean square {init.q0:.6g}"
    )


def _quantiles(found: Any, shares: tuple[float, ...]) -> np.ndarray:
    """Places below which these shares are, to three digits."""
    places = [place for place, _ in found.atoms] + list(found.edges)
    top = max(places)
    grid = np.concatenate([[0.0], np.geomspace(1e-16 * top, top, 4001)])
    below = found.cdf(grid)
    return grid[np.minimum(np.searchsorted(below, np.array(shares) - 1e-12), grid.size - 1)]


def _sampled(net: Any, args: argparse.Namespace) -> np.ndarray:
    """Singular values of sampled networks at random inputs."""
    from ..sampled import jacobian_singular_values, sample

    out = []
    for stream in np.random.default_rng(args.seed).spawn(positive_integer("--networks", args.networks)):
        draw, place = stream.spawn(2)
        x = place.standard_normal(net.n_inputs)
        x *= np.sqrt((1.0 if args.q0 is None else args.q0) / np.mean(x**2))
        out.append(jacobian_singular_values(sample(net, rng=draw), x))
    return np.concatenate(out)
