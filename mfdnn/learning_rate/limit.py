"""The largest learning rate of a random network: stable, or of a first step."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.errors import NoTheory
from .._support.validation import finite_number, one_of, positive_integer
from ..finite_width.measured import how_to_measure, largest_of_networks, measured_quantile
from ..finite_width.outliers import law_of, without_kernels
from ..finite_width.outliers_result import OutlierDistribution
from ..fisher import FisherStatistics, fisher_statistics
from ..layers import Layer
from ..losses import LOSSES, loss_scale, stability_limit
from ..losses.optimisers import RULES
from ..losses.stability import checked_nesterov
from ..mean_field import MeanField, as_mean_field
from ..network import Network
from .first_rate import first_step_rate
from .online import online_rate
from .result import LearningRate

__all__ = ["max_learning_rate"]

# In units of 2/lambda: how far beyond it full-batch descent is known to come back (see `LearningRate`).
CATAPULT_LINEAR, CATAPULT_RELU = 2.0, 6.0


def max_learning_rate(
    net: Network | MeanField,
    n_samples: int | None = None,
    q0: float | None = None,
    c0: float | None = None,
    *,
    inputs: np.ndarray | None = None,
    loss: str = "half_mse",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    confidence: float | None = None,
    networks: Any = None,
    optimizer: str = "sgd",
    batch_size: int | None = None,
) -> LearningRate:
    r"""Largest learning rate at which full-batch descent is stable, before training.

    Of Adam, Muon and all others than sgd, which have no limit of stability before their first step, it is the critical
    rate of that step (`first_step`): another notion, which the result names.

    Near initialisation a wide network is linear in its parameters, and descent on a loss with curvature
    :math:`\lambda = s \lambda_{max}(F) + w` is stable below

    .. math::
        \eta = \frac2\lambda, \qquad \frac{2(1+b)}{\lambda} \text{ (heavy ball)}, \qquad
        \frac{2(1+b)}{(1+2b)\lambda} \text{ (Nesterov)},

    with s = 1 for ``half_mse``, 2 for ``mse_per_sample``, 2/C for ``torch_mse``, 2T for ``torch_mse_sum`` and
    1/2 for ``cross_entropy``, which is a bound: the Hessian in the outputs is
    :math:`Q = \mathrm{diag}(p) - p p^T`, and
    :math:`v^T Q v = \mathrm{Var}_p(v) \le (\max v - \min v)^2 / 4 \le |v|^2 / 2` for every softmax p.

    Parameters
    ----------
    net : Network or MeanField
    n_samples, q0, c0, inputs
        Number of inputs (default 1000) and their statistics (1 and 0), or the inputs themselves, as in
        `fisher_statistics`; for a first step the default is 100, as in `first_step`.
    loss : str
        One of `LOSSES`, where the formulas are.
    momentum : float
        b, in [0, 1), without dampening. Of sgd; a first step of rmsprop and muon does not feel it.
    nesterov : bool
        Nesterov's momentum instead of the heavy ball.
    weight_decay : float
        w >= 0: the loss has an extra :math:`\frac w2 |\theta|^2`, as in ``torch.optim.SGD``.
    confidence : float, optional
        In (0, 1): a rate below the limit of that share of the networks drawn at these widths, from the quantile of
        :math:`\lambda_{max}` by `mfdnn.finite_width.outlier_distribution`. Default: the limit at infinite width,
        which is too large for half of them, and for most with several outputs. Of a first step: from its quantile.
    networks : Ensemble or array_like, shape (R,), optional
        Networks drawn (`mfdnn.ensemble` at the same data), or their largest eigenvalues. The quantile is then measured,
        with a standard error: with the spread of the law where there is one (150 of spread 0.3 know it to 3.5 %),
        else their own (400 networks). Where the error is above 3 %, `caution` says how many networks make it that.
    optimizer : str
        "sgd", or any other that `first_step` knows, by its name in PyTorch in small letters, at its default settings.
    batch_size : 1, optional
        Online training, one sample at a time: the rate below which a step at any sample does not raise that sample's
        own loss, :math:`2/(s \lambda + w)` with :math:`\lambda` the largest eigenvalue of the Fisher information of
        one sample (`conditional_fisher`, where q0 alone matters; of given inputs the greater of those of the least and
        the greatest mean square). About :math:`2/(M \hat q L)` on half_mse near isometry. It is a limit for each step
        by itself: it promises nothing of the losses of other samples. Of sgd. Default: the full batch.

    Returns
    -------
    LearningRate
        With `value`, its `notion`, the rate that is `safe` for 95 % of the networks drawn, whatever `confidence`, the
        `convention`, the `zones` beyond the limit, a `table` of other losses and optimisers; for cross-entropy also the
        limit at the first outputs, `initial`.

    Raises
    ------
    ValueError
        Unknown `loss`, cross_entropy of one output, `momentum` outside [0, 1), `nesterov` without momentum,
        negative `weight_decay`,
        unknown `optimizer` or one without the momentum that is given,
        `networks` without `confidence`, fewer than 8 of them, of another network or of other inputs, or for a first
        step,
        `confidence` outside (0, 1) or of a network whose law of :math:`\lambda_{max}` is not known
        (`outlier_distribution` says which), a `batch_size` that is neither 1 nor None, or 1 with `momentum` or
        `confidence`, and what `fisher_statistics` raises.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([784, 1000, 1000, 10], "relu", init="he")
    >>> lr = mfdnn.max_learning_rate(net, loss="torch_mse", momentum=0.9)
    >>> lr
    LearningRate(0.0275477, loss='torch_mse', heavy-ball momentum 0.9)
    >>> mfdnn.max_learning_rate(net, loss="torch_mse").zone([0.01, 0.05, 1.0])
    array(['monotone', 'catapult', 'diverges'], dtype='<U8')
    >>> print(lr.table())
    loss            scale s  gradient descent  heavy ball 0.9  Nesterov 0.9
    -----------------------------------------------------------------------
    half_mse              1            0.0029         0.00551      0.001968
    mse_per_sample        2           0.00145        0.002755     0.0009838
    torch_mse           0.2            0.0145         0.02755      0.009838
    torch_mse_sum      2000          1.45e-06       2.755e-06     9.838e-07
    cross_entropy       0.5            0.0058         0.01102      0.003935
    >>> mfdnn.max_learning_rate(net, loss="torch_mse", momentum=0.9, confidence=0.95)
    LearningRate(0.0241201, loss='torch_mse', heavy-ball momentum 0.9, for 95 % of networks)
    >>> round(lr.safe, 7)
    0.0241201
    >>> step = mfdnn.max_learning_rate(net, 64, optimizer="adamw")
    >>> f"{step.value:.1e}", step.notion, step.lambda_max
    ('5.6e-04', 'first step', None)
    >>> init = mfdnn.isometric_init("hard_tanh", depth=20, variance=0.2)
    >>> net = mfdnn.mlp([400] * 21, "hard_tanh", init.sigma_w2, init.sigma_b2, weights="orthogonal")
    >>> mfdnn.max_learning_rate(net, q0=init.q0, batch_size=1)
    LearningRate(0.00151267, loss='half_mse', gradient descent, one sample at a time)

    Notes
    -----
    Without `confidence` the number is that of the infinitely wide network; the largest eigenvalue of one sampled
    network scatters around it by O(1/sqrt(M)). :math:`\lambda_{max}` moves in training, and mini-batches need
    smaller steps than the full batch; ``batch_size=1`` is of those of one sample. Curvature here is the Gauss-Newton
    part of the Hessian. What it leaves out at initialisation, errors times second derivatives of the outputs, falls
    like :math:`M^{-1/2}` beside it: of three weight layers (T = 64, C = 4, random labels) its largest eigenvalue is
    0.18 of that of F at M = 32 and 0.06 at 512 for relu, 0.37 and 0.10 for tanh; for cross-entropy 0.17 and 0.04,
    0.67 and 0.21 (``mfdnn figure hessian-residual``).

    Cost: that of `fisher_statistics` (T = 20 000 given inputs take 2 GB); for cross-entropy that of
    `softmax_statistics`, 0.3 s for T = 1000 and C = 10 (given inputs: 2 s); with `confidence` 0.1 s more.

    References
    ----------
    Karakida, Akaho & Amari 2019, "Universal statistics of Fisher information in deep neural networks: mean
    field approach", arXiv:1806.01316. Polyak 1964, "Some methods of speeding up the convergence of iteration
    methods" (heavy ball). Hayase & Karakida 2021, arXiv:2006.07814 (one sample; they divide the loss by the width
    M, so that their rates are M times these).
    """
    one_of("loss", loss, LOSSES)
    one_of("optimizer", optimizer, RULES)
    b, w = finite_number("momentum", momentum), finite_number("weight_decay", weight_decay)
    if not 0 <= b < 1:
        raise ValueError(f"`momentum` must lie in [0, 1), got {b:g}; 0.9 is usual, 0 is plain descent.")
    nesterov = checked_nesterov(nesterov, b)
    if w < 0:
        raise ValueError(f"`weight_decay` must be >= 0, got {w:g}; pass its size, without a sign.")
    if confidence is not None and not 0 < finite_number("confidence", confidence) < 1:
        raise ValueError(f"`confidence` must be a probability in (0, 1), got {confidence:g}; 0.95 is usual.")
    if networks is not None and (confidence is None or optimizer != "sgd"):
        raise ValueError(
            "`networks` are for a quantile of the largest eigenvalue, with `confidence` and optimizer='sgd'; pass "
            "confidence=0.95, or leave them out."
        )
    if batch_size is not None:
        if positive_integer("batch_size", batch_size) != 1:
            raise ValueError(f"`batch_size` must be 1 or None for the full batch, got {batch_size}; pass one of them.")
        if optimizer != "sgd":
            raise ValueError(
                f"`optimizer` = {optimizer} has no theory with `batch_size` = 1; leave one of them out."
            )
        if b or confidence is not None:
            name, value = ("momentum", b) if b else ("confidence", confidence)
            raise ValueError(f"`{name}` has no theory with `batch_size` = 1, got {value:g}; leave it out.")
    if optimizer != "sgd":
        data = {"n_samples": n_samples, "q0": q0, "c0": c0, "inputs": inputs}
        return first_step_rate(net, data, loss, optimizer, b, nesterov, w, confidence)
    wide = as_mean_field(net, n_samples, q0, c0, inputs=inputs)
    wide.require_single()
    if batch_size == 1:
        _require_outputs(loss, wide.network.n_outputs)
        return online_rate(wide, loss, w)
    net, fim = wide.network, fisher_statistics(wide)
    _require_outputs(loss, fim.n_outputs)
    scale = loss_scale(loss, fim.n_outputs, fim.n_samples)
    typical = value = stability_limit(scale * fim.largest + w, b, nesterov)
    cautions, quantile = [fim.largest_caution], None
    errors = _errors(fim, value, scale, w)
    method, wanted = "", None
    if networks is not None and confidence is not None:
        law = _law_or_none(wide)
        measured = measured_quantile(largest_of_networks(networks, wide), confidence, law)
        cautions.append(measured.caution)
        wanted = measured.n_wanted
        method = "networks" if law is None else f"networks and {law.method}"
        quantile = measured.value
        value = stability_limit(scale * quantile + w, b, nesterov)
        of_value = value * scale * measured.standard_error / (scale * quantile + w)
        errors = (errors or {}) | {"value": float(of_value), "lambda_quantile": measured.standard_error}
    elif confidence is not None:
        law = _law(wide)
        cautions.append(law.caution)
        method = law.method
        quantile = law.quantile(confidence)
        value = stability_limit(scale * quantile + w, b, nesterov)
        errors = _errors(fim, value, scale, w)
    deep_relu = len(net.activations) > 1 and all(0.0 in (act.homogeneous or ()) for act in net.activations)
    catapult = max((CATAPULT_RELU if deep_relu else CATAPULT_LINEAR) * typical, value)
    known = not (b or loss == "cross_entropy") and all(_grows_with_weights(layer) for layer, _ in net.walk())
    return LearningRate(
        value=value,
        lambda_max=fim.largest,
        loss=loss,
        scale=scale,
        momentum=b,
        nesterov=nesterov,
        weight_decay=w,
        catapult_limit=catapult if known else None,
        n_samples=fim.n_samples,
        n_outputs=fim.n_outputs,
        caution=" ".join(filter(None, cautions)),
        confidence=None if confidence is None else float(confidence),
        lambda_quantile=quantile,
        lambda_max_softmax=fisher_statistics(wide, output="softmax").largest
        if loss == "cross_entropy" and not (fim.normalised_by or fim.summed)
        else None,
        standard_error=errors,
        method=method,
        n_wanted=wanted,
        _wide=without_kernels(wide),
    )


def _law(wide: MeanField) -> OutlierDistribution:
    """The law of the largest eigenvalue, or how to do without it."""
    try:
        return law_of(wide)
    except NoTheory as error:
        raise NoTheory(f"{error} {how_to_measure(wide.n_samples, wide.given)}.") from error


def _law_or_none(wide: MeanField) -> OutlierDistribution | None:
    """The law of the largest eigenvalue, where there is one."""
    try:
        return law_of(wide)
    except NoTheory:
        return None


def _errors(fim: FisherStatistics, value: float, scale: float, w: float) -> dict[str, float] | None:
    """Standard errors where units were sampled."""
    if fim.standard_error is None:
        return None
    error, curvature = float(fim.standard_error["largest"]), scale * fim.largest + w
    return {"value": float(value * scale * error / curvature) if curvature else 0.0, "lambda_max": error}


def _require_outputs(loss: str, n_outputs: int) -> None:
    if loss == "cross_entropy" and n_outputs == 1:
        raise ValueError(
            "`loss` = cross_entropy needs two outputs or more, got 1: a softmax of one output is constant."
        )


def _grows_with_weights(layer: Layer) -> bool:
    """Whether it is of networks as the catapult was seen in: no normalisation.

    Nor a layer of one's own that may be one.
    """
    plain = layer.n_weight_layers or layer.activation is not None or layer.homogeneous or layer.relabels
    return not layer.normalises and bool(layer.children or plain)
