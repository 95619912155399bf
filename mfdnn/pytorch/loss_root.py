"""The root of a loss's Hessian by the outputs, where targets do not matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ._torch import torch
from .losses import LossAt, loss_at

__all__ = ["LossRoot"]


class LossRoot:
    r"""R with :math:`R^T R = T H`, H the Hessian of the loss by all outputs.

    Columns go output by output, as those of `mfdnn.losses.probabilities.SoftmaxRoot`. The factor T is that by which a
    dual is divided: the spectrum is that of :math:`J^T H J`, with the loss's own reduction.

    Parameters
    ----------
    loss : module of torch.nn or callable
    outputs : array (T, C)

    Attributes
    ----------
    name : str
        Of the loss.
    classes : bool
        Whether outputs are logits, what all of a sample share does not count.

    Raises
    ------
    TypeError, ValueError
        What is no loss; a Hessian that depends on the targets, or is not positive.
    """

    def __init__(self, loss: Any, outputs: np.ndarray):
        self._shape, self._factor = outputs.shape, np.sqrt(len(outputs))
        self._at = _without_targets(loss, torch.from_numpy(np.array(outputs)))
        self.name, self.classes = self._at.name, self._at.classes

    def columns(self, V: np.ndarray, transpose: bool = False) -> np.ndarray:
        """R V, or R^T V, for columns V (C T, b), of that shape."""
        product = self._at.transpose if transpose else self._at.root
        found = np.empty(V.shape)
        for i, v in enumerate(V.T):
            by_sample = torch.from_numpy(np.array(v.reshape(self._shape[::-1]).T, dtype=np.float64))
            found[:, i] = self._factor * product(by_sample).numpy().T.ravel()
        return found

    def transpose(self, u: np.ndarray) -> np.ndarray:
        """R^T u for u (T, C)."""
        return self._factor * self._at.transpose(torch.from_numpy(np.array(u, dtype=np.float64))).numpy()


def _without_targets(loss: Any, outputs: Any) -> LossAt:
    """The loss at outputs and targets that are made up."""
    z = torch.from_numpy(np.random.default_rng(0).standard_normal(tuple(outputs.shape)))
    error: Exception | None = None
    for targets in _targets(outputs):
        found, images = None, []
        for i, made_up in enumerate(targets):
            if i == 2 and found is not None and found.classes:
                break  # what is no probability tells robust losses from squares, and says nothing here
            try:
                at = loss_at(loss, outputs, made_up)
            except (TypeError, ValueError) as failed:
                error = error or failed
                continue
            found = found or at
            images.append(torch.zeros_like(z) if at.why_not else at.transpose(at.root(z)))
        if found is None:
            continue
        if not any(bool(image.any()) for image in images):
            raise ValueError(
                f"`output` = {found.name} has no Gauss-Newton matrix: {found.why_not}; pass another."
            )
        if any(
            float((image - images[0]).abs().max()) > 1e-6 * float(images[0].abs().max()) for image in images
        ):
            raise ValueError(
                f"`output` = {found.name} has a Hessian that depends on the targets, which are not given here; "
                "mfdnn.pytorch.hessian_spectrum(module, (X, Y), loss, part='gauss_newton') takes them."
            )
        return found
    assert error is not None
    raise error


def _targets(outputs: Any) -> Iterator[list[Any]]:
    """Targets that some loss takes: probabilities, larger numbers, labels."""
    rng = np.random.default_rng(0)
    T, C = outputs.shape
    some = [rng.random((T, C)) for _ in range(2)]
    if C > 1:
        some = [p / p.sum(axis=1, keepdims=True) for p in some]
    yield [torch.from_numpy(p).to(outputs.dtype) for p in (*some, 1e3 * some[0])]
    yield [torch.from_numpy(rng.integers(0, C, T)) for _ in range(2)]
