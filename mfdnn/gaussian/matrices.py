"""Moments of vectors of variances and products of matrices of covariances."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import _compiled
from ..activations import Activation
from ..jobs.threads import Threads
from .products import direct, expectation, products
from .quadrature import breaks, nodes, second_moment, values
from .sines import is_sine, sine_products
from .smoothed import LEAST_GAP
from .tables import LOG_Q_MIN, check_range, tables

__all__ = ["covariances", "moments"]

SERIES_TARGET = 1e-12  # relative error of a series cut short; beyond it pairs are looked at one by one
MATRIX_TARGET = 1e-11  # relative error above which a pair of given inputs is integrated directly,
MAX_DIRECT = 500  # but at most this many of them (a few seconds)
LARGE = 1e3  # variance from which a table over log q and the angle takes longer than one of the smoothed function
MANY = 2000  # pairs for which a table of more terms is worth being built: integrals of so many take as long
FEW = 8  # up to so many take less time one by one than a table does
MATRIX_WARNING = 1e-9  # a larger error of the others is reported
# Rounding of covariances over some layers: as a correlation below 1 it would move the angle of two copies by 5e-8.
NEAREST = 1 - 16 * np.finfo(float).eps
WEAK = 1e-15  # variance below which an activation with a kink at zero is two straight lines to more digits than it has
BLOCK = 32  # rows of a matrix that a thread takes at a time
FEW_PAIRS = 2**17  # up to so many threads are not worth their start
STACKED = 2**14  # inputs, of several matrices, whose coefficients are held at once
STEEPNESS = {"erf": 1.0, "erf_unit": np.pi / 4}  # a^2 of erf(a x)


def moments(act: Activation, variance: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E[phi], E[phi^2] and E[phi'^2] for an array of variances >= 0, of its shape."""
    variance = np.asarray(variance, dtype=np.float64)
    if act.homogeneous:
        low, high = act.homogeneous
        slope2 = (low**2 + high**2) / 2
        mean = (high - low) / np.sqrt(2 * np.pi) * np.sqrt(variance)
        return mean, slope2 * variance, np.full_like(variance, slope2)
    flat = variance.ravel()
    check_range(act, flat)
    second, slope2, _, mean = _compiled.table_moments(tables(act).moments, flat)
    for i in np.flatnonzero(flat < np.exp(LOG_Q_MIN)):
        mean[i] = expectation(act, flat[i], 0)
        second[i], slope2[i] = second_moment(act, flat[i], 0), second_moment(act, flat[i], 1)
    if np.any(act.pieces.jumps[:, 0] != 0):
        slope2 = np.full_like(slope2, np.inf)
    return mean.reshape(variance.shape), second.reshape(variance.shape), slope2.reshape(variance.shape)


def covariances(
    act: Activation, variance: Any, covariance: Any, others: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """E[phi phi] and E[phi' phi'] of pairs.

    One of three: `variance` and `covariance` have one shape (exchangeable inputs: both members of a pair have that
    variance); `variance` is (T,) and `covariance` (T, T) (given inputs; the diagonal holds the variances); there are
    `others`, variances (T',) of the columns of a `covariance` (T, T'). Of the latter two there may be many at once,
    (n, T) and (n, T, T'): what is tabulated serves all.
    """
    variance = np.asarray(variance, dtype=np.float64)
    covariance = np.asarray(covariance, dtype=np.float64)
    if covariance.ndim == variance.ndim:
        return _equal_pairs(act, variance, covariance)
    every = variance if others is None else np.concatenate([variance, others], axis=-1)
    columns = 0 if others is None else variance.shape[-1]
    if covariance.ndim == 2:
        return _of_stack(act, [_Pairs(every, covariance, columns)])[0]
    value, slope = np.empty_like(covariance, order="C"), np.empty_like(covariance, order="C")
    step = max(1, STACKED // every.shape[1])
    for start in range(0, len(every), step):
        part = slice(start, start + step)
        both = zip(every[part], covariance[part], strict=True)
        stack = [_Pairs(v, np.ascontiguousarray(k), columns) for v, k in both]
        for i, found in enumerate(_of_stack(act, stack), start):
            value[i], slope[i] = found
    return value, slope


def _of_stack(act: Activation, stack: list[_Pairs]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Both matrices of every member of a stack of the same shapes."""
    every = np.concatenate([pairs.variance for pairs in stack])
    matrices: Callable | None
    if act.homogeneous:
        matrices = _homogeneous_matrices
    else:
        check_range(act, every)
        if is_sine(act):
            matrices = _sine_matrices
        else:
            by_arcs = act.built_in and act.name in STEEPNESS and every.max(initial=0.0) <= LARGE
            matrices = _erf_matrices if by_arcs else None
    found = _series_matrices(act, stack) if matrices is None else [matrices(act, pairs) for pairs in stack]
    if stack[0].symmetric:
        _, second, slope2 = (of.reshape(len(stack), -1) for of in moments(act, every))
        for i, (value, slope) in enumerate(found):
            np.fill_diagonal(value, second[i])
            np.fill_diagonal(slope, slope2[i])
    return found


class _Pairs(NamedTuple):
    """Covariances of Gaussian units at some inputs (rows) and at some (columns).

    Attributes
    ----------
    variance : (N,) array
        Of the inputs of the rows, and behind them those of the columns, if these are others.
    covariance : (T, T') array
    columns : int
        Number of the input of the first column. 0: they are those of the rows, and the matrix is symmetric.
    """

    variance: np.ndarray
    covariance: np.ndarray
    columns: int

    @property
    def symmetric(self) -> bool:
        return self.columns == 0

    def split(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The entries of `a`, one for every input, of the rows and of the columns."""
        return (a, a) if self.symmetric else (a[: self.columns], a[self.columns :])

    def outer(self, a: np.ndarray) -> np.ndarray:
        """Products of a number of every row and of every column."""
        return np.multiply.outer(*self.split(a))


def _equal_pairs(act: Activation, variance: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products of pairs of one variance each."""
    flat = variance.ravel()
    if act.homogeneous:
        value, slope = _homogeneous_products(act.homogeneous, flat, covariance.ravel())
        slope = np.where(flat > 0, slope, moments(act, flat)[2])
        return value.reshape(variance.shape), slope.reshape(variance.shape)
    check_range(act, flat)
    safe = np.where(flat > 0, flat, 1.0)
    corr = np.where(flat > 0, np.clip(covariance.ravel() / safe, -1.0, 1.0), 1.0)
    value, slope = (products(act, flat, flat, corr, order)[0].reshape(variance.shape) for order in (0, 1))
    return value, slope


def _in_blocks(function: Callable[[int, int], Any], n: int, n_columns: int, block: int = BLOCK) -> list:
    """Results of `function(start, stop)` for blocks of rows.

    On threads, where there are many pairs. The last rows, which are the longest, come first.
    """
    if n * n_columns <= FEW_PAIRS:
        return [function(0, n)]
    with Threads() as pool:
        return list(pool.map(lambda start: function(start, min(start + block, n)), range(0, n, block)[::-1]))


# -- positively homogeneous: the arc-cosine kernel ----------------------------------------------------------


def _homogeneous_products(
    slopes: tuple[float, float], scale: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """E[phi phi] and E[phi' phi'] for phi = m x + d|x|.

    `scale` is the product of both standard deviations.
    """
    mean, kinked = _arcs(slopes)
    c = np.clip(covariance / np.where(scale > 0, scale, 1.0), -1.0, 1.0)
    c[c > NEAREST] = 1.0
    slope = kinked * np.arcsin(c) + mean
    return kinked * scale * np.sqrt((1 - c) * (1 + c)) + covariance * slope, slope


def _arcs(slopes: tuple[float, float]) -> tuple[float, float]:
    """m^2 and 2 d^2/pi of phi = m x + d |x| with these slopes on both sides of zero."""
    return ((slopes[0] + slopes[1]) / 2) ** 2, (slopes[1] - slopes[0]) ** 2 / (2 * np.pi)


def _homogeneous_matrices(act: Activation, pairs: _Pairs) -> tuple[np.ndarray, np.ndarray]:
    assert act.homogeneous is not None
    slopes, variance, covariance = act.homogeneous, pairs.variance, pairs.covariance
    # Powers of two in front: products of two variances would leave the range of floats.
    unit = np.exp2(np.floor(np.log2(np.where(variance > 0, variance, 1.0)) / 2))
    left = variance / unit / unit
    value, slope = np.empty_like(covariance), np.empty_like(covariance)

    def fill(start: int, stop: int) -> None:
        _compiled.homogeneous_matrices(
            *_arcs(slopes), NEAREST, left, unit, pairs.columns, covariance, value, slope, start, stop
        )

    _in_blocks(fill, *covariance.shape)
    zero = pairs.split(variance == 0)
    slope[np.ix_(*zero)] = (slopes[0] ** 2 + slopes[1] ** 2) / 2  # the same signal
    return value, slope


# -- sine and cosine, error function -------------------------------------------------------------------------


def _sine_matrices(act: Activation, pairs: _Pairs) -> tuple[np.ndarray, np.ndarray]:
    root = pairs.outer(np.sqrt(pairs.variance))
    corr = np.clip(pairs.covariance / np.where(root > 0, root, 1.0), -1.0, 1.0)
    rows, columns = pairs.split(pairs.variance)
    value, slope = (sine_products(act, rows[:, None], columns, corr, order) for order in (0, 1))
    return value, slope


def _erf_matrices(act: Activation, pairs: _Pairs) -> tuple[np.ndarray, np.ndarray]:
    r"""Products of :math:`\phi(x) = \mathrm{erf}(a x)`.

    .. math:: E[\phi\phi] = \frac2\pi \arcsin\frac{2 a^2 k}{\sqrt{(1 + 2 a^2 q_1)(1 + 2 a^2 q_2)}}

    Williams 1997, "Computing with infinite networks".
    """
    steep, root, covariance = STEEPNESS[act.name], np.sqrt(pairs.variance), pairs.covariance
    value, slope = np.empty_like(covariance), np.empty_like(covariance)

    def fill(start: int, stop: int) -> None:
        _compiled.erf_matrices(steep, NEAREST, root, pairs.columns, covariance, value, slope, start, stop)

    _in_blocks(fill, *covariance.shape)
    return value, slope


# -- all others: the Hermite series, as many terms as the correlations need ----------------------------------


def _series_matrices(act: Activation, stack: list[_Pairs]) -> list[tuple[np.ndarray, np.ndarray]]:
    low, n = np.exp(LOG_Q_MIN), stack[0].variance.size
    variance = np.concatenate([pairs.variance for pairs in stack])  # of all inputs, matrix by matrix
    table = tables(act).hermite
    mean, second, slope2 = moments(act, variance)
    q = np.maximum(variance, low)
    vectors = _compiled.hermite_vectors(table, q)
    # If phi jumps, E[phi'^2] is infinite and no scale for E[phi' phi'].
    slope_size = np.where(np.isfinite(slope2), slope2, second / q)
    first, step, terms, limits = _truncation(table, vectors, second, q * slope_size)
    root = np.sqrt(q)
    found, doubted = [], []
    for start, pairs in zip(range(0, variance.size, n), stack, strict=True):
        own, covariance = slice(start, start + n), pairs.covariance
        value, slope = np.empty_like(covariance), np.empty_like(covariance)
        found.append((value, slope))
        a, inverse = np.ascontiguousarray(vectors[0][own].T[first::step]), 1 / root[own]

        def fill(begin: int, end: int, a: Any = a, inverse: Any = inverse, pairs: Any = pairs) -> int:
            return _compiled.series_matrices(
                a, first, step, terms, limits, inverse, pairs.columns, pairs.covariance, *found[-1], begin, end
            )

        beyond = sum(_in_blocks(fill, *covariance.shape))
        tiny, zero = pairs.split(variance[own] < low), pairs.split(variance[own] == 0)
        at = np.zeros((2, 0), int)
        if beyond or np.any(tiny[0]) or np.any(tiny[1]):
            chosen = np.abs(covariance) > limits[-1] * pairs.outer(root[own])
            chosen[tiny[0]] = chosen[:, tiny[1]] = True
            chosen[zero[0]] = chosen[:, zero[1]] = False
            at = np.stack(np.nonzero(np.tril(chosen, -1) if pairs.symmetric else chosen))
        doubted.append(at)
    if any(at.size for at in doubted):
        starts = np.repeat(np.arange(0, variance.size, n), [at.shape[1] for at in doubted])
        rows, columns = np.concatenate(doubted, axis=1)
        shared = np.concatenate([pairs.covariance[tuple(at)] for pairs, at in zip(stack, doubted, strict=True)])
        both = starts + rows, starts + columns + stack[0].columns
        right = _corrected(act, variance, shared, vectors, (second, slope_size), *both, MAX_DIRECT * len(stack))
        ends = np.cumsum([at.shape[1] for at in doubted])[:-1]
        for pairs, targets, at, parts in zip(stack, found, doubted, np.split(right, ends, axis=1), strict=True):
            for target, of in zip(targets, parts, strict=True):
                target[tuple(at)] = of
                if pairs.symmetric:
                    target[tuple(at[::-1])] = of
    for start, pairs, targets in zip(range(0, variance.size, n), stack, found, strict=True):
        own = slice(start, start + n)
        zero = pairs.split(variance[own] == 0)
        if not (np.any(zero[0]) or np.any(zero[1])):
            continue
        mean_slope = np.array([expectation(act, q, 1) for q in variance[own]])
        for target, means in zip(targets, (mean[own], mean_slope), strict=True):
            product = pairs.outer(means)
            target[zero[0]], target[:, zero[1]] = product[zero[0]], product[:, zero[1]]
        # Two zero signals are the same signal: correlation 1, as for exchangeable inputs.
        one = start + np.flatnonzero(variance[own] == 0)[0]
        for target, same in zip(targets, (second[one], slope2[one]), strict=True):
            target[np.ix_(*zero)] = same
    return found


def _truncation(
    table: Any, vectors: tuple, second: np.ndarray, slope_second: np.ndarray
) -> tuple[int, int, np.ndarray, np.ndarray]:
    """Orders of the series to sum: which, how many, and for which correlations.

    The first, their distance (2 if phi is odd or even), numbers of terms and the limits of what they serve.
    With at most terms[j] of them the error is below `SERIES_TARGET` for correlations up to limits[j], by
    Cauchy and Schwarz: |sum_{k >= K} a_k b_k c^k| <= |c|^K sum_{k >= K} a_k^2 of the worst input.
    """
    a, _, panels = vectors
    orders, n_table = np.arange(a.shape[1]), table.values.shape[2]
    sizes = np.stack([second, slope_second]) + 1e-300
    squares = np.stack([(a**2).T, orders[:, None] * (a**2).T]) / sizes[:, None]  # (2, orders, T)
    smooth, kink = np.moveaxis(table.tails[panels].reshape(-1, 2, 2), 0, -1).swapaxes(0, 1)
    kinked = kink**2 / sizes
    rest = np.cumsum(np.concatenate([kinked[:, None], squares[:, ::-1]], axis=1), axis=1)[:, ::-1].max(axis=2)
    smooth = np.where(smooth > 0, smooth * (smooth + 2 * kink) / sizes, 0.0).max(axis=1)
    even, odd = (squares[:, i::2].sum(axis=1).max() <= SERIES_TARGET**2 for i in (1, 0))
    first, step = int(odd), 2 if even or odd else 1
    terms = np.append(np.arange(4, orders[first::step].size, 4), orders[first::step].size)
    cut = np.minimum(first + step * terms, orders.size)
    power = np.stack([cut, cut - 1])
    target = SERIES_TARGET / 2
    with np.errstate(divide="ignore"):
        limits = np.minimum(target / rest[:, cut], 1.0) ** (1 / power)
        if (
            table.masses
        ):  # the coefficients of point masses do not decrease: sum_k c^2k in place of their norm
            limits = np.minimum(target * (1 - limits**2) / rest[:, cut], 1.0) ** (1 / power)
        limits = np.minimum(limits, np.minimum(target / smooth, 1.0)[:, None] ** (1 / (n_table - 1)))
    return first, step, terms, limits.min(axis=0)


def _corrected(
    act: Activation,
    variance: np.ndarray,
    covariance: np.ndarray,
    vectors: tuple,
    sizes: tuple[np.ndarray, np.ndarray],
    rows: np.ndarray,
    others: np.ndarray,
    most: int,
) -> np.ndarray:
    """Both products (2, n) of pairs that a short series does not resolve.

    Of the inputs of numbers `rows` and `others`, and their `covariance`.

    With its kink part in closed form the whole series resolves all but inputs that are almost copies of
    each other. What it leaves out of those is, to second order in the logarithm of the ratio of the
    variances, what it leaves out of two inputs of their geometric mean, and for these the integral is
    tabulated. Where many are in doubt, a longer series comes first. What is still in doubt, as pairs of large
    and different variances are, is read off a table of the smoothed activation; a few pairs, and those that are
    all but parallel, are integrated one by one, worst first, at most `most` of them.
    """
    tab, low = tables(act), np.exp(LOG_Q_MIN)
    rows, others = np.ascontiguousarray(rows), np.ascontiguousarray(others)
    first, second = variance[rows], variance[others]
    q = np.sqrt(first) * np.sqrt(second)
    c = np.clip(covariance / np.maximum(q, 1e-300), -1.0, 1.0)
    c[c > NEAREST] = 1.0

    def by_series(table: Any, q: np.ndarray, vectors: tuple, pairs: tuple, c: np.ndarray) -> np.ndarray:
        found = np.empty((4, c.size))

        def fill(start: int, stop: int) -> None:
            part = slice(start, stop)
            found[:, part] = _compiled.pair_products(table, q, *vectors, *(of[part] for of in pairs), c[part])

        _in_blocks(fill, c.size, BLOCK, BLOCK**2)
        return found

    def relative(errors: np.ndarray, pairs: Any = slice(None)) -> np.ndarray:
        scales = [np.sqrt(size[rows[pairs]] * size[others[pairs]]) + 1e-300 for size in sizes]
        return np.maximum(*(error / scale for error, scale in zip(errors, scales, strict=True)))

    found = by_series(tab.hermite, np.maximum(variance, low), vectors, (rows, others), c)
    error = np.where(np.minimum(first, second) < low, np.inf, relative(found[2:]))
    smallest, largest = tab.long_range
    inside = (np.minimum(first, second) >= smallest) & (np.maximum(first, second) <= largest)
    long = np.flatnonzero((error > MATRIX_TARGET) & inside & (c < 1))
    if long.size > MANY:
        needed, at = np.unique(np.stack([rows[long], others[long]]), return_inverse=True)
        pairs = tuple(np.ascontiguousarray(of) for of in at.reshape(2, -1))
        own = _compiled.hermite_vectors(tab.long_hermite, variance[needed])
        better = by_series(tab.long_hermite, variance[needed], own, pairs, c[long])
        left = relative(better[2:], long)
        resolved = left <= MATRIX_TARGET  # of the others the short series is corrected below
        found[:, long[resolved]], error[long[resolved]] = better[:, resolved], left[resolved]
    apart = (1 - np.abs(c) > LEAST_GAP**2 / 2) & (np.minimum(first, second) >= low)
    near = np.flatnonzero((error > MATRIX_TARGET) & (c >= 0) & np.isfinite(error) & ~(apart & (q > LARGE)))
    if near.size:
        at, gap = q[near], 1 - c[near]
        slopes, means = _compiled.equal_products(tab.correlations(at), at, 2 * np.arcsin(np.sqrt(gap / 2)))
        values = _compiled.table_moments(tab.moments, at)[0] - at * means * gap
        found[:2, near] += [values, slopes] - _compiled.series_products(tab.hermite, at, at, c[near])[:2]
        error[near] *= np.minimum(1.0, 4 * np.log(first[near] / second[near]) ** 2)
    doubtful = np.flatnonzero(error > MATRIX_TARGET)
    weakest = np.minimum(first, second)
    kinked = bool(np.any(act.pieces.breaks == 0.0))
    if not kinked or _bent_at_zero(act):
        weak = doubtful[weakest[doubtful] < (WEAK if kinked else low)]
        products_of = _bent_products if kinked else _weak_products
        if weak.size:
            found[:2, weak] = products_of(act, variance, rows[weak], others[weak], c[weak])
            error[weak] = np.sqrt(weakest[weak]) if kinked else weakest[weak]
            doubtful = np.setdiff1d(doubtful, weak)
    these = doubtful[apart[doubtful]]
    if these.size > FEW:
        found[:2, these], error[these] = tab.smoothed.products(first[these], second[these], c[these])
        doubtful = doubtful[~apart[doubtful]]
    doubtful = doubtful[np.argsort(-error[doubtful])]
    for i in doubtful[:most]:
        for order in (0, 1):
            found[order, i] = direct(act, first[i], second[i], c[i], order)[0]
        error[i] = 0.0
    if np.any(error > MATRIX_WARNING):
        warnings.warn(
            f"{np.sum(error > MATRIX_WARNING)} pairs of inputs are too similar, or too weak, for the series of "
            f"{act.label!r}; relative errors of their covariances are up to {error.max():.1g}; remove near copies of "
            "other inputs, or rescale them.",
            RuntimeWarning,
            stacklevel=2,
        )
    return found[:2]


def _weak_products(
    act: Activation, variance: np.ndarray, rows: np.ndarray, columns: np.ndarray, c: np.ndarray
) -> np.ndarray:
    """Both products (2, n) of pairs one of which is below the tables.

    For phi that is smooth at zero. The Hermite series up to c^2 of the values, which leaves out the variance (at most
    1e-12) relative to what it has, and up to c of the slopes.
    """
    needed, at = np.unique(np.stack([rows, columns]), return_inverse=True)
    at = at.reshape(2, -1)
    of_order = np.array([[expectation(act, q, order) for q in variance[needed]] for order in range(3)])
    value, slope, curvature = (one[at[0]] * one[at[1]] for one in of_order)
    shared = c * np.sqrt(variance[rows]) * np.sqrt(variance[columns])
    return np.stack([value + shared * (slope + shared * curvature / 2), slope + shared * curvature])


def _bent_at_zero(act: Activation) -> bool:
    """Whether phi(0) = 0 with a kink there: two straight lines nearby."""
    return bool(act(np.zeros(1))[0] == 0.0 and not np.any(act.pieces.jumps[act.pieces.breaks == 0.0, 0]))


def _bent_products(
    act: Activation, variance: np.ndarray, rows: np.ndarray, columns: np.ndarray, c: np.ndarray
) -> np.ndarray:
    """Both products (2, n) of pairs one of which sees two straight lines alone.

    Given the other unit, v = sqrt(q2) z, both of u's are closed forms: u / sqrt(q1) has mean c z and variance 1 - c^2.
    """
    from scipy.special import ndtr

    low, high = values(act, np.array([-1e-300, 1e-300]), 1)
    out = np.empty((2, rows.size))
    for i, (pair, corr) in enumerate(zip(np.stack([variance[rows], variance[columns]], axis=1), c, strict=True)):
        q1, q2 = np.sort(pair)
        if q2 < WEAK:
            scale, corr = np.array([np.sqrt(q1) * np.sqrt(q2)]), np.array([corr])
            out[:, i] = np.ravel(_homogeneous_products((low, high), scale, corr * scale))
            continue
        z, weight = nodes(breaks(act, q2))
        mean, own = corr * z, np.sqrt((1 - corr) * (1 + corr))
        above = ndtr(mean / own) if own > 0 else (mean > 0).astype(float)
        density = own * np.exp(-0.5 * (mean / own) ** 2) / np.sqrt(2 * np.pi) if own > 0 else 0.0
        given = low * mean + (high - low) * (mean * above + density)
        out[0, i] = np.sqrt(q1) * (weight * values(act, np.sqrt(q2) * z, 0) @ given)
        out[1, i] = weight * values(act, np.sqrt(q2) * z, 1) @ (low + (high - low) * above)
    return out
