"""Correlation maps beside DKS: seconds and digits, in one run. DKS knows q = 1 only.

python3 -m venv .venv-dks
.venv-dks/bin/pip install dks==0.1.2 absl-py --editable .
.venv-dks/bin/python benchmarks/versus_dks.py
"""

import sys
import warnings

import numpy as np
from baselines import seconds

import mfdnn

CORRELATIONS = (0.0, 0.5, 1.0)  # in between DKS takes an adaptive integral over the plane


def main():
    try:
        import autograd.numpy as anp
        from dks.base import activation_transform as dks
    except ImportError as error:
        print(f"DKS is not installed here ({error}); the first lines of this file say how to set it up.")
        return
    warnings.simplefilter("ignore")  # its adaptive integrals complain
    sys.path.insert(0, "tests")
    import naive

    functions = {"tanh": anp.tanh, "softplus": lambda x: anp.logaddexp(x, 0.0)}
    print("C map (d = 0) and its slope (d = 1) at q = 1, absolute errors against quadrature by panels")
    for name, phi in functions.items():
        p = naive.phi(name)
        mfdnn.expect_product(name, 1.0, 0.5)  # compiles, and builds the tables
        size = naive.second_moment(p, 1.0)
        for d in (0, 1):
            for c in CORRELATIONS:
                expected = naive.expect_product(p, 1.0, c, derivative=d) / size
                found = [dks._calc_c_map(phi, d, c), mfdnn.expect_product(name, 1.0, c, derivative=d) / size]
                times = [
                    seconds(lambda: dks._calc_c_map(phi, d, c), 1),  # noqa: B023
                    seconds(lambda: mfdnn.expect_product(name, 1.0, c, derivative=d), 5),  # noqa: B023
                ]
                errors = np.abs(np.array(found) - expected)
                print(
                    f"{name:<8} d = {d}, c = {c}: theirs {1e3 * times[0]:9.2f} ms, error {errors[0]:.0e};  "
                    f"ours {1e3 * times[1]:.2f} ms, error {errors[1]:.0e};  {times[0] / times[1]:.0f} x"
                )


if __name__ == "__main__":
    main()
