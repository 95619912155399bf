"""Mean-field theory and Fisher information of deep neural networks.

From an activation to order parameters, phase diagrams, Fisher statistics and a safe learning rate, and their check on
sampled networks. Weights have variance ``sigma_w2 / fan_in`` and biases ``sigma_b2``: arguments are always variances.
"""

import threading

import lazy_loader

from ._version import __version__ as __version__

# Results are made by functions: their classes stand in their rooms, and are reachable from here.
_RESULTS = (
    "BatchNormFixedPoint",
    "CatapultTrajectory",
    "CentredEdge",
    "Comparison",
    "CorrelationDecay",
    "CriticalLine",
    "CurveGeometry",
    "Ensemble",
    "FeatureSpectrum",
    "FeatureStatistics",
    "FisherRaoStatistics",
    "FisherSpectrum",
    "FisherStatistics",
    "FixedPoint",
    "LearningRate",
    "LearningRateMap",
    "NTKStatistics",
    "NaturalGradientRate",
    "OrderParameters",
    "OutlierDistribution",
    "PhaseDiagram",
    "Report",
    "RequiredWidth",
    "SoftmaxStatistics",
    "SpreadMap",
    "Sweep",
    "TrainingRun",
    "Trajectory",
    "UniversalityClass",
    "VarianceFixedPoints",
)

# The names of ``__init__.pyi``, each loaded when it is first used; by one thread at a time, as rooms that two threads
# enter by different doors wait for each other.
_load, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
_loading = threading.RLock()


def __getattr__(name: str) -> object:
    with _loading:
        return _load(name)



_ROOMS = (
    "activations",
    "architectures",
    "cli",
    "comparison",
    "datasets",
    "ensembles",
    "finite_width",
    "fisher",
    "gaussian",
    "initialisation",
    "jobs",
    "kernels",
    "layers",
    "learning_rate",
    "losses",
    "mean_field",
    "network",
    "papers",
    "phase",
    "plots",
    "reporting",
    "sampled",
    "sweeps",
    "training",
)
__all__ = sorted(set(_names) - {*_RESULTS, *_ROOMS, "__version__"})
