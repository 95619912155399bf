"""How units are sampled: how many, and from which random numbers."""

from __future__ import annotations

import numpy as np

__all__ = ["PAIR", "REPLICATES", "REPRESENTATIVES", "Sampler"]

REPLICATES = 8  # independent runs, from which every number has its standard error
REPRESENTATIVES, PAIR = 8, 2  # exchangeable samples that are drawn of a unit where none depends on the others
# Numbers drawn at once, the fewest units and the most: exchangeable inputs are averaged over, and matrices are small.
OF_GIVEN = 2**15, 64, 4096
OF_RANDOM = 2**15, 32, 4096


class Sampler:
    """Draws for one run of the recursion over the layers.

    The n-th draw of a run takes random numbers of its own, which depend on n alone: networks that differ in their
    variances see the same ones.

    Parameters
    ----------
    key : tuple of int
        Of the seed, and of the run.
    coupled : bool
        Whether some layer couples samples: exchangeable ones are then all drawn.
    n_units : int, optional
        S. Default: of given inputs as many as hold 32768 numbers, 64 to 4096; of exchangeable ones, which are
        averaged over, as many as hold 32768, 32 to 4096.
    noise : float
        Times as many units by default (`Layer.unit_noise`).
    representatives : int
        Exchangeable samples that are drawn where none depends on the others. Of negative correlation c0 there are no
        more than 1 - 1/c0: two then stand for all.

    Attributes
    ----------
    n_draws : int
        How often units were drawn; 0: the run met nothing that needs them.
    """

    def __init__(
        self,
        key: tuple[int, ...],
        coupled: bool,
        n_units: int | None = None,
        noise: float = 1.0,
        representatives: int = REPRESENTATIVES,
    ):
        self.key, self.coupled, self.n_units, self.noise, self.n_draws = key, coupled, n_units, noise, 0
        self.representatives = representatives

    def __repr__(self) -> str:
        return f"Sampler({self.key}, n_draws={self.n_draws})"

    def next_rng(self) -> np.random.Generator:
        """The random numbers of the next draw."""
        self.n_draws += 1
        return np.random.default_rng([*self.key, self.n_draws])

    def how_many(self, n_samples: int, n_sites: int, given: bool) -> int:
        """S, of fields of so many samples and sites."""
        if self.n_units is not None:
            return self.n_units
        numbers, fewest, most = OF_GIVEN if given else OF_RANDOM
        return int(self.noise * np.clip(numbers // (n_samples * n_sites), fewest, most))
