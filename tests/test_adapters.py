"""Adapters: what they keep, what they say, and that their bits depend on nothing else."""

import json
import math
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from initium.checkpoint.adapters import (
    CHECKPOINT_ADAPTERS,
    Adapter,
    ClassHead,
    InputChannels,
    PatchSize,
    PositionEmbedding,
    Vocabulary,
)
from initium.errors import InitError, InitKeyError, InitTypeError
from initium.registry import Registry
from initium.streams import Job, Normal, fill, pool

KEY = 0x9E3779B97F4A7C15
small = st.integers(1, 9)
fuzz = settings(deadline=None, max_examples=60)
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def randn(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a.double(), b.double(), rtol=tolerance, atol=tolerance)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# --- input channels


@fuzz
@given(small, small, small, st.sampled_from(["sum", "repeat", "mean"]), st.integers(1, 3))
def test_the_response_to_equal_channels_stays(old, new, out, how, dims):
    new = {"sum": 1, "repeat": old * new, "mean": new}[how]
    kernel = (3, 2, 2)[:dims]
    saved = randn(out, old, *kernel)
    adapter, want = InputChannels(name="w", how=how), (out, new, *kernel)
    adapted = adapter.adapt(saved, want, 0)
    assert adapted.shape == adapter.shape(tuple(saved.shape), want) == want
    grey = randn(1, 1, *kernel, seed=1)
    close((adapted * grey).flatten(1).sum(1), (saved * grey.expand_as(saved[:1])).flatten(1).sum(1))


@fuzz
@given(small, small)
def test_the_formulas_of_channels(old, new):
    saved = randn(2, old, 3)
    repeated = InputChannels(name="w", how="repeat").adapt(saved, (2, new, 3), 0)
    mean = InputChannels(name="w", how="mean").adapt(saved, (2, new, 3), 0)
    if new == old:
        assert repeated is mean is saved
        return
    for j in range(new):
        close(repeated[:, j], saved[:, j % old] * old / new)
        close(mean[:, j], saved.mean(1) * old / new)


# --- grids


def weights(old, new, mode, antialias):
    """The matrix of a resize: the kernels of Keys 1981 (a = -0.75, or -0.5 as in PIL), in NumPy."""
    matrix, scale = np.zeros((new, old)), old / new
    wide = max(scale, 1) if antialias else 1

    def kernel(t, a=-0.5 if antialias else -0.75):
        t = abs(t)
        if mode == "bilinear":
            return max(0, 1 - t)
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        return near if t < 1 else a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0

    for i in range(new):
        x = (i + 0.5) * scale - 0.5
        # beyond the border there is nothing when anti-aliasing, otherwise the outermost pixel
        for j in range(old) if antialias else range(math.floor(x) - 2, math.floor(x) + 4):
            matrix[i, min(max(j, 0), old - 1)] += kernel((j - x) / wide)
    return matrix / matrix.sum(1, keepdims=True)


ways = st.tuples(st.sampled_from(["bicubic", "bilinear"]), st.booleans())
grids = st.tuples(small, small)


@fuzz
@given(grids, grids, st.integers(1, 4), st.integers(0, 3), ways, st.booleans())
def test_positions_are_resized_as_images(old, new, width, tokens, way, batch):
    mode, antialias = way
    saved = randn(tokens + old[0] * old[1], width)
    adapter = PositionEmbedding(
        name="p", class_tokens=tokens, grid=new, old_grid=old, mode=mode, antialias=antialias
    )
    want = (tokens + new[0] * new[1], width)
    if batch:
        adapted = adapter.adapt(saved[None], (1, *want), 0)
        assert adapter.shape((1, *saved.shape), (1, *want)) == adapted.shape == (1, *want)
        adapted = adapted[0]
    else:
        adapted = adapter.adapt(saved, want, 0)
        assert adapter.shape(tuple(saved.shape), want) == adapted.shape == want
    assert torch.equal(adapted[:tokens], saved[:tokens])
    cells = saved[tokens:].reshape(*old, width).double().numpy()
    rows, columns = (weights(a, b, *way) for a, b in zip(old, new, strict=True))
    expected = np.einsum("ih,jw,hwd->ijd", rows, columns, cells).reshape(-1, width)
    close(adapted[tokens:], torch.from_numpy(expected))
    if old == new and not batch:
        assert adapted is saved


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_positions_stay_constant_and_squares_are_found(dtype):
    saved = torch.full((1, 2 + 49, 3), 0.3, dtype=dtype)
    adapted = PositionEmbedding(name="p", class_tokens=2).adapt(saved, (1, 2 + 144, 3), 0)
    assert adapted.dtype == dtype
    close(adapted, saved[:, :1].expand(1, 146, 3), torch.finfo(dtype).eps)


def test_double_positions_are_resized_in_double():
    saved = torch.full((4, 1), 1 / 3, dtype=torch.float64)
    close(
        PositionEmbedding(name="p", class_tokens=0).adapt(saved, (9, 1), 0),
        torch.full((9, 1), 1 / 3, dtype=torch.float64),
        1e-15,
    )


@pytest.mark.parametrize("way", [("bicubic", True), ("bilinear", True), ("bicubic", False)])
@pytest.mark.parametrize("old", [(2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("new", [(5, 1), (1, 5), (1, 1), (4, 1)])
def test_a_single_row_or_column(old, new, way):
    # torch's anti-aliasing goes wrong where the width becomes 1
    saved = randn(old[0] * old[1], 2)
    adapter = PositionEmbedding(
        name="p", class_tokens=0, grid=new, old_grid=old, mode=way[0], antialias=way[1]
    )
    both = np.kron(weights(old[0], new[0], *way), weights(old[1], new[1], *way))
    close(adapter.adapt(saved, (new[0] * new[1], 2), 0), torch.from_numpy(both) @ saved.double())


def test_as_many_positions_in_another_grid():
    adapter = PositionEmbedding(name="p", class_tokens=0, grid=(2, 8), old_grid=(4, 4))
    assert not torch.equal(adapter.adapt(randn(16, 3), (16, 3), 0), randn(16, 3))
    for same in [{}, {"grid": (4, 4)}, {"old_grid": (4, 4)}]:
        saved = randn(16, 3)
        assert PositionEmbedding(name="p", class_tokens=0, **same).adapt(saved, (16, 3), 0) is saved


# --- patches


@fuzz
@given(st.tuples(*[st.integers(1, 14)] * 4), ways)
def test_grown_patches_answer_as_before(sizes, way):
    (p, q), (r, s) = sorted(sizes[:2]), sorted(sizes[2:])
    saved, image = randn(2, 3, p, r), randn(3, p, r, seed=1)
    adapter = PatchSize(name="w", mode=way[0], antialias=way[1])
    adapted = adapter.adapt(saved, (2, 3, q, s), 0)
    assert adapter.shape((2, 3, p, r), (2, 3, q, s)) == adapted.shape == (2, 3, q, s)
    rows, columns = (torch.from_numpy(weights(a, b, *way)) for a, b in [(p, q), (r, s)])
    resized = rows @ image.double() @ columns.T
    close((adapted * resized).sum((1, 2, 3)), (saved * image).sum((1, 2, 3)), 1e-4)


@fuzz
@given(st.tuples(*[st.integers(1, 6)] * 4), ways)
def test_patches_of_any_size_are_the_least_squares_solution(sizes, way):
    p, q, r, s = sizes
    saved = randn(2, 1, p, r)
    adapted = PatchSize(name="w", mode=way[0], antialias=way[1]).adapt(saved, (2, 1, q, s), 0)
    both = np.kron(weights(p, q, *way), weights(r, s, *way))
    expected = saved.double().reshape(2, -1).numpy() @ np.linalg.pinv(both)
    close(adapted.reshape(2, -1), torch.from_numpy(expected))


def test_patches_keep_what_lies_before_them():
    saved = randn(2, 1, 3, 4, 4)
    adapted = PatchSize(name="w").adapt(saved, (2, 1, 3, 6, 6), 0)
    close(adapted[:, :, 1], PatchSize(name="w").adapt(saved[:, :, 1], (2, 1, 6, 6), 0))


def test_two_adapters_follow_each_other():
    saved, want = randn(5, 3, 4, 4), (5, 1, 6, 6)
    one, other = InputChannels(name="w", how="sum"), PatchSize(name="w")
    there = other.adapt(one.adapt(saved, want, 0), want, 0)
    back = one.adapt(other.adapt(saved, want, 0), want, 0)
    assert there.shape == back.shape == want
    assert other.shape(one.shape((5, 3, 4, 4), want), want) == want
    close(there, back)


# --- vocabulary


def grown(saved, rows, key=KEY, **kw):
    adapter, want = Vocabulary(name="e", **kw), (rows, *saved.shape[1:])
    adapted = adapter.adapt(saved, want, key)
    assert adapter.shape(tuple(saved.shape), want) == adapted.shape == want
    assert adapted.dtype == saved.dtype
    return adapted


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 2500),
    st.integers(1, 200),
    st.integers(0, 5),
    st.sampled_from([0, 0.5, 1]),
    small,
)
@example(2500, 1100, 2, 1, 1)
def test_new_rows_are_the_formula(old, new, width, scale, seed):
    width = () if width == 0 else (width,)
    saved = 3 + 2 * randn(old, *width, seed=seed)
    normal = torch.empty(new, old)
    fill([Job(normal, KEY, Normal(mean=0, std=1))])
    rows = saved.double().reshape(old, -1)
    mean = rows.mean(0)
    expected = mean + scale * normal.double() @ (rows - mean) / math.sqrt(max(old - 1, 1))
    adapted = grown(saved, old + new, scale=scale)
    assert torch.equal(adapted[:old], saved)
    close(adapted[old:], expected.reshape(new, *width), 3e-5)
    # a row is the same however many there are
    assert torch.equal(
        adapted[: old + (new + 1) // 2], grown(saved, old + (new + 1) // 2, scale=scale)
    )


def test_the_mean_and_the_covariance_are_those_of_the_old_rows():
    saved = randn(1500, 4) @ randn(4, 4, seed=1) + torch.tensor([5, 0, -3, 100])
    n = 20_000
    new = grown(saved, 1500 + n)[1500:].double()
    rows = saved.double()
    # six standard errors of each mean and covariance
    covariance, deviation = torch.cov(rows.T), rows.std(0)
    scale = deviation[:, None] * deviation
    assert ((new.mean(0) - rows.mean(0)).abs() < 6 * deviation / n**0.5).all()
    assert ((torch.cov(new.T) - covariance).abs() < 6 * scale * (2 / n) ** 0.5).all()
    small = grown(saved, 1500 + n, scale=0.1)[1500:].double()
    assert ((torch.cov(small.T) - covariance / 100).abs() < 0.06 * scale * (2 / n) ** 0.5).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bits_depend_on_the_key_alone(dtype, threads):
    # sums in a different order on two threads: rows and columns beyond a block, values far apart
    saved = (randn(1100, 9) * torch.logspace(-6, 6, 9)).to(dtype)
    if dtype is torch.float16:
        saved = randn(1100, 9, dtype=dtype)
    threads(1)
    alone = grown(saved, 2200)
    threads(2)
    assert torch.equal(alone, grown(saved, 2200))
    assert torch.equal(alone[:1100], saved)
    assert torch.equal(alone[:1130], grown(saved, 1130))
    assert torch.equal(alone, grown(saved.mT.contiguous().mT, 2200))
    assert not torch.equal(alone[1100:], grown(saved, 2200, key=KEY + 1)[1100:])
    assert torch.isfinite(alone).all()


def test_sums_do_not_depend_on_the_order_of_their_terms():
    # each new row sees the old ones in another order: the sums over a block are exact in any
    from initium.checkpoint.adapters.vocabulary import _normal, _Rows

    saved = randn(1024, 5, dtype=torch.float64) * torch.logspace(-3, 3, 5)
    order = torch.randperm(1024, generator=torch.Generator().manual_seed(0))
    rows, mixed = _Rows(saved), _Rows(saved[order])
    assert torch.equal(rows.mean, mixed.mean)
    (_, a), (_, b) = next(rows._blocks()), next(mixed._blocks())
    normal = _normal(KEY, 1024, (0, 0), (8, 1024))
    a, b = ((x / r.step).round() for x, r in [(a, rows), (b, mixed)])
    assert torch.equal(normal @ a, normal[:, order] @ b)
    exact = [
        sum(int(z) * int(w) for z, w in zip(normal[0], a[:, i], strict=True)) for i in range(5)
    ]
    assert [int(x) for x in (normal @ a)[0]] == exact


def test_drawing_needs_no_other_thread_of_the_pool(monkeypatch, threads):
    # checkpoints are read by the threads of the pool: one that waited for others might wait forever
    threads(2)
    monkeypatch.setattr(pool, "_executor", lambda n: pytest.fail("asked for threads"))
    grown(randn(5000, 2), 5300)


def test_the_mean_alone_draws_nothing(monkeypatch):
    monkeypatch.setattr(
        "initium.checkpoint.adapters.vocabulary.fill", lambda jobs: pytest.fail("drawn")
    )
    saved = randn(2000, 3)
    close(grown(saved, 2002, scale=0)[2000:], saved.mean(0).expand(2, 3))


@pytest.mark.parametrize("saved", [torch.zeros(5, 3), torch.full((1, 3), 7.0), torch.ones(4)])
def test_equal_rows_have_no_deviations(saved):
    adapted = grown(saved, 9)
    assert torch.equal(adapted, saved[:1].expand_as(adapted))


def test_interpolations_do_not_depend_on_threads(threads):
    cases = [
        (PositionEmbedding(name="p", class_tokens=1), randn(1, 197, 192), (1, 577, 192)),
        (PatchSize(name="p"), randn(192, 3, 16, 16), (192, 3, 14, 14)),
        (InputChannels(name="p", how="mean"), randn(64, 30, 7, 7), (64, 4, 7, 7)),
    ]
    for adapter, saved, want in cases:
        threads(1)
        alone = adapter.adapt(saved, want, 0)
        threads(2)
        assert torch.equal(alone, adapter.adapt(saved, want, 0))


# --- classes


@fuzz
@given(st.data(), small, st.sampled_from([(), (3,), (2, 1, 1)]))
def test_rows_are_picked_by_number_or_label(data, classes, rest):
    rows = data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=12))
    names = [f"class {i}" for i in range(classes)]
    by_label = ClassHead(name="h", labels=[names[i] for i in rows], old_labels=names)
    want = (len(rows), *rest)
    for dtype in [torch.float32, torch.int8, torch.float8_e4m3fn]:
        saved = (randn(classes, *rest) * 9).to(dtype)
        expected = torch.stack([saved[i].float() for i in rows])
        for adapter in [ClassHead(name="h", rows=rows), by_label]:
            adapted = adapter.adapt(saved, want, 0)
            assert adapter.shape((classes, *rest), want) == adapted.shape == want
            assert adapted.dtype == dtype and torch.equal(adapted.float(), expected)
            assert not adapter.drops


def test_without_rows_it_drops():
    head, saved = ClassHead(name="h"), randn(3)
    assert head.drops and head.shape((3,), (7,)) == (3,) and head.adapt(saved, (7,), 0) is saved
    assert not InputChannels(name="w", how="sum").drops


# --- all of them

SAVED = {
    InputChannels(name="**.weight", how="mean"): ((4, 3, 2, 2), (4, 5, 2, 2)),
    InputChannels(name="**.weight", how="repeat"): ((4, 3, 2, 2), (4, 5, 2, 2)),
    InputChannels(name=["a", "b.*"], how="sum"): ((4, 3, 2, 2), (4, 1, 2, 2)),
    PositionEmbedding(name="p", class_tokens=1): ((1, 5, 3), (1, 10, 3)),
    PositionEmbedding(
        name="p", class_tokens=0, grid=[2, 3], old_grid=[2, 2], mode="bilinear", antialias=False
    ): ((4, 3), (6, 3)),
    PatchSize(name="p", mode="bilinear", antialias=False): ((4, 3, 2, 2), (4, 3, 4, 4)),
    Vocabulary(name="e", scale=0.5): ((4, 3), (6, 3)),
    ClassHead(name="h"): ((4, 3), (4, 3)),
    ClassHead(name="h", rows=range(1, 4)): ((4, 3), (3, 3)),
    ClassHead(name="h", labels=["b"], old_labels=["a", "b"]): ((2, 3), (1, 3)),
}


@pytest.mark.parametrize("adapter", SAVED, ids=lambda a: a.describe())
def test_json_and_back(adapter):
    data = json.loads(json.dumps(adapter.to_dict()))
    again = CHECKPOINT_ADAPTERS.build(data)
    assert again == adapter and hash(again) == hash(adapter) and again.to_dict() == data
    assert pickle.loads(pickle.dumps(adapter)) == adapter
    assert list(data)[:2] == ["type", "name"] and data["type"] == type(adapter).__name__


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float8_e5m2])
@pytest.mark.parametrize("adapter", SAVED, ids=lambda a: a.describe())
def test_the_dtype_stays_and_the_saved_tensor_too(adapter, dtype):
    have, want = SAVED[adapter]
    saved = torch.nn.Parameter(randn(*have, dtype=dtype))
    before = saved.detach().clone()
    adapted = adapter.adapt(saved, want, KEY)
    exact = adapter.adapt(before.float(), want, KEY)
    assert adapted.dtype == dtype and tuple(adapted.shape) == want
    assert torch.equal(saved.float(), before.float())
    assert adapter.drops or (not adapted.requires_grad and adapted.is_contiguous())
    assert torch.equal(adapted.float(), exact.to(dtype).float()) or dtype is torch.float64
    adapter.check_dtype(dtype)


@pytest.mark.parametrize("adapter", SAVED, ids=lambda a: a.describe())
def test_equal_sizes_need_nothing(adapter):
    have, _ = SAVED[adapter]
    if isinstance(adapter, ClassHead) or getattr(adapter, "grid", None):
        return
    for shape in [have, (), (7,)]:
        saved = torch.ones(shape, dtype=torch.int64)
        assert adapter.shape(shape, shape) == shape
        assert adapter.adapt(saved, shape, KEY) is saved


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("adapter", SAVED, ids=lambda a: a.describe())
def test_other_numbers_are_refused(adapter, dtype):
    have, want = SAVED[adapter]
    if isinstance(adapter, ClassHead):
        adapter.check_dtype(dtype)
        return
    message = f": it computes with real floating-point numbers, but the tensor is saved as {dtype};"
    with pytest.raises(InitError) as error:
        adapter.adapt(torch.ones(have).to(dtype), want, KEY)
    assert str(error.value).startswith(adapter.describe() + message)
    with pytest.raises(InitError, match="it computes with"):
        adapter.check_dtype(dtype)


def test_which_names_are_meant():
    one, more = Vocabulary(name="**.embed.weight"), Vocabulary(name=["head.*", "embed.weight"])
    assert one.means("embed.weight") and one.means("model.embed.weight")
    assert one.means("head.weight", "model.embed.weight")
    assert not one.means("embed.bias") and not one.means()
    assert more.means("head.bias") and more.means("embed.weight") and not more.means("a.head.bias")
    assert more.name == ("head.*", "embed.weight")


def test_what_the_log_says():
    assert InputChannels(name="w", how="mean").describe() == "InputChannels(how='mean')"
    assert (
        PositionEmbedding(name="p", class_tokens=1, grid=[14, 14]).describe()
        == "PositionEmbedding(class_tokens=1, grid=(14, 14), mode='bicubic', antialias=True)"
    )
    assert ClassHead(name="h").describe() == "ClassHead()"
    many = ClassHead(name="h", rows=list(range(1000))).describe()
    assert many == "ClassHead(rows=(0, 1, 2, 3, 4, 5, … (994 more)))"
    assert Vocabulary.random and not InputChannels.random and not ClassHead.random


def test_adapters_of_ones_own(monkeypatch):
    mine = Registry("checkpoint adapter")
    monkeypatch.setattr("initium.checkpoint.adapters.base.CHECKPOINT_ADAPTERS", mine)

    @dataclass(frozen=True, kw_only=True)
    class Flat(Adapter):
        def shape(self, have, want):
            return (math.prod(have),)

        def adapt(self, tensor, want, key):
            return tensor.flatten()

    with pytest.raises(InitError) as error:
        Flat(name="w").to_dict()
    assert str(error.value) == (
        "Flat is not in the checkpoint adapter registry, so that it cannot be saved; put "
        "@CHECKPOINT_ADAPTERS.register_module() above the class"
    )
    mine.register_module("flat")(Flat)
    assert Flat(name=["w"]).to_dict() == {"type": "flat", "name": ["w"]}
    assert mine.build({"type": "flat", "name": ["w"]}) == Flat(name=["w"])
    with pytest.raises(TypeError, match="abstract"):
        Adapter(name="w")


# --- mistakes

BUILD = {
    "name must be a pattern or a list of them, but got 3": lambda: Vocabulary(name=3),
    "name must be a pattern or a list of them, but got []": lambda: Vocabulary(name=[]),
    "name must be a pattern or a list of them, but got ['a', 3]": lambda: Vocabulary(name=["a", 3]),
    "'a..b' is no pattern: its segments, between dots, must not be empty, and ** must stand alone "
    "in one": lambda: ClassHead(name=["a", "a..b"]),
    "how must be 'sum' or 'repeat' or 'mean', but got 'maen'. Did you mean 'mean'?": (
        lambda: InputChannels(name="w", how="maen")
    ),
    "how must be 'sum' or 'repeat' or 'mean', but got None.": (
        lambda: InputChannels(name="w", how=None)
    ),
    "mode must be 'bicubic' or 'bilinear', but got 'cubic'. Did you mean 'bicubic'?": (
        lambda: PatchSize(name="w", mode="cubic")
    ),
    "mode must be 'bicubic' or 'bilinear', but got 'area'.": (
        lambda: PositionEmbedding(name="w", class_tokens=0, mode="area")
    ),
    "antialias must be True or False, but got 1": lambda: PatchSize(name="w", antialias=1),
    "antialias must be True or False, but got 'no'": (
        lambda: PositionEmbedding(name="w", class_tokens=0, antialias="no")
    ),
    "class_tokens must be an int, but got True": (
        lambda: PositionEmbedding(name="w", class_tokens=True)
    ),
    "class_tokens must be an int, but got 1.0": (
        lambda: PositionEmbedding(name="w", class_tokens=1.0)
    ),
    "class_tokens must be at least 0, but got -1": (
        lambda: PositionEmbedding(name="w", class_tokens=-1)
    ),
    "PositionEmbedding needs the argument 'class_tokens'; it takes: name, class_tokens, grid, "
    "old_grid, mode, antialias": (
        lambda: CHECKPOINT_ADAPTERS.build({"type": "PositionEmbedding", "name": "w"})
    ),
    "grid must be (height, width), two positive ints, but got 14": (
        lambda: PositionEmbedding(name="w", class_tokens=0, grid=14)
    ),
    "old_grid must be (height, width), two positive ints, but got (0, 3)": (
        lambda: PositionEmbedding(name="w", class_tokens=0, old_grid=[0, 3])
    ),
    "grid must be (height, width), two positive ints, but got (1, 2, 3)": (
        lambda: PositionEmbedding(name="w", class_tokens=0, grid=(1, 2, 3))
    ),
    "scale must be a number, but got '1'": lambda: Vocabulary(name="w", scale="1"),
    "scale must be a number, but got True": lambda: Vocabulary(name="w", scale=True),
    "scale must be finite and at least 0, but got nan": (
        lambda: Vocabulary(name="w", scale=math.nan)
    ),
    "scale must be finite and at least 0, but got -1": lambda: Vocabulary(name="w", scale=-1),
    "rows must be a list of ints, at least one, but got ()": lambda: ClassHead(name="w", rows=[]),
    "rows must be a list of ints, at least one, but got 3": lambda: ClassHead(name="w", rows=3),
    "rows must be a list of ints, at least one, but got (True,)": (
        lambda: ClassHead(name="w", rows=[True])
    ),
    "rows must be at least 0, but got -2": lambda: ClassHead(name="w", rows=[3, -2]),
    "labels must be a list of str, at least one, but got 'cat'": (
        lambda: ClassHead(name="w", labels="cat", old_labels=["cat"])
    ),
    "old_labels must be a list of str, at least one, but got (1, 2)": (
        lambda: ClassHead(name="w", labels=["cat"], old_labels=[1, 2])
    ),
    "labels and old_labels go together, but old_labels is not given": (
        lambda: ClassHead(name="w", labels=["cat"])
    ),
    "labels and old_labels go together, but labels is not given": (
        lambda: ClassHead(name="w", rows=[1], old_labels=["cat"])
    ),
    "rows and labels both say which rows are picked; give only one of them": (
        lambda: ClassHead(name="w", rows=[0], labels=["cat"], old_labels=["cat"])
    ),
    "old_labels must differ from each other, but 'cat' is there twice": (
        lambda: ClassHead(name="w", labels=["cat"], old_labels=["cat", "dog", "cat"])
    ),
    "labels: 'dgo' is not in old_labels. Did you mean 'dog'?": (
        lambda: ClassHead(name="w", labels=["cat", "dgo"], old_labels=["cat", "dog"])
    ),
}


@pytest.mark.parametrize("message", BUILD)
def test_mistakes_in_arguments(message):
    with pytest.raises(InitError) as error:
        BUILD[message]()
    assert str(error.value) == message
    wrong_type = " must be a" in message or "must be True" in message or "needs the" in message
    wrong_type = wrong_type or "must be (height" in message
    assert isinstance(error.value, InitTypeError) == (wrong_type and "at least 0" not in message)


def test_an_adapter_that_does_not_exist():
    with pytest.raises(InitKeyError, match=r"'PatchSiz' is not in the checkpoint adapter registry"):
        CHECKPOINT_ADAPTERS.build({"type": "PatchSiz", "name": "w"})
    with pytest.raises(TypeError):
        InputChannels(name="w")


def position(**kw):
    return PositionEmbedding(name="p", **({"class_tokens": 1} | kw))


ONLY = "let its name= mean only such tensors"
SHAPES = [
    (InputChannels(name="w", how="sum"), (4, 3, 2), (4, 2, 2), "it makes 1 channel, but the tensor has 2; use how='mean' or how='repeat'"),
    (InputChannels(name="w", how="mean"), (4, 3), (4, 2), f"it makes a tensor [out, channels, *kernel] of another such tensor, but the saved one is [4, 3] and the model's [4, 2]; {ONLY}"),
    (InputChannels(name="w", how="mean"), (4, 3, 1), (4, 3, 1, 1), f"it makes a tensor [out, channels, *kernel] of another such tensor, but the saved one is [4, 3, 1] and the model's [4, 3, 1, 1]; {ONLY}"),
    (InputChannels(name="w", how="mean"), (4, 0, 1), (4, 3, 1), "it cannot make 3 channels of 0"),
    (InputChannels(name="w", how="repeat"), (4, 3, 1), (4, 0, 1), "it cannot make 0 channels of 3"),
    (position(), (2, 5, 3), (2, 10, 3), f"it makes a tensor [1, positions, width] or [positions, width] of another such tensor, but the saved one is [2, 5, 3] and the model's [2, 10, 3]; {ONLY}"),
    (position(), (5, 3), (1, 5, 3), f"it makes a tensor [1, positions, width] or [positions, width] of another such tensor, but the saved one is [5, 3] and the model's [1, 5, 3]; {ONLY}"),
    (position(), (5,), (6,), f"it makes a tensor [1, positions, width] or [positions, width] of another such tensor, but the saved one is [5] and the model's [6]; {ONLY}"),
    (position(), (7, 3), (5, 3), "the saved tensor has 7 positions, that is 6 after class_tokens=1, and this is no square; give old_grid=(height, width), or correct class_tokens"),
    (position(), (5, 3), (7, 3), "the model's tensor has 7 positions, that is 6 after class_tokens=1, and this is no square; give grid=(height, width), or correct class_tokens"),
    (position(), (1, 3), (5, 3), "the saved tensor has 1 positions, that is 0 after class_tokens=1, and this is no square; give old_grid=(height, width), or correct class_tokens"),
    (position(grid=(3, 5)), (5, 3), (17, 3), "the model's tensor has 17 positions, that is 16 after class_tokens=1, but grid=(3, 5) has 15; correct one"),
    (position(old_grid=(3, 5)), (5, 3), (10, 3), "the saved tensor has 5 positions, that is 4 after class_tokens=1, but old_grid=(3, 5) has 15; correct one"),
    (position(grid=(2, 8)), (17, 3), (17, 3), "the saved tensor and the model's both have 17 positions, so give old_grid=(height, width), too; it may be the same one"),
    (position(old_grid=(3, 5)), (16, 3), (16, 3), "the saved tensor and the model's both have 16 positions, so give grid=(height, width), too; it may be the same one"),
    (position(), (5, 0), (10, 0), f"it makes a tensor [1, positions, width] or [positions, width] of another such tensor, but the saved one is [5, 0] and the model's [10, 0]; {ONLY}"),
    (PatchSize(name="p"), (4, 3, 2), (4, 3, 4), f"it makes a tensor [width, channels, height, width] of another such tensor, but the saved one is [4, 3, 2] and the model's [4, 3, 4]; {ONLY}"),
    (PatchSize(name="p"), (4, 3, 2, 2), (4, 3, 1, 2, 2), f"it makes a tensor [width, channels, height, width] of another such tensor, but the saved one is [4, 3, 2, 2] and the model's [4, 3, 1, 2, 2]; {ONLY}"),
    (PatchSize(name="p"), (4, 3, 0, 2), (4, 3, 2, 2), "it cannot make patches of [2, 2] pixels of [0, 2]"),
    (Vocabulary(name="e"), (9, 3), (7, 3), "it appends rows, but the saved tensor has 9 and the model's only 7; ClassHead(rows=[…]) picks rows"),
    (Vocabulary(name="e"), (0, 3), (7, 3), "the saved tensor has no rows, so that there is no mean"),
    (Vocabulary(name="e"), (4, 3, 2), (7, 3, 2), f"it makes a tensor [rows, width] or [rows] of another such tensor, but the saved one is [4, 3, 2] and the model's [7, 3, 2]; {ONLY}"),
    (Vocabulary(name="e"), (4,), (7, 3), f"it makes a tensor [rows, width] or [rows] of another such tensor, but the saved one is [4] and the model's [7, 3]; {ONLY}"),
    (ClassHead(name="h", rows=[0, 4]), (4, 3), (2, 3), "there is no row 4: the saved tensor has the rows 0 to 3"),
    (ClassHead(name="h", rows=[0, 3]), (4, 3), (3, 3), "it picks 2 rows, but the model's tensor has 3; name one for each"),
    (ClassHead(name="h", rows=[0]), (), (), f"it makes a tensor [classes, ...] of another such tensor, but the saved one is [] and the model's []; {ONLY}"),
    (ClassHead(name="h", rows=[0]), (4, 3), (1,), f"it makes a tensor [classes, ...] of another such tensor, but the saved one is [4, 3] and the model's [1]; {ONLY}"),
    (ClassHead(name="h", labels=["a"], old_labels=["a", "b"]), (3,), (1,), "there are 2 old labels, but the saved tensor has 3 rows"),
]  # fmt: skip


@pytest.mark.parametrize(("adapter", "have", "want", "message"), SHAPES)
def test_mistakes_in_shapes(adapter, have, want, message):
    for call in [
        lambda: adapter.shape(have, want),
        lambda: adapter.adapt(torch.ones(have), want, KEY),
    ]:
        with pytest.raises(InitError) as error:
            call()
        assert str(error.value) == f"{adapter.describe()}: {message}"


sizes = st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 5)))


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(list(SAVED)), st.lists(sizes, max_size=5), st.integers(0, 9))
def test_any_shape_is_adapted_or_refused(adapter, pairs, more):
    # mostly as many dimensions, and some of the same size
    have = tuple(old for old, _ in pairs)
    want = tuple(old if new is None else new for old, new in pairs) + (3,) * (more == 9)
    try:
        shape = adapter.shape(have, want)
    except InitError:
        with pytest.raises(InitError):
            adapter.adapt(torch.ones(have), want, KEY)
        return
    adapted = adapter.adapt(torch.ones(have), want, KEY)
    assert tuple(adapted.shape) == shape and len(shape) == len(have)
