"""The largest eigenvalue of the Fisher information along a training run."""

from __future__ import annotations

import numpy as np

from .._support.lanczos import largest_eigenpairs
from .._support.validation import one_of
from ..losses.probabilities import SoftmaxRoot
from ..sampled import Linear, Linearisation
from ..sampled.checks import OUTPUTS
from ..sampled.dual import dual_of
from ..sampled.eigenpairs import SMALL, all_pairs, starting_block, worth_all
from ..sampled.jacobian import Jacobian
from ..sampled.protocol import Served

__all__ = ["LargestEigenvalue"]

TOLERANCE = 1e-4  # of the residual; the eigenvalue is good to about its square
BLOCK = 4  # vectors kept: the largest outliers may change places
NOISE = 0.1  # beside each vector kept, so that what was small and grew is found
MAX_PRODUCTS = 5000


class LargestEigenvalue:
    r"""Largest eigenvalue of F, or of :math:`F_{cross}`, time after time.

    Each search starts where the last one ended.

    Parameters
    ----------
    output : {"linear", "softmax"}
        As in `mfdnn.fisher_spectrum`: F of squared errors, or of the class probabilities at the outputs as they are.

    Notes
    -----
    Relative error about 1e-8, in float32 1e-6. Cost: C backward passes (unless C > 30) and a few products of the
    dual; the vectors of the last search save about half of these.
    """

    def __init__(self, output: str = "linear"):
        self.output = one_of("output", output, OUTPUTS)
        self.vectors: np.ndarray | None = None  # of the last search
        self._rng = np.random.default_rng(0)  # a start, not a sample: the answer does not depend on it

    @property
    def stream(self) -> dict:
        """Where the random numbers of its starts are."""
        return dict(self._rng.bit_generator.state)

    @stream.setter
    def stream(self, state: dict) -> None:
        self._rng.bit_generator.state = state

    def __call__(self, linear: Linearisation | Linear) -> float:
        """The largest eigenvalue at the parameters and inputs of `linear`.

        Parameters
        ----------
        linear : Linearisation or Linear
            What ``one.linearise(X)`` returns; of the same network and number of samples from call to call.

        Returns
        -------
        float

        Raises
        ------
        ArithmeticError
            Gradients overflow.
        """
        if not isinstance(linear, Linearisation | Served):
            linear = Served(linear)
        softmax = self.output == "softmax"
        jacobian = Jacobian(linear, SoftmaxRoot(linear.outputs) if softmax else None)
        if worth_all(jacobian, 1, SMALL):
            return float(all_pairs(jacobian, False)[0][0])
        if self.vectors is None:
            start = starting_block(jacobian, min(BLOCK, jacobian.n_outputs - softmax))
        else:
            noise = self._rng.standard_normal(self.vectors.shape)
            start = self.vectors + NOISE / np.sqrt(jacobian.size) * noise
        eps = float(np.finfo(linear.dtype).eps)
        values, _, self.vectors = largest_eigenpairs(
            dual_of(jacobian, 1).product, start, 1, TOLERANCE, MAX_PRODUCTS, rounding=10 * eps
        )
        return float(values[0])
