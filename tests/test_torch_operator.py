"""PyTorch modules of any kind: exact products and spectra, from a module that stays bit by bit what it was."""

import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from torch_modules import MODULES, C, Modules, conv_net, explicit_jacobian, state, wrapped

import mfdnn
import mfdnn.pytorch as mp

# Warnings about the inside of PyTorch are not this package's.
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings(r"ignore:.*torch\.jit:DeprecationWarning")]

RTOL = 1e-8  # of the largest, in float64


@pytest.fixture
def known(torch):
    return Modules(torch)


@pytest.fixture(params=MODULES)
def case(request, torch, known):
    module, X = known[request.param]
    return module, X, *explicit_jacobian(torch, module, X)


def columns(U):
    """(b, T, C) of columns (C T, b)."""
    return np.swapaxes(U.T.reshape(U.shape[1], C, -1), 1, 2)


def test_products_are_those_of_the_explicit_jacobian(case):
    module, X, J, outputs = case
    one = mp.operator(module)
    linear = one.linearise(X)
    rng = np.random.default_rng(0)
    U, V = rng.standard_normal((len(J), 4)), rng.standard_normal((J.shape[1], 4))
    assert one.n_parameters == J.shape[1] == sum(p.numel() for p in module.parameters())
    scale = np.abs(J).max() * 1e-11  # sums of at most a few hundred terms
    np.testing.assert_allclose(linear.outputs, outputs, atol=1e-12)
    np.testing.assert_allclose(one(X), outputs, atol=1e-12)
    np.testing.assert_allclose(linear.vjps(columns(U)), U.T @ J, atol=scale)
    np.testing.assert_allclose(linear.jvps(V.T), columns(J @ V), atol=scale * 10)
    np.testing.assert_allclose(linear.products(columns(U)), columns(J @ (J.T @ U)), atol=scale * 100)
    np.testing.assert_allclose(linear.vjp(columns(U)[0]), U[:, 0] @ J, atol=scale)
    np.testing.assert_allclose(linear.jvp(V[:, 0]), columns(J @ V)[0], atol=scale * 10)


@pytest.mark.parametrize("k", [1, C, None])
def test_spectra_are_those_of_the_explicit_jacobian(case, k, monkeypatch):
    module, X, J, _ = case
    monkeypatch.setattr("mfdnn.sampled.eigenpairs.SMALL", 0)  # no dense matrix where k are wanted
    found = mp.fisher_spectrum(module, X, k, tol=1e-9)
    values = np.linalg.eigvalsh(J @ J.T / len(X))[::-1]
    np.testing.assert_allclose(found.eigenvalues, values[: len(found.eigenvalues)], atol=RTOL * values[0])
    assert found.largest == pytest.approx(values[0], rel=RTOL)
    assert len(found.eigenvalues) == (min(J.shape) if k is None else k)
    P = J.shape[1]
    assert found.mean == pytest.approx(values.sum() / P, rel=RTOL)
    assert found.second_moment == pytest.approx(np.sum(values**2) / P, rel=RTOL)
    assert found.standard_error is None


def test_softmax_spectra_are_those_of_the_explicit_jacobian(case):
    module, X, J, outputs = case
    p = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    Q = np.zeros((C, len(X), C, len(X)))
    for t, row in enumerate(p):
        Q[:, t, :, t] = np.diag(row) - np.outer(row, row)
    Q = Q.reshape(len(J), len(J))
    values = np.linalg.eigvals(J @ J.T @ Q / len(X)).real
    for output in ("softmax", torch_loss("CrossEntropyLoss")):
        found = mp.fisher_spectrum(module, X, 2, output=output, tol=1e-8)
        np.testing.assert_allclose(found.eigenvalues, np.sort(values)[::-1][:2], rtol=RTOL)
        assert found.n_outliers == C - 1


def torch_loss(name, **options):
    import torch

    return getattr(torch.nn, name)(**options)


def test_eigenvectors_and_gradients_in_the_order_of_the_parameters(known):
    module, X = known["batch norm"]
    found = mp.fisher_spectrum(module, X, 2, eigenvectors=True, tol=1e-10)
    J, _ = explicit_jacobian(pytest.importorskip("torch"), module, X)
    V = found.eigenvectors
    np.testing.assert_allclose(J.T @ (J @ V) / len(X), V * found.eigenvalues, atol=1e-8 * found.largest)
    assert found.principal_angles is None  # of two of three
    assert mp.operator(module).names == tuple(name for name, _ in module.named_parameters())


@pytest.mark.parametrize(
    "output", ["MSELoss", "MSELoss sum", "BCEWithLogitsLoss", "CrossEntropyLoss smoothed"]
)
def test_a_loss_gives_the_gauss_newton_matrix_with_its_own_reduction(torch, known, output):
    module, X = known["mlp"]
    J, outputs = explicit_jacobian(torch, module, X)
    nn, n = torch.nn, outputs.size
    p = 1 / (1 + np.exp(-outputs.T.ravel()))
    loss, expected = {
        "MSELoss": (nn.MSELoss(), 2 / n * J.T @ J),
        "MSELoss sum": (nn.MSELoss(reduction="sum"), 2 * J.T @ J),
        "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(), J.T * (p * (1 - p) / n) @ J),
        "CrossEntropyLoss smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), None),
    }[output]
    found = mp.fisher_spectrum(module, X, 1, output=loss)
    if expected is None:  # smoothing moves targets, which do not matter
        expected_largest = mp.fisher_spectrum(module, X, 1, output="softmax").largest
    else:
        expected_largest = np.linalg.eigvalsh(expected)[-1]
    assert found.largest == pytest.approx(expected_largest, rel=1e-8)
    assert found.output == type(loss).__name__


def test_losses_whose_hessian_depends_on_targets_are_refused(torch, known):
    module, X = known["mlp"]
    for loss in (
        torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]).double()),
        torch.nn.HuberLoss(),
    ):
        with pytest.raises(ValueError, match=r"depends on the targets.*hessian_spectrum"):
            mp.fisher_spectrum(module, X, output=loss)
    with pytest.raises(ValueError, match="no Gauss-Newton matrix"):
        mp.fisher_spectrum(module, X, output=torch.nn.L1Loss())
    with pytest.raises(ValueError, match="reduction='none'"):
        mp.fisher_spectrum(module, X, output=torch.nn.MSELoss(reduction="none"))
    with pytest.raises(ValueError, match="`output` must be linear, softmax or a loss"):
        mp.fisher_spectrum(module, X, output="banana")


def test_batch_norm_in_training_mode_allows_far_smaller_rates(torch):
    """The statistics that it remembers at first, 0 and 1, are not those of the batch."""
    torch.manual_seed(0)
    module, X = conv_net(torch), torch.randn(32, 3, 8, 8)
    training = mp.fisher_spectrum(module, X, 1, output="softmax")
    frozen = mp.fisher_spectrum(module.eval(), X, 1, output="softmax")
    assert training.largest > 2 * frozen.largest
    assert training.caution == ""
    assert "evaluation mode" in frozen.caution


def test_the_mean_over_batches_is_that_of_their_own_matrices(torch, known, monkeypatch):
    module, X = known["batch norm"]
    X = torch.cat([X, X[:3] + 1])
    parts = [explicit_jacobian(torch, module, X[i : i + 4])[0] for i in (0, 4, 8)]
    expected = np.linalg.eigvalsh(sum(J.T @ J / 4 for J in parts) / 3)[-1]
    whole = mp.fisher_spectrum(module, X).largest
    for kept in (2**30, 0):  # with the graphs of all batches, and with one at a time
        monkeypatch.setattr("mfdnn.pytorch.module_operator.GRAPHS", kept)
        for k in (None, 2):
            found = mp.fisher_spectrum(module, X, k, batch_size=4)
            assert found.largest == pytest.approx(expected, rel=RTOL)
    assert abs(expected / whole - 1) > 1e-3
    assert mp.fisher_spectrum(module, X, batch_size=12).largest == pytest.approx(whole, rel=1e-12)
    with pytest.raises(ValueError, match="must divide the 12 samples"):
        mp.fisher_spectrum(module, X, batch_size=5)
    one = mp.operator(module).in_batches(4)
    linear, u = one.linearise(X), np.random.default_rng(0).standard_normal((12, C))
    v = np.random.default_rng(1).standard_normal(one.n_parameters)
    assert np.sum(u * linear.jvp(v)) == pytest.approx(linear.vjp(u) @ v, rel=1e-10)


def test_where_memory_is_short_samples_are_passed_some_at_a_time_or_refused(torch, known, monkeypatch):
    module, X = known["mlp"]
    X = torch.cat([X, X + 1, X - 1, X * 2])
    expected = mp.fisher_spectrum(module, X, 2)
    room = mp.operator(module).bytes_at(X) / 1.5
    monkeypatch.setattr("mfdnn.pytorch.module_operator.free_memory", lambda device: room)
    linear = mp.operator(module).linearise(X)
    assert type(linear).__name__ == "BatchedLinear"
    found = mp.fisher_spectrum(module, X, 2)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=1e-9)
    coupled = known["batch norm"][0]
    monkeypatch.setattr("mfdnn.pytorch.module_operator.free_memory", lambda device: 1e3)
    with pytest.raises(MemoryError, match=r"pass fewer samples, or `batch_size`"):
        mp.fisher_spectrum(coupled, X)

    class Hidden(torch.nn.Module):
        """Couples samples, in a way that no class of a layer tells."""

        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return self.inner(x - x.mean(dim=0))

    with pytest.raises(MemoryError, match="outputs depend on which samples are passed together"):
        mp.fisher_spectrum(Hidden(), X)


def test_memory_is_predicted_within_reason(torch):
    """Of a long chain of elementwise operations: each keeps its result, or what it came from."""
    module = torch.nn.Sequential(
        torch.nn.Linear(4, 256), *(torch.nn.Tanh() for _ in range(8)), torch.nn.Linear(256, 2)
    )
    one = mp.operator(module)
    kept = one.kept(torch.randn(64, 4))
    assert 9 * 256 * 4 <= kept.each <= 4 * 9 * 256 * 4  # twice: the graph, and that of its derivative


def test_estimated_traces_have_honest_errors(torch, monkeypatch):
    monkeypatch.setattr("mfdnn.pytorch.spectrum.ALL", 100)
    nn = torch.nn
    inside = 0
    for seed in range(5):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, C)).double()
        X = torch.randn(60, 6).double()
        exact = mfdnn.fisher_spectrum(mp.operator(module), X)
        found = mp.fisher_spectrum(module, X)  # more than 100: the C largest
        np.testing.assert_allclose(found.eigenvalues, exact.eigenvalues[:C], rtol=1e-6)
        for name in ("mean", "second_moment"):
            deviation = abs(getattr(found, name) - getattr(exact, name)) / found.standard_error[name]
            assert deviation < 5  # one in 6000 of Student's t with 15 degrees
            inside += deviation < 2
    assert inside >= 7  # of 10: 94 % are expected
    assert found.to_dict()["coupling"] is None
    with pytest.raises(ValueError, match="`coupling` needs the squared norm of every block"):
        _ = found.coupling


# Nothing of the module changes.


def busy(torch):
    """A module with everything that a forward pass may change."""

    class Busy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            nn = torch.nn
            self.conv, self.bn = nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4)
            self.rnn = nn.LSTM(4, 5, batch_first=True)
            self.head = nn.utils.parametrizations.spectral_norm(nn.Linear(5, C))
            self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
            self.calls, self.log, self.last, self.memory = 0, [], None, torch.zeros(3)
            self.then = lambda: None

        def forward(self, x):
            self.calls += 1
            self.log.append(self.calls)
            self.memory += 1
            h = torch.relu(self.bn(self.conv(x)))
            self.last = h
            self.then()
            return self.head(self.rnn(h.swapaxes(1, 2))[0][:, -1]) * self.frozen

    module = Busy()
    module.fired = []
    module.conv.register_forward_hook(lambda *args: module.fired.append(1))
    module.bn.weight.grad = torch.full((4,), 3.0)
    return module


@pytest.fixture
def watched(torch):
    torch.manual_seed(0)
    module = busy(torch)
    X = torch.randn(6, 2, 7)
    return module, X


def test_nothing_changes(torch, watched):
    module, X = watched
    before = state(torch, module)
    kept = module.bn.running_mean.clone(), module.memory
    Y = torch.zeros(6, dtype=int)
    mp.fisher_spectrum(module, X)
    mp.fisher_spectrum(module, X, 1, output="softmax")
    mp.hessian_spectrum(module, (X, Y), torch.nn.CrossEntropyLoss())
    mfdnn.empirical_ntk(mp.operator(module), X)
    mp.operator(module)(X)
    with torch.no_grad():
        mp.fisher_spectrum(module, X, 1)
        assert not torch.is_grad_enabled()
    assert state(torch, module) == before
    assert (
        torch.equal(module.bn.running_mean, kept[0]) and module.memory is kept[1] and not module.memory.any()
    )
    assert module.calls == 0 and module.log == [] and module.last is None
    module(X)  # and it goes on as before
    assert module.calls == 1 and int(module.bn.num_batches_tracked) == 1


def test_a_graph_made_before_still_serves(torch, watched):
    module, X = watched
    module.head = torch.nn.Linear(5, C)  # a spectral norm changes what its own graph holds
    loss = module(X).sum()
    mp.fisher_spectrum(module, X)
    loss.backward()
    assert module.conv.weight.grad is not None


@pytest.mark.parametrize("stop", ["an error", "Ctrl-C"])
def test_nothing_changes_where_the_pass_is_stopped(torch, watched, stop):
    module, X = watched

    def then():
        np.random.standard_normal()  # noqa: NPY002
        torch.rand(1)
        if stop == "an error":
            raise RuntimeError("no further")
        signal.raise_signal(signal.SIGINT)

    module.then = then
    before = state(torch, module)
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        mp.fisher_spectrum(module, X)
    assert state(torch, module) == before


def test_nothing_changes_where_ctrl_c_comes_during_the_search(torch):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach the main thread alone")
    torch.manual_seed(0)
    module, X = conv_net(torch), torch.randn(32, 3, 8, 8)
    before = state(torch, module)
    mp.fisher_spectrum(module, X, 1)
    sooner = threading.Timer(0.05, signal.raise_signal, [signal.SIGINT])
    sooner.start()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(1000):
            mp.fisher_spectrum(module, X)
    sooner.join()
    assert state(torch, module) == before


# Modules as they are.


def test_frozen_parameters_are_constants_and_said(torch, known):
    module, X = known["lenet"]
    J, _ = explicit_jacobian(torch, module, X)
    module[0].weight.requires_grad_(False)
    found = mp.fisher_spectrum(module, X)
    J = J[:, module[0].weight.numel() :]
    assert found.n_parameters == J.shape[1]
    assert found.largest == pytest.approx(np.linalg.eigvalsh(J @ J.T / len(X))[-1], rel=RTOL)
    assert found.caution == "1 parameters are frozen and count as constants (0.weight)."


def test_hooks_fire_and_are_said(torch, known):
    module, X = known["mlp"]
    fired = []
    module[1].register_forward_hook(lambda *args: fired.append(args))
    found = mp.fisher_spectrum(module, X)
    assert fired and found.caution == "Hooks fire at every pass (1)."


def test_tied_weights_count_once(torch):
    torch.manual_seed(0)
    shared = torch.nn.Linear(5, 5).double()
    module = torch.nn.Sequential(shared, torch.nn.Tanh(), shared)
    X = torch.randn(4, 5).double()
    J, _ = explicit_jacobian(torch, module, X)
    found = mp.fisher_spectrum(module, X)
    assert found.n_parameters == 30
    np.testing.assert_allclose(found.eigenvalues[:5], np.linalg.eigvalsh(J @ J.T / 4)[:-6:-1], rtol=1e-8)


def test_parts_of_the_return_value_and_several_inputs(torch):
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)

        def forward(self, x, y=None):
            return {"first": self.a(x), "second": (self.b(x if y is None else y), self.a(x))}

    torch.manual_seed(0)
    module, X = Two(), torch.randn(5, 3)
    first = mp.fisher_spectrum(module, X, select="first")
    assert first.largest == mp.fisher_spectrum(module, X, select=lambda out: out["first"]).largest
    second = mp.operator(module, select=lambda out: out["second"][0])
    pair = second.linearise((X, X)).outputs
    np.testing.assert_array_equal(pair, second.linearise({"x": X, "y": X}).outputs)
    np.testing.assert_array_equal(pair, second(X.numpy()))
    with pytest.raises(TypeError, match="got a dict with 'first', 'second'; pass select="):
        mp.fisher_spectrum(module, X)
    with pytest.raises(
        ValueError, match=r"`select` = 'third' is not in what `module` returns, a dict with 'first'"
    ):
        mp.fisher_spectrum(module, X, select="third")
    with pytest.raises(TypeError, match="`select` must be a function, an index or a key"):
        mp.fisher_spectrum(module, X, select=1.5)


def test_arrays_come_in_any_float_and_tensors_as_the_module_is(torch, known):
    module, X = known["mlp"]
    module.float()
    found = mp.fisher_spectrum(module, X.numpy(), 1)
    assert found.largest == mp.fisher_spectrum(module, X.float(), 1).largest
    assert mp.operator(module).dtype == np.float32
    with pytest.raises(
        ValueError, match=r"`X` is of torch.float64, and `module` of torch.float32; pass X.to"
    ):
        mp.fisher_spectrum(module, X)


def test_an_operation_without_vmap_passes_one_by_one(torch):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            return 3 * g * ctx.saved_tensors[0] ** 2

    class Cubes(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(3, C).double()

        def forward(self, x):
            return Cube.apply(self.inner(x))

    torch.manual_seed(0)
    module, X = Cubes(), torch.randn(6, 3).double()
    J, _ = explicit_jacobian(torch, module, X)
    assert mp.fisher_spectrum(module, X).largest == pytest.approx(
        np.linalg.eigvalsh(J @ J.T / 6)[-1], rel=1e-10
    )


def test_operations_without_second_derivatives_are_named(torch):
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            return 2 * g

    module = wrapped(torch, torch.nn.Linear(3, C), Once.apply)
    with pytest.raises(ValueError, match="differentiable once"):
        mp.fisher_spectrum(module, torch.randn(4, 3))


def test_compiled_and_parallel_wrappers_are_taken_off(torch, known):
    module, X = known["mlp"]
    expected = mp.fisher_spectrum(module, X).largest
    assert mp.fisher_spectrum(torch.compile(module), X).largest == expected
    assert mp.fisher_spectrum(torch.nn.DataParallel(module), X).largest == expected


# What the rest of the package does with operators.


def test_kernels_features_norms_and_training_take_modules(torch, known):
    """A module and the sampled network of the same numbers."""
    torch.manual_seed(0)
    net = mfdnn.mlp([5, 12, 10, C], "tanh")
    module = torch.nn.Sequential(
        *(
            torch.nn.Linear(5, 12),
            torch.nn.Tanh(),
            torch.nn.Linear(12, 10),
            torch.nn.Tanh(),
            torch.nn.Linear(10, C),
        )
    ).double()
    arrays = [p.detach().numpy().copy() for p in module.parameters()]
    twin = mfdnn.SampledNetwork(net, list(zip(arrays[::2], arrays[1::2], strict=True)))
    one, X = mp.operator(module), np.random.default_rng(0).standard_normal((9, 5))
    Y = np.random.default_rng(1).standard_normal((9, C))
    np.testing.assert_allclose(one.vector, twin.vector)
    for function in (
        lambda f: mfdnn.empirical_ntk(f, X),
        lambda f: mfdnn.empirical_ntk(f, X, X[:4] + 1),
        lambda f: mfdnn.feature_spectrum(f, X).eigenvalues,
        lambda f: mfdnn.feature_spectrum(f, X, output="softmax").eigenvalues,
        lambda f: mfdnn.squared_fisher_rao_norm(f, X),
        lambda f: mfdnn.fisher_spectrum(mfdnn.sampled.linearised(f), X, 2).eigenvalues,
    ):
        np.testing.assert_allclose(function(one), function(twin), atol=1e-10)
    before = state(torch, module)
    for made in (lambda f: f, mfdnn.sampled.linearised):
        ours, theirs = (mfdnn.train(made(f), X, Y, 0.02, 8, record_every=2) for f in (one, twin))
        np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-9)
        np.testing.assert_allclose(ours.lambda_max, theirs.lambda_max, rtol=1e-7)
    assert state(torch, module) == before
    moved = mp.operator(module).at(ours.trained.vector)
    assert np.abs(moved(X) - one(X)).max() > 1e-3
    with pytest.raises(ValueError, match="`vector` must have shape"):
        one.at(np.ones(3))


def test_other_parameters_reach_every_layer(torch, known):
    for name in MODULES:
        module, X = known[name]
        one = mp.operator(module)
        other = one.at(one.vector * 1.1)
        with torch.no_grad():
            for p in module.parameters():
                p.mul_(1.1)
        np.testing.assert_allclose(other(X), mp.operator(module)(X), atol=1e-12, err_msg=name)


def test_features_of_convolutions_are_what_enters_them(torch, known):
    module, X = known["lenet"]
    found = mfdnn.feature_spectrum(mp.operator(module), X)
    assert found.n_features == 64 + 3 * 16 + 16 + 12
    with pytest.raises(ValueError, match="treat samples one by one"):
        mfdnn.feature_spectrum(mp.operator(known["batch norm"][0]), known["batch norm"][1])
    with pytest.raises(ValueError, match="got `inner` of LSTM"):
        mfdnn.feature_spectrum(mp.operator(known["lstm"][0]), known["lstm"][1])


# The Hessian.


def test_both_ends_of_the_hessian_and_of_its_parts(torch, known):
    module, X = known["batch norm"]
    Y, loss = torch.randint(0, C, (len(X),)), torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    names = [name for name, _ in module.named_parameters()]
    shapes = [p.shape for p in module.parameters()]

    def value(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        named = {name: p.reshape(shape) for name, p, shape in zip(names, parts, shapes, strict=True)}
        buffers = {name: b.clone() for name, b in module.named_buffers()}
        return loss(torch.func.functional_call(module, (named, buffers), (X,)), Y)

    vector = torch.from_numpy(mp.operator(module).vector)
    H = torch.autograd.functional.hessian(value, vector).numpy()
    J, outputs = explicit_jacobian(torch, module, X)
    p = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    G = np.zeros_like(H)
    for t, row in enumerate(p):
        own = J[t :: len(X)]
        G += own.T @ (np.diag(row) - np.outer(row, row)) @ own / len(X)
    for part, matrix in (("whole", H), ("gauss_newton", G), ("residual", H - G)):
        values = np.linalg.eigvalsh(matrix)
        found = mp.hessian_spectrum(module, (X, Y), loss, 2, part=part, tol=1e-7)
        np.testing.assert_allclose(found.top, values[:-3:-1], atol=1e-9)
        np.testing.assert_allclose(found.bottom, values[:2], atol=1e-9)
        assert found.largest == found.top[0] and found.smallest == found.bottom[0]
        assert np.all(found.top_residuals <= 1e-7 * max(abs(values)))
    assert found.loss_value == pytest.approx(value(vector).item(), rel=1e-12)
    assert found.to_dict()["smallest"] == found.smallest
    top = mp.fisher_spectrum(module, X, 1, output=loss).largest
    assert mp.hessian_spectrum(module, (X, Y), loss, part="gauss_newton").largest == pytest.approx(
        top, rel=1e-6
    )


def test_a_hessian_of_nothing_but_the_last_layer(torch):
    """Linear in its parameters: no residual term."""
    module, X = torch.nn.Linear(4, 2).double(), torch.randn(6, 4).double()
    found = mp.hessian_spectrum(module, (X, torch.randn(6, 2).double()), torch.nn.MSELoss(), part="residual")
    assert found.largest == found.smallest == 0


@pytest.mark.parametrize(
    ("batch", "options", "error", "words"),
    [
        (lambda X, Y: X, {}, TypeError, r"`batch` must be a pair \(X, Y\)"),
        (lambda X, Y: (X, Y), {"part": "half"}, ValueError, "`part` must be"),
        (lambda X, Y: (X, Y), {"k": 0}, ValueError, "`k`"),
        (lambda X, Y: (X, Y), {"k": 10**6}, ValueError, "`k` must be at most P/2"),
        (lambda X, Y: (X, Y), {"tol": 0}, ValueError, "`tol`"),
        (lambda X, Y: (X, Y), {"max_products": 3, "tol": 1e-12}, ArithmeticError, "after . products"),
        (lambda X, Y: (X, Y[:3]), {}, ValueError, "does not take outputs of shape"),
    ],
)
def test_bad_arguments_of_a_hessian_get_a_sentence(torch, known, batch, options, error, words):
    module, X = known["mlp"]
    with pytest.raises(error, match=words):
        mp.hessian_spectrum(
            module, batch(X, torch.zeros(len(X), dtype=int)), torch.nn.CrossEntropyLoss(), **options
        )


# Bad input gets a sentence.


def test_bad_modules_get_a_sentence(torch):
    nn = torch.nn

    def spoiled(value):
        module = nn.Linear(3, 2)
        with torch.no_grad():
            module.weight[0, 0] = value
        return module

    for module, error, words in (
        (lambda: "resnet18", TypeError, "`module` must be a torch.nn.Module, got str"),
        (lambda: nn.Linear, TypeError, "`module` must be a torch.nn.Module, got type"),
        (lambda: nn.LazyLinear(3), ValueError, r"`weight` of `module` is lazy.*call module\(X\) once"),
        (lambda: nn.ReLU(), ValueError, "got no parameters at all"),
        (lambda: nn.Linear(3, 2).requires_grad_(False), ValueError, "got none with requires_grad"),
        (
            lambda: nn.Linear(3, 2).half(),
            ValueError,
            r"must be of float32 or float64, got torch.float16.*module.float",
        ),
        (lambda: nn.Linear(3, 2, dtype=torch.complex64), ValueError, "got torch.complex64"),
        (lambda: nn.Linear(3, 2, device="meta"), ValueError, "on the meta device"),
        (lambda: spoiled(float("nan")), ValueError, "`weight` of `module` must be finite"),
        (lambda: spoiled(float("inf")), ValueError, "`weight` of `module` must be finite"),
    ):
        with pytest.raises(error, match=words):
            mp.operator(module())


def test_bad_batches_and_passes_get_a_sentence(torch, known):
    nn = torch.nn
    module, X = known["mlp"]
    norm = known["batch norm"][0]
    series = known["lstm"][1]
    dropping = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.2), nn.Linear(4, 2)).double()
    renorm = nn.Sequential(nn.Embedding(9, 4, max_norm=0.1), nn.Flatten(), nn.Linear(8, 2))
    for call, error, words in (
        (
            lambda: mp.fisher_spectrum(module, X.to("meta")),
            ValueError,
            r"`X` is on meta, and `module` on cpu; pass X.to",
        ),
        (lambda: mp.fisher_spectrum(module, X.float()), ValueError, "`X` is of torch.float32"),
        (
            lambda: mp.fisher_spectrum(module, X * float("nan")),
            ValueError,
            "`X` must be finite, got nan or inf",
        ),
        (
            lambda: mp.fisher_spectrum(norm, X[:1]),
            ValueError,
            "at least two samples, as `module` has batch norm",
        ),
        (lambda: mp.fisher_spectrum(module, X * 1e200 * 1e200), ValueError, "`X` must be finite"),
        (
            lambda: mp.fisher_spectrum(
                nn.Sequential(nn.Linear(5, 2, bias=False).double(), Exp(torch)), X * 1e4
            ),
            ArithmeticError,
            "outputs of `one` overflow float64",
        ),
        (
            lambda: mp.fisher_spectrum(dropping, X),
            ValueError,
            r"`1` is Dropout of p = 0.2 in training mode.*module.get_submodule\('1'\).eval\(\)",
        ),
        (
            lambda: mp.fisher_spectrum(nn.LSTM(6, 4).double(), series),
            TypeError,
            "got a tuple of 2; pass select=",
        ),
        (
            lambda: mp.fisher_spectrum(nn.Linear(6, 4).double(), series),
            ValueError,
            r"shape \(T, C\), got \(7, 4, 4\)",
        ),
        (
            lambda: mp.fisher_spectrum(nn.Sequential(nn.Linear(5, 1).double(), nn.Flatten(0)), X),
            ValueError,
            r"got \(9,\); pass select=lambda out: out\[:, None\]",
        ),
        (
            lambda: mp.fisher_spectrum(renorm, torch.ones(3, 2, dtype=int)),
            ValueError,
            "changes its parameters",
        ),
        (lambda: mp.fisher_spectrum(module, X, 28), ValueError, r"`k` must be at most min\(TC, P\) = 27"),
        (lambda: mp.fisher_spectrum(module, X, 0), ValueError, "`k`"),
        (lambda: mp.fisher_spectrum(module, X[:0]), ValueError, "`X` must hold samples"),
        (
            lambda: mp.fisher_spectrum(module, X, 19, output="softmax"),
            ValueError,
            r"min\(T\(C - 1\), P\) = 18",
        ),
        (lambda: mp.fisher_spectrum(module, X, batch_size=0), ValueError, "`batch_size`"),
        (lambda: mp.fisher_spectrum(module, X, tol=-1), ValueError, "`tol`"),
        (lambda: mp.fisher_spectrum(module, X, eigenvectors=2), TypeError, "`eigenvectors`"),
        (lambda: mp.fisher_spectrum(known["mlp"][0][:1], X, output="softmax", k=0), ValueError, "`k`"),
    ):
        with pytest.raises(error, match=words):
            call()
    assert float(renorm[0].weight.detach().norm(dim=1).max()) > 0.1  # put back
    dropping[1].eval()
    assert mp.fisher_spectrum(dropping, X).largest > 0


def Exp(torch):
    class Exp(torch.nn.Module):
        def forward(self, x):
            return torch.exp(x)

    return Exp()


def test_tensors_made_in_inference_mode_serve_and_modules_made_in_it_are_refused(torch, known):
    module, X = known["mlp"]
    expected = mp.fisher_spectrum(module, X).largest
    with torch.inference_mode():
        same, Y, made = X.clone(), torch.zeros(len(X), C, dtype=X.dtype), torch.nn.Linear(4, 2)
        with pytest.raises(ValueError, match="call this outside"):
            mp.fisher_spectrum(module, X)
    assert mp.fisher_spectrum(module, same).largest == expected
    optimizer, loss = torch.optim.SGD(module.parameters(), lr=0.1), torch.nn.MSELoss()
    assert mp.learning_rate(module, (same, Y), loss, optimizer).stable > 0
    assert mp.hessian_spectrum(module, (same, Y), loss).largest > 0
    with pytest.raises(ValueError, match="make it outside"):
        mp.operator(made)


def test_outputs_without_a_graph_are_refused(torch):
    module = wrapped(torch, torch.nn.Linear(3, 2), lambda out: out.detach())
    with pytest.raises(ValueError, match="depend on no trainable parameter"):
        mp.fisher_spectrum(module, torch.randn(4, 3))


def test_recomputed_activations_leave_the_module_as_it_is(torch):
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            nn = torch.nn
            self.body, self.head = (
                nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU()),
                nn.Linear(6, 2),
            )

        def forward(self, x):
            return self.head(checkpoint(self.body, x, use_reentrant=False))

    torch.manual_seed(0)
    module, X = Checkpointed().double(), torch.randn(9, 3).double()
    before = state(torch, module)
    J, _ = explicit_jacobian(torch, module, X)
    expected = np.linalg.eigvalsh(J @ J.T / 9)[-1]
    assert mp.fisher_spectrum(module, X).largest == pytest.approx(expected, rel=RTOL)
    one = mp.operator(module)
    moved = one.at(one.vector * 1.1)  # what is computed again has these too
    u, v = np.ones((9, 2)), one.vector
    assert np.sum(u * moved.linearise(X).jvp(v)) == pytest.approx(moved.linearise(X).vjp(u) @ v, rel=1e-9)
    h = 1e-5
    slope = (one.at(one.vector * (1.1 + h))(X) - one.at(one.vector * (1.1 - h))(X)) / (2 * h)
    np.testing.assert_allclose(moved.linearise(X).jvp(v), slope, atol=1e-6)
    assert state(torch, module) == before


def test_the_example_of_the_readme_runs(torch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
    examples = [block for block in blocks if "mp." in block and ">>>" not in block]
    assert len(examples) >= 2
    names = {"mfdnn": mfdnn}
    for example in examples:
        lines = [
            line for line in example.splitlines() if not line.startswith("mp.report")
        ]  # test_torch_report.py
        exec(compile("\n".join(lines), "README.md", "exec"), names)
    assert names["spectrum"].largest > 0


@pytest.mark.parametrize("name", ["mlp", "lenet", "residual block"])
def test_curvlinops_agrees_where_it_is_installed(torch, known, name):
    curvlinops = pytest.importorskip(
        "curvlinops", reason="compares with curvlinops-for-pytorch, which is not installed"
    )
    from scipy.sparse.linalg import eigsh

    module, X = known[name]
    module = module.eval() if name == "residual block" else module  # it fails on batch norm in training mode
    Y = torch.zeros(len(X), C, dtype=torch.float64)
    theirs = curvlinops.GGNLinearOperator(module, torch.nn.MSELoss(), list(module.parameters()), [(X, Y)])
    expected = eigsh(theirs.to_scipy(), k=1, tol=1e-8)[0][0]
    found = mp.fisher_spectrum(module, X, 1, output=torch.nn.MSELoss())
    assert found.largest == pytest.approx(expected, rel=1e-4)


def test_what_does_not_fit_names_the_part(torch):
    nn = torch.nn
    plain = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    images = nn.ModuleDict({"body": nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))})["body"]
    words = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2))
    before = [p.detach().clone() for p in plain.parameters()]
    for module, X, error, match in (
        (plain, torch.randn(4, 6), ValueError, r"`X` must fit `module`, but its '0', Linear.*got shape \(4, 6\)"),
        (plain, torch.ones(4, 5, dtype=torch.long), ValueError, r"its '0', Linear.*torch\.int64"),
        (plain, (torch.randn(4, 5), torch.randn(4, 5)), ValueError, "but Sequential got shape.*2 positional arguments"),
        (plain, {"y": torch.randn(4, 5)}, ValueError, "but Sequential got .*unexpected keyword"),
        (plain, None, TypeError, "`X` must be a batch, .* got None"),
        (plain, "abc", TypeError, "`X` must be a batch, .* got 'abc'"),
        (plain, [None, None], TypeError, "`X` must be a batch"),
        (images, torch.randn(4, 1, 8, 8), ValueError, "its '0', Conv2d.*got 1 channels"),
        (images, torch.randn(4, 3, 9, 9), ValueError, r"its '2', Linear.*got shape \(4, 196\)"),
        (words, torch.randn(4, 3), ValueError, "its '0', Embedding.*torch.float32"),
        (words, torch.full((4, 3), 10), ValueError, "its '0', Embedding.*out of range"),
    ):
        with pytest.raises(error, match=match):
            mp.fisher_spectrum(module, X)
    assert all(p.grad is None and torch.equal(p, old) for p, old in zip(plain.parameters(), before, strict=True))

    class Own(nn.Linear):
        def forward(self, x):
            raise RuntimeError("of my own")

    with pytest.raises(RuntimeError, match="of my own"):
        mp.fisher_spectrum(Own(5, 2), torch.randn(4, 5))
