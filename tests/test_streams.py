"""The streams: the specification against published vectors, the backend against the specification."""

import math
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from initium import InitError
from initium.streams import (
    Block,
    Job,
    Normal,
    TruncNormal,
    Uniform,
    coefficients,
    compiled,
    curves,
    fill,
    jobs,
    key_of,
    keys_of,
    pool,
    reference,
)
from initium.streams.dtypes import DRAWN, bounds_in
from initium.streams.parameters import Kind, parameters

KEY = 0x0123456789ABCDEF
INF = math.inf
DISTRIBUTIONS = [
    Normal(0, 1),
    Normal(0.5, 0.02),
    Normal(3, 0),
    Uniform(0, 1),
    Uniform(-0.3, 0.7),
    Uniform(2, 2),
    TruncNormal(0, 1, -2, 2),  # the central formula
    TruncNormal(0, 0.02, -0.03, 0.04),
    TruncNormal(0, 1, -3, 3),  # centre and tails
    TruncNormal(1, 2, -0.5, 7),
    TruncNormal(0, 0.02, -2, 2),  # nothing is cut: normal
    TruncNormal(0, 1, 2, INF),  # one-sided: in float64
    TruncNormal(0, 1, -INF, -5),
    TruncNormal(0, 1, 38, 40),  # beyond the quantile: exponential
    TruncNormal(0, 0.5, -30, -25),
    TruncNormal(4, 0, 1, 6),
    TruncNormal(1, 2, -1e-6, 1e-6),  # narrow: in float64
]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # the lines "philox4x32 10" of Random123's kat_vectors whose counter fits in 64 bits …
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        # … and the two whose counter does not, for the rounds themselves
        (
            (0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)  # fmt: skip
def test_philox_gives_the_published_vectors(counter, key, expected):
    counters = [np.array([word], np.uint64) for word in counter]
    words = reference.rounds(key[0] | key[1] << 32, *counters)
    assert tuple(int(word[0]) for word in words) == expected


def test_a_stream_is_philox_of_the_block_number():
    w0, w1, w2, w3 = reference.philox(0, np.array([0], np.uint64))
    assert reference.words(0, np.arange(4)).tolist() == [*w0, *w1, *w2, *w3]
    assert int(reference.wide(0, np.array([0]))[0]) == 0xE169C58D_6627E8D5
    far = 2**40 + 5  # the high half of the counter counts
    assert (
        reference.words(1, np.array([4 * far]))
        == reference.philox(1, np.array([far], np.uint64))[0]
    )


def expected(distribution, dtype, index, key=KEY):
    known = parameters(distribution, dtype)
    return torch.from_numpy(reference.draw(key, np.asarray(index, np.int64), known)).to(dtype)


def bits(tensor):
    sized = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(sized[tensor.element_size()]).tolist()


def has_values(distribution, dtype):
    """Whether anything can be drawn: some of the intervals lie between two values of a float8."""
    try:
        return bool(parameters(distribution, dtype))
    except InitError:
        return False


@pytest.mark.parametrize("dtype", DRAWN)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_the_backend_equals_the_specification(distribution, dtype):
    if not has_values(distribution, dtype):
        return
    tensor = torch.empty(70_003, dtype=dtype)
    fill([Job(tensor, KEY, distribution)])
    assert bits(tensor) == bits(expected(distribution, dtype, range(tensor.numel())))


@settings(max_examples=300, deadline=None)
@given(
    name=st.text(max_size=20),
    seed=st.one_of(st.integers(), st.text(max_size=5), st.tuples(st.integers(), st.text())),
    shape=st.lists(st.integers(0, 9), max_size=4).map(tuple),
    permuted=st.randoms(use_true_random=False),
    dtype=st.sampled_from(DRAWN),
    distribution=st.sampled_from([d for d in DISTRIBUTIONS if "inf" not in str(d)]),
    threads=st.integers(1, 4),
    data=st.data(),
)
def test_a_block_drawn_alone_equals_the_block_of_the_whole(
    name, seed, shape, permuted, dtype, distribution, threads, data
):
    if not has_values(distribution, dtype):
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        key = key_of(seed, name)
        whole = torch.empty(shape, dtype=dtype)
        fill([Job(whole, key, distribution)])
        start = tuple(data.draw(st.integers(0, max(n - 1, 0))) for n in shape)
        size = tuple(data.draw(st.integers(0, n - i)) for n, i in zip(shape, start, strict=True))
        order = permuted.sample(range(len(shape)), len(shape))
        strided = torch.empty([size[d] for d in order], dtype=dtype).permute(
            [order.index(d) for d in range(len(shape))]
        )
        assert tuple(strided.shape) == size
        block = Block(shape, start, size)
        fill([Job(strided, key, distribution, block)])
        assert bits(strided) == bits(whole[block.slices()])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("first", [0, 1, 2, 3, 2_045, 2_047, 2**33 - 3, 2**34 - 5, 2**50 + 1])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 1_023, 2_048, 2_049, 6_001])
def test_any_offset_and_length(first, n, dtype):
    tensor = torch.empty(n, dtype=dtype)
    fill([Job(tensor, KEY, Normal(0, 1), Block((2**60,), (first,), (n,)))])
    assert bits(tensor) == bits(expected(Normal(0, 1), dtype, range(first, first + n)))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), shape=st.lists(st.integers(1, 6), min_size=1, max_size=5).map(tuple))
def test_the_runs_and_pieces_of_a_block_are_its_elements(data, shape):
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    size = tuple(data.draw(st.integers(1, n - i)) for n, i in zip(shape, start, strict=True))
    block = Block(shape, start, size)
    numbers = torch.arange(math.prod(shape)).view(shape)
    wanted = numbers[block.slices()].reshape(-1).tolist()

    def elements(of):
        return [
            first + k * stride + i
            for first, run, stride, runs in of.runs()
            for k in range(runs)
            for i in range(run)
        ]

    assert elements(block) == wanted
    most = data.draw(st.integers(1, 40))
    pieces = list(block.pieces(most))
    assert all(piece.numel <= most for piece in pieces)
    assert [i for piece in pieces for i in elements(piece)] == wanted


def test_the_cost_of_a_block_does_not_grow_with_the_whole():
    # a column of a matrix whose whole would need 4 TiB
    column = torch.empty(1000, 1)
    fill([Job(column, KEY, Uniform(0, 1), Block((1000, 2**30), (0, 12345), (1000, 1)))])
    assert bits(column.view(-1)) == bits(
        expected(Uniform(0, 1), torch.float32, np.arange(1000) * 2**30 + 12345)
    )


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_threads_and_neighbours_do_not_matter(threads, dtype):
    alone = torch.empty(300_001, dtype=dtype)
    fill([Job(alone, KEY, Normal(0, 1))])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        many = [torch.empty(n, dtype=dtype) for n in (5, 300_001, 64, 100_000)]
        transposed = torch.empty(10, 30_000, dtype=dtype).t()
        fill(
            [Job(t, KEY if i == 1 else i, Normal(0, 1)) for i, t in enumerate(many)]
            + [Job(transposed, KEY, Normal(0, 1))]
        )
    finally:
        torch.set_num_threads(before)
    assert bits(many[1]) == bits(alone)
    assert bits(transposed.reshape(-1)) == bits(alone[:300_000])


@pytest.mark.parametrize("distribution", [DISTRIBUTIONS[1], DISTRIBUTIONS[4], DISTRIBUTIONS[6]])
@pytest.mark.parametrize("shift", [0, 1])
def test_what_is_too_large_for_the_caches_is_the_same(distribution, shift):
    n = jobs.CACHED + 1003
    whole = torch.empty(n + shift)[shift:]  # shifted by one: not aligned to vectors
    fill([Job(whole, KEY, distribution)])
    for start in range(0, n, 2**20 + 1):
        part = torch.empty(min(2**20 + 1, n - start))
        fill([Job(part, KEY, distribution, Block((n,), (start,), tuple(part.shape)))])
        assert part.equal(whole[start : start + len(part)])


def test_views_strides_and_memory_formats():
    plain = torch.empty(4, 6, 5, 7)
    fill([Job(plain, KEY, Normal(0, 1))])
    last = torch.empty(4, 6, 5, 7).to(memory_format=torch.channels_last)
    inside = torch.full((6, 8, 10, 9), 7.0)
    fill([Job(last, KEY, Normal(0, 1)), Job(inside[1:5, ::1, 2:7, :7][:, :6], KEY, Normal(0, 1))])
    assert last.equal(plain)
    assert inside[1:5, :6, 2:7, :7].equal(plain)
    inside[1:5, :6, 2:7, :7] = 7
    assert (inside == 7).all()  # nothing around the view was touched


def test_a_lower_precision_is_the_rounding_of_the_same_float32_value():
    single = torch.empty(10_000)
    fill([Job(single, KEY, Normal(0.1, 0.5))])
    for dtype in DRAWN[2:]:
        low = torch.empty(10_000, dtype=dtype)
        fill([Job(low, KEY, Normal(0.1, 0.5))])
        assert bits(low) == bits(single.to(dtype))


def test_special_tensors():
    parameter = nn.Parameter(torch.empty(9))
    with torch.inference_mode():
        frozen = torch.empty(9)
        frozen_view = torch.empty(3, 3).t()
    with torch.device("meta"):  # the default device is no business of ours
        fill([Job(t, KEY, Normal(0, 1)) for t in (parameter, frozen, frozen_view)])
    assert parameter.equal(frozen)
    assert frozen_view.reshape(-1).equal(frozen)
    meta = torch.empty(3, device="meta")
    fill([Job(meta, KEY, Normal(0, 1)), Job(torch.empty(0), KEY, Normal(0, 1))])
    assert meta.is_meta


class Subclass(torch.Tensor):
    """A tensor that wants to see what is done to it."""


def test_a_subclass_is_written_through_its_own_operations():
    tensor = torch.empty(9).as_subclass(Subclass)
    fill([Job(tensor, KEY, Normal(0, 1))])
    assert bits(torch.Tensor(tensor)) == bits(expected(Normal(0, 1), torch.float32, range(9)))


def test_a_bad_job_writes_nothing():
    good, bad = torch.zeros(5), torch.zeros(5, dtype=torch.float8_e5m2)
    with pytest.raises(InitError, match=r"float8_e5m2 has no value in \[1.01, 1.02\)"):
        fill([Job(good, 1, Normal(0, 1)), Job(bad, 2, Uniform(1.01, 1.02))])
    assert not good.any()


@pytest.mark.parametrize("dtype", DRAWN)
def test_bounds_in_a_dtype(dtype):
    low, high = bounds_in(dtype, -0.3, 0.7)
    assert -0.3 <= low <= -0.25
    assert 0.6 <= high <= 0.7
    exact = bounds_in(dtype, -1, 1)
    assert exact == (-1, 1)
    assert bounds_in(dtype, -1, 1, below_b=True)[1] < 1
    # the next value above is 1 itself
    assert torch.tensor(bounds_in(dtype, 0, 1, below_b=True)[1] + 2e-1).to(dtype).double() >= 1


# what the numbers come from


def test_regimes_of_the_truncated_normal():
    kinds = {
        (-2, 2): Kind.CENTRAL,
        (-2, 2.01): Kind.TRUNCATED,
        (-10, 10): Kind.NORMAL,
        (2, INF): Kind.TRUNCATED,
        (40, 41): Kind.TAIL,
        (36.6, INF): Kind.TAIL,
    }
    for (a, b), kind in kinds.items():
        assert parameters(TruncNormal(0, 1, a, b), torch.float32).kind is kind
    assert not parameters(TruncNormal(0, 1, -3, 3), torch.float32).double
    assert parameters(TruncNormal(0, 1, 2, INF), torch.float32).double


def test_normal_values_never_reach_the_bounds_that_count_as_wide():
    # the least radius word there is: its value lies inside of `_NEVER` = 10 sigma
    assert math.sqrt(-2 * math.log(2.0**-33)) < 6.8
    assert math.sqrt(-2 * math.log(2.0**-53)) < 8.6


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_the_functions_are_accurate(real):
    eps = float(np.finfo(real).eps)
    u = np.concatenate([np.geomspace(1e-9, 0.999, 4000), 1 - np.geomspace(1e-6, 0.3, 500)])
    u = u.astype(real)
    exact = np.array([float(-2 * mpmath.log(mpmath.mpf(float(x)))) for x in u])
    assert np.abs(curves.minus_2_log(u) / exact - 1).max() < 3 * eps
    x = np.linspace(-np.pi / 4, np.pi / 4, 4001).astype(real)
    sine, cosine = curves.sine_cosine(x)
    assert np.abs(sine - [float(mpmath.sin(mpmath.mpf(float(v)))) for v in x]).max() < 2 * eps
    assert np.abs(cosine - [float(mpmath.cos(mpmath.mpf(float(v)))) for v in x]).max() < 2 * eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bounds", [(-2, 2), (-3, 3), (-1, 4), (2, INF), (-INF, -5), (30, 33)])
def test_truncated_values_are_the_quantiles_of_their_uniform_number(bounds, dtype):
    a, b = bounds
    with mpmath.workdps(40):
        index = np.arange(300)
        sides = reference._sides(KEY, index, np.float64 if dtype == torch.float64 else np.float32)
        if parameters(TruncNormal(0, 1, a, b), dtype).double:
            sides = reference._sides(KEY, index, np.float64)
        values = reference.draw(KEY, index, parameters(TruncNormal(0, 1, a, b), dtype))
        p_a, q_b = mpmath.ncdf(a), mpmath.ncdf(-b)
        mass = mpmath.ncdf(-a) - q_b if a > 0 else mpmath.ncdf(b) - p_a
        tolerance = 5e-7 if dtype == torch.float32 else 2e-15
        for u, v, value in zip(sides.u, sides.v, values, strict=True):
            # compared as probabilities of the nearer tail, relative to how fast the quantile moves
            z = mpmath.mpf(float(value))
            if z < 0:
                error = (mpmath.ncdf(z) - p_a - mass * float(u)) / mpmath.npdf(z)
            else:
                error = (mpmath.ncdf(-z) - q_b - mass * float(v)) / mpmath.npdf(z)
            assert abs(error) < tolerance * max(1, abs(z))


def test_the_outermost_words_give_no_outliers():
    """All bits 0 and all bits 1, which a clamp would turn into weights at the bounds."""
    for word in (0, 2**32 - 1):
        w = np.array([word, word], np.uint32)
        x = curves.minus_2_log(w[:1].astype(np.float32) * np.float32(2**-32) + np.float32(2**-33))
        assert 0 <= x[0] <= 2 * 33 * math.log(2) * 1.000001
    low = parameters(TruncNormal(0, 1, -6, 6), torch.float32)
    assert low.kind is Kind.TRUNCATED
    sides = reference._Sides(
        *(np.array(v, np.float32) for v in ([2**-33, 1], [1, 2**-33], [-1 + 2**-32, 1 - 2**-32]))
    )
    z = reference._truncated(sides, *map(np.float32, low.numbers[4:]))
    # 2^-33 above a bound at 6 sigma whose own probability is 9.9e-10
    assert z.tolist() == pytest.approx([-5.9817, 5.9817], abs=2e-4)


def test_coefficients_fit_what_they_stand_for():
    """Polynomials and rational functions in exact arithmetic: the stated errors of the fits."""

    def value(polynomial, x):
        return mpmath.polyval([mpmath.mpf(k) for k in polynomial[::-1]], x)

    with mpmath.workdps(30):
        f = [mpmath.mpf(k) / 500 for k in range(-146, 207) if k]
        logs = [(-2 * x + x**2 * value(coefficients.LOG, x)) / (-2 * mpmath.log1p(x)) for x in f]
        assert max(abs(r - 1) for r in logs) < 6e-8
        xs = [mpmath.pi / 4 * k / 300 for k in range(1, 301)]
        assert (
            max(abs(1 + x**2 * value(coefficients.SIN, x**2) - mpmath.sin(x) / x) for x in xs)
            < 4e-9
        )
        assert (
            max(
                abs(1 - x**2 / 2 + x**4 * value(coefficients.COS, x**2) - mpmath.cos(x)) for x in xs
            )
            < 1e-10
        )
        zs = [mpmath.mpf(k) / 100 for k in range(1, 201)]
        for z in zs:
            x = mpmath.ncdf(z) - mpmath.mpf("0.5")
            y = coefficients.MIDST - x**2
            fit = x * value(coefficients.MIDDLE, y) / value(coefficients.UNDER, y)
            assert abs(fit / z - 1) < 8e-8


# keys


def test_keys_are_pinned():
    """The derivation may never change: plans are files."""
    assert key_of(0, "conv.weight") == 0x2990CEB4749149EB
    assert keys_of((1, "critic"))("bias") == key_of((1, "critic"), "bias")


def test_values_are_pinned():
    """The first bits of a stream, as the specification gave them in its first release."""
    single, double, cut = torch.empty(3), torch.empty(3, dtype=torch.float64), torch.empty(3)
    drawn = (Normal(0, 1), Uniform(0, 1), TruncNormal(0, 1, -2, 2))
    fill([Job(t, 1, d) for t, d in zip((single, double, cut), drawn, strict=True)])
    assert bits(single) == [-1097354818, -1094532125, -1082098243]
    assert bits(double) == [4606233823055478016, 4604581752834539076, 4606048519916454146]
    assert bits(cut) == [1066513356, 1066685134, 1045661160]


@given(st.integers(1, 2**32), st.integers(0, 2**64 - 1))
@example(2**32, 2**64 - 1)
def test_integers_are_the_high_half_of_the_product(n, key):
    drawn = reference.integers(key, np.arange(50), n)
    wide = reference.wide(key, np.arange(50))
    assert drawn.tolist() == [int(w) * n >> 64 for w in wide]


# the pool and the compiled kernel


def test_a_forked_child_fills_too():
    code = """
import os, torch
from initium.streams import Job, Normal, fill
torch.set_num_threads(2)
a, b = torch.empty(500_000), torch.empty(500_000)
fill([Job(a, 1, Normal(0, 1))])
pid = os.fork()
if pid == 0:
    fill([Job(b, 1, Normal(0, 1))])
    os._exit(0 if a.equal(b) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "0", done.stderr


def test_several_threads_may_fill_at_once():
    wanted = torch.empty(200_000)
    fill([Job(wanted, KEY, Normal(0, 1))])
    tensors = [torch.empty(200_000) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda t: fill([Job(t, KEY, Normal(0, 1))]), tensors))
    assert all(t.equal(wanted) for t in tensors)


@pytest.mark.parametrize("parallel", [False, True])
def test_an_error_stops_the_work_and_nobody_writes_after_it(parallel):
    done, after = [], threading.Event()

    def fail():
        raise RuntimeError("out of memory")

    def work():
        for i in range(1000):
            yield fail if i == 3 else lambda i=i: done.append(i) or 1
        after.set()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            pool.carry_out(work(), parallel)
    finally:
        torch.set_num_threads(before)
    seen = len(done)
    assert not after.is_set()
    assert seen < 1000
    assert len(done) == seen


def test_progress_is_told_of_every_element():
    for n in (1000, 3_000_000):
        told = []
        fill(
            [Job(torch.empty(n), 1, Uniform(0, 1)), Job(torch.empty(7, 3).t(), 1, Uniform(0, 1))],
            told.append,
        )
        assert sum(told) == n + 21


def test_the_kernel_is_kept_on_disk_and_a_damaged_file_is_made_anew(tmp_path):
    code = """
import sys, torch
from initium.streams import Job, Normal, fill
x = torch.empty(9); fill([Job(x, 1, Normal(0, 1))])
print("numba" in sys.modules, x.double().sum().item())
"""

    def run():
        env = dict(os.environ, INITIUM_CACHE=str(tmp_path))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    first = run()
    (file,) = tmp_path.iterdir()
    assert first[0] == "True"
    assert run() == ["False", first[1]]
    code = compiled._read(file)
    assert code
    for damaged in (file.read_bytes()[:-100], b"", b"x" * 5000):
        file.write_bytes(damaged)
        assert compiled._read(file) is None
    compiled._write(file, code)
    assert compiled._read(file) == code
    assert [*tmp_path.iterdir()] == [file]
    compiled._write(tmp_path / "a file" / "streams.o", code)
    (tmp_path / "in the way").write_text("")
    compiled._write(tmp_path / "in the way" / "streams.o", code)  # nowhere to write: no error


def test_the_kernel_calls_nothing_but_square_roots():
    """What has no other symbol cannot raise, needs no GIL and no Numba at run time."""
    file = compiled._path(__import__("llvmlite.binding").binding, "draw")
    code = compiled._read(file)
    for name in (b"Py", b"numba_", b"NRT_"):
        assert name not in code
