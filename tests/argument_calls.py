"""A tiny valid call of every public function, constructor and method: what test_arguments.py spoils."""

import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import mfdnn
from mfdnn import datasets, learning_rate, losses, papers, phase, plots, training

_folder = tempfile.TemporaryDirectory(prefix="mfdnn-arguments-")  # until the process ends
FOLDER = Path(_folder.name)


@cache
def setting():
    """Networks, data and results that the calls share."""
    net = mfdnn.mlp([4, 5, 2], "tanh", sigma_w2=1.5, sigma_b2=0.1)
    square = mfdnn.mlp([4, 4, 4], "tanh", sigma_w2=1.5, sigma_b2=0.1)
    one = mfdnn.sample(net, rng=0)
    X = np.random.default_rng(1).standard_normal((6, 4))
    Y = np.ones((6, 2))
    fim = mfdnn.fisher_statistics(net, 6)
    theory = {"net": net, "n_samples": 6}
    single = {"phi": "relu", "sigma_w2": 1.5, "sigma_b2": 0.1}  # no tables: a variance of 1e308 takes no time
    drawn = {**theory, "n_networks": 2, "rng": 0}
    spectrum = mfdnn.fisher_spectrum(one, X, k=1, eigenvectors=True)
    mu, u = mfdnn.ntk_from_fisher(one, X, spectrum.eigenvalues, spectrum.eigenvectors)
    standing = {"net": mfdnn.mlp([50, 100, 100, 1], "relu", 2.0, 0.1), "n_samples": 20}  # with a clear outlier
    law = mfdnn.outlier_distribution(**standing)
    grid = mfdnn.phase_diagram("tanh", [1.0, 2.0], [0.05, 0.1])
    spread = mfdnn.spread_map("tanh", 1.5, 0.1, [2, 3], [50, 100], 6)
    rates = {
        "net": lambda M: mfdnn.mlp([4, M, 2], "tanh"), "widths": [5, 6], "learning_rates": [0.1, 0.2], "n_steps": 2,
        "n_samples": 6, "n_trials": 1, "rng": 0,
    }  # fmt: skip
    rate_map = mfdnn.learning_rate_map(**rates)
    table = mfdnn.compare(**drawn)
    op = mfdnn.order_parameters(net)
    report = mfdnn.report(**drawn)
    swept = {
        "inputs": 4, "outputs": 1, "width": [5], "depth": 2, "sigma_w2": 1.5, "n_samples": 5,
        "quantities": ["theory_lambda_max"],
    }  # fmt: skip
    sweep = mfdnn.sweep(swept)
    fixed = mfdnn.variance_fixed_points("tanh", 1.5, 0.1)
    grid.save(FOLDER / "grid.npz")
    optimiser = {"loss": "half_mse", "momentum": 0.5}
    trained = {"net": net, "inputs": X, "targets": Y, "learning_rate": 0.01}
    path = mfdnn.kernel_training(**trained)
    path_of_one = mfdnn.kernel_training(**trained, initial=one(X))
    scaled = mfdnn.sampled.rescaled(one, 2.0)
    unit = {"X": np.eye(3, 4), "y": [1.0, -1.0, 2.0]}
    return SimpleNamespace(**locals())


def _module_rate():
    """What `mfdnn.pytorch.learning_rate` returns, without PyTorch."""
    from mfdnn.pytorch.answer import ModuleLearningRate

    along = {"rate": np.array([0.0, 0.1, 0.2]), "loss": np.array([1.0, 0.9, 1.0])}
    rates = {"rate": 0.2, "factor": 2.0, "current": 0.1, "groups": (0.1,), "directional": 0.2, "critical": 0.2}
    rest = {"response": 0.1, "by_layer": {"0": 0.4, "1": 0.6}, "crossings": (0.2,), "stable": None, "no_stable": "so"}
    names = {"loss": "MSELoss", "optimizer": "SGD", "first_loss": 1.0, "slope": 2.0, "n_samples": 3, "n_outputs": 1}
    return ModuleLearningRate(**rates, **rest, **names, along=along, any_softmax=None, passes=9, caution="")


def _saved(result, name):
    result.save(FOLDER / name)
    return FOLDER / name


# Name to (callable, its valid arguments); arguments left out keep their defaults.
CALLS = {
    "Activation": lambda s: (mfdnn.Activation, {"name": "mine", "function": np.tanh}),
    "Activation.__call__": lambda s: (mfdnn.activation("tanh"), {"x": np.ones(2)}),
    "Activation.slope": lambda s: (mfdnn.activation("tanh").slope, {"x": np.ones(2)}),
    "Activation.curvature": lambda s: (mfdnn.activation("tanh").curvature, {"x": np.ones(2)}),
    "AveragePool": lambda s: (mfdnn.AveragePool, {"size": 2}),
    "BatchNorm": lambda s: (mfdnn.BatchNorm, {}),
    "Conv": lambda s: (mfdnn.Conv, {"channels": 3}),
    "Dense": lambda s: (mfdnn.Dense, {"units": 3}),
    "Dropout": lambda s: (mfdnn.Dropout, {"keep_rate": 0.5}),
    "Flatten": lambda s: (mfdnn.Flatten, {}),
    "Gate": lambda s: (mfdnn.Gate, {"left": mfdnn.Dense(3), "right": [mfdnn.Dense(3)], "phi": "tanh"}),
    "GlobalAveragePool": lambda s: (mfdnn.GlobalAveragePool, {}),
    "GroupNorm": lambda s: (mfdnn.GroupNorm, {"groups": 2}),
    "Layer": lambda s: (mfdnn.Layer, {}),
    "LayerNorm": lambda s: (mfdnn.LayerNorm, {}),
    "MaxPool": lambda s: (mfdnn.MaxPool, {"size": 2}),
    "MeanField": lambda s: (mfdnn.MeanField, s.theory),
    "MeanSubtraction": lambda s: (mfdnn.MeanSubtraction, {}),
    "Network": lambda s: (mfdnn.Network, {"input_shape": 3, "layers": [mfdnn.Dense(2)]}),
    "Network.from_dict": lambda s: (mfdnn.Network.from_dict, {"description": s.net.to_dict()}),
    "Pointwise": lambda s: (mfdnn.Pointwise, {"phi": "tanh"}),
    "RMSNorm": lambda s: (mfdnn.RMSNorm, {}),
    "resnet2d": lambda s: (mfdnn.resnet2d, {"input_shape": (2, 4, 4), "n_outputs": 2, "channels": 3}),
    "Residual": lambda s: (mfdnn.Residual, {"layers": [mfdnn.Dense(4)]}),
    "SampledNetwork": lambda s: (mfdnn.SampledNetwork, {"network": s.net, "parameters": s.one.parameters}),
    "SampledNetwork.__call__": lambda s: (s.one, {"X": s.X}),
    "SampledNetwork.at": lambda s: (s.one.at, {"vector": s.one.vector}),
    "SampledNetwork.activity": lambda s: (s.one.activity, {"X": s.X}),
    "SampledNetwork.flatten": lambda s: (s.one.flatten, {"pairs": s.one.parameters}),
    "SampledNetwork.jvp": lambda s: (s.one.jvp, {"X": s.X, "v": np.ones(s.one.n_parameters)}),
    "SampledNetwork.linearise": lambda s: (s.one.linearise, {"X": s.X}),
    "SampledNetwork.unflatten": lambda s: (s.one.unflatten, {"vector": np.ones(s.one.n_parameters)}),
    "SampledNetwork.vjp": lambda s: (s.one.vjp, {"X": s.X, "u": s.Y}),
    "activation": lambda s: (mfdnn.activation, {"phi": "leaky_relu", "slope": 0.1}),
    "activation_names": lambda s: (mfdnn.activation_names, {}),
    "batch_norm_fixed_point": lambda s: (mfdnn.batch_norm_fixed_point, {"phi": "tanh", "batch_size": 5}),
    "catapult_trajectory": lambda s: (
        mfdnn.catapult_trajectory,
        {"f": 1.0, "curvature": 3.0, "learning_rate": 0.1, "n_steps": 3},
    ),
    "centred_edge": lambda s: (mfdnn.centred_edge, s.theory),
    "compare": lambda s: (mfdnn.compare, s.drawn),
    "Comparison.row": lambda s: (s.table.row, {"name": s.table.rows[0].quantity}),
    "correlation_decay": lambda s: (mfdnn.correlation_decay, s.single),
    "correlation_map": lambda s: (mfdnn.correlation_map, {**s.single, "c": 0.5}),
    "critical_line": lambda s: (mfdnn.critical_line, {"phi": "tanh", "q": [0.5, 1.0]}),
    "critical_point": lambda s: (mfdnn.critical_point, {"phi": "tanh", "sigma_b2": 0.1}),
    "critical_sigma_w2": lambda s: (mfdnn.critical_sigma_w2, {"phi": "tanh", "sigma_b2": 0.1}),
    "curve_geometry": lambda s: (mfdnn.curve_geometry, {**s.single, "depth": 3}),
    "empirical_ntk": lambda s: (mfdnn.empirical_ntk, {"one": s.one, "X": s.X}),
    "ensemble": lambda s: (mfdnn.ensemble, s.drawn),
    "expect": lambda s: (mfdnn.expect, {"phi": "tanh", "q": 1.0}),
    "expect_product": lambda s: (mfdnn.expect_product, {"phi": "tanh", "q": 1.0, "c": 0.5}),
    "feature_spectrum": lambda s: (mfdnn.feature_spectrum, {"one": s.one, "X": s.X}),
    "feature_statistics": lambda s: (mfdnn.feature_statistics, s.theory),
    "fisher_from_ntk": lambda s: (
        mfdnn.fisher_from_ntk,
        {"one": s.one, "X": s.X, "eigenvalues": s.mu, "eigenvectors": s.u},
    ),
    "fisher_rao_statistics": lambda s: (mfdnn.fisher_rao_statistics, {"net": s.net}),
    "fisher_spectrum": lambda s: (mfdnn.fisher_spectrum, {"one": s.one, "X": s.X, "k": 1}),
    "fisher_statistics": lambda s: (mfdnn.fisher_statistics, s.theory),
    "fixed_point": lambda s: (mfdnn.fixed_point, s.single),
    "isometric_init": lambda s: (mfdnn.isometric_init, {"phi": "tanh", "depth": 3, "variance": 0.1}),
    "conditional_fisher": lambda s: (
        mfdnn.conditional_fisher,
        {"net": s.square, "q_hat": [1.0, 0.5], "grid": [0.5, 1.0]},
    ),
    "ConditionalFisher.cdf": lambda s: (mfdnn.conditional_fisher(s.square, grid=[1.0]).cdf, {"x": [0.5, 1.0]}),
    "jacobian_moments": lambda s: (mfdnn.jacobian_moments, {"net": s.net}),
    "jacobian_spectrum": lambda s: (mfdnn.jacobian_spectrum, {"net": s.net, "grid": [0.5, 1.0]}),
    "JacobianSpectrum.cdf": lambda s: (mfdnn.jacobian_spectrum(s.net, [1.0]).cdf, {"x": [0.5, 1.0]}),
    "JacobianSpectrum.plot": lambda s: (mfdnn.jacobian_spectrum(s.net).plot, {}),
    "kernel_training": lambda s: (mfdnn.kernel_training, {**s.trained, **s.optimiser}),
    "KernelTraining.covariance": lambda s: (s.path.covariance, {"t": 2, "inputs": s.X[:2]}),
    "KernelTraining.expected_loss": lambda s: (s.path.expected_loss, {"t": 2}),
    "KernelTraining.loss": lambda s: (s.path.loss, {"t": 2}),
    "KernelTraining.outputs": lambda s: (s.path_of_one.outputs, {"t": 2, "inputs": s.X[:2], "initial": s.Y[:2]}),
    "KernelTraining.ridge": lambda s: (s.path.ridge, {"inputs": s.X[:2], "penalty": 0.1}),
    "KernelTraining.ridgeless": lambda s: (s.path_of_one.ridgeless, {"inputs": s.X[:2], "initial": s.Y[:2]}),
    "learning_rate_map": lambda s: (mfdnn.learning_rate_map, s.rates),
    "LearningRateMap.load": lambda s: (mfdnn.LearningRateMap.load, {"path": _saved(s.rate_map, "rates.npz")}),
    "LearningRateMap.plot": lambda s: (s.rate_map.plot, {}),
    "LearningRateMap.save": lambda s: (s.rate_map.save, {"path": FOLDER / "rates.npz"}),
    "max_learning_rate": lambda s: (mfdnn.max_learning_rate, {**s.theory, **s.optimiser, "batch_size": None}),
    "first_step": lambda s: (mfdnn.first_step, {**s.theory, "n_draws": 2}),
    "FirstStep.quantile": lambda s: (mfdnn.first_step(s.net, "sgd", 6, n_draws=2).quantile, {"p": 0.5}),
    "scaling_exponents": lambda s: (mfdnn.scaling_exponents, {"net": s.net, "sizes": [5, 6]}),
    "LearningRate.zone": lambda s: (mfdnn.max_learning_rate(s.net, 6).zone, {"eta": 0.1}),
    "cnn": lambda s: (mfdnn.cnn, {"input_shape": (2, 4, 4), "channels": [3], "n_outputs": 2}),
    "mlp": lambda s: (mfdnn.mlp, {"widths": [3, 4, 2], "activation": "tanh"}),
    "natural_gradient_rate": lambda s: (mfdnn.natural_gradient_rate, s.theory),
    "nngp": lambda s: (mfdnn.nngp, {"net": s.net, "inputs": s.X}),
    "kernel_spectrum": lambda s: (mfdnn.kernel_spectrum, s.theory),
    "ntk": lambda s: (mfdnn.ntk, {"net": s.net, "inputs": s.X}),
    "ntk_from_fisher": lambda s: (
        mfdnn.ntk_from_fisher,
        {"one": s.one, "X": s.X, "eigenvalues": s.spectrum.eigenvalues, "eigenvectors": s.spectrum.eigenvectors},
    ),
    "ntk_statistics": lambda s: (mfdnn.ntk_statistics, s.theory),
    "order_parameters": lambda s: (mfdnn.order_parameters, {"net": s.net}),
    "OrderParameters.averaged": lambda s: (s.op.averaged, {"name": "q"}),
    "outlier_distribution": lambda s: (mfdnn.outlier_distribution, s.standing),
    "OutlierDistribution.quantile": lambda s: (s.law.quantile, {"p": 0.5}),
    "OutlierDistribution.sample": lambda s: (s.law.sample, {"n": 3, "rng": 0}),
    "phase_diagram": lambda s: (mfdnn.phase_diagram, {"phi": "relu", "sigma_w2": [1.0, 2.0], "sigma_b2": [0.05]}),
    "PhaseDiagram.edge": lambda s: (s.grid.edge, {}),
    "PhaseDiagram.load": lambda s: (mfdnn.PhaseDiagram.load, {"path": FOLDER / "grid.npz"}),
    "PhaseDiagram.plot": lambda s: (s.grid.plot, {}),
    "PhaseDiagram.save": lambda s: (s.grid.save, {"path": FOLDER / "grid.npz"}),
    "report": lambda s: (mfdnn.report, s.drawn),
    "Report.save": lambda s: (s.report.save, {"path": FOLDER / "report.png"}),
    "resnet": lambda s: (mfdnn.resnet, {"widths": [3, 4, 2], "n_blocks": 2}),
    "sample": lambda s: (mfdnn.sample, {"net": s.net, "rng": 0}),
    "softmax_statistics": lambda s: (mfdnn.softmax_statistics, {"fim": s.fim, "n_draws": 2}),
    "spread_map": lambda s: (mfdnn.spread_map, {**s.single, "depths": [3], "widths": [50], "n_samples": 50}),
    "SpreadMap.load": lambda s: (mfdnn.SpreadMap.load, {"path": _saved(s.spread, "spread.npz")}),
    "SpreadMap.plot": lambda s: (s.spread.plot, {}),
    "SpreadMap.save": lambda s: (s.spread.save, {"path": FOLDER / "spread.npz"}),
    "squared_fisher_rao_norm": lambda s: (mfdnn.squared_fisher_rao_norm, {"one": s.one, "X": s.X}),
    "sweep": lambda s: (mfdnn.sweep, {"spec": s.swept}),
    "Sweep.save": lambda s: (s.sweep.save, {"path": FOLDER / "sweep.csv"}),
    "train": lambda s: (
        mfdnn.train,
        {"one": s.one, "X": s.X, "Y": s.Y, "learning_rate": 0.1, "n_steps": 2, "batch_size": 3, **s.optimiser},
    ),
    "training.critical_rate": lambda s: (
        mfdnn.training.critical_rate,
        {"one": s.one, "X": s.X, "Y": s.Y, "optimizer": "sgd", **s.optimiser},
    ),
    "trajectory": lambda s: (mfdnn.trajectory, {**s.single, "depth": 3}),
    "two_layer_theory": lambda s: (mfdnn.two_layer_theory, s.unit),
    "TwoLayerTheory.bound": lambda s: (mfdnn.two_layer_theory(**s.unit).bound, {"k": 3, "eta": 0.1}),
    "TwoLayerTheory.generalisation": lambda s: (
        mfdnn.two_layer_theory(**s.unit).generalisation,
        {"y": [1.0, 2.0, 3.0]},
    ),
    "TwoLayerTheory.predicted_residual": lambda s: (
        mfdnn.two_layer_theory(**s.unit).predicted_residual,
        {"eta": 0.1, "k": 3},
    ),
    "TwoLayerTheory.required_width": lambda s: (mfdnn.two_layer_theory(**s.unit).required_width, {"delta": 0.1}),
    "universality_class": lambda s: (mfdnn.universality_class, {"phi": "tanh"}),
    "variance_fixed_points": lambda s: (mfdnn.variance_fixed_points, s.single),
    "VarianceFixedPoints.basin": lambda s: (s.fixed.basin, {"index": 0}),
    "VarianceFixedPoints.reached_from": lambda s: (s.fixed.reached_from, {"q0": 1.0}),
    "variance_map": lambda s: (mfdnn.variance_map, {**s.single, "q": 1.0}),
    "width_for_spread": lambda s: (mfdnn.width_for_spread, {**s.standing, "spread": 0.2}),
    # of the rooms
    "comparison.hidden_rank": lambda s: (
        mfdnn.comparison.hidden_rank,
        {**s.unit, "n_steps": 2, "n_trials": 1, "rng": 0},
    ),
    "comparison.coordinate_check": lambda s: (
        mfdnn.comparison.coordinate_check,
        {"net": s.net, "optimizer": "sgd", "sizes": [4, 8], "n_steps": 1, "n_networks": 2, "rng": 0},
    ),
    "comparison.lazy_training": lambda s: (
        mfdnn.comparison.lazy_training,
        {
            "net": s.net, "inputs": s.X, "targets": s.Y, "n_steps": 2, "factors": [1], "n_networks": 1, "rng": 0,
            **s.optimiser,
        },
    ),
    "comparison.required_width_measured": lambda s: (
        mfdnn.comparison.required_width_measured,
        {**s.unit, "n_steps": 2, "n_trials": 1, "max_width": 2, "rng": 0},
    ),
    "datasets.digits": lambda s: (datasets.digits, {"n_samples": 5, "rng": 0}),
    "datasets.gaussian_inputs": lambda s: (datasets.gaussian_inputs, {"n_samples": 5, "n_features": 3, "rng": 0}),
    "datasets.load_inputs": lambda s: (
        datasets.load_inputs,
        {"spec": "gaussian", "n_samples": 5, "n_features": 3, "rng": 0},
    ),
    "learning_rate.loss_scale": lambda s: (
        learning_rate.loss_scale,
        {"loss": "half_mse", "n_outputs": 2, "n_samples": 5},
    ),
    "learning_rate.stability_limit": lambda s: (learning_rate.stability_limit, {"curvature": 2.0}),
    "losses.softmax": lambda s: (losses.softmax, {"logits": s.Y}),
    "losses.softmax_coefficients": lambda s: (losses.softmax_coefficients, {"logits": s.X}),
    "papers.summary": lambda s: (papers.summary, {"name": "karakida2019-fig1"}),
    "phase.convolution_modes": lambda s: (phase.convolution_modes, {**s.single, "sites": 4}),
    "phase.correlation_curve": lambda s: (phase.correlation_curve, s.single),
    "phase.depth_scales": lambda s: (phase.depth_scales, {**s.single, "sigma_w2": [1.0, 2.0]}),
    "phase.variance_curve": lambda s: (phase.variance_curve, s.single),
    "plots.coordinate_check": lambda s: (
        plots.coordinate_check,
        {"found": mfdnn.comparison.coordinate_check(s.net, "sgd", sizes=[4, 8], n_steps=1, n_networks=2, rng=0)},
    ),
    "plots.depth_scales": lambda s: (plots.depth_scales, {"found": phase.depth_scales("tanh", [1.0, 2.0], 0.1)}),
    "plots.eigenvalue_scaling": lambda s: (
        plots.eigenvalue_scaling,
        {"widths": [5, 6], "theory": [1.0, 2.0], "values": [1.0, 2.0], "errors": [0.1, 0.1]},
    ),
    "plots.fisher_spectrum": lambda s: (plots.fisher_spectrum, {"eigenvalues": [1.0, 2.0], "statistics": s.fim}),
    "plots.jacobian_spectrum": lambda s: (
        plots.jacobian_spectrum,
        {"found": mfdnn.jacobian_spectrum(s.net), "singular_values": [0.5, 1.0]},
    ),
    "plots.layer_shares": lambda s: (plots.layer_shares, {"answer": _module_rate(), "most": 3}),
    "plots.learning_rate_boundary": lambda s: (
        plots.learning_rate_boundary,
        {"widths": [5, 6], "predicted": [1.0, 2.0], "measured": [1.0, 2.0], "measured_error": [0.1, 0.1]},
    ),
    "plots.learning_rate_map": lambda s: (plots.learning_rate_map, {"found": s.rate_map}),
    "plots.loss_along_step": lambda s: (plots.loss_along_step, {"answer": _module_rate()}),
    "plots.map_curve": lambda s: (plots.map_curve, {"curve": phase.variance_curve("tanh", 1.5, 0.1)}),
    "plots.order_parameters": lambda s: (plots.order_parameters, {"op": s.op}),
    "plots.outlier_law": lambda s: (plots.outlier_law, {"law": s.law, "values": [1.0, 2.0]}),
    "plots.phase_diagram": lambda s: (plots.phase_diagram, {"diagram": s.grid}),
    "plots.spread_map": lambda s: (plots.spread_map, {"found": s.spread}),
    "sampled.LinearisedNetwork.at": lambda s: (mfdnn.sampled.linearised(s.one).at, {"vector": s.one.vector}),
    "sampled.RandomFunctions": lambda s: (
        mfdnn.sampled.RandomFunctions,
        {"functions": [np.cos, np.sin], "vector": [1.0, 2.0]},
    ),
    "sampled.RescaledNetwork.at": lambda s: (s.scaled.at, {"vector": s.one.vector}),
    "sampled.conditional_fisher": lambda s: (mfdnn.sampled.conditional_fisher, {"one": s.one, "x": s.X[0], "k": 1}),
    "sampled.jacobian_depth": lambda s: (mfdnn.sampled.jacobian_depth, {"one": s.one, "x": s.X[0]}),
    "sampled.jacobian_singular_values": lambda s: (
        mfdnn.sampled.jacobian_singular_values,
        {"one": s.one, "x": s.X[0]},
    ),
    "sampled.linearised": lambda s: (mfdnn.sampled.linearised, {"one": s.one}),
    "sampled.rescaled": lambda s: (mfdnn.sampled.rescaled, {"one": s.one, "alpha": 2.0}),
    "training.LargestEigenvalue": lambda s: (training.LargestEigenvalue, {}),
}


def call(name):
    """The callable and its valid arguments."""
    return CALLS[name](setting())
