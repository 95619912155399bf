# What `import mfdnn` offers: editors and mypy read it, and names load on first use.
from . import (
    activations as activations,
)
from . import (
    architectures as architectures,
)
from . import (
    cli as cli,
)
from . import (
    comparison as comparison,
)
from . import (
    datasets as datasets,
)
from . import (
    ensembles as ensembles,
)
from . import (
    finite_width as finite_width,
)
from . import (
    fisher as fisher,
)
from . import (
    gaussian as gaussian,
)
from . import (
    initialisation as initialisation,
)
from . import (
    jacobian as jacobian,
)
from . import (
    jobs as jobs,
)
from . import (
    kernels as kernels,
)
from . import (
    layers as layers,
)
from . import (
    learning_rate as learning_rate,
)
from . import (
    losses as losses,
)
from . import (
    mean_field as mean_field,
)
from . import (
    network as network,
)
from . import (
    papers as papers,
)
from . import (
    phase as phase,
)
from . import (
    plots as plots,
)
from . import (
    pytorch as pytorch,
)
from . import (
    reporting as reporting,
)
from . import (
    sampled as sampled,
)
from . import (
    sweeps as sweeps,
)
from . import (
    training as training,
)
from ._support.errors import (
    NoTheory as NoTheory,
)
from ._version import __version__ as __version__
from .activations import (
    Activation as Activation,
)
from .activations import (
    activation as activation,
)
from .activations import (
    activation_names as activation_names,
)
from .architectures import (
    cnn as cnn,
)
from .architectures import (
    mlp as mlp,
)
from .architectures import (
    resnet as resnet,
)
from .architectures import (
    resnet2d as resnet2d,
)
from .comparison import (
    Comparison as Comparison,
)
from .comparison import (
    LearningRateMap as LearningRateMap,
)
from .comparison import (
    compare as compare,
)
from .comparison import (
    learning_rate_map as learning_rate_map,
)
from .ensembles import (
    Ensemble as Ensemble,
)
from .ensembles import (
    ensemble as ensemble,
)
from .finite_width import (
    CentredEdge as CentredEdge,
)
from .finite_width import (
    OutlierDistribution as OutlierDistribution,
)
from .finite_width import (
    RequiredWidth as RequiredWidth,
)
from .finite_width import (
    SpreadMap as SpreadMap,
)
from .finite_width import (
    centred_edge as centred_edge,
)
from .finite_width import (
    outlier_distribution as outlier_distribution,
)
from .finite_width import (
    spread_map as spread_map,
)
from .finite_width import (
    width_for_spread as width_for_spread,
)
from .fisher import (
    FeatureStatistics as FeatureStatistics,
)
from .fisher import (
    FisherRaoStatistics as FisherRaoStatistics,
)
from .fisher import (
    FisherStatistics as FisherStatistics,
)
from .fisher import (
    SoftmaxStatistics as SoftmaxStatistics,
)
from .fisher import (
    feature_statistics as feature_statistics,
)
from .fisher import (
    fisher_rao_statistics as fisher_rao_statistics,
)
from .fisher import (
    fisher_statistics as fisher_statistics,
)
from .fisher import (
    softmax_statistics as softmax_statistics,
)
from .gaussian import (
    expect as expect,
)
from .gaussian import (
    expect_product as expect_product,
)
from .jacobian import (
    ConditionalFisher as ConditionalFisher,
)
from .jacobian import (
    IsometricInit as IsometricInit,
)
from .jacobian import (
    JacobianMoments as JacobianMoments,
)
from .jacobian import (
    JacobianSpectrum as JacobianSpectrum,
)
from .jacobian import (
    conditional_fisher as conditional_fisher,
)
from .jacobian import (
    isometric_init as isometric_init,
)
from .jacobian import (
    jacobian_moments as jacobian_moments,
)
from .jacobian import (
    jacobian_spectrum as jacobian_spectrum,
)
from .kernels import (
    KernelSpectrum as KernelSpectrum,
)
from .kernels import (
    KernelTraining as KernelTraining,
)
from .kernels import (
    NTKStatistics as NTKStatistics,
)
from .kernels import (
    TwoLayerTheory as TwoLayerTheory,
)
from .kernels import (
    kernel_spectrum as kernel_spectrum,
)
from .kernels import (
    kernel_training as kernel_training,
)
from .kernels import (
    nngp as nngp,
)
from .kernels import (
    ntk as ntk,
)
from .kernels import (
    ntk_statistics as ntk_statistics,
)
from .kernels import (
    two_layer_theory as two_layer_theory,
)
from .layers import (
    AveragePool as AveragePool,
)
from .layers import (
    BatchNorm as BatchNorm,
)
from .layers import (
    Conv as Conv,
)
from .layers import (
    Dense as Dense,
)
from .layers import (
    Dropout as Dropout,
)
from .layers import (
    Flatten as Flatten,
)
from .layers import (
    Gate as Gate,
)
from .layers import (
    GlobalAveragePool as GlobalAveragePool,
)
from .layers import (
    GroupNorm as GroupNorm,
)
from .layers import (
    Layer as Layer,
)
from .layers import (
    LayerNorm as LayerNorm,
)
from .layers import (
    MaxPool as MaxPool,
)
from .layers import (
    MeanSubtraction as MeanSubtraction,
)
from .layers import (
    Pointwise as Pointwise,
)
from .layers import (
    Residual as Residual,
)
from .layers import (
    RMSNorm as RMSNorm,
)
from .learning_rate import (
    FirstStep as FirstStep,
)
from .learning_rate import (
    LearningRate as LearningRate,
)
from .learning_rate import (
    NaturalGradientRate as NaturalGradientRate,
)
from .learning_rate import (
    ScalingExponents as ScalingExponents,
)
from .learning_rate import (
    first_step as first_step,
)
from .learning_rate import (
    max_learning_rate as max_learning_rate,
)
from .learning_rate import (
    natural_gradient_rate as natural_gradient_rate,
)
from .learning_rate import (
    scaling_exponents as scaling_exponents,
)
from .mean_field import (
    MeanField as MeanField,
)
from .mean_field import (
    OrderParameters as OrderParameters,
)
from .mean_field import (
    order_parameters as order_parameters,
)
from .network import (
    Network as Network,
)
from .phase import (
    BatchNormFixedPoint as BatchNormFixedPoint,
)
from .phase import (
    CorrelationDecay as CorrelationDecay,
)
from .phase import (
    CriticalLine as CriticalLine,
)
from .phase import (
    CurveGeometry as CurveGeometry,
)
from .phase import (
    FixedPoint as FixedPoint,
)
from .phase import (
    PhaseDiagram as PhaseDiagram,
)
from .phase import (
    Trajectory as Trajectory,
)
from .phase import (
    UniversalityClass as UniversalityClass,
)
from .phase import (
    VarianceFixedPoints as VarianceFixedPoints,
)
from .phase import (
    batch_norm_fixed_point as batch_norm_fixed_point,
)
from .phase import (
    correlation_decay as correlation_decay,
)
from .phase import (
    correlation_map as correlation_map,
)
from .phase import (
    critical_line as critical_line,
)
from .phase import (
    critical_point as critical_point,
)
from .phase import (
    critical_sigma_w2 as critical_sigma_w2,
)
from .phase import (
    curve_geometry as curve_geometry,
)
from .phase import (
    fixed_point as fixed_point,
)
from .phase import (
    phase_diagram as phase_diagram,
)
from .phase import (
    trajectory as trajectory,
)
from .phase import (
    universality_class as universality_class,
)
from .phase import (
    variance_fixed_points as variance_fixed_points,
)
from .phase import (
    variance_map as variance_map,
)
from .reporting import (
    Report as Report,
)
from .reporting import (
    report as report,
)
from .sampled import (
    FeatureSpectrum as FeatureSpectrum,
)
from .sampled import (
    FisherSpectrum as FisherSpectrum,
)
from .sampled import (
    SampledNetwork as SampledNetwork,
)
from .sampled import (
    empirical_ntk as empirical_ntk,
)
from .sampled import (
    feature_spectrum as feature_spectrum,
)
from .sampled import (
    fisher_from_ntk as fisher_from_ntk,
)
from .sampled import (
    fisher_spectrum as fisher_spectrum,
)
from .sampled import (
    ntk_from_fisher as ntk_from_fisher,
)
from .sampled import (
    sample as sample,
)
from .sampled import (
    squared_fisher_rao_norm as squared_fisher_rao_norm,
)
from .sweeps import (
    Sweep as Sweep,
)
from .sweeps import (
    sweep as sweep,
)
from .training import (
    CatapultTrajectory as CatapultTrajectory,
)
from .training import (
    TrainingRun as TrainingRun,
)
from .training import (
    catapult_trajectory as catapult_trajectory,
)
from .training import (
    train as train,
)
