"""First update of an optimiser and its critical rate, before a network is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._support.blas import single_blas_thread
from ..._support.errors import NoTheory, OutOfRange
from ..._support.validation import checked, one_of, positive_integer
from ...datasets import gaussian_inputs
from ...finite_width.outliers import law_of
from ...losses import LOSSES
from ...losses.values import checked_targets
from ...mean_field import MeanField, as_mean_field
from ...mean_field.inputs import advice
from ...network import Network
from .cautions import cautions_of
from .draws import drawn_steps, drawn_targets, error_of_median, quantile_of_draws
from .parameterisation import PARAMETERISATIONS, parameterised
from .response import step_response
from .result import FirstStep
from .rules import KERNEL_SHARE, checked_update

__all__ = ["first_step", "on_inputs"]

SAMPLES = 100  # inputs drawn where nothing is said of them
FEWEST_DRAWS = 2  # of outputs, or there is no error
LARGEST_TARGET = 1e60  # fourth powers of errors are still numbers


def first_step(
    net: Network | MeanField,
    optimizer: str = "adam",
    n_samples: int | None = None,
    q0: float | None = None,
    c0: float | None = None,
    *,
    inputs: np.ndarray | None = None,
    targets: Any = None,
    loss: str = "half_mse",
    eps: float = 1e-8,
    momentum: float = 0.0,
    nesterov: bool = False,
    adjust: str = "original",
    weight_decay: float = 0.0,
    parameterisation: str = "standard",
    n_draws: int = 30,
    rng: Any = 0,
) -> FirstStep:
    r"""First update of an optimiser in a wide network, and its critical rate.

    The update :math:`\theta \to \theta - \eta U` changes the outputs on a batch by :math:`-\eta D`. In a wide network
    :math:`D` depends on the errors :math:`e = T\, \partial E/\partial f` and on order parameters: for gradient descent
    it is :math:`\Theta e/T`; for Adam and its kin, whose U is :math:`G/(|G| + \epsilon)`, an average over pairs of
    units; for Muon a geometric mean of two Gram matrices, those of sampled units where T > 0.15 M. One step brings the
    loss back to where it was at

    .. math:: \eta = \frac{2\, e \cdot D}{D \cdot Q D},

    were the outputs linear in the rate, Q the Hessian of the loss in the outputs. Outputs :math:`f_0` are drawn from
    their law, and numbers are medians over draws.

    Parameters
    ----------
    net : Network or MeanField
        Fully connected, of Dense and Pointwise layers; for sgd (and radam, whose first step is that of sgd) any network
        with a tangent kernel.
    optimizer : str
        "sgd", "signsgd", "lion", "adam", "adamw", "nadam", "radam", "adamax", "adagrad", "rmsprop" (alpha 0.99) or
        "muon", as PyTorch defines them; betas cancel in the first step, with the bias correction. Muon orthogonalises
        by five steps of Newton and Schulz, and leaves biases to AdamW at the same rate.
    n_samples, q0, c0, inputs
        The inputs, or the number (default 100), mean square and correlation of Gaussian ones that are drawn.
    targets : array_like, shape (T, C), or integer labels (T,), optional
        Default: drawn with the outputs, one class of C >= 2 or a standard normal number for C = 1.
    loss : str
        One of `mfdnn.losses.LOSSES`.
    eps : float
        :math:`\epsilon` beside the root in the denominator, where the optimiser has one (for Muon that of the biases).
    momentum, nesterov
        Of sgd, rmsprop and muon. Only Nesterov's matters to a first step, and not to Muon's: (1 + b) G.
    adjust : {"original", "match_rms_adamw", "spectral_unclamped"}
        How Muon's rate depends on the shape of a matrix. In muP always the last.
    weight_decay : float
        L2 decay counts in the gradient of Adam's kin. Decoupled decay, and that of sgd, moves the outputs by a vector
        of mean 0 and order 1, and is left out.
    parameterisation : {"standard", "ntk", "mup"}
        What is trained at one rate: W and b; or :math:`\omega` and :math:`\beta` of variance 1, :math:`W = \sigma_w
        \omega/\sqrt{M}`; or W and b with the rates and the last variance of the maximal update parameterisation:
        rates fan-out/fan-in of sgd and 1/fan-in of Adam's kin, where inputs, outputs and biases have a fan of 1 on
        their side, and :math:`\sigma_w^2/M^2` of the last weights.
    n_draws : int
        Of outputs, and of labels if there are none: 2 or more.
    rng : int, numpy.random.Generator, ...
        Of inputs, labels, outputs and pairs of units. The default gives the same numbers every time.

    Returns
    -------
    FirstStep
        With `.critical_learning_rate`, its `.band`, `.response`, `.by_layer` and `.caution`.

    Raises
    ------
    ValueError
        Unknown `optimizer`, `loss`, `adjust` or `parameterisation`, settings that the optimiser does not have, `eps` <
        0, targets of another shape, labels that are no output, and what `order_parameters` raises. `NoTheory`: layers
        other than Dense and Pointwise, but for sgd.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([64, 1024, 1024, 1024, 10], "relu", init="he")
    >>> step = mfdnn.first_step(net, "adam", 64)
    >>> f"a rate of 1e-3 moves the outputs by {1e-3 * step.response:.2g}, {step.critical_learning_rate:.1e} is critical"
    'a rate of 1e-3 moves the outputs by 6.4, 3.5e-04 is critical'
    >>> step.by_layer.round(3)
    array([0.014, 0.422, 0.495, 0.068])

    Notes
    -----
    D is exact to leading order in 1/M: at given errors e.D of sampled networks agrees within 3 % for widths from 128
    and L up to 4, by Muon within 6 %. The critical rate is exact where outputs are linear in the rate: of squared
    errors and L/sqrt(M) up to 0.3 fresh networks' own critical rates, found by line search, were 0.8 to 1.7 times the
    one predicted in the median; elsewhere `caution` says by how much it is off. It is a property of the first step
    alone: the best rate for 150 steps was 0.25 to 4 times it, which makes it the middle of a sweep, or where a warm-up
    may start.

    Cost: for T = 100, C = 10 and L = 8 under a second for Adam's kin, half of one for Muon; O(L T^2 C) for each of some
    3000 pairs of units that are sampled in a layer, or L `n_draws` eigenvalue problems of T x T for Muon.

    References
    ----------
    Kingma & Ba 2015, arXiv:1412.6980 (Adam). Chen et al. 2023, arXiv:2302.06675 (Lion). Jordan et al. 2024, "Muon: an
    optimizer for hidden layers in neural networks". Yang et al. 2022, arXiv:2203.03466 (muP).
    """
    update = checked_update(
        optimizer, eps=eps, momentum=momentum, nesterov=nesterov, adjust=adjust, weight_decay=weight_decay
    )
    one_of("loss", loss, LOSSES)
    one_of("parameterisation", parameterisation, PARAMETERISATIONS)
    n_draws, rng = checked(n_draws=n_draws, rng=rng)
    positive_integer("n_draws", n_draws, minimum=FEWEST_DRAWS)
    of_inputs, of_labels, of_outputs, of_units = np.random.default_rng(rng).spawn(4)
    given = net.given if isinstance(net, MeanField) else inputs is not None
    wide = parameterised(on_inputs(net, n_samples, q0, c0, inputs, of_inputs), parameterisation)
    n_outputs = wide.network.n_outputs
    if targets is None:
        checked_targets(np.zeros((1, n_outputs)), "half_mse" if n_outputs > 1 else loss, 1, n_outputs, np.dtype(float))
        labels = "one-hot" if n_outputs > 1 else "gaussian"
        y = drawn_targets(labels, (n_draws, wide.n_samples, n_outputs), of_labels)
    else:
        labels = "given"
        y = checked_targets(targets, loss, wide.n_samples, n_outputs, np.dtype(float), "targets")
        if np.abs(y).max() > LARGEST_TARGET:
            raise ValueError(
                f"`targets` reach {np.abs(y).max():.3g}, and products of their errors are infinite; scale them to the "
                "size of the outputs."
            )
    response = step_response(wide, update, parameterisation)
    f = wide.outputs.draw(wide.n_samples, n_outputs, n_draws, of_outputs)
    with single_blas_thread():  # many small products: several threads wait for each other
        draws = drawn_steps(response, f, y, loss, of_units)
    directional = float(np.median(draws.directional))
    learnt = bool(np.isfinite(directional))
    cap = 4 / draws.speed if draws.speed else None
    rates = draws.directional if cap is None else np.minimum(draws.directional, cap)
    deviation = _kernel_spread(wide)
    spread = (deviation or 0.0) * KERNEL_SHARE[update.family] if learnt else 0.0
    low, high = (float(q) for q in quantile_of_draws(rates, spread, np.array([1 - 0.95, 0.95])))
    validity = None if draws.speed is None else directional * draws.speed if learnt else 0.0
    errors = {"response": draws.response, "directional": draws.directional, "critical_learning_rate": rates}
    return FirstStep(
        response=float(np.median(draws.response)),
        by_layer=np.median(draws.shares, axis=0),
        bias_share=float(np.median(draws.bias_share)),
        directional=directional,
        validity=validity,
        cap=cap,
        band=(low, high),
        standard_error={name: error_of_median(values) for name, values in errors.items()},
        optimizer=update.optimiser.name,
        loss=loss,
        parameterisation=parameterisation,
        labels=labels,
        inputs="given" if given else "gaussian",
        n_samples=wide.n_samples,
        n_outputs=n_outputs,
        n_draws=n_draws,
        caution=" ".join(cautions_of(response, loss, parameterisation, validity, learnt, deviation is not None)),
        _directional=draws.directional,
        _rates=rates,
        _spread=spread,
    )


def on_inputs(
    net: Network | MeanField, n_samples: int | None, q0: Any, c0: Any, inputs: Any, rng: np.random.Generator
) -> MeanField:
    """The network on given inputs, or on Gaussian ones that are drawn."""
    if isinstance(net, Network) and inputs is None and n_samples is None:
        n_samples = SAMPLES
    wide = as_mean_field(net, n_samples, q0, c0, inputs=inputs)
    wide.require_single()
    if wide.given:
        return wide
    net, drawn = wide.network, wide.data
    X = gaussian_inputs(drawn["n_samples"], net.n_inputs, drawn["q0"], drawn["c0"], rng=rng)
    try:
        return MeanField(net, inputs=X, n_units=wide.n_units)
    except OutOfRange as error:
        raise OutOfRange(error.fact, advice(None, wide.q0)) from None


def _kernel_spread(wide: MeanField) -> float | None:
    """Deviation over networks of the logarithm of the largest eigenvalue.

    None where it has no law; 0 of one weight layer, whose kernel is not random.
    """
    if wide.network.n_weight_layers == 1:
        return 0.0
    try:
        law = law_of(wide)
    except (NoTheory, OutOfRange):
        return None
    return float(np.sqrt(law.A + 2 * law.B) / law.lambda_0)
