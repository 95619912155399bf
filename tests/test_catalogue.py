"""One test for every layer: whatever stands in the catalogue of layers is held against its other half."""

import pickle

import numpy as np
import pytest
from layer_catalogue import CATALOGUE, LAYERS, PLACEMENTS, REFUSED, SAMPLED, network

import mfdnn
from mfdnn.datasets import gaussian_inputs
from mfdnn.layers import Exchangeable, Given, Keep, Layer, State, Tangents
from mfdnn.layers.pairs import ALL
from mfdnn.layers.units import Sampler, as_moments
from mfdnn.mean_field.inputs import given_state
from mfdnn.network import scale_widths

T, C = 6, 3
GROUPS = ("weights",), ("biases",), ("others",)

KINDS = {False: "exchangeable", True: "given"}


def refused(name, given):
    return REFUSED.get(name) in ("always", "given" if given else "random")


def with_theory(which=lambda name: True):
    """Parameters `name` and `given`: entries that have a theory, of which `which` is true."""
    cases = [
        pytest.param(name, given, id=f"{name}-{kind}")
        for name in CATALOGUE
        for given, kind in KINDS.items()
        if which(name) and not refused(name, given)
    ]
    return pytest.mark.parametrize(("name", "given"), cases)


every = pytest.mark.parametrize("name", CATALOGUE)


def closed(name):
    """Whether theory is in closed form: two paths to one number then agree to rounding."""
    return name not in SAMPLED


def inputs(net, n_samples=T, rng=3):
    return np.random.default_rng(rng).standard_normal((n_samples, *net.input_shape))


def drawn(net):
    """A network away from where it starts: gains of 1 and offsets of 0 would hide where they are missing."""
    one = mfdnn.sample(net, rng=0)
    moved = 0.3 * np.random.default_rng(1).standard_normal(net.n_parameters)
    one.parameters = one.unflatten(one.flatten(one.parameters) + moved)
    return one


def rows(linear):
    """J (C T, P), output by output, from products with unit vectors."""
    n_samples, n_outputs = linear.outputs.shape
    found = []
    for k, t in np.ndindex(n_outputs, n_samples):
        u = np.zeros((n_samples, n_outputs))
        u[t, k] = 1
        found.append(linear.vjp(u))
    return np.array(found)


# -- the catalogue itself -------------------------------------------------------------------------------------


def test_every_layer_is_in_the_catalogue():
    exported = {
        found
        for module in (mfdnn, mfdnn.layers)
        for name in module.__all__
        if isinstance(found := getattr(module, name), type)
        and issubclass(found, Layer)
        and found is not Layer
    }
    assert exported - {type(entry.make(4)) for entry in LAYERS.values()} == set()
    assert {placement for entry in LAYERS.values() for placement in entry.placements} == set(PLACEMENTS)
    assert set(REFUSED) <= set(CATALOGUE)


@every
def test_the_layer_stands_where_the_catalogue_says(name):
    layer = name.split(", ")[0]
    kinds = [type(found) for found, _ in CATALOGUE[name]().walk()]
    assert type(LAYERS[layer].make(5)) in kinds


# -- finite width ---------------------------------------------------------------------------------------------


@every
def test_adjoint_and_differences(name):
    one, rng = drawn(CATALOGUE[name]()), np.random.default_rng(2)
    linear = one.linearise(inputs(one.network))
    u, v = rng.standard_normal((T, C)), rng.standard_normal(one.n_parameters)
    pushed, pulled = linear.jvp(v), linear.vjp(u)
    size = np.linalg.norm(u) * np.linalg.norm(pushed) + np.linalg.norm(pulled) * np.linalg.norm(v)
    assert abs(np.sum(u * pushed) - pulled @ v) < 1e-14 * size
    theta, step = one.flatten(one.parameters), 1e-6

    def outputs(t):
        return mfdnn.SampledNetwork(one.network, one.unflatten(theta + t * v))(linear.inputs)

    # Central differences: truncation 1e-12, rounding 1e-10, each times what third derivatives and outputs are.
    expected = (outputs(step) - outputs(-step)) / (2 * step)
    np.testing.assert_allclose(pushed, expected, atol=1e-7 * np.abs(pushed).max())


@every
def test_gram_matrices_and_spectra_are_those_of_the_jacobian(name, monkeypatch):
    one = drawn(CATALOGUE[name]())
    X = inputs(one.network)
    J = rows(one.linearise(X))
    gram = J @ J.T
    expected = np.linalg.eigvalsh(gram / T)[::-1][: min(T * C, one.n_parameters)]
    rounding = 1e-12 * expected[0]
    np.testing.assert_allclose(mfdnn.empirical_ntk(one, X), gram, atol=T * rounding)
    found = mfdnn.fisher_spectrum(one, X)
    np.testing.assert_allclose(found.eigenvalues, expected, atol=rounding)
    assert found.mean == pytest.approx(np.sum(J**2) / (T * one.n_parameters), rel=1e-12)

    ends = np.cumsum([sum(a.size for a in group if a is not None) for group in one.parameters])
    starts = np.concatenate([[0], ends[:-1]])
    weighted = [bool(layer.n_weight_layers) for layer, _ in one.network.parameter_layers]
    for index, i in enumerate(np.flatnonzero(weighted)):
        block = J[:, starts[i] : ends[i]]
        np.testing.assert_allclose(
            mfdnn.empirical_ntk(one, X, layer=index), block @ block.T, atol=T * rounding
        )
        of_block = mfdnn.fisher_spectrum(one, X, layer=index).eigenvalues
        values = np.linalg.eigvalsh(block @ block.T / T)[::-1][: len(of_block)]
        np.testing.assert_allclose(of_block, values, atol=rounding)

    monkeypatch.setattr("mfdnn.sampled.eigenpairs.SMALL", 0)
    top = mfdnn.fisher_spectrum(one, X, k=2, tol=1e-9)
    np.testing.assert_allclose(top.eigenvalues, expected[:2], rtol=1e-8)
    assert top.second_moment * one.n_parameters == pytest.approx(expected @ expected, rel=1e-10)


@every
def test_gram_matrices_in_other_units(name):
    one = drawn(CATALOGUE[name]())
    X, J = inputs(one.network), rows(one.linearise(inputs(one.network)))
    try:
        units = [layer.ntk_units(shape) for layer, shape in one.network.parameter_layers]
    except mfdnn.NoTheory as reason:
        with pytest.raises(mfdnn.NoTheory, match="`parameterisation` = ntk needs weight"):
            mfdnn.empirical_ntk(one, X, parameterisation="ntk")
        assert "CircularConv" in str(reason) or "delta_orthogonal" in str(reason)
        return
    pairs = [
        (s, a)
        for of, group in zip(units, one.parameters, strict=True)
        for s, a in zip(of, group, strict=True)
    ]
    J = J * np.concatenate([np.full(a.size, s) for s, a in pairs if a is not None])
    np.testing.assert_allclose(
        mfdnn.empirical_ntk(one, X, parameterisation="ntk"), J @ J.T, atol=1e-12 * np.sum(J**2)
    )


# -- finite width against infinite width ----------------------------------------------------------------------

WIDTH, N_NETWORKS = 50, 8


def case_of_theory(name):
    """The network wide, its number of samples, and what is left of theory at these: O(1/M); of errors O(1/T)."""
    layer, _, placement = name.partition(", ")
    behind = placement == "behind outputs"
    kinds = {found.normalises for found, _ in CATALOGUE[name]().walk()}
    mixes = behind and "units" in kinds  # 1/sigma^2 of few outputs is heavy-tailed
    net = network(layer, placement, WIDTH, 10 if mixes else 2)
    n_samples = 24 if "samples" in kinds else 6
    return net, n_samples, 3 / WIDTH, 3 / n_samples if "samples" in kinds else 0.0


def measured(net, X, rng):
    """Of one network: q, q_hat and q_tilde of weight layers; diagonal and rest of the kernel of each group."""
    one = mfdnn.sample(net, rng=rng)
    linear = one.linearise(X)
    J, n_samples = rows(linear), len(X)
    roles = []
    for (layer, _), group in zip(net.parameter_layers, one.parameters, strict=True):
        own = layer.parameter_roles or ("others",) * len(group)
        roles += [np.full(a.size, role) for role, a in zip(own, group, strict=True) if a is not None]
    roles, found = np.concatenate(roles), {}
    for names in (*GROUPS, ("weights", "biases", "others")):
        chosen = J[:, np.isin(roles, names)].reshape(net.n_outputs, n_samples, -1)
        theta = np.mean(chosen @ chosen.swapaxes(1, 2), axis=0)
        mean = np.trace(theta) / n_samples
        found[names] = mean, (theta.sum() / n_samples - mean) / (n_samples - 1)
    layers = one.activity(X)
    found["q"] = [np.mean(activity.u**2) for activity in layers[:-1]]  # a few outputs are no mean over units
    found["q_hat"] = [
        np.mean(layer.seen(activity.h) ** 2)
        for (layer, _), activity in zip(net.weight_layers, layers, strict=True)
    ]
    found["q_tilde"] = [np.sum(activity.delta**2) / (net.n_outputs * n_samples) for activity in layers]
    return found


@pytest.mark.parametrize("given", KINDS, ids=KINDS.values())
@every
def test_finite_networks_scatter_around_infinite_ones(name, given):
    net, n_samples, allowed, of_errors = case_of_theory(name)
    rng = np.random.default_rng(5)
    X = gaussian_inputs(n_samples, net.n_inputs, c0=0.3, rng=rng)
    data = {"inputs": X} if given else {"n_samples": n_samples, "c0": 0.3}
    if refused(name, given):
        with pytest.raises(mfdnn.NoTheory) as reason:
            mfdnn.fisher_statistics(net, **data)
        assert str(reason.value).endswith(".")
        assert "\n" not in str(reason.value)
        found = measured(net, X.reshape(n_samples, *net.input_shape), rng)
        assert np.all(np.isfinite(found["q_hat"]))
        assert found[GROUPS[0]][0] > 0
        return
    wide = mfdnn.MeanField(net, **data)
    tangents, whole = wide.tangents, sum(GROUPS, ())
    op = wide.order_parameters
    expected = {"q": op.averaged("q")[:-1], "q_hat": op.averaged("q_hat")}
    expected[whole] = (mfdnn.fisher_statistics(wide).mean * net.n_parameters / net.n_outputs,)
    if wide.last is None or wide.output_law.edge == "mean":  # linear outputs
        expected["q_tilde"] = op.averaged("q_tilde")
    if wide.last is None:
        expected |= {group: tangents[group].averages() for group in GROUPS if group in tangents}
    if wide.last is None or wide.output_law.edge:
        expected[whole] = *expected[whole], mfdnn.ntk_statistics(wide).off_diagonal
    draws = []
    for _ in range(N_NETWORKS):
        x = X if given else gaussian_inputs(n_samples, net.n_inputs, c0=0.3, rng=rng)
        draws.append(measured(net, x.reshape(n_samples, *net.input_shape), rng))
    for what, theory in expected.items():
        theory = np.array(theory)
        values = np.array([draw[what] for draw in draws])[:, : len(theory)]
        error = values.std(axis=0, ddof=1) / np.sqrt(N_NETWORKS)
        size = (
            theory if what in ("q", "q_hat", "q_tilde") else theory[0]
        )  # products of two samples on the scale of squares
        difference = np.abs(values.mean(axis=0) - theory)
        # Gains in front of an activation: errors that come back through it depend on what they multiply, which theory
        # leaves out (O(1) beside O(M), as the notes of `mfdnn.ntk` say).
        left_out = 0.8 if what == ("others",) and "before activation" in name else 0.0
        if what == "q_tilde" or (wide.last is not None and "batch" in wide.output_law.edge):
            left_out = of_errors
        assert np.all(difference <= 4 * error + (allowed + left_out) * size), (
            what,
            difference / size,
            error / size,
        )


# -- sampled units --------------------------------------------------------------------------------------------


@with_theory()
def test_units_are_sampled_where_no_closed_form_is_known_and_nowhere_else(name, given):
    net = CATALOGUE[name]()
    data = {"inputs": inputs(net)} if given else {"n_samples": T, "c0": 0.3}
    wide = mfdnn.MeanField(net, **data, n_units=16)
    assert wide.sampled == (name in SAMPLED)
    assert (mfdnn.fisher_statistics(wide).standard_error is not None) == wide.sampled


# -- forward tangents against backward errors -----------------------------------------------------------------


class Space:
    """Symmetric kernels like one that is given, as vectors."""

    def __init__(self, like):
        self.like = like
        self.upper = np.triu_indices(like.n_sites * (like.n_samples if like.given else 1))

    def vector(self, kernel):
        if isinstance(kernel, Exchangeable):
            return np.concatenate([kernel.one[self.upper], kernel.two[self.upper]])
        size = len(kernel.matrix) * kernel.n_sites
        return kernel.matrix.swapaxes(1, 2).reshape(size, size)[self.upper]

    def kernel(self, vector):
        n, n_samples = self.like.n_sites, self.like.n_samples
        if isinstance(self.like, Exchangeable):
            one, two = (self.symmetric(half, n) for half in np.split(vector, 2))
            return Exchangeable(one, two, n_samples)
        whole = self.symmetric(vector, n * n_samples)
        return Given(whole.reshape(n_samples, n, n_samples, n).swapaxes(1, 2))

    def symmetric(self, entries, size):
        whole = np.zeros((size, size))
        whole[self.upper] = entries
        return whole + np.triu(whole, 1).T

    @property
    def size(self):
        return len(self.upper[0]) * (1 if self.like.given else 2)


def linear_maps(layer, state):
    """What a layer makes of tangents and of errors, as matrices; the state behind it without these; its own kernels."""
    space = Space(state.moments)
    tangents = Tangents(Keep())
    for k, vector in enumerate(np.eye(space.size)):
        kernel = space.kernel(vector)
        tangents = tangents.add((("probe", k), kernel), (("errors", ("probe", k)), kernel))
    behind = left(layer, state.replace(tangents=tangents))
    out = Space(behind.moments)
    of_tangents, of_errors = (
        np.array([out.vector(behind.tangents[name(k)]) for k in range(space.size)]).T
        for name in (lambda k: ("probe", k), lambda k: ("errors", ("probe", k)))
    )
    return of_tangents, of_errors, *own(layer, state)


def left(layer, state):
    """What leaves a layer, as moments."""
    outputs = state.records and state.shape[0] == C and layer.normalises
    return as_moments(layer.propagate_outputs(state) if outputs else layer.propagate(state))


def own(layer, state):
    """The state behind a layer without tangents, and the kernels of its own parameters."""
    behind = left(layer, state.replace(tangents=Tangents(Keep())))
    out = Space(behind.moments)
    kernels = {name: out.vector(behind.tangents[name]) for name in behind.tangents.names}
    return behind.replace(tangents=Tangents(Keep())), kernels


def start(net, X, n_samples=4):
    if X is not None:
        return given_state(net, X, None, Keep(), Sampler((0,), True), ALL)
    sites = np.eye(int(np.prod(net.input_shape[1:])))
    moments = Exchangeable(sites, 0.3 * sites, n_samples)
    return State(moments, np.zeros(len(sites)), net.input_shape, False, Tangents(Keep()))


@with_theory(closed)
def test_forward_tangents_are_backward_errors(name, given):
    """`propagate` pushes kernels to the outputs; here each layer's transpose pulls every entry of the outputs back."""
    net = CATALOGUE[name]()
    X = inputs(net, 4) if given else None
    wide = mfdnn.MeanField(net, inputs=X) if given else mfdnn.MeanField(net, 4, c0=0.3)
    state, maps = start(net, X), []
    for layer in net.layers:
        if maps:
            *both_maps, state, kernels = linear_maps(layer, state)
        else:  # nothing has met a parameter yet
            both_maps, (state, kernels) = None, own(layer, state)
        maps.append((both_maps, kernels))
    space = Space(state.moments)
    pulled = pulled_errors = np.eye(space.size)
    total, errors = 0.0, {}
    for both_maps, kernels in reversed(maps):
        total = total + pulled @ sum(
            (kernels[name] for name in GROUPS if name in kernels), np.zeros(pulled.shape[1])
        )
        errors |= {name[1]: pulled_errors @ k for name, k in kernels.items() if name[0] == "errors"}
        if both_maps is not None:
            pulled, pulled_errors = pulled @ both_maps[0], pulled_errors @ both_maps[1]
    forward = space.vector(wide.tangents.total(*GROUPS))
    np.testing.assert_allclose(total, forward, rtol=0, atol=1e-12 * np.abs(forward).max())
    op = wide.order_parameters
    assert sorted(errors) == list(range(net.n_weight_layers))
    for l, found in errors.items():
        kernel = space.kernel(found)
        np.testing.assert_allclose(kernel.at_one, op.q_tilde[l], rtol=1e-12)
        np.testing.assert_allclose(
            kernel.at_two, op.q_tilde_st[l], rtol=0, atol=1e-12 * np.max(op.q_tilde[l])
        )
    if net.layers[-1].n_weight_layers:  # linear outputs
        np.testing.assert_array_equal(op.q_tilde[-1], 1.0)
        np.testing.assert_array_equal(op.q_tilde_st[-1], 1.0)


def of_one_site(name):
    layer, _, placement = name.partition(", ")
    one_site = not placement.startswith("sites") and not LAYERS[layer].make(4).couples_samples
    return closed(name) and one_site


@with_theory(of_one_site)
def test_kernels_of_one_site_are_products_of_order_parameters(name, given):
    net = CATALOGUE[name]()
    wide = mfdnn.MeanField(net, inputs=inputs(net, 4)) if given else mfdnn.MeanField(net, 4, c0=0.3)
    op, tangents = wide.order_parameters, wide.tangents
    total, others = tangents.total(*GROUPS), tangents.total(("others",))
    for at, errors, seen in (("at_one", op.q_tilde, op.q_hat), ("at_two", op.q_tilde_st, op.q_hat_st)):
        found = sum(e * (m * q + b) for e, m, q, b in zip(errors, op.fan_in, seen, op.bias, strict=True))
        found = found + (0 if others is None else getattr(others, at))
        np.testing.assert_allclose(found, getattr(total, at), rtol=1e-13, atol=1e-13 * np.max(total.at_one))


# But for the block of given inputs that begins with an activation: it acts on their units, which have no tangents.
@with_theory(lambda name: name.startswith("Residual") and closed(name) and name != "Residual, first")
def test_a_block_adds_its_skip_connection(name, given):
    net = CATALOGUE[name]()
    state = start(net, inputs(net, 4) if given else None)
    for layer in net.layers:
        if layer.children:
            whole = linear_maps(layer, state)[0]
            expected = 0.0 if layer.beside else layer.skip**2 * np.eye(len(whole))
            for path in (layer.layers, layer.beside) if layer.beside else (layer.layers,):
                branch, inside = state, np.eye(whole.shape[1])
                for child in path:
                    of_child, _, branch, _ = linear_maps(child, branch)
                    inside = of_child @ inside
                expected = expected + inside
            np.testing.assert_allclose(whole, expected, rtol=1e-13, atol=1e-14)
        state, _ = own(layer, state)


# -- description ----------------------------------------------------------------------------------------------


@every
def test_pickling(name):
    net = CATALOGUE[name]()
    one, X = drawn(net), inputs(net)
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(again(X), one(X))
    assert repr(pickle.loads(pickle.dumps(net))) == repr(again.network) == repr(net)
    for given in (False, True):
        if refused(name, given):
            continue
        wide = mfdnn.MeanField(net, inputs=X) if given else mfdnn.MeanField(net, T)
        fresh = pickle.loads(pickle.dumps(wide))  # before the recursion
        expected = mfdnn.fisher_statistics(wide)
        known = pickle.loads(pickle.dumps(wide))  # with all that is known
        for other in (fresh, known):
            found = mfdnn.fisher_statistics(other)
            assert (found.mean, found.second_moment, found.largest) == (
                expected.mean,
                expected.second_moment,
                expected.largest,
            )


@every
def test_scaled_networks(name):
    net = CATALOGUE[name]()
    ends = [layer for layer in net.layers if layer.n_weight_layers]
    if ends[0].children or ends[-1].children:
        with pytest.raises(ValueError, match="a residual block at its inputs or outputs"):
            scale_widths(net, 2)
        return
    wider = scale_widths(net, 2)
    assert wider.widths == (net.widths[0], *(2 * width for width in net.widths[1:-1]), net.widths[-1])
    assert wider.kinds == net.kinds
    assert [type(layer) for layer, _ in wider.walk()] == [type(layer) for layer, _ in net.walk()]
    same = scale_widths(wider, 0.5)
    assert repr(list(same.layers)) == repr(list(net.layers))
    assert repr(list(net.layers)) == repr(list(CATALOGUE[name]().layers))  # left as it was


@every
def test_descriptions_are_stable(name):
    net, again = CATALOGUE[name](), CATALOGUE[name]()
    layers = repr(list(net.layers))
    assert (repr(net), layers) == (repr(again), repr(list(again.layers)))
    assert " at 0x" not in repr(net) + layers
    assert all(layer.kind in repr(net) for layer, _ in net.walk())
    mfdnn.sample(net, rng=0)(inputs(net))  # leaves no trace in it
    assert repr(list(net.layers)) == layers
