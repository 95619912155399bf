"""Modules read as networks: the sampled network with the module's own weights gives the module's own outputs."""

import copy

import numpy as np
import pytest
import torch_networks

import mfdnn
import mfdnn.pytorch as mp

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")]


def lenet(torch):
    nn, F = torch.nn, torch.nn.functional

    class LeNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2, self.fc3 = nn.Linear(64, 120), nn.Linear(120, 84), nn.Linear(84, 10)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.conv1(x)), 2)
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            x = x.view(x.size(0), -1)
            return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))

    return LeNet()


def vgg(torch, widths=(16, "M", 32, "M", 64, 64, "M")):
    nn = torch.nn
    layers, channels = [], 3
    for width in widths:
        if width == "M":
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width

    class VGG(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.pool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Linear(channels, 50), nn.ReLU(True), nn.Dropout(0.0), nn.Linear(50, 10))

        def forward(self, x):
            return self.classifier(torch.flatten(self.pool(self.features(x)), 1))

    return VGG()


def gated(torch):
    nn = torch.nn

    class SwiGLU(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.up = nn.Linear(30, 200), nn.Linear(30, 200)
            self.down = nn.Linear(200, 10)

        def forward(self, x):
            return self.down(nn.functional.silu(self.gate(x)) * self.up(x))

    return SwiGLU()


def own(torch):
    """Matrices of one's own, an elementwise function of one's own, control flow, dead code, scaled inputs."""
    nn = torch.nn

    class Own(nn.Module):
        def __init__(self, depth=3):
            super().__init__()
            self.W, self.b = nn.Parameter(torch.randn(50, 100) / 50**0.5), nn.Parameter(torch.zeros(100))
            self.layers = nn.ModuleList(nn.Linear(100, 100) for _ in range(depth))
            self.head = nn.Linear(100, 10, bias=False)

        def forward(self, x):
            h = (x - 0.5) / 2 @ self.W + self.b
            torch.fft.fft(h)  # reaches nothing
            if h.mean() > 100:
                h = torch.cumsum(h, 1)
            for layer in self.layers:
                u = h
                h = layer(u * torch.sigmoid(1.702 * u) + 0.1 * torch.sin(u))
            h += 0.0
            return self.head(torch.where(h > 0, h, 0.1 * h))

    return Own()


def blocks(torch):
    """Pre-activation blocks, a scaled skip, a difference, a projection, circular padding, group norm."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, a, b):
            super().__init__()
            self.norm, self.conv = nn.GroupNorm(4, a), nn.Conv2d(a, b, 3, padding=1, padding_mode="circular")
            self.side = nn.Conv2d(a, b, 1, stride=1) if a != b else None

        def forward(self, x):
            f = self.conv(torch.tanh(self.norm(x)))
            return f - x * 0.5 if self.side is None else torch.add(f, self.side(x))

    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding="same"), Block(16, 16), Block(16, 24)),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, 5)),
    )


def channels_last(torch):
    """Norms over the channels of images, which are moved to the last axis and back."""
    nn = torch.nn

    class Layer(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    class RMS(nn.RMSNorm):
        def forward(self, x):
            return super().forward(x.movedim(1, -1)).movedim(-1, 1)

    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), Layer(16, eps=1e-3), nn.GELU(), nn.Conv2d(16, 12, 3), RMS(12, eps=1e-3)),
        *(nn.Tanh(), nn.Flatten(), nn.Linear(48, 5)),
    )


MODULES = {
    "resnet-18": (lambda torch: torch_networks.resnet(torch), (4, 3, 32, 32)),
    "small resnet": (lambda torch: torch_networks.resnet(torch, (16, 32), 1, 5, stem="small"), (4, 3, 8, 8)),
    "vgg with batch norm": (vgg, (4, 3, 16, 16)),
    "lenet": (lenet, (4, 1, 16, 16)),
    "gated mlp": (gated, (6, 30)),
    "own": (own, (6, 50)),
    "blocks": (blocks, (4, 3, 4, 4)),
    "channels last": (channels_last, (4, 3, 4, 4)),
}


def made(torch, name, dtype=None):
    torch.manual_seed(0)
    make, shape = MODULES[name]
    module = make(torch)
    return module.to(dtype or torch.float64), torch.randn(shape, dtype=dtype or torch.float64)


def with_the_weights_of(torch, net, module):
    """The sampled network whose weights and biases are the module's; gains are 1 and offsets 0 in both."""
    one = mfdnn.sample(net, rng=0)
    named, groups = dict(module.named_parameters()), [list(group) for group in one.parameters if group]
    taken = iter(zip(net.names, net.weights, strict=True))
    layers = [layer for layer, shape in net.walk() if layer.parameter_shapes(shape)]
    for layer, group in zip(layers, groups, strict=True):
        if not layer.n_weight_layers:
            continue
        name, weights = next(taken)
        group[0] = weights.values.detach().numpy().astype(float)
        bias = named.get(f"{name}.bias", named.get("b") if name == "W" else None)
        if group[1] is not None:
            group[1] = bias.detach().numpy().astype(float)
    one.parameters = groups
    return one


@pytest.mark.parametrize("name", MODULES)
def test_the_network_is_the_module(torch, name):
    if name == "gated mlp" and not hasattr(mfdnn.layers, "Gate"):
        pytest.skip("there is no layer of gates")
    module, X = made(torch, name)
    before = copy.deepcopy(module.state_dict())
    net = mp.network(module, X)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert net.n_parameters == sum(p.numel() for p in module.parameters())
    outputs = module(X).detach().numpy()
    one = with_the_weights_of(torch, net, module)
    np.testing.assert_allclose(one(net.inputs), outputs, rtol=0, atol=1e-8 * abs(outputs).max())
    assert len(net.names) == net.n_weight_layers and len(set(net.names)) == len(net.names)
    known = {path for path, _ in module.named_modules()} | {path for path, _ in module.named_parameters()}
    assert set(net.names) <= known


def test_an_own_activation_is_the_same_by_hand(torch):
    module, X = made(torch, "own")
    net = mp.network(module, X)

    def by_hand(x):
        return x / (1 + np.exp(-1.702 * x)) + 0.1 * np.sin(x)

    layers = [
        mfdnn.Pointwise(by_hand) if act is not None and act.name.startswith("mul_sigmoid") else layer
        for layer, act in ((layer, layer.activation) for layer in net.layers)
    ]
    hand = mfdnn.order_parameters(mfdnn.Network(50, layers), inputs=net.inputs)
    read = mfdnn.order_parameters(net, inputs=net.inputs)
    for name in ("q", "q_st", "q_tilde"):
        np.testing.assert_allclose(getattr(read, name), getattr(hand, name), rtol=1e-12)
    assert len(net.activations) == 4 and len({id(act) for act in net.activations}) == 2  # one table for equal ones
    assert net.activations[-1].homogeneous == pytest.approx((0.1, 1.0))


def test_names_of_activations(torch):
    nn = torch.nn
    for phi, name in (
        (nn.ReLU(), "relu"), (nn.GELU(), "gelu"), (nn.GELU("tanh"), "gelu_tanh"), (nn.LeakyReLU(0.2), "leaky_relu"),
        (nn.Softplus(), "softplus"), (nn.Hardtanh(), "hard_tanh"), (nn.ELU(0.5), "elu"), (nn.PReLU(), "leaky_relu"),
        (nn.Softsign(), "softsign"), (nn.Mish(), "mish"), (nn.ReLU6(), "ReLU6"), (nn.Hardswish(), "Hardswish"),
    ):  # fmt: skip
        net = mp.network(nn.Sequential(nn.Linear(40, 50), phi, nn.Linear(50, 3)), torch.randn(5, 40))
        (act,) = net.activations
        assert act.name == name
        x = np.linspace(-7, 7, 50)
        np.testing.assert_allclose(act(x), phi(torch.tensor(x).float()).detach().numpy(), atol=1e-5)


def test_variances(torch):
    nn = torch.nn
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(200, 300), nn.Tanh(), nn.Linear(300, 200), nn.Tanh(), nn.Linear(200, 3))
    nn.init.normal_(module[2].weight, std=0.3)
    nn.init.zeros_(module[2].bias)
    nn.init.orthogonal_(module[0].weight, 1.5)
    X = torch.randn(5, 200)
    first, middle, last = mp.network(module, X).weights
    assert first.weights == "orthogonal" and first.sigma_w2 == pytest.approx(1.5**2 * 200 / 300, rel=1e-5)
    assert middle.sigma_w2 == middle.read[0] == pytest.approx(27, rel=0.03) and middle.sigma_b2 == 0
    assert middle.weights == "gaussian" and middle.scheme == ""
    # 600 weights and 3 biases: the known initialisation is nearer than their own moments
    assert last.scheme == "PyTorch's default" and (last.sigma_w2, last.sigma_b2) == pytest.approx((1 / 3, 1 / 600))
    assert last.read[0] != last.sigma_w2
    defaults = mp.network(module, X, variances="defaults").weights
    assert [w.sigma_w2 for w in defaults] == [1 / 3] * 3 and defaults[1].sigma_b2 == 1 / 900
    mine = mp.network(module, X, variances={"2": (2.0, 0.1)}).weights
    assert (mine[1].sigma_w2, mine[1].sigma_b2) == (2.0, 0.1) and mine[0].sigma_w2 == first.sigma_w2
    with pytest.raises(ValueError, match="`variances` has '7', and the weight layers of `module` are 0, 2, 4"):
        mp.network(module, X, variances={"7": (2.0, 0.1)})
    with pytest.raises(ValueError, match="`variances` must be 'weights', 'defaults' or a dict"):
        mp.network(module, X, variances="he")
    with pytest.raises(ValueError, match=r"must give \(sigma_w2, sigma_b2\)"):
        mp.network(module, X, variances={"2": 2.0})


def test_trained_weights_are_suspected(torch):
    nn = torch.nn
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(50, 200), nn.BatchNorm1d(200), nn.ReLU(), nn.Linear(200, 40))
    X, Y = torch.randn(100, 50), torch.arange(100) % 4
    assert mp.network(module, X).caution == ""
    stepper = torch.optim.SGD(module.parameters(), lr=0.5)
    for _ in range(20):
        stepper.zero_grad()
        nn.functional.cross_entropy(module(X), Y).backward()
        stepper.step()
    caution = mp.network(module, X).caution
    assert "`1` has counted 20 batches" in caution and "`1` has gains or offsets that differ" in caution
    assert "`3` may be trained" in caution


def sequential(torch, *layers):
    return torch.nn.Sequential(*layers)


class Function:
    """Modules that do one thing between two layers."""

    def __new__(cls, torch, function, n=40, m=40):
        nn = torch.nn

        class Inner(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.c = nn.Linear(30, 40), nn.Linear(30, 40), nn.Linear(m, 3)

            def forward(self, x):
                return self.c(function(self.a(x), self.b(x)))

        return Inner()


def tied(torch):
    module = Function(torch, torch.add)
    module.b.weight = module.a.weight
    return module


def clones(torch):
    nn = torch.nn
    layer = nn.Linear(30, 30)
    return nn.Sequential(layer, nn.ReLU(), copy.deepcopy(layer), nn.ReLU(), nn.Linear(30, 3))


def changed(change):
    def make(torch):
        module = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.ReLU(), torch.nn.Linear(40, 40))
        with torch.no_grad():
            change(torch, module[2])
        return module

    return make


REFUSED = {
    "`module` (cat): two signals meet in operation 2": lambda t: Function(t, lambda a, b: t.cat([a, b], 1), m=80),
    "`a.weight` (linear): it is used by 2 operations (tied weights, `b.weight` too)": tied,
    "`0` and `2` start with identical weights": clones,
    "`1` (cumsum): there is no mean-field layer of": lambda t: sequential(
        t, t.nn.Linear(30, 4), type("C", (t.nn.Module,), {"forward": lambda s, x: x.cumsum(1)})(), t.nn.Linear(4, 3)
    ),
    "`1` (batch_norm): it is in evaluation mode": lambda t: sequential(
        t, t.nn.Linear(30, 4), t.nn.BatchNorm1d(4), t.nn.ReLU(), t.nn.Linear(4, 3)
    ).eval(),
    "its weights are computed": lambda t: sequential(t, t.nn.utils.parametrizations.weight_norm(t.nn.Linear(30, 4))),
    "`2` (linear): all its weights are 0.1": changed(lambda t, m: m.weight.fill_(0.1)),
    "`2` (linear): few of its weights are large": changed(lambda t, m: t.nn.init.eye_(m.weight)),
    "`2` (linear): its weights have the mean": changed(lambda t, m: m.weight.add_(0.1)),
    "`2` (linear): all its biases are 1": changed(lambda t, m: m.bias.fill_(1.0)),
    "they do not depend on the inputs": lambda t: Function(t, lambda a, b: t.ones(6, 40)),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_read_is_named(torch, words):
    torch.manual_seed(1)
    module = REFUSED[words](torch)
    with pytest.raises(mfdnn.NoTheory) as caught:
        mp.network(module, torch.randn(6, 30))
    assert words in str(caught.value) and "still answer" in str(caught.value)
    if "depend" not in words:  # which no spectrum has either
        assert mp.fisher_spectrum(module, torch.randn(6, 30)).largest > 0


def test_signals_and_shapes_that_have_no_layer(torch):
    nn = torch.nn
    with pytest.raises(mfdnn.NoTheory, match=r"`0` \(linear\): it acts on the last axis of inputs of shape \(4, 30\)"):
        mp.network(nn.Sequential(nn.Linear(30, 3)), torch.randn(6, 4, 30), select=lambda out: out[:, 0])
    for axes in ((0, 3, 2, 1), (0, 1, 2, 3)):  # they do not come back where they were, though the shape says so

        class Elsewhere(nn.LayerNorm):
            def forward(self, x, axes=axes):
                return super().forward(x.permute(0, 2, 3, 1)).permute(axes)

        with pytest.raises(mfdnn.NoTheory, match="no mean-field layer of operation 1, `permute`"):
            mp.network(
                nn.Sequential(nn.Conv2d(3, 4, 1), Elsewhere(4), nn.Flatten(), nn.Linear(64, 3)), torch.randn(2, 3, 4, 4)
            )
    for norm, words in ((nn.LayerNorm((4, 5, 5)), r"\(4, 5, 5\) of inputs \(4, 5, 5\)"), (nn.RMSNorm(5), r"\(5,\) of")):
        module = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Flatten(), nn.Linear(100, 3))
        with pytest.raises(mfdnn.NoTheory, match=rf"it normalises {words}.*move them to the last axis and back"):
            mp.network(module, torch.randn(2, 3, 5, 5))
    tokens = nn.Sequential(nn.Embedding(5, 8), nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(mfdnn.NoTheory, match="no tensor of floating-point numbers"):
        mp.network(tokens, torch.zeros(4, 2, dtype=int))
    with pytest.raises(mfdnn.NoTheory, match=r"`1` \(dropout2d\): it leaves whole channels out"):
        images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(16, 3))
        mp.network(images, torch.randn(2, 3, 4, 4))


def test_memory_that_is_written_to_behind_a_view_is_refused(torch):
    nn = torch.nn

    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 8, 3), nn.Linear(8, 3)

        def forward(self, x):
            h = self.a(x)
            flat = h.flatten(1)
            flat.relu_()
            return self.b(h.flatten(1))

    with pytest.raises(mfdnn.NoTheory, match="overwritten by relu afterwards"):
        mp.network(Views(), torch.randn(4, 1, 3, 3))


def test_signs_of_a_block_do_not_matter_where_its_weights_come_last(torch):
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, last):
            super().__init__()
            self.inner, self.last = nn.Linear(30, 30), last

        def forward(self, x):
            return x - self.last(self.inner(x))

    def read(last):
        module = nn.Sequential(nn.Linear(30, 30), Block(last), nn.Linear(30, 3))
        return mp.network(module, torch.randn(4, 30))

    assert read(nn.Identity()).layers[1].bypass == 1.0
    with pytest.raises(mfdnn.NoTheory, match=r"`1` \(sub\): a block is added -1 times"):
        read(nn.ReLU())


def test_dropout_has_its_law_in_training_alone(torch):
    nn = torch.nn
    module = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Dropout(0.25), nn.Linear(40, 3))
    X = torch.randn(5, 30)
    assert [layer.keep_rate for layer in mp.network(module, X).layers if layer.kind == "dropout"] == [0.75]
    assert all(layer.kind != "dropout" for layer in mp.network(module.eval(), X).layers)


def test_a_dead_branch_and_inputs_behind_what_comes_first(torch):
    nn = torch.nn

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.unused = nn.Linear(12, 3), nn.Linear(12, 7)

        def forward(self, x):
            x = nn.functional.avg_pool2d(x / 255 - 0.5, 2)
            self.unused(x.flatten(1))
            return self.head(x.reshape(len(x), -1))

    X = torch.randn(5, 3, 4, 4)
    net = mp.network(Scaled(), X)
    assert net.names == ("head",) and net.input_shape == (12,)
    scaled = torch.nn.functional.avg_pool2d(X / 255 - 0.5, 2).flatten(1)
    np.testing.assert_allclose(net.inputs, scaled.numpy(), rtol=1e-6)


def padded(torch):
    nn = torch.nn
    pool = nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(nn.Conv2d(2, 16, 3), pool, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)).double()


def test_operations_without_a_layer_run_as_they_are(torch):
    """Max pooling with padding: J and its transpose, and the map of one unit's field."""
    torch.manual_seed(0)
    module, X = padded(torch), torch.randn(5, 2, 7, 7).double()
    net = mp.network(module, X)
    assert "PerChannel(max_pool2d)" in map(repr, net.layers)
    one = with_the_weights_of(torch, net, module)
    np.testing.assert_allclose(one(net.inputs), module(X).detach().numpy(), atol=1e-12)
    rng = np.random.default_rng(0)
    v, u = rng.standard_normal(one.n_parameters), rng.standard_normal((5, 3))
    linear = one.linearise(net.inputs)
    assert np.vdot(u, linear.jvp(v)) == pytest.approx(np.vdot(linear.vjp(u), v), rel=1e-12)
    layer = net.layers[1]
    g, z = rng.standard_normal((2, 6, 4, 5, 5))  # units, samples, sites
    there = torch.nn.functional.max_pool2d(torch.tensor(g), 3, 2, 1).numpy()
    np.testing.assert_array_equal(layer.unit(g), there)
    step = (layer.unit(g + 1e-7 * z) - layer.unit(g - 1e-7 * z)) / 2e-7
    np.testing.assert_allclose(layer.unit_jvp(g, z), step, atol=1e-6)
    with pytest.raises(ValueError, match=r"was recorded at sites \(5, 5\)"):
        layer.output_shape((3, 6, 6))


def test_sampled_units_give_it_a_theory(torch):
    torch.manual_seed(0)
    net = mp.network(padded(torch), torch.randn(4, 2, 7, 7).double())
    found = mfdnn.fisher_statistics(net, inputs=net.inputs)
    plain = mfdnn.Network((2, 7, 7), [
        *(net.layers[0], mfdnn.MaxPool(3, 2), mfdnn.GlobalAveragePool(), net.layers[-1])
    ])  # fmt: skip
    assert found.standard_error["largest"] > 0
    # Without the padding four windows of nine sites take the place of nine of four to nine.
    assert found.largest == pytest.approx(mfdnn.fisher_statistics(plain, inputs=net.inputs).largest, rel=0.5)
