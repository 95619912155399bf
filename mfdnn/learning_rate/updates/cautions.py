"""What a predicted first step is worth: where it was tested, and where it fails."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...mean_field import MeanField
from .response import StepResponse

__all__ = ["cautions_of"]

TESTED = {"n_samples": 256, "n_outputs": 10, "n_layers": 8}
MOVED = 0.5  # rho up to which outputs are linear in the rate
DEEP = 0.5  # L/sqrt(M) from which linear activations without biases are known to fail
NARROW = 0.3


def cautions_of(
    response: StepResponse, loss: str, parameterisation: str, validity: float | None, learnt: bool, law_known: bool
) -> Iterator[str]:
    """Sentences, the most important first."""
    wide, update = response.wide, response.update
    narrow = _relative_depth(wide) > NARROW
    if not learnt:
        yield "There is nothing to learn: outputs are the targets, or no parameter moves them; every rate is the same."
        return
    if parameterisation == "mup" and _hidden(wide):
        yield (
            "In muP layers move by their own size at the critical rate of any width, and line searches gave 2 to 50 "
            "times it; that it does not depend on the width is what counts."
        )
    elif validity is None:
        yield "How far layers move themselves is not known here: where outputs start small the rate is too high."
    elif validity > 4:
        yield (
            f"Layers would move themselves by {validity:.3g} times their size at the directional rate, so that the cap "
            "counts; line searches gave 0.5 to 5 times it."
        )
    elif loss == "cross_entropy":
        if _hidden(wide) and not _grows(wide):
            found = "1 to 11 times the rate, the most where units saturate before the loss comes back"
        else:
            found = f"{1 if validity <= 1 else 0.5:g} to 4 times the rate"
        yield f"Cross-entropy is far from quadratic along a step: line searches gave {found}."
    elif validity > MOVED and not _deep(wide):
        yield (
            f"Layers move themselves by {validity:.2g} times their size in sum: line searches gave 0.7 to "
            f"{3 if narrow else 2} times the rate."
        )
    if _deep(wide) and parameterisation != "mup":
        yield (
            f"L/sqrt(M) is {_relative_depth(wide):.2g}, and activations grow without biases: line searches gave 0.9 to "
            "8 times the rate."
        )
    elif narrow:
        unsaid = parameterisation != "mup" and loss != "cross_entropy" and validity is not None and validity <= MOVED
        found = ", and line searches gave 0.7 to 3 times the rate" if unsaid else ""
        yield f"L/sqrt(M) is {_relative_depth(wide):.2g}: single networks scatter widely{found}."
    if update.optimiser.name == "radam":
        yield "RAdam's first five steps are descent with momentum; later ones are Adam's, of another size."
    sizes = {"n_samples": wide.n_samples, "n_outputs": wide.network.n_outputs, "n_layers": response.n_layers}
    beyond = [f"{name} up to {most}" for name, most in TESTED.items() if sizes[name] > most]
    if beyond:
        yield f"Networks were compared at {' and '.join(beyond)} only."
    if not law_known:
        yield "The band is of outputs and labels alone: kernels have no law here (`outlier_distribution` says why)."


def _hidden(wide: MeanField) -> list[int]:
    return list(wide.network.widths[1:-1])


def _relative_depth(wide: MeanField) -> float:
    """L/sqrt(M), of the mean of 1/M over the hidden layers."""
    hidden = _hidden(wide)
    return wide.network.n_weight_layers * float(np.sqrt(np.mean(1 / np.array(hidden)))) if hidden else 0.0


def _deep(wide: MeanField) -> bool:
    """Whether a step shrinks the outputs by a power of the rate.

    Activations that grow without bound, no biases, and depth.
    """
    return _grows(wide) and _relative_depth(wide) >= DEEP and not _random_biases(wide)


def _grows(wide: MeanField) -> bool:
    """Whether all activations do, without bound."""
    far = np.array([30.0])
    return all(float(act(far)[0]) > 0.5 * far[0] for act in wide.network.activations)


def _random_biases(wide: MeanField) -> bool:
    return any(getattr(layer, "sigma_b2", 0.0) > 0 for layer, _ in wide.network.weight_layers)
