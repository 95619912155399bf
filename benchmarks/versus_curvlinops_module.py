"""Products and lambda_max of a PyTorch module beside curvlinops' GGN: processor time and memory, in one run.

Set up as `versus_curvlinops.py` says. Bar: 1.5 times faster a product, half the extra memory.
"""

import os
import subprocess
import sys
import time

import numpy as np

M = T = 1000
C = 10
TOLERANCE, ROUNDS, PRODUCTS = 1e-4, 5, 2
TWO_OVER_C = 2 / C  # what curvlinops' GGN of a mean over samples and outputs is of the Fisher information


def setting(torch, norm):
    """The module and its batch; batch norm for ours alone, as curvlinops does not take it in training mode."""
    torch.manual_seed(0)
    layers = []
    for units in (M, M):
        layers += [
            torch.nn.Linear(M, units),
            *([torch.nn.BatchNorm1d(units)] if norm else []),
            torch.nn.ReLU(),
        ]
    module = torch.nn.Sequential(*layers, torch.nn.Linear(M, C))
    for part in module.modules():
        if isinstance(part, torch.nn.Linear):
            torch.nn.init.normal_(part.weight, std=(2 / part.in_features) ** 0.5)
    return module, torch.randn(T, M), torch.zeros(T, C)


def ours(torch, module, X, Y):
    """A product of the dual, and lambda_max."""
    import mfdnn.pytorch as mp

    known = []
    u = np.random.default_rng(0).standard_normal((1, T, C)).astype(np.float32)

    def product():
        if not known:  # the graph, which lambda_max has one of its own of
            known.append(mp.operator(module).linearise(X))
        return known[0].products(u)

    return product, lambda: mp.fisher_spectrum(module, X, 1, tol=TOLERANCE).largest


def theirs(torch, module, X, Y):
    """The same of the GGN, in parameter space."""
    import curvlinops
    from scipy.sparse.linalg import eigsh

    params = [p for p in module.parameters() if p.requires_grad]
    GGN = curvlinops.GGNLinearOperator(
        module, torch.nn.MSELoss(), params, [(X, Y)], check_deterministic=False
    )
    v = torch.randn(sum(p.numel() for p in params))
    in_scipy = GGN.to_scipy(dtype=np.float32)
    return (
        lambda: GGN @ v,
        lambda: float(eigsh(in_scipy, k=1, tol=TOLERANCE, return_eigenvectors=False)[0]) / TWO_OVER_C,
    )


def peak():
    """The most bytes this process has had in memory, and has now."""
    with open("/proc/self/status") as lines:
        known = dict(line.split(":", 1) for line in lines)
    return [1024 * int(known[name].split()[0]) for name in ("VmHWM", "VmRSS")]


def memory(side, what, norm):
    """Extra bytes at the peak of a product or of lambda_max, in a process of its own."""
    import torch

    module, X, Y = setting(torch, norm)
    function = ours if side == "ours" else theirs
    small = torch.nn.Linear(M, C)  # what libraries load, and threads take, is not counted
    for call in function(torch, small, X, Y):
        call()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is that of now
    before = peak()[1]
    product, largest = function(torch, module, X, Y)
    (product if what == "product" else largest)()
    print(peak()[0] - before)


def main():
    if len(sys.argv) > 1:
        memory(sys.argv[1], sys.argv[2], sys.argv[3] == "norm")
        return
    try:
        import curvlinops  # noqa: F401
        import torch
    except ImportError:
        print(
            "curvlinops is not installed here; the first lines of versus_curvlinops.py say how to set it up."
        )
        return
    print(
        f"M = T = {M}, L = 3, C = {C}, float32, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"medians of {ROUNDS} rounds of both in turn, processor time"
    )
    for norm in (False, True):
        sides = {"ours": ours(torch, *setting(torch, norm))}
        if not norm:
            sides["theirs"] = theirs(torch, *setting(torch, norm))
        times = {side: [] for side in sides}
        for calls in sides.values():
            calls[0]()
        for _ in range(ROUNDS):
            for side, (product, _) in sides.items():
                start = time.process_time()
                for _ in range(PRODUCTS):
                    product()
                times[side].append((time.process_time() - start) / PRODUCTS)
        medians = {side: float(np.median(values)) for side, values in times.items()}
        for side, (_, largest) in sides.items():
            start = time.process_time()
            value = largest()
            seconds = time.process_time() - start
            extra = {
                what: subprocess.run(
                    [sys.executable, __file__, side, what, "norm" if norm else "plain"],
                    capture_output=True, text=True, check=True, env=os.environ,
                ).stdout.split()[-1]
                for what in ("product", "largest")
            }  # fmt: skip
            print(
                f"{'batch norm, ' if norm else ''}{side}: {1e3 * medians[side]:.0f} ms a product, "
                f"{int(extra['product']) / 2**20:.0f} MiB more; lambda_max {value:.6g} in {seconds:.2f} s, "
                f"{int(extra['largest']) / 2**20:.0f} MiB more"
            )
        if not norm:
            print(f"a product: {medians['theirs'] / medians['ours']:.2f} x")


if __name__ == "__main__":
    main()
