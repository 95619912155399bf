"""Residual networks for images: what they are made of, PyTorch's twin, and the command line that names them."""

import json

import numpy as np
import pytest

import mfdnn
from mfdnn import cli


def test_the_smallest_is_what_it_says():
    net = mfdnn.resnet2d((3, 8, 8), 10, channels=5, activation="tanh", sigma_w2=1.5, sigma_b2=0.1)
    kinds = [type(layer).__name__ for layer, _ in net.walk()]
    unit = ["Conv", "BatchNorm", "Pointwise"]
    block = ["Residual", *unit, "Conv", "BatchNorm", "Pointwise"]
    assert kinds == [*unit, *block, "MaxPool", *unit, "GlobalAveragePool", "Dense"]
    *convs, dense = [layer for layer, _ in net.weight_layers]
    assert [(conv.channels, conv.kernel, conv.stride, conv.sigma_w2, conv.bias) for conv in convs] == 4 * [
        (5, 3, 1, 1.5, False)
    ]
    assert (dense.units, dense.sigma_w2, dense.sigma_b2, dense.bias) == (10, 1.5, 0.1, True)
    assert [shape for _, shape in net.weight_layers] == [(3, 8, 8), (5, 8, 8), (5, 8, 8), (5, 4, 4), (5,)]
    assert {act.label for act in net.activations} == {"tanh"}


def test_without_norms_there_are_biases():
    net = mfdnn.resnet2d((3, 8, 8), 10, channels=5, norm=False, sigma_b2=0.1)
    assert not net.couples_samples
    assert [(layer.sigma_b2, layer.bias) for layer, _ in net.weight_layers] == 5 * [(0.1, True)]


def test_stages_and_numbers_of_parameters_of_resnet_18():
    small = mfdnn.resnet2d((3, 32, 32), 10, size="18")
    large = mfdnn.resnet2d((3, 224, 224), 1000, size="18")
    assert small.n_parameters == 11_173_962  # of the usual variant for CIFAR-10
    assert large.n_parameters == 11_689_512  # of torchvision.models.resnet18()
    for net, stem, sites in ((small, [32] * 5, (32, 16, 8, 4)), (large, [224, 55, 55, 55, 55], (55, 28, 14, 7))):
        found = [(layer.channels, shape[1]) for layer, shape in net.weight_layers[:-1]]
        assert [shape for _, shape in found[:5]] == stem
        behind = [found[0][0], *(channels for channels, _ in found[1:5])]
        assert behind == [64] * 5
        stages = zip((128, 256, 512), sites[:3], sites[1:], strict=True)  # the third stands beside the first two
        assert found[5:] == [(c, n) for c, a, b in stages for n in (a, b, a, b, b)]
    assert mfdnn.resnet2d((1, 28, 28), 10, size="18", channels=4).layers[0].kernel == 3
    assert mfdnn.resnet2d((1, 64, 63), 10, size="18", channels=4).layers[0].kernel == 3
    assert mfdnn.resnet2d((1, 64, 64), 10, size="18", channels=4).layers[0].kernel == 7


def test_it_is_written_to_files():
    for size in ("mini", "18"):
        net = mfdnn.resnet2d((1, 8, 8), 3, size=size, channels=4)
        back = mfdnn.Network.from_dict(json.loads(json.dumps(net.to_dict())))
        assert (repr(back), repr(back.layers)) == (repr(net), repr(net.layers))
        wider = mfdnn.network.scale_widths(net, 2)
        assert repr(wider.layers) == repr(mfdnn.resnet2d((1, 8, 8), 3, size=size, channels=8).layers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (3, 8)}, r"`input_shape` must be \(channels, height, width\) of an image, got \(3, 8\)"),
        ({"input_shape": 64}, "`input_shape`"),
        ({"input_shape": (3, 1, 8)}, "`MaxPool` needs windows no longer than the sites, got a `size` of 2 where 1x8"),
        ({"size": "34"}, "`size` must be one of"),
        ({"norm": "batch_norm"}, "`norm`"),
        ({"channels": 0}, "`channels` must be an integer >= 1"),
        ({"n_outputs": 0}, "`n_outputs` must be an integer >= 1"),
        ({"activation": "rleu"}, "rleu"),
        ({"sigma_b2": -1}, "`sigma_b2`"),
        ({"sigma_w2": -1}, "`sigma_w2`"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        mfdnn.resnet2d(**{"input_shape": (3, 8, 8), "n_outputs": 2, **options})


def run(capsys, line):
    try:
        code = cli.main(line.split())
    except SystemExit as stop:
        code = stop.code
    return (code, *capsys.readouterr())


def test_the_command_line_describes_it():
    from mfdnn.cli.arguments import network_of
    from mfdnn.cli.parser import build_parser

    parser, _ = build_parser()
    for line, options in (
        ("resnet2d:mini", {"n_outputs": 10}),
        ("resnet2d:18-7 --sigma-w2 1.5 --sigma-b2 0.1 --activation tanh", {
            "n_outputs": 7, "size": "18", "sigma_w2": 1.5, "sigma_b2": 0.1, "activation": "tanh",
        }),
    ):
        args = parser.parse_args(["fisher", "--input", "1x8x8", "--arch", *line.split()])
        assert repr(network_of(args).layers) == repr(mfdnn.resnet2d((1, 8, 8), **options).layers)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--arch resnet2d:mini", "`--arch` resnet2d:mini needs the shape of an input; give --input"),
        ("--arch resnet2d:34 --input 1x8x8", "must be followed by mini or 18, and outputs if they are not 10"),
        ("--arch resnet2d:mini-0 --input 1x8x8", "must be followed by mini or 18"),
        ("--arch resnet2d:mini --input 1x8x8 --readout average", "--readout does not go with `--arch` resnet2d:mini"),
        ("--arch resnet2d:mini --input 1x8x8 --init he", "--init does not go with `--arch` resnet2d:mini"),
        ("20-10 --arch resnet2d:mini --input 1x8x8", "WIDTHS does not go with `--arch` resnet2d:mini"),
        ("--arch resnet2d:mini --input 8x8", "`input_shape` must be (channels, height, width)"),
    ],
)
def test_bad_command_lines(capsys, line, message):
    code, _, err = run(capsys, f"learning-rate {line}")
    assert code == 2
    assert message in err


def module_of(torch, net):
    """The same layers as a function of arrays, written in PyTorch."""
    F = torch.nn.functional

    def norm(x, gain, offset):  # of the module eps must be positive
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
        return gain[:, None, None] * (x - mean) / variance.sqrt() + offset[:, None, None]

    def forward(x, arrays):
        take = iter(arrays)

        def conv(x, stride=1):
            weight = next(take)
            return norm(F.conv2d(x, weight, stride=stride, padding=(weight.shape[-1] - 1) // 2), next(take), next(take))

        def block(x, stride=1, same=True):
            y = conv(F.relu(conv(x, stride)))
            return F.relu(y + (x if same else conv(x, stride)))

        if net == "mini":
            x = block(F.relu(conv(x)))
            x = F.relu(conv(torch.nn.MaxPool2d(2)(x)))
        else:
            wide = x.shape[-1] >= 64
            x = F.relu(conv(x, 2 if wide else 1))
            x = torch.nn.MaxPool2d(3, 2)(x) if wide else x
            for stage in range(4):
                x = block(block(x, 1 if stage == 0 else 2, stage == 0))
        return F.linear(x.mean(dim=(2, 3)), next(take), next(take))

    return forward


@pytest.mark.torch
@pytest.mark.parametrize(("size", "shape"), [("mini", (3, 8, 7)), ("18", (3, 16, 16)), ("18", (1, 64, 64))])
def test_it_is_torch_s(torch, size, shape):
    net = mfdnn.resnet2d(shape, 3, size=size, channels=4, sigma_b2=0.1)
    one = mfdnn.sample(net, rng=0)
    one.parameters = one.unflatten(one.vector + 0.1 * np.random.default_rng(1).standard_normal(net.n_parameters))
    X = np.random.default_rng(0).standard_normal((4, *shape))
    arrays = [torch.tensor(a, requires_grad=True) for group in one.parameters for a in group if a is not None]
    y = module_of(torch, size)(torch.tensor(X), arrays)
    size_of = np.abs(y.detach().numpy()).max()
    np.testing.assert_allclose(one(X), y.detach().numpy(), rtol=0, atol=1e-12 * size_of)
    u = np.random.default_rng(2).standard_normal(y.shape)
    expected = np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(y, arrays, torch.tensor(u))])
    np.testing.assert_allclose(one.vjp(X, u), expected, rtol=0, atol=1e-12 * np.abs(expected).max())
