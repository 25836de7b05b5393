"""One suite for `torch.nn.init` and `initium.init`: what torch documents, both must do."""

import inspect
import math
import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

import initium
from initium import InitError, init
from initium.streams.dtypes import DRAWN

BOTH = pytest.mark.parametrize("lib", [nn.init, init], ids=["torch", "initium"])
RANDOM = [
    "uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_",
    "kaiming_uniform_", "kaiming_normal_", "orthogonal_",
]  # fmt: skip
FIXED = ["constant_", "ones_", "zeros_", "eye_", "dirac_", "calculate_gain"]
LEVEL = 1e-4  # of each Kolmogorov-Smirnov test; seeds are fixed, so they cannot flicker


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(20)


def ks(tensor, distribution):
    return scipy.stats.kstest(tensor.double().flatten().numpy(), distribution.cdf).pvalue


def uniform(bound):
    return scipy.stats.uniform(-bound, 2 * bound)


@pytest.mark.parametrize("name", [*RANDOM, "sparse_", *FIXED])
def test_names_arguments_and_defaults_are_those_of_torch(name):
    theirs = inspect.signature(getattr(nn.init, name)).parameters
    ours = inspect.signature(getattr(init, name)).parameters
    assert {p.name: p.default for p in ours.values()} == {
        p.name: p.default for p in theirs.values()
    }


@BOTH
def test_uniform(lib):
    w = torch.empty(200, 500)
    assert lib.uniform_(w, -1, 3) is w
    assert -1 <= w.min() < w.max() < 3
    assert ks(w, scipy.stats.uniform(-1, 4)) > LEVEL
    assert lib.uniform_(w).min() >= 0
    assert 0.99 < w.max() < 1


@BOTH
def test_normal(lib):
    w = torch.empty(200, 500)
    assert lib.normal_(w, mean=2, std=0.5) is w
    assert ks(w, scipy.stats.norm(2, 0.5)) > LEVEL
    assert ks(lib.normal_(w), scipy.stats.norm) > LEVEL


@BOTH
@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0, 1, -2, 2),
        (0, 1, -1, 3),
        (1, 2, -1, 0),
        (0, 0.02, -2, 2),
        (0, 1, 1, 2),
        (0.5, 1, 0.2, 0.3),
    ],
)
def test_trunc_normal(lib, mean, std, a, b):
    w = torch.empty(100, 500)
    assert lib.trunc_normal_(w, mean, std, a, b) is w
    assert a <= w.min()
    assert w.max() <= b
    law = scipy.stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    assert ks(w, law) > LEVEL


@BOTH
@pytest.mark.parametrize("shape", [(200, 300), (50, 20, 5, 7), (40, 30, 40)])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_xavier(lib, shape, gain):
    w = torch.empty(shape)
    field = math.prod(shape[2:])
    std = gain * math.sqrt(2 / ((shape[0] + shape[1]) * field))
    assert ks(lib.xavier_normal_(w, gain), scipy.stats.norm(0, std)) > LEVEL
    assert ks(lib.xavier_uniform_(w, gain=gain), uniform(std * math.sqrt(3))) > LEVEL


@BOTH
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "FAN_IN"])
@pytest.mark.parametrize(
    ("nonlinearity", "a", "gain"),
    [
        ("leaky_relu", 0, math.sqrt(2)),
        ("leaky_relu", math.sqrt(5), math.sqrt(1 / 3)),
        ("relu", 0.3, math.sqrt(2)),
        ("linear", 0, 1),
        ("tanh", 0, 5 / 3),
        ("selu", 0, 3 / 4),
    ],
)
def test_kaiming(lib, mode, nonlinearity, a, gain):
    w = torch.empty(60, 40, 5, 5)
    std = gain / math.sqrt(25 * (40 if mode.lower() == "fan_in" else 60))
    drawn = lib.kaiming_normal_(w, a, mode, nonlinearity)
    assert ks(drawn, scipy.stats.norm(0, std)) > LEVEL
    drawn = lib.kaiming_uniform_(w, a=a, mode=mode, nonlinearity=nonlinearity)
    assert ks(drawn, uniform(std * math.sqrt(3))) > LEVEL


@BOTH
@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (30, 30), (12, 3, 5, 5), (7, 1), (1, 7)])
@pytest.mark.parametrize("gain", [1, -0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_orthogonal(lib, shape, gain, dtype):
    w = torch.empty(shape, dtype=dtype)
    assert lib.orthogonal_(w, gain=gain) is w
    m = w.view(shape[0], -1)
    m = m if m.shape[0] <= m.shape[1] else m.T
    assert torch.allclose(m @ m.T, gain**2 * torch.eye(len(m), dtype=dtype), atol=1e-5)


@BOTH
def test_orthogonal_is_uniform_among_the_rotations(lib):
    # without the fix of the signs, the diagonal would lean to one side: of 400 such matrices the
    # mean of the first element lies within 5 standard errors (each has variance 1/5) of 0
    first = [lib.orthogonal_(torch.empty(5, 5))[0, 0].item() for _ in range(400)]
    assert abs(sum(first) / 400) < 5 * math.sqrt(1 / 5 / 400)


@BOTH
@pytest.mark.parametrize("sparsity", [0, 0.1, 0.35, 0.999, 1])
def test_sparse(lib, sparsity):
    w = torch.empty(200, 33)
    assert lib.sparse_(w, sparsity, std=0.3) is w
    zeros = (w == 0).sum(dim=0)
    assert (zeros == math.ceil(sparsity * 200)).all()
    if sparsity < 0.9:
        assert ks(w[w != 0], scipy.stats.norm(0, 0.3)) > LEVEL
    if 0 < sparsity < 0.9:
        # every row is as likely: chi-square of the zeros per row
        per_row = (w == 0).sum(dim=1).numpy()
        assert scipy.stats.chisquare(per_row).pvalue > LEVEL


@BOTH
def test_fixed_values(lib):
    w = torch.empty(3, 4)
    assert lib.constant_(w, 0.5) is w
    assert (w == 0.5).all()
    assert (lib.ones_(w) == 1).all()
    assert (lib.zeros_(w) == 0).all()
    assert lib.eye_(w).equal(torch.eye(3, 4))
    k = lib.dirac_(torch.empty(4, 2, 3, 3), groups=2)
    x = torch.randn(1, 2, 6, 6)
    assert nn.functional.conv2d(x, k[:2], padding=1).equal(x)
    assert lib.calculate_gain("leaky_relu", 0.2) == math.sqrt(2 / 1.04)


CALLS = {
    **{name: lambda lib, w, name=name, **kw: getattr(lib, name)(w, **kw) for name in RANDOM},
    "sparse_": lambda lib, w, **kw: lib.sparse_(w, 0.2, **kw),
}


@BOTH
@pytest.mark.parametrize("name", CALLS)
def test_manual_seed_repeats_two_calls_differ_and_no_gradient_is_recorded(lib, name):
    w = [torch.empty(8, 9, requires_grad=True) for _ in range(3)]
    for i, seed in enumerate((5, None, 5)):
        if seed:
            torch.manual_seed(seed)
        before = w[i]._version
        assert CALLS[name](lib, w[i]) is w[i]
        assert w[i].requires_grad
        assert w[i].is_leaf
        assert w[i]._version > before
    assert w[0].equal(w[2])
    assert not w[0].equal(w[1])


@pytest.mark.parametrize("name", CALLS)
def test_a_generator_is_honoured_and_is_all_that_counts(name):
    w, state = [torch.empty(8, 9) for _ in range(3)], torch.get_rng_state()
    for i, seed in enumerate((5, 6, 5)):
        torch.manual_seed(i)
        default = torch.get_rng_state()
        CALLS[name](init, w[i], generator=torch.Generator().manual_seed(seed))
        assert torch.get_rng_state().equal(default)
    torch.set_rng_state(state)
    assert w[0].equal(w[2])
    assert not w[0].equal(w[1])


@pytest.mark.parametrize("dtype", DRAWN)
@pytest.mark.parametrize("name", CALLS)
def test_every_dtype_works_and_is_the_rounding_of_float32(name, dtype):
    w, single = torch.empty(12, 7, dtype=dtype), torch.empty(12, 7)
    for tensor in (w, single):
        torch.manual_seed(3)
        CALLS[name](init, tensor)
    if dtype == torch.float64:
        assert w.std() > 0
    elif not name.endswith(("uniform_", "trunc_normal_")):  # these are kept within their bounds
        assert w.double().equal(single.to(dtype).double())


@BOTH
@pytest.mark.parametrize("name", CALLS)
def test_strided_views_are_filled_and_nothing_else(lib, name):
    base = torch.full((9, 20), 7.0)
    CALLS[name](lib, base[1:7, ::2].T)
    assert (base[1:7, 1::2] == 7).all()
    assert (base[0] == 7).all()
    assert not (base[1:7, ::2] == 7).any()


@BOTH
@pytest.mark.parametrize("name", CALLS)
def test_meta_is_left_alone(lib, name):
    w = torch.empty(4, 5, device="meta")
    state = torch.get_rng_state()
    assert CALLS[name](lib, w) is w
    assert torch.get_rng_state().equal(state)


@BOTH
@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "orthogonal_"])
def test_empty_tensors_are_no_error(lib, name):
    assert CALLS[name](lib, torch.empty(0, 3)).shape == (0, 3)


@BOTH
@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_"])
def test_kaiming_warns_of_a_tensor_without_elements(lib, name):
    with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op"):
        getattr(lib, name)(torch.empty(0, 3))


@pytest.mark.parametrize("name", ["xavier_normal_", "xavier_uniform_", "sparse_"])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_zero_fans_are_no_error(name, shape):
    assert CALLS[name](init, torch.empty(shape)).shape == shape


W = torch.zeros(3, 4)
BAD = {
    "uniform_: a above b": (RuntimeError, lambda lib, w: lib.uniform_(w, 2, 1)),
    "normal_: negative std": (RuntimeError, lambda lib, w: lib.normal_(w, 0, -1)),
    "normal_: std nan": (RuntimeError, lambda lib, w: lib.normal_(w, 0, math.nan)),
    "trunc_normal_: a above b": (RuntimeError, lambda lib, w: lib.trunc_normal_(w, 0, 1, 2, 1)),
    "xavier_normal_: a vector": (ValueError, lambda lib, w: lib.xavier_normal_(w[0])),
    "xavier_uniform_: a vector": (ValueError, lambda lib, w: lib.xavier_uniform_(w[0])),
    "kaiming_normal_: a vector": (ValueError, lambda lib, w: lib.kaiming_normal_(w[0])),
    "kaiming_uniform_: mode": (ValueError, lambda lib, w: lib.kaiming_uniform_(w, mode="fan")),
    "kaiming_normal_: gelu": (
        ValueError,
        lambda lib, w: lib.kaiming_normal_(w, nonlinearity="gelu"),
    ),
    "kaiming_normal_: a=True": (ValueError, lambda lib, w: lib.kaiming_normal_(w, a=True)),
    "orthogonal_: a vector": (ValueError, lambda lib, w: lib.orthogonal_(w[0])),
    "sparse_: three dimensions": (ValueError, lambda lib, w: lib.sparse_(w[None], 0.1)),
    "eye_: a vector": (ValueError, lambda lib, w: lib.eye_(w[0])),
    "dirac_: a matrix": (ValueError, lambda lib, w: lib.dirac_(w)),
    "dirac_: groups": (ValueError, lambda lib, w: lib.dirac_(w[None], groups=2)),
    "calculate_gain: gelu": (ValueError, lambda lib, w: lib.calculate_gain("gelu")),
    "uniform_: integers": (RuntimeError, lambda lib, w: lib.uniform_(w.int())),
    "normal_: integers": (RuntimeError, lambda lib, w: lib.normal_(w.int())),
    "uniform_: expanded": (RuntimeError, lambda lib, w: lib.uniform_(w[:1, :1].expand(3, 4))),
    "normal_: expanded": (RuntimeError, lambda lib, w: lib.normal_(w[:1, :1].expand(3, 4))),
    "uniform_: too wide": (RuntimeError, lambda lib, w: lib.uniform_(w, -3e38, 3e38)),
}


@BOTH
@pytest.mark.parametrize("case", BAD)
def test_bad_input_raises_what_torch_raises_and_changes_nothing(lib, case):
    error, call = BAD[case]
    w = torch.zeros(3, 4)
    with pytest.raises(error):
        call(lib, w)
    assert not w.any()


OURS = {
    "std must be finite and at least 0, but got nan": lambda w: init.trunc_normal_(w, 0, math.nan),
    "mean must be finite, but got nan": lambda w: init.normal_(w, math.nan),
    "a must not be above b, but got a=2, b=1": lambda w: init.uniform_(w, 2, 1),
    "a must be finite, but got inf": lambda w: init.uniform_(w, math.inf, math.inf),
    "gain must be finite, but got inf": lambda w: init.xavier_normal_(w, math.inf),
    "sparsity must lie between 0 and 1, but got 1.5": lambda w: init.sparse_(w, 1.5),
    "torch.complex64 cannot be drawn; fill torch.view_as_real": (
        lambda w: init.normal_(torch.complex(w, w))
    ),
    "torch.int64 cannot be drawn; a floating point tensor can: float64": (
        lambda w: init.orthogonal_(w.long())
    ),
    "several elements of this tensor share their memory": (
        lambda w: init.normal_(w.view(-1).as_strided((3, 4), (2, 1)))
    ),
    "with std=0 every value is the mean 3, which lies outside": (
        lambda w: init.trunc_normal_(w, 3, 0)
    ),
    r"torch.float8_e5m2 has no value in \[1.01, 1.02\)": (
        lambda w: init.uniform_(w.to(torch.float8_e5m2), 1.01, 1.02)
    ),
    "a torch.sparse_coo tensor of torch.float32 cannot": lambda w: init.normal_(w.to_sparse()),
    "tensor must be a torch.Tensor, but got list": lambda w: init.uniform_(w.tolist()),
    "but got NoneType": lambda w: init.kaiming_normal_(None),
    "but got Linear; for a module there is initium.kaiming_init": (
        lambda w: init.kaiming_normal_(nn.Linear(2, 2))
    ),
    "a nested tensor cannot be drawn; fill each of tensor.unbind": (
        lambda w: init.normal_(torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]))
    ),
    "generator must be a torch.Generator, but got 3": lambda w: init.normal_(w, generator=3),
    "mode must be 'fan_in' or 'fan_out', but got None": (
        lambda w: init.kaiming_uniform_(w, mode=None)
    ),
    r"std must be a number, but got tensor\(\[1., 2.\]\)": (
        lambda w: init.normal_(w, std=torch.tensor([1.0, 2.0]))
    ),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("message", OURS)
def test_our_errors_say_why(message):
    w = torch.zeros(3, 4)
    with pytest.raises(InitError, match=message):
        OURS[message](w)
    assert not w.any()


def test_a_quantised_tensor_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        w = torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)
    with pytest.raises(InitError, match=r"tensor of torch\.qint8 cannot be initialized"):
        init.uniform_(w)


class Elsewhere:
    """A generator of another device, as far as it is asked before it draws."""

    device = torch.device("cuda", 0)


def test_a_generator_on_another_device():
    w = torch.zeros(3)
    with pytest.raises(RuntimeError, match="the tensor is on cpu, but the generator on cuda:0"):
        init.normal_(w, generator=Elsewhere())
    assert not w.any()


def test_trunc_normal_works_where_rejection_would_not():
    """A far mean, a narrow interval, half precision: exact bounds and no warning."""
    w = torch.empty(10_000, dtype=torch.bfloat16)
    init.trunc_normal_(w, mean=-9, std=1, a=0, b=1)
    assert 0 <= w.min() <= 0.01
    assert w.double().mean() == pytest.approx(0.109, abs=0.01)  # an exponential of rate 9.1
    assert init.trunc_normal_(torch.empty(9), b=math.inf).isfinite().all()


def test_std_zero_gives_the_mean():
    assert (init.normal_(torch.empty(9), 0.3, 0) == torch.tensor(0.3)).all()
    assert (init.trunc_normal_(torch.empty(9), 0.3, 0) == torch.tensor(0.3)).all()
    assert (init.uniform_(torch.empty(9), 2, 2) == 2).all()


def test_one_key_of_64_bits_is_drawn_a_call():
    generator = torch.Generator().manual_seed(1)
    init.normal_(torch.empty(3), generator=generator)
    after = torch.Generator().manual_seed(1)
    torch.empty((), dtype=torch.int64).random_(-(2**63), None, generator=after)
    assert generator.get_state().equal(after.get_state())


@BOTH
@pytest.mark.parametrize("one", [np.float32, np.float16, np.int64, torch.tensor])
def test_numbers_may_be_of_numpy_or_tensors_of_one(lib, one):
    w = torch.full((3, 4), 9.0)
    assert lib.uniform_(w, one(2.0), one(2.0)).eq(2).all()
    assert lib.normal_(w, one(3.0), one(0.0)).eq(3).all()
    assert not lib.xavier_normal_(w, one(0.0)).any()
    assert not lib.orthogonal_(w, one(0.0)).any()
    assert not lib.sparse_(w, one(1.0), one(1.0)).any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of tensors
        assert lib.trunc_normal_(w, one(0.0), one(1.0), one(-1.0), one(1.0)).abs().max() <= 1


@BOTH
@pytest.mark.parametrize("name", [*RANDOM[:2], *RANDOM[3:], "sparse_", "constant_", "eye_"])
def test_deprecated_names_warn_and_work(lib, name):
    w, more = torch.empty(3, 4), {"sparse_": (0.5,), "constant_": (2,)}.get(name, ())
    old = getattr(lib, name[:-1])
    with pytest.warns(FutureWarning, match="deprecated"):
        assert old(w, *more) is w


def test_there_are_no_other_names():
    assert not hasattr(init, "kaiming")
    assert not hasattr(init, "trunc_normal")  # which came later
    assert not hasattr(init, "_fil")  # of _fill


def test_the_module_is_part_of_the_public_surface():
    assert initium.init is init
