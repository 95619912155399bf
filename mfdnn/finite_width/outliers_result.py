"""The law of the outliers as a distribution: quantiles and draws."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._support.blas import single_blas_thread
from .._support.memory import require_memory
from .._support.results import Result
from .._support.validation import checked, finite_array, one_of, positive_integer, short

__all__ = ["OutlierDistribution"]

DRAWS = 40_000  # outliers drawn for quantiles, in all (but at least 400 networks and at most 4000)
# Of more than a hundred outputs fewer networks: the largest of C scatters less, and its cost is C^3. Twenty of a
# thousand outputs know its mean to 0.2 %.
MANY, FEWEST = 100, 20
TAIL = 9.0  # standard deviations within which a quantile is looked for


@dataclass(frozen=True, repr=False, eq=False)
class OutlierDistribution(Result):
    r"""Law of the C outlier eigenvalues of the Fisher information over random networks.

    Eigenvalues, and `mean`, `standard_deviation`, `shift`, `push`, are in units of
    :math:`F = \frac1T \sum_t \sum_k \nabla f_k \nabla f_k^T`; A, B and `variance_born` in their squares.

    Attributes
    ----------
    lambda_0 : float
        The outlier of infinite-width theory, all C alike.
    mean, standard_deviation : float
        Of the mean of the C outliers.
    largest_mean, largest_standard_deviation : float
        Of the largest.
    A, B : float
        Variance that all outliers share; that by which each pair of outputs overlaps. The outliers are those
        of :math:`G = (\lambda_0 + shift + push) I + \sqrt A\, g I + \sqrt B H` to first order, with g normal
        and H of the Gaussian orthogonal ensemble (variance 1 off the diagonal, 2 on it).
    shift, push : float
        What finite widths add to the mean of G, and what the rest of the spectrum adds to its eigenvalues.
    margin : float
        The outlier over the edge of the strongest random matrix that it must leave: above 1 it exists.
    clearance : float
        The distance of the outlier from the mean of the rest of the spectrum, before either pushes the other, over half
        of where the rest ends: of many eigenvalues over their standard deviation. Above 1 the outlier exists, too.
    variance_born : ndarray, shape (L,)
        Where the variance of the mean outlier is born, to leading order: in the inputs, and in the hidden
        layers 1..L-1.
    parts : ndarray, shape (L,)
        Shares of `lambda_0` that the parameters of the weight layers contribute.
    degrees_of_freedom : ndarray, shape (L - 1,)
        Of the Wishart matrix by which hidden layer l = 1..L-1 multiplies the shares of weight layers 1..l.
    n_samples, n_outputs : int
        T and C.
    caution : str
        Why the numbers may be worse than usual; empty if nothing is known against them.
    allowance : float
        How much higher quantiles may be by what `caution` says, as a fraction of them; 0 if it is empty.
    method : {"exchangeable inputs", "sampled units"}
        Which law: a recursion in closed form, or influences of sampled units. Of these `margin` is the first
        eigenvalue over the second at infinite width, `clearance` from the spectrum there, `variance_born` has an entry
        for each set of units that are drawn together, in the order of the layers, and a single Wishart matrix stands
        for the overlaps: `parts` 1 and 0. At given inputs `shift` is 0 but for gates. Where inputs are drawn `margin`
        and `clearance` are estimates of the same numbers as in closed form, and the channels of inputs are a first set.
    standard_error : dict or None
        Of the fields that were sampled; None in closed form.
    """

    lambda_0: float
    mean: float
    standard_deviation: float
    A: float
    B: float
    shift: float
    push: float
    margin: float
    clearance: float
    variance_born: np.ndarray
    parts: np.ndarray
    degrees_of_freedom: np.ndarray
    n_samples: int
    n_outputs: int
    caution: str
    allowance: float
    _pair_push: float
    _excess: float
    method: str = "exchangeable inputs"
    standard_error: dict[str, float] | None = None
    _extra: float = 0.0  # relative variance of what the rest of the spectrum adds

    def __repr__(self) -> str:
        numbers = f"mean={self.mean:.6g}, standard_deviation={self.standard_deviation:.4g}"
        return (
            f"OutlierDistribution(lambda_0={self.lambda_0:.6g}, {numbers}, margin={self.margin:.3g}, "
            f"T={self.n_samples}, C={self.n_outputs})"
        )

    @property
    def relative_spread(self) -> float:
        """Standard deviation of the mean outlier over its mean."""
        return self.standard_deviation / self.mean

    @property
    def largest_mean(self) -> float:
        """Mean of the largest outlier."""
        return self._pair_push + self._scale * float(self._draws[:, 0].mean())

    @property
    def largest_standard_deviation(self) -> float:
        """Standard deviation of the largest outlier."""
        largest = self._draws[:, 0]
        second = np.exp(self._log_variance) * np.mean(largest**2)
        return self._scale * float(np.sqrt(second - largest.mean() ** 2))

    def quantile(self, p: Any, of: str = "largest") -> Any:
        r"""Value that the largest outlier stays below with probability `p`.

        Parameters
        ----------
        p : float or array_like
            Probabilities in (0, 1).
        of : {"largest", "mean"}
            Of the largest outlier, or of the mean of all C.

        Returns
        -------
        float or ndarray of the shape of `p`

        Raises
        ------
        ValueError
            A probability outside (0, 1), or another `of`.

        Notes
        -----
        The common factor is integrated exactly, the overlaps are averaged over a fixed set of draws: the same
        result every time, with a sampling error of about 0.1 % (C = 10).
        """
        one_of("of", of, ("largest", "mean"))
        probability = finite_array("p", p)
        if np.any((probability <= 0) | (probability >= 1)):
            raise ValueError(f"`p` must be a probability in (0, 1), got {short(p)}; 0.95 is usual.")
        drawn = np.log(self._draws[:, 0] if of == "largest" else self._draws.mean(axis=1))
        found = _mixture_quantile(drawn, np.sqrt(self._log_variance), np.ravel(probability))
        value = self._pair_push + self._scale * np.exp(found - self._log_variance / 2)
        return float(value[0]) if probability.ndim == 0 else value.reshape(probability.shape)

    def sample(self, n: int = 1, *, rng: Any = None) -> np.ndarray:
        """Draw the outliers of `n` networks.

        Parameters
        ----------
        n : int
            How many networks.
        rng : int, numpy.random.Generator, ... , optional
            Anything `numpy.random.default_rng` takes.

        Returns
        -------
        ndarray, shape (n, C)
            Eigenvalues of F, descending for each network.

        Raises
        ------
        ValueError
            `n` below 1.
        MemoryError
            `n` networks of C outputs do not fit.
        """
        n = positive_integer("n", n)
        generator = np.random.default_rng(checked(rng=rng))
        overlaps = self._draw(n, generator)
        common = np.sqrt(self._log_variance) * generator.standard_normal((n, 1)) - self._log_variance / 2
        return self._pair_push + self._scale * np.exp(common) * overlaps

    @property
    def _scale(self) -> float:
        """What the random factors multiply: the mean without the pairs' part of the push."""
        return self.mean - self._pair_push

    @property
    def _log_variance(self) -> float:
        """Variance of the logarithm of the common factor."""
        return self.A / self.lambda_0**2 + self._extra

    @cached_property
    def _draws(self) -> np.ndarray:
        n = int(np.clip(DRAWS // self.n_outputs, 400, 4000))
        if self.n_outputs > MANY:
            n = max(FEWEST, int(n * (MANY / self.n_outputs) ** 2))
        return self._draw(n, np.random.default_rng(0))

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Eigenvalues (n, C), descending, of the overlaps of n networks; their mean is 1."""
        require_memory(
            32.0 * n * self.n_outputs**2, f"{n} draws of {self.n_outputs} outliers", "lower `n`, and draw several times"
        )
        with single_blas_thread():  # the matrices are many and small: threads would wait for each other
            overlaps = _overlaps(self.parts, self.degrees_of_freedom, self._excess, self.n_outputs, n, rng)
            return np.linalg.eigvalsh(overlaps)[:, ::-1]


def _overlaps(
    parts: np.ndarray, freedom: np.ndarray, excess: float, size: int, n: int, rng: np.random.Generator
) -> np.ndarray:
    r"""Draws (n, C, C) of :math:`\sum_l p_l S_l`, p_l the share of weight layer l.

    :math:`S_L = I`, :math:`S_l = S_{l+1}^{1/2} (Wishart(\nu_l) / \nu_l) S_{l+1}^{1/2}`: overlaps of the
    back-propagated vectors of the C outputs.
    """
    root: np.ndarray = np.eye(size)
    total = np.broadcast_to(parts[-1] * root, (n, size, size)).copy()
    index = np.arange(size)
    spread = (
        2.0 + excess
    )  # variance of a diagonal element; only weights of the outputs show that they are not normal
    for part, nu in zip(parts[-2::-1], freedom[::-1], strict=True):
        if np.isfinite(nu):
            nu = max(nu, size)  # fewer only in layers that contribute next to nothing
            factor = np.tril(rng.standard_normal((n, size, size)), -1)  # Bartlett's root of a Wishart matrix
            factor[:, index, index] = np.sqrt(spread * rng.gamma((nu - index) / spread, size=(n, size)))
            root = root @ factor / np.sqrt(nu)
        total += part * root @ np.swapaxes(root, -1, -2)
        spread = 2.0
    return total


def _mixture_quantile(centres: np.ndarray, deviation: float, p: np.ndarray) -> np.ndarray:
    """Quantiles of a normal variable around centres drawn alike, by bisection."""
    if deviation == 0:
        return np.quantile(centres, p)
    from scipy.special import ndtr

    low = np.full(p.shape, centres.min() - TAIL * deviation)
    high = np.full(p.shape, centres.max() + TAIL * deviation)
    while np.any(high - low > 1e-12 * (1 + np.abs(low))):  # rounding of the logarithm of an eigenvalue
        middle = (low + high) / 2
        below = ndtr((middle[:, None] - centres) / deviation).mean(axis=1) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2
