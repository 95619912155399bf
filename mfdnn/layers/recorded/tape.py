"""Reverse-mode derivatives of a dozen array operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

__all__ = ["Node", "adjoints", "chosen", "drawn", "gram", "sandwiched", "tangents_drawn", "tangents_given"]

Pullback = Callable[[np.ndarray], np.ndarray]
SYMMETRIC = 1e-8  # relative; rounding leaves less, and two different vectors more
JITTER = 1e-10  # of each variance: repeated inputs make covariances singular

_numbers = count()


class Node:
    r"""An array, and how it came from others.

    Tangents z ~ N(0, P) stand for two factors of their products :math:`z\,\tilde z^T`: z, which stays as it was drawn,
    and :math:`\tilde z`, of the same value, whose derivative by P is that of :math:`E[z\,\tilde z^T] = P`. Their
    adjoint has one more axis in front: of length 2 for either factor, or 1 for their sum where both are alike.

    Parameters
    ----------
    value : ndarray
    *parents : (Node, callable)
        What it was made of, with the map from its adjoint to theirs.
    tangent : bool
        Whether it holds tangents.
    """

    __slots__ = ("number", "parents", "tangent", "value")

    def __init__(self, value: Any, *parents: tuple[Node, Pullback], tangent: bool = False):
        self.value, self.parents, self.tangent = np.asarray(value, float), parents, tangent
        self.number = next(_numbers)

    def __repr__(self) -> str:
        return f"Node({self.value.shape}{', tangent=True' if self.tangent else ''})"

    def __add__(self, other: Node) -> Node:
        return Node(
            self.value + other.value,
            (self, lambda d: d),
            (other, lambda d: d),
            tangent=self.tangent or other.tangent,
        )

    def __sub__(self, other: Node) -> Node:
        return self + other.linear(np.negative, np.negative)

    def __mul__(self, other: Node | np.ndarray | float) -> Node:
        if not isinstance(other, Node):
            return Node(self.value * other, (self, lambda d: d * other), tangent=self.tangent)
        a, b = self.value, other.value
        parents = ((self, lambda d: d * b), (other, lambda d: d * a))
        return Node(a * b, *parents, tangent=self.tangent or other.tangent)

    def shifted(self, constant: float) -> Node:
        """With a constant added."""
        return Node(self.value + constant, (self, lambda d: d), tangent=self.tangent)

    def linear(self, function: Pullback, transpose: Pullback) -> Node:
        """Behind a linear map of the last axes, given its transpose."""
        return Node(function(self.value), (self, transpose), tangent=self.tangent)

    def elementwise(self, value: np.ndarray, slope: np.ndarray) -> Node:
        """Behind a map of every number, with its slopes there."""
        return Node(value, (self, lambda d: d * slope), tangent=self.tangent)

    def power(self, p: float) -> Node:
        """To a power; 0 of 0."""
        x = self.value
        some = x > 0
        value, slope = (np.power(x, e, out=np.zeros_like(x), where=some) for e in (p, p - 1))
        return self.elementwise(value, p * slope)

    def mean(self, axis: int | tuple[int, ...]) -> Node:
        """Means along axes, counted from the last, which stay with length 1."""
        value = self.value.mean(axis=axis, keepdims=True)
        share, shape = value.size / self.value.size, self.value.shape

        def back(d: np.ndarray) -> np.ndarray:
            return np.broadcast_to(d * share, (*d.shape[: d.ndim - len(shape)], *shape))

        return Node(value, (self, back), tangent=self.tangent)


def adjoints(of: Node, seed: np.ndarray, leaves: Sequence[Node]) -> list[np.ndarray | None]:
    """Derivatives of sum(seed * of) by some leaves; None by those not met."""
    found: dict[int, np.ndarray] = {of.number: seed}
    nodes = {of.number: of}
    kept: dict[int, np.ndarray] = {}
    wanted = {leaf.number for leaf in leaves}
    while nodes:
        number = max(nodes)  # nodes are numbered as they were made: all that used it are done
        node, d = nodes.pop(number), found.pop(number)
        if number in wanted:
            kept[number] = d
        for parent, pull in node.parents:
            part = _fitted(pull(d), parent)
            found[parent.number] = found[parent.number] + part if parent.number in found else part
            nodes[parent.number] = parent
    return [kept.get(leaf.number) for leaf in leaves]


def _fitted(d: np.ndarray, to: Node) -> np.ndarray:
    """An adjoint summed over axes along which the node was repeated."""
    shape = to.value.shape
    lead = d.ndim - len(shape) - to.tangent
    if lead > 0:
        d = d.sum(axis=tuple(range(to.tangent, to.tangent + lead)) if to.tangent else tuple(range(lead)))
    short = tuple(i - len(shape) for i, n in enumerate(shape) if n == 1 and d.shape[i - len(shape)] > 1)
    return d.sum(axis=short, keepdims=True) if short else d


def chosen(node: Node, sites: np.ndarray) -> Node:
    """The numbers at some sites, which differ."""
    shape = node.value.shape

    def back(d: np.ndarray) -> np.ndarray:
        whole = np.zeros((*d.shape[:-1], shape[-1]))
        whole[..., sites] = d
        return whole

    return node.linear(lambda x: x[..., sites], back)


def sandwiched(matrix: Node, taps: Sequence[Any]) -> Node:
    """Mean over taps B of B M B^T; B sparse."""

    def mean(m: np.ndarray, along: Sequence[Any]) -> np.ndarray:
        return sum((b @ (b @ m).T).T for b in along) / len(along)  # type: ignore[return-value]

    transposes = [tap.T.tocsr() for tap in taps]
    return matrix.linear(lambda m: mean(m, taps), lambda d: mean(d, transposes))


def gram(fields: Node, weights: Node, repeats: int) -> Node:
    """Means over units of products of two fields, each unit with its weight.

    Parameters
    ----------
    fields : Node, of shape (S, T, n), or (2, S, T, n) of tangents
        Of tangents two independent copies, which are averaged over.
    weights : Node, of shape (5, S / repeats)
        1 for values; 1 for either copy of the tangents; 0 for products of the first copy and the second, and of the
        second and the first, whose mean is 0.
    repeats : int
        How many fields one unit has.
    """
    n_units, size = fields.value.shape[-3], int(np.prod(fields.value.shape[-2:]))
    rows = fields.value.reshape(-1, n_units, size)
    share = 1 / (n_units * len(rows))

    def of_fields(d: np.ndarray) -> np.ndarray:
        if not fields.tangent:
            return ((share * rows[0]) @ (d + d.T)).reshape(fields.value.shape)
        alike = np.abs(d - d.T).max() <= SYMMETRIC * np.abs(d).max()
        both = [d + d.T] if alike else [d.T, d]  # of z, and of z~
        return np.stack([((share * rows) @ of).reshape(fields.value.shape) for of in both])

    def of_weights(d: np.ndarray) -> np.ndarray:
        found = np.zeros((5, n_units))
        if not fields.tangent:
            found[0] = share * np.einsum("ki,ki->k", rows[0] @ d, rows[0])
        else:
            left = share * (rows @ d)
            for i, a, b in ((1, 0, 0), (2, 1, 1)):
                found[i] = np.einsum("ki,ki->k", left[a], rows[b])
            for i, a, b in ((3, 0, 1), (4, 1, 0)):
                found[i] = 2 * np.einsum("ki,ki->k", left[a], rows[b])
        return found.reshape(5, -1, repeats).sum(axis=-1)

    flat = rows.reshape(-1, size)
    return Node(share * (flat.T @ flat), (fields, of_fields), (weights, of_weights))


def drawn(covariance: Node, e: np.ndarray) -> Node:
    """Fields L e with L L^T = `covariance`, for standard normal e (S, I)."""
    lower, some = _lower(covariance.value)
    inverse = solve_triangular(lower, np.eye(len(lower)), lower=True)
    n, e = e.shape[-1], e[:, some]

    def back(d: np.ndarray) -> np.ndarray:
        inner = np.tril(lower.T @ (d[:, some].T @ e))
        inner[np.diag_indices_from(inner)] *= 0.5
        inner = inverse.T @ inner @ inverse
        return _among((inner + inner.T) / 2, some, n, both=True)

    return Node(_among(e @ lower.T, some, n), (covariance, back))


def tangents_drawn(kernel: Node, e: np.ndarray) -> Node:
    """Tangents z = L e with L L^T = `kernel`, for normal e (2, S, I)."""
    lower, some = _lower(kernel.value)
    n, e = e.shape[-1], e[..., some]
    # L^-T e, of which z~ is P^T times.
    away = solve_triangular(lower, e.reshape(-1, len(lower)).T, lower=True, trans="T").T

    def back(d: np.ndarray) -> np.ndarray:
        alike = len(d) == 1
        of_second = (d[0] / 2 if alike else d[1])[..., some].reshape(-1, len(lower))
        found = away.T @ of_second
        return _among((found + found.T) / 2 if alike else found, some, n, both=True)

    return Node(_among(e @ lower.T, some, n), (kernel, back), tangent=True)


def tangents_given(
    covariance: np.ndarray, kernel: np.ndarray, crossed: np.ndarray, e: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Tangents (2, S, I) of covariance `kernel`, given fields L e of `covariance`.

    With `crossed` (2, I, I), their covariance.
    """
    lower, some = _lower(covariance)
    found = []
    for cross, more in zip(crossed, own, strict=True):
        known = solve_triangular(lower, cross[some], lower=True)  # of e with the tangents
        left, axes = np.linalg.eigh(kernel - known.T @ known)
        rest = more @ (axes * np.sqrt(np.maximum(left, 0.0))) @ axes.T  # rounding may be negative
        found.append(e[:, some] @ known + rest)
    return np.stack(found)


def _lower(covariance: np.ndarray) -> tuple[np.ndarray, Any]:
    """Cholesky factor of the numbers that are not certainly zero, and which they are."""
    covariance = (covariance + covariance.T) / 2
    variance = np.diagonal(covariance)
    if np.all(variance > 0):
        some: Any = slice(None)
    else:  # windows of zeros: a jitter there would be all that a norm behind it sees
        some = np.flatnonzero(variance > 0)
        covariance, variance = covariance[np.ix_(some, some)], variance[some]
    return np.linalg.cholesky(covariance + JITTER * np.diag(variance)), some


def _among(found: np.ndarray, some: Any, n: int, both: bool = False) -> np.ndarray:
    """Zeros but for `some` of n numbers, along the last axis or the last two."""
    if isinstance(some, slice):
        return found
    whole = np.zeros((n, n) if both else (*found.shape[:-1], n))
    whole[np.ix_(some, some) if both else (..., some)] = found
    return whole
