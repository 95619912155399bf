"""Networks as plain Python and as files: the same network comes back, and nothing else is read."""

import json

import numpy as np
import pytest
from user_layers import CircularConv

import mfdnn
from mfdnn import BatchNorm, Dense, Flatten, LayerNorm, MeanSubtraction, Network, Pointwise, Residual, cli
from mfdnn.layers.description import DESCRIBED

NETS = {
    "mlp": mfdnn.mlp([5, 7, 2], "leaky_relu", sigma_w2=1.7, sigma_b2=0.3, weights="uniform"),
    "no bias": Network(
        4, [Dense(3, 2.0, weights="orthogonal", bias=False), Pointwise("gelu_tanh"), Dense(1)]
    ),
    "elu": Network(4, [Dense(3), Pointwise(mfdnn.activation("elu", alpha=0.7)), Dense(1)]),
    "normalised": Network(
        6,
        [
            Dense(6),
            BatchNorm(0.8, 0.1, 1e-5),
            Pointwise("relu"),
            LayerNorm(affine=False),
            Dense(3),
            MeanSubtraction(),
        ],
    ),
    "nested": Network(
        5, [Residual([Dense(5), Residual([Pointwise("tanh"), Dense(5)], 0.5)], skip=0.7), Dense(2)]
    ),
    "many digits": Network(4, [Dense(3), Pointwise(mfdnn.activation("leaky_relu", slope=1 / 3)), Dense(1)]),
    "images": Network((2, 3, 3), [Flatten(), Dense(4), Pointwise("relu"), Dense(2)]),
}


@pytest.mark.parametrize("name", NETS)
def test_what_was_written_comes_back(name):
    net = NETS[name]
    text = json.dumps(net.to_dict())
    again = Network.from_dict(json.loads(text))
    assert json.dumps(again.to_dict()) == text
    assert (repr(again), repr(again.layers)) == (repr(net), repr(net.layers))
    one, other = (mfdnn.sample(n, rng=0) for n in (net, again))
    np.testing.assert_array_equal(one.flatten(one.parameters), other.flatten(other.parameters))
    x = np.random.default_rng(1).standard_normal((4, net.n_inputs))
    np.testing.assert_array_equal(one(x), other(x))


def test_every_layer_of_the_package_is_described():
    kinds = {name for name in mfdnn.__all__ if isinstance(getattr(mfdnn, name), type)}
    layers = {name for name in kinds if issubclass(getattr(mfdnn, name), mfdnn.Layer)} - {"Layer"}
    assert set(DESCRIBED) == layers


class Doubled(Dense):
    def __init__(self, n):
        super().__init__(2 * n)


class Blocks(mfdnn.Layer):
    def __init__(self, children, gains):
        self.children, self.gains = children, gains


def test_layers_of_ones_own_are_written_and_not_read():
    net = Network((3, 8), [CircularConv(4, 3), Pointwise("relu"), Flatten(), Dense(2)])
    written = net.to_dict()
    assert written["layers"][0] == {
        "layer": "CircularConv",
        "channels": 4,
        "taps": 3,
        "sigma_w2": 1.5,
        "sigma_b2": 0.1,
    }
    with pytest.raises(ValueError, match=r"`layer` must be one of Dense, .*got 'CircularConv'"):
        Network.from_dict(written)
    with pytest.raises(ValueError, match="`Doubled` was made of n, which it did not keep"):
        Network(3, [Doubled(2), Dense(2)]).to_dict()
    inside = Blocks([Dense(3), Flatten()], np.ones(2)).to_dict()
    assert json.loads(json.dumps(inside)) == {
        "layer": "Blocks",
        "children": [Dense(3).to_dict(), {"layer": "Flatten"}],
        "gains": [1.0, 1.0],
    }
    with pytest.raises(ValueError, match="holds a function of your own, which a file cannot"):
        Network(3, [Dense(3), Pointwise(lambda x: x * np.tanh(x)), Dense(1)]).to_dict()
    like_relu = mfdnn.Activation("relu", lambda x: np.clip(x, 0, 6))  # up to where one would look
    with pytest.raises(ValueError, match="holds a function of your own"):
        Network(3, [Dense(3), Pointwise(like_relu), Dense(1)]).to_dict()


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ([], 'a dictionary with "input_shape" and "layers"'),
        ({"layers": []}, 'a dictionary with "input_shape" and "layers"'),
        ({"input_shape": [4], "layers": {}}, "`layers` must be a list"),
        ({"input_shape": [4], "layers": [3]}, "`layers` must hold objects"),
        ({"input_shape": [4], "layers": [{"layer": "Dense"}]}, "`Dense` was described by .*units"),
        ({"input_shape": [4], "layers": [{"layer": "Dense", "units": 0}]}, "`units`"),
        (
            {"input_shape": [4], "layers": [{"layer": "Dense", "units": 10**400}]},
            r"`units` must be at most 2\*\*62 - 1",
        ),
        (
            {"input_shape": [4], "layers": [{"layer": "Dense", "units": 2, "bias": "no"}]},
            "`bias` must be True or False",
        ),
        (
            {"input_shape": [4], "layers": [{"layer": "Pointwise", "phi": "os:system"}]},
            "`phi` must be the name",
        ),
        ({"input_shape": [4], "layers": [{"layer": "Pointwise", "phi": "rellu"}]}, "relu"),
        ({"input_shape": [4], "layers": [{"layer": "Residual", "layers": 3}]}, "`layers` must be a list"),
        ({"input_shape": [0], "layers": [{"layer": "Dense", "units": 2}]}, "input_shape"),
    ],
)
def test_what_is_no_network_is_refused(description, message):
    with pytest.raises(ValueError, match=message):
        Network.from_dict(description)


def test_the_command_line_reads_them(tmp_path, capsys):
    path = tmp_path / "net.json"
    path.write_text(json.dumps(NETS["nested"].to_dict()))
    assert cli.main(["learning-rate", "--arch", str(path), "--samples", "9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["value"] == float(mfdnn.max_learning_rate(NETS["nested"], 9))
    for argv, words in (
        (["--arch", str(path), "--norm", "batch_norm"], "has the whole network, got --norm too"),
        (["5-4-1", "--arch", str(path)], "got WIDTHS too"),
        (["--arch", str(path), "--activation", "tanh"], "got --activation too"),
        (["--arch", str(tmp_path / "none.json")], "none.json cannot be read"),
        (["--arch", "cnnn:16-10", "--input", "1x8x8"], "`--arch` must be cnn: with channels and outputs"),
        (["--arch", str(tmp_path)], "cannot be read"),
        (["--arch", __file__], "must be json"),
    ):
        assert cli.main(["fisher", *argv]) == 2
        assert words in capsys.readouterr().err
    path.write_text('{"input_shape": [4]}')
    assert cli.main(["fisher", "--arch", str(path)]) == 2
    assert 'a dictionary with "input_shape"' in capsys.readouterr().err
