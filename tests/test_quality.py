"""Whether what the streams draw is what they say: shapes, moments, tails, independence, bounds.

All keys are fixed, so each test either always passes or always fails. A hundred p-values are
compared with LEVEL: of a hundred sets of keys, one would fail a test though the streams are right.
"""

import math
import runpy
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from initium.errors import InitError
from initium.streams import Block, Job, Normal, TruncNormal, Uniform, bits, fill, key_of, reference
from initium.streams.dtypes import DRAWN
from initium.streams.parameters import parameters

LEVEL = 1e-4
SIGMAS = 5  # standard errors that a figure may be off: 6e-7 of a normal lies further out
N = 2**18
INF = math.inf

TRUNCATED = [
    TruncNormal(0.0, 1.0, -2.0, 2.0),
    TruncNormal(0.0, 1.0, -1.0, 3.0),
    TruncNormal(0.0, 1.0, 2.0, INF),
    TruncNormal(1.0, 2.0, -0.1, 0.1),
    TruncNormal(0.0, 0.02, -2.0, 2.0),  # nothing is cut off
    TruncNormal(0.5, 0.1, -INF, 0.6),
    TruncNormal(0.0, 1.0, 7.0, 9.0),  # beyond float32's quantile
    TruncNormal(0.0, 1.0, 38.0, 40.0),  # beyond float64's
    TruncNormal(0.0, 1.0, -INF, -38.0),
]
# too narrow for float32's arithmetic, and for SciPy's moments
NARROW = TruncNormal(1.0, 2.0, -1e-6, 1e-6)
ALL = [Normal(0.0, 1.0), Normal(-3.0, 0.5), Uniform(0.0, 1.0), Uniform(-3.0, 5.0), *TRUNCATED]
exact = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
rounded = pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str
)
every = pytest.mark.parametrize("dtype", DRAWN, ids=str)


def draw(distribution, dtype=torch.float32, n=N, key=None, block=None):
    """The values in float64, by default of a stream that no other distribution and dtype has."""
    tensor = torch.empty(n, dtype=dtype)
    key = key_of("quality", f"{distribution} {dtype}") if key is None else key
    fill([Job(tensor, key, distribution, block)])
    return tensor.double().numpy()


@lru_cache
def law(distribution):
    """The same distribution, as SciPy has it."""
    match distribution:
        case Normal(mean, std):
            return stats.norm(mean, std)
        case Uniform(a, b):
            return stats.uniform(a, b - a)
        case TruncNormal(mean, std, a, b):
            return stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)


@lru_cache
def ideal(distribution):
    """Values whose moments are right to far less than a standard error: N equally likely ones."""
    return law(distribution).ppf((np.arange(N) + 0.5) / N)


def fits(test):
    """Whether a p-value is neither too small nor too good to be true."""
    return LEVEL / 2 < test.pvalue < 1 - LEVEL / 2


def chi_square(x, edges, below):
    """Of the counts between edges; `below` are the numbers of values expected below each."""
    return stats.chisquare(np.histogram(x, [-INF, *edges, INF])[0], np.diff([0, *below, len(x)]))


# shapes


@exact
@pytest.mark.parametrize("distribution", [*ALL, NARROW], ids=str)
def test_the_shape_is_right(distribution, dtype):
    x = draw(distribution, dtype)
    assert fits(stats.kstest(x, law(distribution).cdf))
    # a thousand bins that are equally likely, but for edges moved between two values of the dtype
    value = law(distribution).ppf(np.arange(1, 1000) / 1000).astype(str(dtype)[6:])
    edges = (np.nextafter(value, -INF).astype(float) + value) / 2
    assert fits(chi_square(x, edges, N * law(distribution).cdf(edges)))


@rounded
@pytest.mark.parametrize("distribution", ALL[:-3], ids=str)
def test_each_value_of_a_lower_precision_has_its_share(distribution, dtype):
    edges, below = groups(distribution, dtype)
    assert len(edges) > 2
    assert fits(chi_square(draw(distribution, dtype), edges, below))


def groups(distribution, dtype, least=20):
    """Edges between groups of values of `dtype`, `least` expected in each, and how many lie below.

    A value stands for all that is nearer to it than to its neighbours, of those that are allowed.
    """
    integers = {1: torch.int8, 2: torch.int16}[dtype.itemsize]
    bits = torch.arange(torch.iinfo(integers).min, torch.iinfo(integers).max + 1, dtype=integers)
    values = np.unique(bits.view(dtype).double().numpy())
    a, b = getattr(distribution, "a", -INF), getattr(distribution, "b", INF)
    allowed = np.isfinite(values) & (values >= a) & (values <= b)
    if isinstance(distribution, Uniform):
        allowed &= values < b
    values = values[allowed]
    middles = (values[1:] + values[:-1]) / 2
    edges, kept, last = [], [], 0.0
    for middle, below in zip(middles, N * law(distribution).cdf(middles), strict=True):
        if below - last >= least and N - below >= least:
            edges.append(middle)
            kept.append(below)
            last = below
    return edges, kept


@exact
@pytest.mark.parametrize("distribution", ALL, ids=str)
def test_mean_std_skewness_and_kurtosis_are_right(distribution, dtype):
    right, x = ideal(distribution), draw(distribution, dtype)
    mean, std = right.mean(), right.std()
    for power in (1, 2, 3, 4):
        seen, expected = ((x - mean) / std) ** power, ((right - mean) / std) ** power
        # the standard error of a mean is the std over sqrt(n)
        assert abs(seen.mean() - expected.mean()) < SIGMAS * expected.std() / math.sqrt(N)


@exact
@pytest.mark.parametrize("distribution", TRUNCATED, ids=str)
def test_truncated_values_have_the_std_that_is_told(distribution, dtype):
    std = distribution.std_of_values()
    # SciPy loses up to seven digits far out in a tail
    assert law(distribution).std() == pytest.approx(std, rel=1e-6)
    x = draw(distribution, dtype)
    # the standard error of a std is std·sqrt((kurtosis - 1)/4n)
    error = std * math.sqrt((stats.kurtosis(x, fisher=False) - 1) / (4 * N))
    assert abs(x.std() - std) < SIGMAS * error


def test_moments_and_tails_of_many_normals():
    figures = runpy.run_path(Path(__file__).parents[1] / "benchmarks" / "stats.py")["figures"]
    rows = list(figures(Normal(0.0, 2.0), 2**24, key_of("quality", "tails"), (3, 4)))
    # the counts' standard errors are Poisson's: 45,295 ± 213 and 1063 ± 33 are expected
    assert [round(row.expected) for row in rows[-2:]] == [45295, 1063]
    assert all(abs(row.off) < SIGMAS for row in rows), rows


# independence


def assert_uncorrelated(rows):
    """No two rows, nor their squares."""
    for values in (np.array(rows), np.square(rows)):
        r = np.corrcoef(values) - np.eye(len(rows))
        # r of independent values has a standard error of 1/sqrt(n)
        assert abs(r).max() < SIGMAS / math.sqrt(values.shape[1])


@exact
@pytest.mark.parametrize("distribution", [ALL[0], Uniform(-1.0, 1.0), TRUNCATED[0]], ids=str)
def test_neighbours_are_uncorrelated(distribution, dtype):
    x = draw(distribution, dtype, 2**20)
    assert_uncorrelated([x[lag : len(x) - 4 + lag] for lag in range(5)])


@pytest.mark.parametrize(
    "keys",
    [
        [key_of(0, f"block.{letter}.weight") for letter in "abcdefghijkl"],
        [key_of(seed, "block.a.weight") for seed in range(12)],
        [key_of((seed, "critic"), "block.a.weight") for seed in range(12)],
        [0, *(1 << i for i in range(0, 64, 6))],
    ],
    ids=["names", "seeds", "tuples", "bits"],
)
def test_streams_of_similar_keys_are_uncorrelated(keys):
    assert_uncorrelated([draw(Normal(0.0, 1.0), n=2**17, key=key) for key in keys])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_distant_parts_of_a_stream_are_uncorrelated(dtype):
    # a counter or an index cut off at 31, 32, ... 39 bits would repeat the beginning
    of, n = (2**41,), 2**17
    starts = [0, *(2**i for i in range(31, 40)), 2**41 - n]
    parts = [draw(Normal(0.0, 1.0), dtype, n, 5, Block(of, (start,), (n,))) for start in starts]
    assert_uncorrelated(parts)


# bounds

numbers = st.floats(-1e3, 1e3)
bounds = st.lists(numbers, min_size=2, max_size=2, unique=True).map(sorted)
half_open = numbers.map(lambda a: [a, INF]) | numbers.map(lambda b: [-INF, b])
stds = st.floats(1e-3, 1e3)
keys = st.integers(0, 2**64 - 1)
sampled = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def drawn_or_skipped(distribution, dtype, key, n=1000):
    """The values; where the dtype has none, and fill says so, the example is passed over."""
    try:
        return draw(distribution, dtype, n, key)
    except InitError as error:
        assume("has no value in" not in str(error))
        raise


@every
@sampled
@given(numbers, stds, bounds | half_open, keys)
def test_truncated_values_never_leave_the_bounds(dtype, mean, std, cut, key):
    a, b = cut
    x = drawn_or_skipped(TruncNormal(mean, std, a, b), dtype, key)
    assert a <= x.min() and x.max() <= b


# numbers of every size that float64 has
signs = st.sampled_from([-1.0, 1.0])
sizes = st.floats(-300, 308).map(lambda exponent: 10.0**exponent)
anything = numbers | st.builds(lambda sign, size: sign * size, signs, sizes)
cuts = st.lists(anything, min_size=2, max_size=2, unique=True).map(sorted)


@exact
@settings(sampled, max_examples=300)
@given(anything, stds | sizes, cuts, keys)
def test_numbers_of_any_size_give_finite_values_within_the_bounds(dtype, mean, std, cut, key):
    a, b = cut
    x = drawn_or_skipped(TruncNormal(mean, std, a, b), dtype, key, 100)
    assert np.all(np.isfinite(x))
    assert a <= x.min() and x.max() <= b


@exact
@pytest.mark.parametrize("mean", [1e9, 1e15, 1e16, 1e17, 1e50, 1e200, 1e300])
@pytest.mark.parametrize("std", [1e-300, 1.0])
def test_a_mean_far_outside_gives_the_bound_that_is_nearest(dtype, mean, std):
    for sign in (1, -1):
        x = draw(TruncNormal(sign * mean, std, -2.0, 2.0), dtype, 1000)
        assert np.abs(x - sign * 2).max() <= 37 * std**2 / mean + 1e-15  # -log(2⁻⁵³) is 36.7


@exact
@pytest.mark.parametrize(
    ("distribution", "edge", "scale", "width"),
    [
        (TruncNormal(1e17, 1e9, -INF, 2.0), 2.0, -10.0, INF),
        (TruncNormal(1e17, 1e9, -8.0, 2.0), 2.0, -10.0, 1.0),
        (TruncNormal(-1e17, 1e9, -5.0, INF), -5.0, 10.0, INF),
        (TruncNormal(-1e300, 1e150, 0.25, 1.75), 0.25, 1.0, 1.5),
    ],
    ids=str,
)
def test_so_far_out_the_tail_is_an_exponential(distribution, edge, scale, width, dtype):
    x = (draw(distribution, dtype) - edge) / scale
    assert fits(stats.kstest(x, stats.expon.cdf if width == INF else stats.truncexpon(width).cdf))


@every
@sampled
@given(bounds, keys)
def test_uniform_values_are_never_below_a_nor_reach_b(dtype, cut, key):
    a, b = cut
    x = drawn_or_skipped(Uniform(a, b), dtype, key)
    assert a <= x.min() and x.max() < b


# there is nothing beyond float64, and float32 refuses the width first
@pytest.mark.parametrize("dtype", [dtype for dtype in DRAWN if dtype.itemsize <= 2], ids=str)
@pytest.mark.parametrize(("low", "high"), [(1.1, 1.5), (-1.5, -1.1)])
@pytest.mark.parametrize("cut", [Uniform, lambda a, b: TruncNormal(0.0, 1.0, a, b)])
def test_bounds_beyond_all_finite_values_are_refused(dtype, low, high, cut):
    greatest = torch.finfo(dtype).max
    with pytest.raises(InitError, match="has no value in"):
        draw(cut(low * greatest, high * greatest), dtype)


@every
@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (-3.0, 5.0)])
def test_uniform_values_reach_both_ends(dtype, a, b):
    x = draw(Uniform(a, b), dtype)
    # all but 1e-5 of the streams have a value in the first and in the last 2e4th of the range
    edge = (b - a) / 20_000
    assert x.min() < a + edge
    assert x.max() >= parameters(Uniform(a, b), dtype).numbers[3] - edge


@every
@pytest.mark.parametrize(
    "distribution", [*ALL, TruncNormal(3.0, 0.5, -1.0, 2.9), Uniform(0.1, 0.3)], ids=str
)
def test_the_extreme_words_stay_within_the_bounds(distribution, dtype, monkeypatch):
    # a thousand values meet no word of all zeros; the reference can be given some
    extremes = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 0x3FFFFFFF, 0x40000000]
    words = np.array(list(product(extremes, repeat=4)), np.uint32).ravel()
    for module in (bits, reference):
        monkeypatch.setattr(module, "words", lambda key, index: words[index])
    try:
        known = parameters(distribution, dtype)
    except InitError:
        return
    n = len(words) if not known.double else len(words) // 2
    x = torch.from_numpy(reference.draw(0, np.arange(n), known)).to(dtype).double().numpy()
    assert np.all(np.isfinite(x))
    a, b = getattr(distribution, "a", -INF), getattr(distribution, "b", INF)
    assert a <= x.min() and x.max() <= b
    if isinstance(distribution, Uniform):
        assert x.max() < b


# integers and permutations


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_integers_are_equally_likely(n):
    x = reference.integers(key_of("quality", str(n)), np.arange(N), n)
    assert x.min() >= 0 and x.max() < n
    assert fits(stats.chisquare(np.bincount(x, minlength=n)))


@pytest.mark.parametrize("n", [3 * 2**30, 2**32 - 1, 2**32])
def test_large_integers_are_equally_likely(n):
    x = reference.integers(key_of("quality", str(n)), np.arange(N), n)
    # all but 5e-7 of the streams come within 2**-14 of both ends
    assert 0 <= x.min() < n * 2**-14 and n * (1 - 2**-14) < x.max() < n
    for counts in (np.bincount(x * 256 // n), np.bincount(x % 256)):
        assert fits(stats.chisquare(counts))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 1000])
def test_a_permutation_has_each_index_once(n):
    assert np.array_equal(np.sort(reference.permutation(3, n)), np.arange(n))


def test_all_orders_of_a_few_are_equally_likely():
    orders = [tuple(reference.permutation(key, 4)) for key in range(2400)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert fits(stats.chisquare(counts))


def test_all_positions_of_a_permutation_are_equally_likely():
    n, repeat = 20, 1000
    counts = np.zeros((n, n))
    for key in range(repeat):
        counts[np.arange(n), reference.permutation(key_of(key, "order"), n)] += 1
    # rows and columns have fixed sums: (n - 1)² degrees of freedom, and variances n/(n - 1) as large
    statistic = ((counts - repeat / n) ** 2).sum() * (n - 1) / repeat
    assert LEVEL / 2 < stats.chi2.sf(statistic, (n - 1) ** 2) < 1 - LEVEL / 2
