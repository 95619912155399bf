"""The builder of convolutional networks, and the command line that calls it."""

import json

import numpy as np
import pytest

import mfdnn
from mfdnn import cli
from mfdnn.layers import Conv


def test_variances_and_shapes():
    net = mfdnn.cnn(
        (3, 8, 8),
        [16, 32],
        10,
        ["relu", "tanh"],
        kernel=(3, 1),
        sigma_w2=[1.0, 2.0, 3.0],
        sigma_b2=0.1,
        pool=[2, None],
    )
    convs = [layer for layer, _ in net.weight_layers]
    assert [layer.sigma_w2 for layer in convs] == [1.0, 2.0, 3.0]
    assert [layer.sigma_b2 for layer in convs] == [0.1] * 3
    assert net.widths == (9, 48, 32 * 4 * 4, 10)
    assert repr(net) == "Network(3x8x8: 9-48-512-10, relu/tanh, L=3, P=6858)"


def test_schemes_count_taps():
    net = mfdnn.cnn((3, 8, 8), [16, 32], 10, init="glorot", groups=1)
    found = [layer.sigma_w2 for layer, _ in net.weight_layers]
    fans = [(27, 144), (144, 288), (2048, 10)]
    np.testing.assert_allclose(found, [2 * a / (a + b) for a, b in fans], rtol=1e-14)
    torch = mfdnn.cnn((3, 8, 8), [16], 10, init="pytorch", readout="average")
    assert [(layer.sigma_w2, layer.sigma_b2, layer.weights) for layer, _ in torch.weight_layers] == [
        (1 / 3, 1 / 81, "uniform"),
        (1 / 3, 1 / 48, "uniform"),
    ]
    critical = mfdnn.cnn((3, 8), [16, 16], 10, "tanh", init="critical", sigma_b2=0.05)
    point = mfdnn.critical_point("tanh", 0.05)
    assert {layer.sigma_w2 for layer, _ in critical.weight_layers} == {point[0]}
    assert [layer.sigma_w2 for layer, _ in mfdnn.cnn((3, 8), [16], 2).weight_layers] == [2.0, 2.0]


@pytest.mark.parametrize("norm", ["batch_norm", "group_norm", "rms_norm", mfdnn.GroupNorm(4)])
def test_norms_stand_before_activations(norm):
    net = mfdnn.cnn(
        (3, 8), [16, 16], 2, norm=norm, readout="average", mode="circular", weights="delta_orthogonal"
    )
    kinds = [layer.kind or type(layer).__name__ for layer in net.layers]
    name = norm.replace("_", " ") if isinstance(norm, str) else "group norm"
    assert kinds == 2 * ["Conv", name, "Pointwise"] + ["GlobalAveragePool", "Dense"]
    assert isinstance(net.layers[0], Conv)
    assert net.layers[0].weights == "delta_orthogonal"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (8,)}, r"`input_shape` must be \(channels, \*sites\), got \(8,\)"),
        ({"channels": []}, "`channels` must have an entry for each convolution, got none"),
        ({"readout": "max"}, "`readout` must be one of"),
        ({"norm": "instance"}, "`norm` must be one of"),
        ({"strides": 2}, "`argument of Conv` must be one of"),
        ({"pool": [2]}, "`pool` needs one entry per layer, 2 of them, got 1"),
        ({"pool": 3}, "`AveragePool` needs windows no longer than the sites"),
        ({"init": "he", "sigma_w2": 1.0}, "`init` and `sigma_w2` exclude each other"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        mfdnn.cnn(**{"input_shape": (3, 8, 8), "channels": [4, 4], "n_outputs": 2, **options})


def run(capsys, *args):
    code = cli.main(list(args))
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_line(capsys):
    code, out, _ = run(
        capsys,
        *"learning-rate --arch cnn:8-8-3 --input 2x4x4 --activation tanh --sigma-w2 1.5 --json".split(),
        "--samples",
        "20",
    )
    assert code == 0
    net = mfdnn.cnn((2, 4, 4), [8, 8], 3, "tanh", sigma_w2=1.5)
    assert json.loads(out)["value"] == mfdnn.max_learning_rate(net, 20).value
    code, out, _ = run(
        capsys,
        *"order-parameters --arch cnn:8-3 --input 1x8x8 --data digits --samples 12 --readout average".split(),
    )
    assert code == 0
    assert "1x8x8: 9-8-3" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--arch cnn:8-3", "`--arch` cnn:8-3 needs the shape of an input; give --input"),
        ("--arch cnn:3 --input 1x8x8", "must be followed by channels and outputs, such as cnn:64-64-10"),
        ("--arch cnn:a --input 1x8x8", "must be followed by channels and outputs"),
        ("--arch cnn:8-3 --input 1x8x8 --blocks 2", "--blocks does not go with `--arch` cnn:8-3"),
        ("20-10 --arch cnn:8-3 --input 1x8x8", "WIDTHS does not go with `--arch` cnn:8-3"),
        ("20-10 --input 1x8x8", "`--input` goes with --arch cnn:CHANNELS-OUTPUTS"),
        ("--arch cnn:8-3 --input 8", "must be channels and sites such as 3x32x32"),
    ],
)
def test_bad_command_lines(capsys, line, message):
    try:
        code, _, err = run(capsys, "learning-rate", *line.split())
    except SystemExit as stop:
        code, err = stop.code, capsys.readouterr().err
    assert code == 2
    assert message in err


def test_pooling_and_norms_by_layers_and_names():
    net = mfdnn.cnn((3, 8, 8), [4, 4], 2, norm="layer_norm", pool=[mfdnn.MaxPool(2), 2])
    kinds = [type(layer).__name__ for layer in net.layers]
    block = ["Conv", "LayerNorm", "Pointwise"]
    assert kinds == [*block, "MaxPool", *block, "AveragePool", "Flatten", "Dense"]


@pytest.mark.parametrize("pool", ["max", mfdnn.MaxPool, [None, "max"]])
def test_what_is_no_pooling_says_what_is(pool):
    with pytest.raises(TypeError, match=r"`pool` must be a size of windows or a layer, got .*MaxPool\(2\)"):
        mfdnn.cnn((3, 8, 8), [4, 4], 2, pool=pool)
