"""Theory against simulation of one network."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .._support.validation import checked, input_array, one_of, positive_integer
from ..ensembles.statistics import Ensemble, same_network
from ..ensembles.statistics import ensemble as draw
from ..fisher import fisher_statistics
from ..fisher.normalised import refuse_softmax
from ..jobs.run import check_executor
from ..losses.optimisers import RULES
from ..mean_field import MeanField, as_mean_field
from ..mean_field.runs import jackknife
from ..network import Network
from ..sampled.checks import OUTPUTS
from .claims import Claim, layer_claims, scales, spectrum_claims
from .first_step import FirstSteps, first_steps
from .geometry import geometry_claims
from .jacobian import jacobian_claims
from .softmax import softmax_claims
from .table import Comparison, Row, normal_deviation, three_sigma, three_sigma_of_law

__all__ = ["compare"]

THEORY_ERROR = 1e-9  # of the Gaussian integrals, as a fraction of q or of E[phi'^2], with room for ten layers


def compare(
    net: Network | MeanField,
    n_samples: int | None = None,
    n_networks: int = 20,
    *,
    q0: float | None = None,
    c0: float | None = None,
    inputs: np.ndarray | None = None,
    output: str | None = None,
    rng: Any = None,
    executor: Any = None,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = False,
    dtype: Any = "float64",
    geometry: bool = False,
    jacobian: bool = False,
    first_step: str | None = None,
    ensemble: Ensemble | None = None,
) -> Comparison:
    r"""Compare the theory of a network with sampled networks of its own width.

    Parameters
    ----------
    net, n_samples, n_networks, q0, c0, inputs, output, rng, executor, checkpoint, progress, dtype, geometry, jacobian
        As in `mfdnn.ensemble`; at least two networks. For `net` and its data also a `mfdnn.MeanField`.
    first_step : str, optional
        Name of an optimiser, as in `mfdnn.first_step`: also compare what its first update does to the outputs, with
        networks drawn for that.
    ensemble : Ensemble, optional
        Compare with these networks and draw none. It knows its inputs and outputs: `n_samples`, `q0`, `c0`, `inputs`
        and `output` may be left out.

    Returns
    -------
    Comparison
        With `output` "softmax" the spectrum is that of F_cross (`mfdnn.fisher.softmax_statistics`): C - 1 outliers.

    Raises
    ------
    TypeError, ValueError
        As `mfdnn.ensemble` and `mfdnn.fisher_statistics`; fewer than two networks; an `ensemble` of another
        network, of other inputs or of other outputs.

    Notes
    -----
    A row agrees if simulation and theory differ by at most three sigma and the allowance. Where only the caution of a
    law in doubt makes the allowance so wide, the row is neither: it is "doubtful", `agrees` None, and the table as a
    whole does not agree. Theory is `predicted`, what
    networks of this width have on average, where a law of finite width says it, and infinite width elsewhere:

    - outliers: `mfdnn.finite_width.outlier_distribution`. Its standard deviation over networks is the measure of
      chance, with the skewness of a log-normal law, so that two networks refute as surely as twenty. Where that law
      has a caution (a margin below 4, a relative spread above 0.35) the scatter of the networks is, if it is larger;
    - mean and second moment: `mfdnn.finite_width.traces.fisher_traces`, the 1/M expansion of tr F and tr F^2; also
      behind mean subtraction or batch norm of the outputs, and of softmax outputs;
    - the edge, where the outputs are centred: `mfdnn.centred_edge`.

    Elsewhere, and for the order parameters, sigma are by Student's t: as many standard errors as are as improbable with
    one from so few networks (three sigma are 3.4 of them for 20 networks, 9.2 for 4, 236 for 2, which refute next to
    nothing). Of numbers that are normal over networks chance alone spoils one row in 370, however few they are.
    Of skewed ones it spoils up to five times as many: of products at two inputs of ten outputs behind batch norm
    (skewness 1.2) 1 in 190 with 4 networks, where standard errors alone would spoil 1 in 13, and 1 in 150 with 8 or 20.
    Below 8 networks the table says so.

    What may be left (allowance) beside a prediction at this width, as a fraction of it, with M the smallest width of
    inputs and hidden layers (given inputs do not count: theory knows them):

    ==============  =====================================================================================
    outlier_mean    :math:`0.01 + r^2 + 0.1/T`, r the predicted correction; C > 1: 0.2 C/M more; by the
                    margin of the outlier 0.015 more below 6; of sampled units without
                    a shift 0.03 more; what a caution of the law
                    says (`OutlierDistribution.allowance`; a clearance below 4: 0.08) where it is larger
    lambda_max      the same, and 0.015 for C > 1
    edge            0.05, batch norm 0.06
    mean            :math:`(L/M)^2`; batch norm of the outputs: 2 v more
    second_moment   :math:`0.3 L^4/M^2 + (C/M)^2`; batch norm of the outputs: 8 v more
    ==============  =====================================================================================

    with v the relative scatter of the outputs' products, of order 1/M (`Traces.output_scatter`). Where infinite
    width is all there is, in the notation of `mfdnn.fisher_statistics`, with :math:`A_1, A_2` the mean of the kernel
    on its diagonal and elsewhere, and :math:`\lambda_0` the theory's `largest`:

    =====================  ============================================================================
    q, q_hat (_st)         (3/4) p/M of q, q_hat: behind p pairs of weight layer and activation
    q_tilde (_st), mean    (3/4) (L - 1)/M of q_tilde, of the mean; nothing at the output
    outlier_mean           :math:`A_2 c/M + B'/(A_2 T)` with :math:`c = \kappa_1/(2 \kappa_2) + 5L/4`
    lambda_max             the same, and for C > 1 :math:`(2\sqrt C - 1.2\,C^{-1/6})\sqrt b\,\lambda_0`
    second_moment (P/C)    :math:`B' + \lambda_0^2\,[(2c + L^2/4 + 1)/M + (C + 1)\,b] + 7(L - 1)A_1^2/(TM)`
    =====================  ============================================================================

    With ``geometry=True`` the metric of the features and the tangent kernel: (3/4)(L - 1)/M of the mean; :math:`c/M`
    of the outliers, with :math:`\kappa_1/\kappa_2` and b their own, for the kernel :math:`T B'/s` more with its own B;
    twice that and (C + 1) b of the second moment s. The squared Fisher-Rao norm: (3/2) L/M.

    With ``jacobian=True`` the singular values of the Jacobian behind every weight layer l, squared: (3/4)(l - 1)/M of
    the mean; of the largest, the smallest and the inverse condition number theory has the ends of the spectrum at
    infinite width, and makes no claim.

    With ``first_step="adam"``, or another optimiser, the fall of the loss along its first update per unit rate, T
    times, of the weights and biases of every layer: ``first_step[l]``, and their sum ``first_step_total``. Errors at
    the outputs are drawn once, standard normal, and so are inputs where none are given. Allowance: 0.02 +
    (3/4) (L - 1)/M, for muon 0.3 T/M more, as Grams of M units are not their mean, and in its last layer of C > 1
    outputs :math:`0.2/\sqrt C` more: five Newton-Schulz steps map a singular value to anything from 0.68 to 1.13.

    Chance overlaps of two inputs in layer l, of relative size :math:`M_l^{-1/2}`, are felt by all later
    layers: :math:`B = \sum_{l<L} B_l^2/M_l`, :math:`B_l = \sum_{j>l} M_{j-1} \hat q^{j-1} \tilde q_{st}^j`,
    and :math:`B' = B\,[1 + 3(C + 1)(L - 1)/(2M)]`. The gradients of two outputs overlap with relative variance
    :math:`b = \frac{3}{2M} \sum_{l<L} s_l^2`, :math:`s_l` the part of :math:`A_2 + (A_1 - A_2)/T` from weight layers
    up to l.

    Normalisation adds to them:

    - batch norm in hidden layers takes T values on a sphere for Gaussian ones: 1.5/T of q, q_hat behind it, 2/T of
      errors through each (1/T of the mean, 2/T of the second moment). The mean over z of :math:`I - (1 1^T + z z^T)/T`
      leaves the outlier too large, at T = 10 by a fifth for relu: for exchangeable inputs and :math:`\beta = 0` the
      share :math:`(E\,\phi'')^2/\mathrm{Var}\,\phi'` of what the parameters below add is taken away in `predicted`,
      else all of that may be missing;
    - layer norm of units that are not Gaussian: 3/M of errors through each (1.5/M of the mean, 3/M of the second
      moment). Of C outputs: errors times (C - 2)/(C - 3) (without `eps`), which `predicted` has;
    - mean subtraction: nothing. Its theory is exact at infinite width and any T; the outlier lies about 4.6/M higher
      for relu (L = 3), pushed by the bulk;
    - softmax: 1.5 L/M of the mean and twice that of the second moment, for outputs that scatter; c/M of the
      largest outlier for each; beside the error of averages over 10 drawn sets of outputs, which is in the deviation.

    The forms are those of the 1/M expansion; the numbers in them are round ones that cover simulations of tanh, erf,
    sin, relu, silu, gelu, sigmoid, linear and residual networks at M = 20 to 200, T = 2 to 300, C = 1 to 10, L = 1 to 5
    (order parameters: to 12), normalised ones of tanh, relu and linear at M = 40 to 100.

    Theory makes no claim, the allowance is inf, `agrees` None, and a note says why, in these cases:

    - no eigenvalue stands clear of the bulk: the law refuses it, or :math:`c/M \ge 1/3` or
      :math:`T \le \kappa_1/\kappa_2`; the edge of a bulk of which no law is known, or that has a caution;
    - the allowance exceeds a third of an order parameter, of the mean or of an outlier, half of the largest of several,
      all of a second moment. (Products at two inputs have allowances on the scale of the squares, which can exceed
      them by far in chaotic networks; where theory gives 0 for them, the claim is that they are small beside the
      squares.)
    - 1/sigma^2 scatters without bound: batch norm of the outputs with fewer than 10 samples, layer norm of five
      outputs or fewer;
    - the mean of the C - 1 largest behind layer norm of the outputs, which differ in the limit already.

    Examples
    --------
    >>> import mfdnn
    >>> net = mfdnn.mlp([100, 100, 100, 1], "tanh", sigma_w2=3.0, sigma_b2=0.64)
    >>> table = mfdnn.compare(net, n_samples=50, n_networks=20, rng=0)
    >>> table
    Comparison(22 of 22 rows agree, 20 networks, T=50)
    >>> row = table.row("lambda_max")
    >>> print(f"{row.theory:.1f} at infinite width, {row.predicted:.1f} at this one, {row.simulation:.1f} simulated")
    29.0 at infinite width, 29.9 at this one, 29.6 simulated
    """
    steps: FirstSteps | None = None
    if ensemble is None:
        n_networks = positive_integer("n_networks", n_networks, minimum=2)
        checked(rng=rng, checkpoint=checkpoint, progress=progress, geometry=geometry, jacobian=jacobian)
        if first_step is not None:
            one_of("first_step", first_step, RULES)
        output = "linear" if output is None else one_of("output", output, OUTPUTS)
        check_executor(executor)
        wide = as_mean_field(net, n_samples, q0, c0, inputs=inputs)
        wide.require_single()
        if output == "softmax":
            refuse_softmax(wide.network)
        fisher_statistics(wide)  # what has no theory is refused before networks are drawn
        if first_step is not None:
            run: dict[str, Any] = {"executor": executor, "progress": progress, "dtype": dtype}
            steps = first_steps(wide, first_step, n_networks, rng=_other(rng), **run)
        ensemble = draw(
            wide.network,
            n_networks=n_networks,
            **wide.data,
            output=output,
            rng=rng,
            executor=executor,
            checkpoint=checkpoint,
            progress=progress,
            dtype=dtype,
            geometry=geometry,
            jacobian=jacobian,
        )
    elif first_step is not None:
        raise ValueError("`first_step` draws networks of its own, and goes without `ensemble`; drop one of them.")
    elif isinstance(net, MeanField):
        wide = as_mean_field(net, n_samples, q0, c0, inputs=inputs)
        wide.require_single()
        _check_ensemble(ensemble, wide.network, output, **wide.data)
    else:
        _check_ensemble(ensemble, net, output, n_samples, q0, c0, inputs)
        if ensemble.inputs is None:
            wide = MeanField(net, ensemble.n_samples, ensemble.q0, ensemble.c0)
        else:
            wide = MeanField(net, inputs=ensemble.inputs)
    rounding = max(THEORY_ERROR, 1e3 * float(np.finfo(ensemble.dtype).eps))
    claims = _claims(wide, ensemble, rounding)
    if wide.sampled:
        claims = _with_errors(claims, [_claims(one, ensemble, rounding) for one in wide.without_one_run()])
    rows = [
        _row(ensemble, claim, rounding)
        for claim in claims
        if claim.quantity.split("[")[0] in ensemble.mean  # products at two inputs need two inputs
    ]
    if steps is not None:
        rows += [_row(steps, claim, rounding) for claim in steps.claims(scales(wide, fisher_statistics(wide)))]
    return Comparison(tuple(rows), wide.network, ensemble.n_samples, ensemble.n_networks, ensemble.output)


def _claims(wide: MeanField, ensemble: Ensemble, rounding: float) -> list[Claim]:
    """What theory says of all that was measured."""
    fim = fisher_statistics(wide)
    sizes = scales(wide, fim)
    if ensemble.output == "softmax":
        spectrum = softmax_claims(wide, fim, ensemble, sizes)
    else:
        spectrum = spectrum_claims(wide, fim, sizes, rounding)
    metrics = geometry_claims(wide, fim, ensemble, sizes) if "feature_mean" in ensemble.mean else ()
    singular = jacobian_claims(wide, sizes, rounding) if "jacobian_mean" in ensemble.mean else ()
    return [*spectrum, *metrics, *singular, *layer_claims(wide, fim, sizes, rounding)]


def _with_errors(claims: list[Claim], without_one_run: list[list[Claim]]) -> list[Claim]:
    """With the standard errors of a theory that samples units."""
    found = []
    for claim, *others in zip(claims, *without_one_run, strict=True):
        error = float(jackknife([other.theory for other in others]))
        found.append(claim._replace(theory_error=float(np.hypot(claim.theory_error, error))))
    return found


def _other(rng: Any) -> Any:
    """Of a number another stream than that of the networks; a generator moves on."""
    return np.random.SeedSequence(rng, spawn_key=(1,)) if isinstance(rng, int | np.integer) else rng


def _row(ensemble: Ensemble | FirstSteps, claim: Claim, rounding: float) -> Row:
    quantity, _, index = claim.quantity.partition("[")
    simulation, error = ensemble.mean[quantity], ensemble.standard_error[quantity]
    if index:
        position = int(index[:-1]) - (0 if quantity.startswith("q_hat") else 1)
        simulation, error = simulation[position], error[position]
    expected = claim.theory if claim.predicted is None else claim.predicted
    difference = float(simulation) - expected
    rounding *= claim.scale
    known = None if claim.spread is None else float(claim.spread / np.sqrt(ensemble.n_networks))
    measure = float(np.hypot(error, claim.theory_error)) if known is None else known
    if abs(difference) <= rounding:
        deviation = 0.0  # both are exact, as q_tilde = 1 at the output, and their spread is rounding noise
    else:
        deviation = difference / measure if measure > 0 else np.copysign(np.inf, difference)
        if known is None:
            deviation = normal_deviation(deviation, ensemble.n_networks)
    chance = measure * three_sigma(ensemble.n_networks)
    if claim.spread is not None:
        sampled = float(error) * three_sigma(ensemble.n_networks) if claim.doubtful else 0.0
        chance = max(measure * three_sigma_of_law(claim.spread / expected, ensemble.n_networks), sampled)
    agrees = None
    if claim.allowance < np.inf:
        within = chance + claim.allowance + rounding
        agrees = bool(abs(difference) <= within)
        if agrees and abs(difference) > within - claim.doubt:
            agrees = None
    return Row(
        quantity=claim.quantity,
        theory=claim.theory,
        predicted=None if claim.predicted is None else float(claim.predicted),
        simulation=float(simulation),
        standard_error=float(error),
        predicted_error=known,
        deviation=float(deviation),
        allowance=float(claim.allowance),
        agrees=agrees,
        note=claim.note,
        theory_error=float(claim.theory_error),
    )


def _check_ensemble(
    ensemble: Any,
    net: Network,
    output: str | None,
    n_samples: int | None = None,
    q0: float | None = None,
    c0: float | None = None,
    inputs: np.ndarray | None = None,
) -> None:
    if not isinstance(ensemble, Ensemble):
        raise TypeError(
            f"`ensemble` must be an Ensemble, got {type(ensemble).__name__}; make one with mfdnn.ensemble."
        )
    if ensemble.n_networks < 2:
        raise ValueError("`ensemble` must hold at least two networks for a standard error; draw more.")
    if not same_network(ensemble.network, net):
        raise ValueError(f"`ensemble` was drawn from {ensemble.network}, not from {net}; draw another.")
    if output not in (None, ensemble.output):
        raise ValueError(
            f"`ensemble` measured the Fisher information of {ensemble.output} outputs, not of {output}; drop `output`, "
            "or draw another."
        )
    same = n_samples in (None, ensemble.n_samples) and q0 in (None, ensemble.q0) and c0 in (None, ensemble.c0)
    if inputs is not None:
        inputs = input_array("inputs", inputs, net.input_shape)
        same = same and ensemble.inputs is not None and np.array_equal(inputs, ensemble.inputs)
    if not same:
        raise ValueError(
            "`ensemble` was drawn with other inputs than `n_samples`, `q0`, `c0` or `inputs` say; drop them."
        )
