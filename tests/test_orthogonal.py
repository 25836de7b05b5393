"""Orthogonal matrices: the arithmetic to the bit, on any threads and processor, and what it makes."""

import math
import sys

import llvmlite.binding as llvm
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initium import init, streams
from initium.initializers import Orthogonal
from initium.streams import Job, Normal, compiled, orthonormal
from processes import output

DTYPES = [torch.float32, torch.float64]
SHAPES = [(1, 1), (7, 1), (5, 5), (13, 9), (64, 64), (100, 37), (130, 129), (200, 140), (300, 20)]


def normal(shape, dtype, key=1):
    matrix = torch.empty(shape, dtype=dtype)
    streams.fill([Job(matrix, key, Normal(0, 1))])
    return matrix


def made(shape, dtype=torch.float32, key=1, gain=1):
    return Orthogonal(gain).draws(shape).values(key, dtype)


def distance(q):
    """The largest element of QᵀQ - 1."""
    q = q.double()
    return (q.T @ q - torch.eye(q.shape[1], dtype=torch.float64)).abs().max().item()


def householder(matrix):
    """LAPACK's Q in float64, signs so that the diagonal of R is positive."""
    q, r = torch.linalg.qr(matrix.double())
    return q * r.diagonal().sign()


@pytest.fixture
def passes(monkeypatch):
    """What an elimination was asked for, in order."""
    steps, real = [], orthonormal._Elimination

    class Told(real):
        def factor(self, first=0):
            done = super().factor(first)
            steps.append("factor" if done else "not definite")
            return done

    monkeypatch.setattr(orthonormal, "_Elimination", Told)
    return steps


# The specification: sums in order, by multiply-adds that are rounded once. NumPy has none, so they are
# put together from exact sums and products (Boldo and Melquiond, Emulation of a FMA and correctly
# rounded sums, IEEE Trans. Computers 57, 2008).


def two_sum(a, b):
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def halves(a):
    high = a * 134217729.0
    high = high - (high - a)
    return high, a - high


def two_product(a, b):
    product = a * b
    (a1, a2), (b1, b2) = halves(a), halves(b)
    return product, a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2)


def to_odd(a, b):
    """a + b, and where that is not exact, of the two numbers around it that with an odd last bit."""
    total, rest = two_sum(a, b)
    even = total.view(np.int64) % 2 == 0
    towards = np.where(rest > 0, np.inf, -np.inf)
    return np.where((rest != 0) & even, np.nextafter(total, towards), total)


def fma(a, b, c):
    product, rest = two_product(a, b)
    low, lower = two_sum(c, rest)
    high, middle = two_sum(product, low)
    return high + to_odd(middle, lower)


def one_pass(a):
    """[AᵀA | Aᵀ] becomes [R | Qᵀ]."""
    n = a.shape[1]
    gram = np.zeros((n, n))
    for row in a:
        gram = fma(row[:, None], row, gram)
    both = np.concatenate([gram, a.T], axis=1)
    for i in range(n):
        both[i] *= 1 / np.sqrt(both[i, i])
        for j in range(i + 1, n):
            both[j] = fma(-both[i, j], both[i], both[j])
    return np.ascontiguousarray(both[:, n:].T)


def test_the_specification_has_fused_multiply_adds():
    from fractions import Fraction

    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((3, 500))
    c[:250] = -a[:250] * b[:250] * (1 + rng.integers(-3, 3, 250) * 2.0**-52)  # cancels
    exact = [
        float(Fraction(x) * Fraction(y) + Fraction(z)) for x, y, z in zip(a, b, c, strict=True)
    ]
    assert np.array_equal(fma(a, b, c), exact)
    assert not np.array_equal(a * b + c, exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_bit_is_that_of_the_specification(shape, dtype, passes):
    a = normal(shape, dtype)
    wanted = one_pass(a.double().numpy())
    if dtype == torch.float64:
        wanted = one_pass(wanted)
    found = orthonormal.orthonormal(lambda: a)
    assert passes == ["factor"] * (1 if dtype == torch.float32 else 2)
    assert torch.equal(found, torch.from_numpy(wanted).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_neither_threads_nor_what_memory_held_before_change_a_bit(dtype, monkeypatch):
    shape = (700, 520)
    threads, found = torch.get_num_threads(), []
    try:
        for n in range(1, 9):
            torch.set_num_threads(n)
            found.append(made(shape, dtype))
    finally:
        torch.set_num_threads(threads)
    monkeypatch.setattr(
        orthonormal, "_numbers", lambda n: torch.full((n,), math.nan, dtype=torch.float64)
    )
    found.append(made(shape, dtype))
    assert all(torch.equal(found[0], other) for other in found)


PROGRAM = """
import hashlib, os, sys
without = sys.argv[1].split(",")
if without != ["nothing"]:
    import llvmlite.binding as llvm
    known = llvm.get_host_cpu_features()
    cut = {name: on and not name.startswith(tuple(without)) for name, on in known.items()}
    llvm.get_host_cpu_features = lambda: llvm.FeatureMap(cut)
    llvm.get_host_cpu_name = lambda: "x86-64"
    os.environ.update(NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES=llvm.FeatureMap(cut).flatten())
import numpy as np, torch
from initium.streams.orthonormal import orthonormal
digest, rng = hashlib.sha256(), np.random.RandomState(1)
for shape in (5, 3), (64, 64), (200, 129), (300, 300):
    for dtype in torch.float32, torch.float64:
        a = torch.from_numpy(rng.standard_normal(shape)).to(dtype)
        digest.update(orthonormal(lambda: a).numpy().tobytes())
print(digest.hexdigest())
"""


def test_neither_processes_nor_processors_change_a_bit(tmp_path):
    """This processor, on some threads; and what it would be without wide vectors and multiply-adds."""
    found = [
        output([sys.executable, "-c", PROGRAM, "nothing"], env={"OMP_NUM_THREADS": str(n)})
        for n in (1, 3)
    ]
    if "+avx2" in llvm.get_host_cpu_features().flatten():
        command = [sys.executable, "-c", PROGRAM, "avx,fma"]
        found.append(output(command, env={"INITIUM_CACHE": str(tmp_path)}))
        assert [*tmp_path.iterdir()]
    assert len(set(found)) == 1


def test_the_kernels_call_nothing_of_python():
    made((5, 5))
    for name in ("gram", "eliminate", "solve"):
        code = compiled._read(compiled._path(llvm, name))
        assert code
        assert not any(part in code for part in (b"Py", b"numba_", b"NRT_"))


# What is made: columns (or rows) as orthonormal as their dtype allows, the one Q of the normal matrix.


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 280),
    cols=st.integers(1, 280),
    dtype=st.sampled_from(DTYPES),
    gain=st.sampled_from([1, -0.5, 3]),
    key=st.integers(0, 2**64 - 1),
)
def test_it_is_the_q_of_the_normal_matrix(rows, cols, dtype, gain, key):
    found = made((rows, cols), dtype, key, gain)
    assert found.shape == (rows, cols)
    tall = found if rows >= cols else found.T
    eps = torch.finfo(dtype).eps
    assert (
        distance(tall / gain) < (2 if dtype == torch.float32 else 2 * math.sqrt(rows + cols)) * eps
    )
    a = normal((rows, cols), dtype, key)
    wanted = householder(a if rows >= cols else a.T)
    # float32: rounded once, and once more by the gain; float64: LAPACK's own distance shows
    within = 1 if dtype == torch.float32 else 1e5
    assert (tall / gain - wanted).abs().max() <= within * eps


def test_in_float32_it_is_nearer_to_orthonormal_than_householder():
    a = normal((512, 512), torch.float32)
    theirs = torch.linalg.qr(a)[0]
    assert 3 * distance(made((512, 512))) < distance(theirs)


def test_kernels_of_convolutions_are_flattened_and_halves_are_rounded():
    w = init.orthogonal_(torch.empty(8, 3, 5, 5), 2, generator=torch.Generator().manual_seed(1))
    flat = w.flatten(1) / 2
    assert distance(flat.T) < 1e-6
    for dtype in (torch.bfloat16, torch.float16):
        half = torch.empty(8, 3, 5, 5, dtype=dtype)
        init.orthogonal_(half, 2, generator=torch.Generator().manual_seed(1))
        assert torch.equal(half, w.to(dtype))
    for shape in ((0, 3), (3, 0), (4, 3, 0)):
        assert made(shape).shape == shape


def test_it_is_uniform_among_orthogonal_matrices():
    """Haar: each element of a 3 × 3 one is uniform in [-1, 1]; both determinants are as likely."""
    q = torch.stack([made((3, 3), torch.float64, key) for key in range(3000)])
    for element in q.flatten(1).T:
        assert scipy.stats.kstest(element.numpy(), scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-4
    rotations = (torch.linalg.det(q) > 0).sum().item()
    assert scipy.stats.binomtest(rotations, 3000).pvalue > 1e-4
    # E tr(Q) = 0, E tr(Q)² = 1 (Diaconis and Shahshahani 1994), within 5 standard errors; E tr⁴ = 3
    trace = q.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(trace.mean()) < 5 / math.sqrt(3000)
    assert abs(trace.square().mean() - 1) < 5 * math.sqrt(2 / 3000)


# Matrices that one pass is not enough for.


def ill_conditioned(n, cond, dtype):
    """All singular values √n but one."""
    u, v = (householder(normal((n, n), torch.float64, key)) for key in (1, 2))
    values = torch.full((n,), math.sqrt(n), dtype=torch.float64)
    values[-1] /= cond
    return (u * values @ v).to(dtype)


@pytest.mark.parametrize(
    ("n", "cond", "dtype"),
    [
        (64, 1e6, torch.float32),
        (300, 1e6, torch.float32),
        (300, 1e7, torch.float32),
        (64, 1e6, torch.float64),
        (300, 1e8, torch.float64),
        (64, 1e12, torch.float64),
        (300, 1e12, torch.float64),
    ],
)
def test_further_passes_mend_what_is_missing(n, cond, dtype, passes):
    a = ill_conditioned(n, cond, dtype)
    q = orthonormal.orthonormal(a.clone)
    assert passes.count("factor") == (2 if cond < 1e8 else 3)
    assert distance(q) < (1 if dtype == torch.float32 else math.sqrt(n)) * torch.finfo(dtype).eps
    if dtype == torch.float32:
        assert (q - householder(a)).abs().max() < 2**-24


def test_square_matrices_that_need_a_second_pass_are_as_good(passes):
    """Of these, some have a condition number beyond 10,000."""
    second = 0
    for key in range(1000):
        passes.clear()
        q = made((64, 64), key=key)
        second += passes == ["factor"] * 2
        assert distance(q) <= 2**-22
    assert 0 < second < 30


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_shift_where_the_gram_matrix_is_not_definite(dtype, passes):
    """Two columns that differ in what AᵀA cannot hold; the larger one makes its pivot negative."""
    a = normal((40, 12), dtype)
    found = 0
    for scale in range(1, 30):
        b = a.clone()
        b[:, 7] = b[:, 3] * scale + b[:, 1] / 3  # exactly dependent, but for rounding
        passes.clear()
        q = orthonormal.orthonormal(b.clone)
        found += "not definite" in passes and passes[-1] == "factor"
        assert distance(q) < 8 * torch.finfo(dtype).eps
        others = [i for i in range(12) if i < 7]
        wanted = householder(b[:, others])
        assert (q[:, others] - wanted).abs().max() < 8 * torch.finfo(dtype).eps
    if dtype == torch.float64:
        assert found


@pytest.mark.parametrize("dtype", DTYPES)
def test_singular_matrices_are_left_to_householder(dtype):
    zero = normal((10, 6), dtype)
    zero[:, 5] = 0
    for a in (zero, torch.zeros(1, 1, dtype=dtype), torch.zeros(200, 150, dtype=dtype)):
        drawn = []

        def draw(a=a, drawn=drawn):
            drawn.append(a)
            return a.clone()

        q = orthonormal.orthonormal(draw)
        assert len(drawn) == 2
        assert distance(q) < 20 * torch.finfo(dtype).eps
        known = a[:, :5] if a is zero else a[:, :0]
        assert (q[:, : known.shape[1]] - householder(known)).abs().sum() < 1e-5


def test_defaults_of_torch_do_not_matter():
    wanted = made((150, 140))
    with torch.device("meta"), torch.inference_mode():
        assert torch.equal(made((150, 140)), wanted)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(made((150, 140)), wanted)
    finally:
        torch.set_default_dtype(torch.float32)
