"""Gradient descent beside the same loop in PyTorch on the CPU: seconds a step and the losses at the end, in one run.

python3 -m venv .venv-torch
.venv-torch/bin/pip install torch
.venv-torch/bin/pip install --editable .
.venv-torch/bin/python benchmarks/versus_torch.py
"""

import time

import numpy as np

import mfdnn

CASES = (  # widths, activation, T, batch size, momentum, steps
    ([784, 1000, 1000, 10], "tanh", 1000, None, 0.0, 10),
    ([784, 1000, 1000, 10], "relu", 1000, None, 0.9, 10),
    ([784, 1000, 1000, 10], "relu", 1000, 100, 0.9, 100),
    ([200, 200, 200, 1], "tanh", 100, None, 0.0, 100),
)
ROUNDS = 5


def torch_loop(torch, one, X, Y, rate, n_steps, batch_size, momentum):
    """The losses of `mfdnn.train`, by autograd and torch.optim.SGD."""
    layers = []
    for (weight, bias), act in zip(
        one.parameters, [*(act.name for act in one.network.activations), None], strict=True
    ):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data, linear.bias.data = torch.tensor(weight), torch.tensor(bias)
        layers += [linear] + ([] if act is None else [{"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[act]()])
    model, loss_of = torch.nn.Sequential(*layers), torch.nn.MSELoss()
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    x, y = torch.tensor(X), torch.tensor(Y)
    rng = np.random.default_rng(0)
    losses, rows = [], []
    for _ in range(n_steps):
        if batch_size and not rows:
            order = torch.tensor(rng.permutation(len(X)))
            rows = list(order.split(batch_size))
        batch = rows.pop(0) if batch_size else slice(None)
        optimiser.zero_grad()
        loss = loss_of(model(x[batch]), y[batch])
        losses.append(loss.item())
        loss.backward()
        optimiser.step()
    return np.array(losses)


def main():
    try:
        import torch
    except ImportError:
        print("torch is not installed here; the first lines of this file say how to set it up.")
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; float32, milliseconds a step")
    for widths, phi, n_samples, batch_size, momentum, n_steps in CASES:
        one = mfdnn.sample(mfdnn.mlp(widths, phi, init="he"), rng=0, dtype="float32")
        rng = np.random.default_rng(1)
        X = rng.standard_normal((n_samples, widths[0])).astype(np.float32)
        Y = rng.standard_normal((n_samples, widths[-1])).astype(np.float32)
        rate = 0.5 * float(mfdnn.max_learning_rate(one.network, n_samples, loss="torch_mse"))
        options = {"loss": "torch_mse", "momentum": momentum, "batch_size": batch_size, "rng": 0}
        ours, theirs = [], []
        for _ in range(ROUNDS):  # in turns, so that both see the same machine
            start = time.perf_counter()
            mine = mfdnn.train(one, X, Y, rate, n_steps, **options).losses[:-1]
            middle = time.perf_counter()
            other = torch_loop(torch, one, X, Y, rate, n_steps, batch_size, momentum)
            ours.append((middle - start) / n_steps)
            theirs.append((time.perf_counter() - middle) / n_steps)
        what = f"{'-'.join(map(str, widths))} {phi}, T = {n_samples}, batch {batch_size or n_samples}, b = {momentum:g}"
        apart = np.abs(mine - other).max() / mine[0]
        print(
            f"{what:55s} ours {1e3 * np.median(ours):7.2f}  theirs {1e3 * np.median(theirs):7.2f}  ratio "
            f"{np.median(np.divide(ours, theirs)):.2f}  losses differ by {apart:.0e} of the first"
        )


if __name__ == "__main__":
    main()
