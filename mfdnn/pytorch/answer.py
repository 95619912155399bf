"""The rates of one module, batch, loss and optimiser, and what each is worth."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np

from .._support.results import Result

__all__ = ["NOT_COMPUTED", "ModuleLearningRate"]

NOT_COMPUTED = "not computed"
_LAYERS_SHOWN = 6


@dataclass(frozen=True, repr=False, eq=False)
class ModuleLearningRate(Result):
    r"""Learning rates of a module on a batch, by its loss and its optimiser.

    ``float(answer)`` is `rate`, ``print(answer)`` says what each number is worth. All rates are those of the first
    group of parameters; the others keep their ratios to it (`rates`). None stands for what was not asked for.

    Attributes
    ----------
    rate : float or None
        The smaller one of `critical` and `stable`, of those that there are.
    factor : float or None
        The same as a multiple of the optimiser's present rates.
    current : float
        The present rate of the first group.
    groups : tuple of float
        The present rates of all groups.
    response : float or None
        How far one step of the present rate moves the outputs: root mean square over them, to first order. For
        cross-entropy in nats, without what all classes of a sample share.
    by_layer : dict of str to float, or None
        Share of each layer in the first fall of the loss, :math:`-g_l \cdot \Delta_l` over their sum; a negative one
        climbs.
    directional : float or None
        2 e.D/(D.Q D), where the Gauss-Newton parabola along the step comes back to where it began; None where the loss
        has no such matrix.
    critical : float or None
        Where the loss itself does, in a single step along the optimiser's own direction: `crossings`' first; 0 where
        the step climbs at once, inf where the loss stays below as far as was looked.
    crossings : tuple of float, or None
        Every rate at which one step gives the first loss again, as far as a grid of factors of two shows them.
    stable : float or None
        Largest rate at which descent does not grow about a minimum with the curvature of here: the Gauss-Newton matrix
        at the present outputs, and for Adam and its kin the present second moments.
    any_softmax : float or None
        The same for cross-entropy whatever the outputs become, as long as their Jacobian stays.
    no_stable : str
        Why there is no `stable` rate, in one sentence; empty where there is one, or where it was not asked for.
    theory : float or None
        The rate of a fresh draw of this module, by the theory of wide networks; `theory_notion` says which one: of SGD
        the limit of "stability" (for cross-entropy at the first softmax), of others the critical rate of the "first
        step".
    theory_band : tuple of float, or None
        Less than the first number have 5 % of the draws, more than the second 5 %, where there is a law.
    no_theory : str
        Why there is none, with the path of what cannot be read; empty where there is one.
    theory_caution : str
        What should be known before it is believed, or "".
    warmup_limits : tuple of float, or None
        The rate at which each of `n_steps` virtual steps would give the loss before it again, along the shortest linear
        warm-up to the present rate that stays below.
    warmup_steps : int or None
        How many steps that warm-up has; 1 is none at all. None: no warm-up of at most `n_steps` stays below.
    warmup_notion : str
        "critical": its loss never rises; "stable": it rises only at steps whose rate is below the limit of stability
        there, as with momentum; then `warmup_limits` are the larger of both.
    warmup_losses : tuple of float, or None
        The loss before each virtual step, and behind the last.
    scaling : dict of str to float, or None
        By theory: factors of the rate at twice the "width", "depth" (every layer that keeps its shape twice), "batch";
        those that can be read.
    passes : int
        Passes through the module, forward or backward; a product with its Jacobian counts as two.
    loss, optimizer : str
        Their names.
    first_loss : float
        The loss on the batch.
    slope : float or None
        e.D, the first fall of the loss per unit rate.
    n_samples, n_outputs : int
        Of the batch (its first axis), and numbers of output for each of them.
    along : dict of str to ndarray, or None
        "rate" and "loss": all places on the line at which the loss was taken, 0 among them.
    caution : str
        What should be known before the numbers are used; empty if nothing.
    """

    rate: float | None
    factor: float | None
    current: float
    groups: tuple[float, ...]
    response: float | None
    by_layer: dict[str, float] | None
    directional: float | None
    critical: float | None
    crossings: tuple[float, ...] | None
    stable: float | None
    any_softmax: float | None
    no_stable: str
    passes: int
    loss: str
    optimizer: str
    first_loss: float
    slope: float | None
    n_samples: int
    n_outputs: int
    along: dict[str, Any] | None
    caution: str
    theory: float | None = None
    theory_band: tuple[float, float] | None = None
    theory_notion: str = ""
    theory_caution: str = ""
    no_theory: str = NOT_COMPUTED
    warmup_limits: tuple[float, ...] | None = None
    warmup_steps: int | None = None
    warmup_notion: str = ""
    warmup_losses: tuple[float, ...] | None = None
    scaling: dict[str, float] | None = None
    _reached: float = np.inf
    _classes: bool = False
    _frozen: str = ""

    def __float__(self) -> float:
        if self.rate is None:
            raise ValueError("`parts` had neither 'critical' nor 'stable', so there is no rate; ask for one of them.")
        return self.rate

    def __repr__(self) -> str:
        rate = "no rate" if self.rate is None else f"{self.rate:.4g}, {self.factor:.3g} times the present rate"
        return f"ModuleLearningRate({rate}, {self.optimizer}, {self.loss}, T={self.n_samples})"

    def parabola(self, rate: Any) -> Any:
        """The Gauss-Newton parabola of the loss after one step of that rate.

        None where the loss has no such matrix, or the critical part was not asked for.
        """
        if self.directional is None or self.slope is None:
            return None
        rate = np.asarray(rate, float)
        bent = rate / self.directional if self.directional else np.inf
        return self.first_loss - self.slope * rate * (1 - bent)

    def plot(self, ax: Any = None) -> Any:
        """Draw the loss along the step: `mfdnn.plots.loss_along_step`."""
        from .. import plots

        return plots.loss_along_step(self, ax=ax)

    @property
    def rates(self) -> tuple[float, ...] | None:
        """`rate` for every group: `factor` times the present ones."""
        return None if self.factor is None else tuple(self.factor * rate for rate in self.groups)

    def to_dict(self) -> dict[str, Any]:
        """Every field, and `rates`, as plain Python."""
        return {**super().to_dict(), "rates": None if self.rates is None else list(self.rates)}

    def __str__(self) -> str:
        lines = []
        for label, text in self._entries():
            lines += wrap(text, 100, initial_indent=f"{label:<12} ", subsequent_indent=" " * 13)
        return "\n".join(lines)

    def _entries(self) -> list[tuple[str, str]]:
        """Label and sentences of every part."""
        found = []
        where = f"{self.optimizer} on {self.loss}, which is {self.first_loss:.4g} on this batch of {self.n_samples}"
        if self.rate is None:
            found.append(("rate", f"{where}; the present rate is {_rates(self.groups)}."))
        else:
            found.append(
                (
                    "rate",
                    f"{self.rate:.4g}, {self.factor:.3g} times the present {_rates(self.groups)}, for {where}: the "
                    f"{self._whose()}. It is a place to start a search from; it promises nothing about "
                    "generalisation, late training or other batches.",
                )
            )
        if self.response is not None:
            found.append(("first step", self._first_step()))
        if self.critical is not None:
            found.append(("critical", self._critical()))
        if self.stable is not None:
            found.append(("stable", self._stable()))
        elif self.no_stable:
            found.append(("stable", f"None: {self.no_stable}."))
        if self.any_softmax is not None:
            found.append(("any softmax", self._any_softmax()))
        if self.theory is not None:
            found.append(("theory", self._theory()))
        elif self.no_theory != NOT_COMPUTED:
            found.append(("theory", f"None: {self.no_theory.rstrip('.')}."))
        if self.scaling:
            found.append(("scaling", self._scaling()))
        if self.warmup_limits is not None:
            found.append(("warm-up", self._warmup()))
        if self.caution:
            found.append(("caution", self.caution))
        return found

    def _whose(self) -> str:
        if self.critical is None:
            return "stable rate alone, as the critical one was not asked for"
        if self.stable is None:
            why = "there is no stable one" if self.no_stable else "the stable one was not asked for"
            return f"critical rate alone, as {why}"
        return "smaller of the critical and the stable rate"

    def _first_step(self) -> str:
        assert self.response is not None and self.by_layer is not None
        unit = " nats (without what all classes share)" if self._classes else ""
        largest = sorted(self.by_layer, key=lambda name: -abs(self.by_layer[name]))[:_LAYERS_SHOWN]  # type: ignore[index]
        shares = ", ".join(f"{name} {100 * self.by_layer[name]:.3g} %" for name in largest)
        rest = "" if len(self.by_layer) <= _LAYERS_SHOWN else f", and {len(self.by_layer) - _LAYERS_SHOWN} more"
        return (
            f"At the present rate one step moves the outputs by {self.response:.3g}{unit}, root mean square, to first "
            f"order in the rate. Shares in the first fall of the loss: {shares}{rest}."
        )

    def _critical(self) -> str:
        critical = self.critical
        assert critical is not None
        if critical == 0:
            return "0: the next step climbs from the outset."
        tail = "A statement about this batch and the very next step, which later steps may overtake."
        parabola = "The Gauss-Newton matrix along the step has no curvature, so there is no parabola to compare with."
        if self.directional is not None:
            ratio = f", {self.directional / critical:.3g} times as far" if np.isfinite(critical) else ""
            parabola = f"The Gauss-Newton parabola comes back at {self.directional:.4g}{ratio}."
        if not np.isfinite(critical):
            reached = f"inf: one step lowers the loss at every rate up to {self._reached:.3g}, as far as was looked."
            return f"{reached} {parabola} {tail}"
        several = ""
        if len(self.crossings or ()) > 1:
            rest = ", ".join(f"{x:.4g}" for x in self.crossings[1:])  # type: ignore[index]
            several = f" It crosses its first value again at {rest}: larger rates are no worse than this one in places."
        return (
            f"{critical:.4g}: one step of it along the optimiser's own direction gives the first loss again, found on "
            f"the loss itself.{several} {parabola} {tail}"
        )

    def _stable(self) -> str:
        now = " at the present softmax; for the first steps only" if self._classes else ""
        return (
            f"{self.stable:.4g}: beyond it steps about a minimum with this curvature grow ({self._frozen}; "
            f"Gauss-Newton matrix of this batch{now}). Curvature moves during training, and so does this limit."
        )

    def _theory(self) -> str:
        band = ""
        if self.theory_band is not None:
            low, high = self.theory_band
            band = f", between {low:.3g} and {high:.3g} for nine draws in ten"
        first = self.theory_notion == "first step"
        mine, what = (self.critical, "critical") if first else (self.stable, "stable")
        beside = "" if mine is None or not np.isfinite(mine) else f"; this draw's own {what} rate is {mine:.4g}"
        notion = "critical rate of the first step" if first else "limit of stability"
        caution = f" {self.theory_caution}" if self.theory_caution else ""
        whose = f"the {notion} of fresh draws of this architecture, as wide networks have it"
        return f"{self.theory:.4g}{band}: {whose}{beside}.{caution}"

    def _scaling(self) -> str:
        assert self.scaling is not None
        parts = ", ".join(f"{name} {factor:.3g}" for name, factor in self.scaling.items())
        return f"Factors of that rate where something is doubled: {parts}."

    def _warmup(self) -> str:
        assert self.warmup_limits is not None
        n, low = len(self.warmup_limits), min(self.warmup_limits)
        tail = f"Measured on {n} virtual steps on this batch alone; it promises nothing else."
        if self.warmup_steps is None:
            return (
                f"None: with a linear warm-up of {n} steps to the present {self.current:.4g} the loss still rises; the "
                f"smallest limit on the way is {low:.4g}. {tail}"
            )
        how = "the loss falls at every step"
        if self.warmup_notion == "stable":
            how = "the loss falls, but at steps whose rate is below the limit of stability there"
        if self.warmup_steps == 1:
            return f"None needed: at the present {self.current:.4g} {how}. {tail}"
        return (
            f"{self.warmup_steps} steps, linear, to the present {self.current:.4g}: the shortest in which {how}. The "
            f"first step's limit is {self.warmup_limits[0]:.4g}, the smallest {low:.4g}. {tail}"
        )

    def _any_softmax(self) -> str:
        assert self.any_softmax is not None and self.stable is not None
        return (
            f"{self.any_softmax:.4g}, {self.any_softmax / self.stable:.3g} times the stable rate: the limit that holds "
            "whatever the class probabilities become, as long as the Jacobian of the logits stays what it is. With "
            "small first outputs, as PyTorch's initialisation gives, prefer it."
        )


def _rates(groups: tuple[float, ...]) -> str:
    if len(set(groups)) == 1:
        return f"{groups[0]:.4g}"
    return "rates " + ", ".join(f"{rate:.4g}" for rate in groups) + " (the first group's is given)"
