"""The table of what frameworks draw: against its page, against its own words, and against the libraries."""

import importlib.util
import math
import re
from pathlib import Path

import numpy as np
import pytest

from mfdnn.initialisation import INITIALISATIONS
from mfdnn.initialisation.frameworks import TRUNCATED

DOCS = Path(__file__).parents[1] / "docs"
IN, OUT = 300, 400
SIZES = {
    "fan_in": IN, "fan_out": OUT, "gain": 1.5, "hidden": 50.0, "channels_in": 30, "channels_out": 40, "taps": 9,
    "std": 0.1, "stddev": 0.1, "s": 0.2,
}  # fmt: skip


def test_the_page_is_up_to_date(tmp_path):
    spec = importlib.util.spec_from_file_location("initialisations", DOCS / "initialisations.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.write(tmp_path)
    assert (tmp_path / "initialisations.md").read_text() == (DOCS / "initialisations.md").read_text()


def test_truncated():
    """Variance of a normal number between -2 and 2: 1 - 2 a pdf(a)/(2 cdf(a) - 1) at a = 2."""
    density = math.exp(-2) / math.sqrt(2 * math.pi)
    assert pytest.approx(1 - 4 * density / math.erf(math.sqrt(2)), abs=1e-15) == TRUNCATED


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_a_formula_in_words_is_the_one_that_is_computed(name):
    row = INITIALISATIONS[name]
    sizes = {key: SIZES[key] for key in row.sizes}
    for text, value in zip((row.weight_formula, row.bias_formula), row.variances(**sizes), strict=True):
        if value is None:
            assert text == "-"
            continue
        code = re.sub(r"(?<=[\w)]) (?=[(a-z\d])", "*", text.replace("^", "**"))
        code = re.sub(r"(?<=/)(\d \w+|\w+\*\w+)(?!\w)", r"(\1)", code)
        words = {"min": min, **{key: SIZES[key] for key in SIZES}}
        assert eval(code, {"__builtins__": {}}, words) == pytest.approx(value, rel=1e-3), code


def test_a_missing_or_impossible_size_is_said():
    row = INITIALISATIONS["keras.layers.Dense"]
    with pytest.raises(TypeError, match=r"`fan_out` is missing: .* depend on fan_in, fan_out"):
        row.variances(fan_in=3)
    with pytest.raises(ValueError, match="`fan_in` must be > 0"):
        row.variances(fan_in=0, fan_out=2)
    with pytest.raises(TypeError):
        INITIALISATIONS["mine"] = row


# -- the libraries ---------------------------------------------------------------------------------------------


def drawn(weight, bias=None, fan=None, **sizes):
    """Weights, fan-in by which their mean square is multiplied, biases and sizes."""
    return np.asarray(weight, float), fan, None if bias is None else np.asarray(bias, float), sizes


def of_torch(torch):
    nn, init = torch.nn, torch.nn.init
    torch.manual_seed(0)

    def of(layer, fan, weight="weight", bias="bias", **sizes):
        found = dict(layer.named_parameters())
        b = None if bias is None else found[bias].detach().numpy()
        return drawn(found[weight].detach().numpy(), b, fan, **sizes)

    def initialised(f, *args, **options):
        sizes = options.pop("sizes", {})
        w = torch.empty(OUT, IN)
        f(w, *args, **options)
        return drawn(w.numpy(), None, IN, **sizes)

    linear, fans = nn.Linear(IN, OUT), {"fan_in": IN, "fan_out": OUT}
    gru = nn.GRU(80, 120)
    attention = nn.MultiheadAttention(120, 4)
    both = (gru.bias_ih_l0 + gru.bias_hh_l0).detach().numpy()
    ih, hh = (getattr(gru, f"weight_{x}_l0").detach().numpy() for x in ("ih", "hh"))
    return {
        "torch.nn.Linear": of(linear, IN, fan_in=IN),
        "torch.nn.Conv1d, Conv2d, Conv3d": of(nn.Conv2d(40, 400, 3, groups=2), 180, fan_in=180),
        "torch.nn.ConvTranspose1d, ConvTranspose2d, ConvTranspose3d": of(
            nn.ConvTranspose2d(80, 200, 3), 720, channels_in=80, channels_out=200, taps=9
        ),
        "torch.nn.Bilinear": of(nn.Bilinear(40, 30, 300), 40, fan_in=40),
        "torch.nn.BatchNorm1d, LayerNorm, GroupNorm": of(nn.BatchNorm1d(9), None),
        "torch.nn.RMSNorm": of(nn.RMSNorm(9), None, bias=None) if hasattr(nn, "RMSNorm") else None,
        "torch.nn.RNN, LSTM, GRU (weight_hh)": drawn(hh, both, 120, hidden=120),
        "torch.nn.RNN, LSTM, GRU (weight_ih)": drawn(ih, None, 80, fan_in=80, hidden=120),
        "torch.nn.MultiheadAttention (in_proj)": of(attention, 120, "in_proj_weight", "in_proj_bias"),
        "torch.nn.MultiheadAttention (out_proj)": of(attention, 120, "out_proj.weight", "out_proj.bias"),
        "torch.nn.Embedding": of(nn.Embedding(300, 200), 300, bias=None, fan_in=300),
        "torch.nn.PReLU": of(nn.PReLU(), None, bias=None),
        "torch.nn.init.kaiming_normal_, kaiming_uniform_": initialised(init.kaiming_uniform_),
        "torch.nn.init.kaiming_uniform_ (a=sqrt(5))": initialised(init.kaiming_uniform_, 5**0.5),
        "torch.nn.init.kaiming_normal_ (mode='fan_out')": initialised(
            init.kaiming_normal_, mode="fan_out", sizes=fans
        ),
        **{
            f"torch.nn.init.kaiming_normal_ (nonlinearity='{phi}')": initialised(init.kaiming_normal_, nonlinearity=phi)
            for phi in ("tanh", "selu", "linear")
        },
        "torch.nn.init.xavier_normal_, xavier_uniform_": initialised(
            init.xavier_uniform_, 1.5, sizes={"gain": 1.5, **fans}
        ),
        "torch.nn.init.orthogonal_": initialised(init.orthogonal_, 1.5, sizes={"gain": 1.5, **fans}),
        "torch.nn.init.trunc_normal_": initialised(init.trunc_normal_, std=0.1, sizes={"std": 0.1, "fan_in": IN}),
        "torch.nn.init.normal_": initialised(init.normal_, 0.0, 0.1, sizes={"std": 0.1, "fan_in": IN}),
        "torch.nn.init.sparse_": initialised(init.sparse_, 0.2, 0.1, sizes={"s": 0.2, "std": 0.1, "fan_in": IN}),
        "torch.nn.init.dirac_": drawn(init.dirac_(torch.empty(8, 8, 3)).numpy()),
    }


def of_keras(keras):
    keras.utils.set_random_seed(0)
    layers = keras.layers

    def of(layer, shape, fan, weight="kernel", bias="bias", **sizes):
        layer.build(shape)
        inner = getattr(layer, "cell", layer)
        return drawn(getattr(inner, weight), None if bias is None else getattr(inner, bias), fan, **sizes)

    def initialised(name, **options):
        sizes = options | {"fan_in": IN, "fan_out": OUT}
        known = INITIALISATIONS[f"keras.initializers.{name}"].sizes
        renamed = {"stddev": options["std"]} if options else {}
        w = getattr(keras.initializers, name)(seed=0, **renamed)((IN, OUT))
        return drawn(w, None, IN, **{key: sizes[key] for key in known})

    found = {
        "keras.layers.Dense": of(layers.Dense(OUT), (None, IN), IN, fan_in=IN, fan_out=OUT),
        "keras.layers.Conv1D, Conv2D, Conv3D": of(
            layers.Conv2D(60, 3), (None, 8, 8, 40), 360, fan_in=360, fan_out=540
        ),
        "keras.layers.Embedding": of(
            layers.Embedding(IN, OUT), (None, 5), IN, "embeddings", None, fan_in=IN
        ),
        "keras.layers.BatchNormalization, LayerNormalization": of(
            layers.BatchNormalization(), (None, 9), None, "gamma", "beta"
        ),
        **{f"keras.initializers.{name}": initialised(name) for name in (
            "HeNormal", "LecunNormal", "GlorotNormal", "HeUniform", "LecunUniform", "Orthogonal"
        )},
        "keras.initializers.TruncatedNormal": initialised("TruncatedNormal", std=0.1),
    }
    for name in ("LSTM", "GRU", "SimpleRNN"):
        w, fan, b, sizes = of(getattr(layers, name)(120), (None, 5, 80), 80, fan_in=80, hidden=120)
        if name == "LSTM":  # the forget gate's begins at 1
            np.testing.assert_array_equal(b.reshape(4, -1)[1], 1.0)
            b = b.reshape(4, -1)[[0, 2, 3]]
        found[f"keras.layers.{name} (kernel)"] = w, fan, b, sizes
        found[f"keras.layers.{name} (recurrent_kernel)"] = of(
            getattr(layers, name)(120), (None, 5, 80), 120, "recurrent_kernel", None
        )
    return found


def of_jax(jax):
    key, initialisers = jax.random.PRNGKey(0), jax.nn.initializers

    def of(name, *args, shape=(IN, OUT), **sizes):
        row = INITIALISATIONS[f"jax.nn.initializers.{name}"]
        sizes = {"fan_in": IN, "fan_out": OUT} | sizes
        w = getattr(initialisers, name)(*args)(key, shape)
        return drawn(w, None, IN, **{k: sizes[k] for k in row.sizes})

    found = {name: of(name) for name in (
        "he_normal", "lecun_normal", "glorot_normal", "he_uniform", "lecun_uniform", "glorot_uniform", "orthogonal"
    )}
    found["truncated_normal"] = of("truncated_normal", 0.1, stddev=0.1)
    w, *rest = of("delta_orthogonal", shape=(3, 3, IN, OUT))
    assert abs(w).sum() == pytest.approx(abs(w[1, 1]).sum(), rel=1e-6)
    found["delta_orthogonal"] = (w[1, 1], *rest)
    return {f"jax.nn.initializers.{name}": value for name, value in found.items()}


def of_flax(flax):
    import jax
    import jax.numpy as jnp

    nn, key = flax.linen, jax.random.PRNGKey(0)

    def of(layer, *inputs):
        return layer.init(key, *inputs)["params"]

    dense, conv = of(nn.Dense(OUT), jnp.ones((1, IN))), of(nn.Conv(90, (3, 3)), jnp.ones((1, 8, 8, 40)))
    embed = of(nn.Embed(IN, OUT), jnp.zeros(1, int))["embedding"]
    out = of(nn.MultiHeadDotProductAttention(4), jnp.ones((1, 5, 200)))["out"]
    cell = nn.LSTMCell(150)
    lstm = of(cell, cell.initialize_carry(key, (1, 200)), jnp.ones((1, 200)))
    cells = "flax.linen.LSTMCell, OptimizedLSTMCell, GRUCell"
    zero = np.concatenate([np.ravel(value["bias"]) for value in lstm.values() if "bias" in value])
    return {
        "flax.linen.Dense": drawn(dense["kernel"], dense["bias"], IN),
        "flax.linen.Conv, ConvTranspose": drawn(conv["kernel"], conv["bias"], 360),
        "flax.linen.MultiHeadDotProductAttention": drawn(out["kernel"], out["bias"], 200),
        f"{cells} (input)": drawn([lstm[f"i{gate}"]["kernel"] for gate in "ifgo"], zero, 200),
        f"{cells} (recurrent)": drawn([lstm[f"h{gate}"]["kernel"] for gate in "ifgo"], zero, 150),
        "flax.linen.Embed": drawn(embed, None, OUT),
    }


LIBRARIES = {
    "PyTorch": ("torch", of_torch),
    "Keras": ("keras", of_keras),
    "JAX": ("jax", of_jax),
    "Flax": ("flax", of_flax),
}


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # of the libraries themselves
@pytest.mark.parametrize("framework", LIBRARIES)
def test_rows_are_what_the_library_draws(framework, monkeypatch):
    """Mean squares within five standard errors; of orthogonal weights, which have none, to rounding."""
    monkeypatch.setenv("KERAS_BACKEND", "jax" if importlib.util.find_spec("jax") else "torch")
    package, draw = LIBRARIES[framework]
    library = pytest.importorskip(package)
    if framework == "Flax":
        pytest.importorskip("flax.linen")
    found = draw(library)
    assert set(found) == {name for name, row in INITIALISATIONS.items() if row.framework == framework}
    for name, case in found.items():
        if case is None:  # not in this version
            continue
        row, (w, fan, b, sizes) = INITIALISATIONS[name], case
        weight, bias = row.variances(**sizes)
        if weight is None:
            assert "gain 1" not in row.weights or np.all(w == 1)
            assert "slope" not in row.weights or np.all(w == 0.25)
        else:
            error = np.std(w**2) / np.sqrt(w.size) * fan
            exact = 1e-5 * weight if "rthogonal" in row.weights + name else 5 * error
            assert abs(np.mean(w**2) * fan - weight) < exact, name
            mean_error = 0 if "rthogonal" in row.weights + name else np.std(w) / np.sqrt(w.size)
            assert not mean_error or abs(w.mean()) < 5 * mean_error, name
        if bias == 0:
            assert not np.any(b), name
        elif bias is not None:
            assert abs(np.mean(b**2) - bias) < 5 * np.std(b**2) / np.sqrt(b.size), name
