"""Windows over sites: what they read, and means over what they read, against loops over sites and taps."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mfdnn
from mfdnn.layers.windows import Along, Windows


def read(along, p, b):
    """The site that tap b of window p reads; None: a zero."""
    place = p * along.stride + b * along.dilation - along.low
    if along.mode == "circular":
        return place % along.size
    if along.mode == "reflect":
        while not 0 <= place < along.size:
            place = -place if place < 0 else 2 * (along.size - 1) - place
        return place
    return place if 0 <= place < along.size else None


def loops(windows):
    """For every window and tap, in C order, the number of the site that is read, or None."""
    table = []
    for p in product(*map(range, windows.out)):
        row = []
        for b in product(*map(range, windows.kernel)):
            places = [read(along, *at) for along, *at in zip(windows.along, p, b, strict=True)]
            at = None if None in places else np.ravel_multi_index(places, windows.sites)
            row.append(at)
        table.append(row)
    return table


@st.composite
def convolutions(draw, d=None):
    """A convolution of a channel, and sites that it fits."""
    d = d or draw(st.integers(1, 2))
    mode = draw(st.sampled_from(["zeros", "circular", "reflect"]))
    sites, kernel, stride, dilation, padding = [], [], [], [], []
    for _ in range(d):
        n = draw(st.integers(2, 6))
        k = draw(st.integers(1, 3))
        divisors = [s for s in (1, 2, 3) if mode != "circular" or n % s == 0]
        s, dil = draw(st.sampled_from(divisors)), draw(st.integers(1, 2))
        most = n - 1 if mode == "reflect" else n
        pads = draw(st.integers(0, min(most, 3))), draw(st.integers(0, min(most, 3)))
        span = dil * (k - 1) + 1
        if span > n + sum(pads):
            k, span = 1, 1
        for name, value in zip((sites, kernel, stride, dilation, padding), (n, k, s, dil, pads), strict=True):
            name.append(value)
    conv = mfdnn.Conv(3, kernel, 1.5, 0.1, stride=stride, dilation=dilation, padding=padding, mode=mode)
    return conv, tuple(sites), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


@given(convolutions())
def test_patches_are_what_a_loop_reads(case):
    conv, sites, rng = case
    windows = conv.windows((2, *sites))
    x = rng.standard_normal((4, 2, *sites))
    flat = x.reshape(4, 2, -1)
    expected = np.zeros((4, 2, windows.taps, np.prod(windows.out, dtype=int)))
    for p, row in enumerate(loops(windows)):
        for b, at in enumerate(row):
            if at is not None:
                expected[:, :, b, p] = flat[:, :, at]
    patches = windows.patches(x)
    np.testing.assert_array_equal(patches, expected)
    back = rng.standard_normal(patches.shape)
    assert np.sum(back * patches) == pytest.approx(np.sum(windows.scattered(back) * x), rel=1e-12, abs=1e-12)


@given(convolutions())
@settings(max_examples=25)
def test_means_over_taps_are_those_of_a_loop(case):
    conv, sites, rng = case
    windows = conv.windows((2, *sites))
    n, m = np.prod(sites), np.prod(windows.out)
    k, a = rng.standard_normal((2, n, n)), rng.standard_normal((2, n))
    pairs, every, single = np.zeros((2, m, m)), np.zeros((2, m, m)), np.zeros((2, m))
    table = loops(windows)
    for (p, row), (r, other) in product(enumerate(table), enumerate(table)):
        for b, c in product(range(windows.taps), range(windows.taps)):
            if row[b] is not None and other[c] is not None:
                every[:, p, r] += k[:, row[b], other[c]] / windows.taps**2
                pairs[:, p, r] += (b == c) * k[:, row[b], other[c]] / windows.taps
    for p, row in enumerate(table):
        for at in row:
            if at is not None:
                single[:, p] += a[:, at] / windows.taps
    np.testing.assert_allclose(windows.mean_of_pairs(k), pairs, atol=1e-14)
    np.testing.assert_allclose(windows.mean_of_all_pairs(k), every, atol=1e-14)
    np.testing.assert_allclose(windows.mean_of_sites(a), single, atol=1e-14)


def test_the_centre_of_torch_s_padding_is_the_site_itself():
    for kernel in (1, 2, 3, 4, 5):
        windows = mfdnn.Conv(1, kernel).windows((1, 6)).centre()
        np.testing.assert_array_equal(windows.along[0].tap(0), np.arange(len(windows.along[0].tap(0))))


def test_one_tap_at_the_same_site_copies_nothing():
    k = np.ones((3, 4, 4))
    assert Windows([Along(4, 4, 1, 1, 1, 0, "zeros")]).mean_of_pairs(k).base is k
