"""Small modules as their owners write them, in float64, and their explicit Jacobians."""

import numpy as np

C = 3


def wrapped(torch, inner, choose, *tail):
    """A module, and what of its return value goes on."""

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.tail = inner, torch.nn.Sequential(*tail)

        def forward(self, *X):
            return self.tail(choose(self.inner(*X)))

    return Wrapped()


def residual_block(torch):
    class Block(torch.nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn1 = torch.nn.BatchNorm2d(channels)
            self.conv2 = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn2 = torch.nn.BatchNorm2d(channels)

        def forward(self, x):
            h = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(x + self.bn2(self.conv2(h)))

    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), Block(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, C)
    )


def conv_net(torch):
    """Convolutions with batch norm, of the default initialisation."""
    nn = torch.nn
    body = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    for _ in range(2):
        body += [nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def mlp(torch):
    nn = torch.nn
    return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, C))


def batch_norm(torch):
    nn = torch.nn
    return nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, C))


def lenet(torch):
    nn = torch.nn
    return nn.Sequential(
        *(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 3),
            nn.ReLU(),
            nn.Flatten(),
        ),
        *(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, C)),
    )


def recurrent(torch, kind):
    inner = getattr(torch.nn, kind)(6, 5, batch_first=True)
    return wrapped(torch, inner, lambda out: out[0][:, -1], torch.nn.Linear(5, C))


def encoder(torch):
    nn = torch.nn
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, batch_first=True, activation="gelu").eval()
    return wrapped(torch, nn.Sequential(nn.Linear(6, 8), layer), lambda out: out[:, -1], nn.Linear(8, C))


def embedding(torch):
    nn = torch.nn
    return nn.Sequential(nn.Embedding(11, 4, sparse=True), nn.Flatten(), nn.Linear(20, C))


def parametrised(torch):
    nn = torch.nn
    return nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(5, 8)),
        nn.Tanh(),
        nn.utils.parametrizations.spectral_norm(nn.Linear(8, C)),
    )


MODULES = {  # and shapes of their inputs
    "mlp": (mlp, (9, 5)),
    "batch norm": (batch_norm, (9, 5)),
    "lenet": (lenet, (8, 1, 8, 8)),
    "residual block": (residual_block, (6, 2, 4, 4)),
    "lstm": (lambda torch: recurrent(torch, "LSTM"), (7, 4, 6)),
    "gru": (lambda torch: recurrent(torch, "GRU"), (7, 4, 6)),
    "encoder": (encoder, (7, 4, 6)),
    "embedding": (embedding, (7, 5)),
    "parametrised": (parametrised, (9, 5)),
}


class Modules(dict):
    """Name -> (module, inputs), each made when a test first asks for it."""

    def __init__(self, torch):
        self._torch = torch

    def __missing__(self, name):
        torch, (make, shape) = self._torch, MODULES[name]
        torch.manual_seed(0)
        module = make(torch).double()
        X = torch.randint(0, 11, shape) if name == "embedding" else torch.randn(shape, dtype=torch.float64)
        self[name] = module, X
        return self[name]


def explicit_jacobian(torch, module, X, choose=lambda out: out):
    """J (C T, P), rows output by output, by a backward pass for each entry of the outputs of a copy."""
    import copy

    twin = copy.deepcopy(module)
    for part in twin.modules():
        if isinstance(part, torch.nn.Embedding):
            part.sparse = False
    parameters = [p for p in twin.parameters() if p.requires_grad]
    # The plain formula of attention: the fused one has other roundings.
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        outputs = choose(twin(X))
    rows = []
    for entry in outputs.T.reshape(-1):
        found = torch.autograd.grad(entry, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat(
                [
                    (torch.zeros_like(p) if g is None else g).reshape(-1)
                    for g, p in zip(found, parameters, strict=True)
                ]
            )
        )
    return torch.stack(rows).detach().numpy(), outputs.detach().numpy()


def state(torch, module):
    """All that must stay as it is, bit by bit."""
    import random

    own = {}
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if key in ("_parameters", "_buffers", "_modules"):
                own[name, key] = {inner: id(tensor) for inner, tensor in value.items()}
            elif isinstance(value, dict | list | set):
                own[name, key] = id(value), list(value.items() if isinstance(value, dict) else value)
            else:
                own[name, key] = value if isinstance(value, int | float | str | None) else id(value)
    tensors = [*module.parameters(), *module.buffers()]
    return {
        "attributes": own,
        "bits": [t.detach().numpy().tobytes() for t in tensors],
        "versions": [t._version for t in tensors],
        "flags": [t.requires_grad for t in tensors],
        "grads": [
            None if p.grad is None else (id(p.grad), p.grad.numpy().tobytes()) for p in module.parameters()
        ],
        "rng": (torch.get_rng_state().numpy().tobytes(), random.getstate(), str(np.random.get_state())),  # noqa: NPY002
        "modes": (torch.is_grad_enabled(), torch.backends.cudnn.enabled),
    }
