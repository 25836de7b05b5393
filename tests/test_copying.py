"""From a file into memory: the same bits, whatever the dtype and place; NaN is seen anywhere."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initium.checkpoint import together
from initium.checkpoint.blob import LocalFile, Part
from initium.checkpoint.copying import copied
from initium.checkpoint.region import Region
from initium.checkpoint.window import SIZE as WINDOW
from initium.errors import InitError

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SIZE = 1 << 18  # bytes of values


def written(folder, *tensors, before=0, between=0):
    """A file with the tensors' bytes, some bytes behind its start, and apart."""
    path = folder / "values.bin"
    parts = [t.reshape(-1).view(torch.uint8).numpy().tobytes() for t in tensors]
    path.write_bytes(bytes(before) + bytes(between).join(parts) + b"end")
    return LocalFile(path)


def aligned(n, dtype):
    """N elements whose address is a multiple of 32, within more memory."""
    memory = torch.zeros(n + 64 // dtype.itemsize, dtype=dtype)
    first = (-memory.data_ptr() % 32) // dtype.itemsize
    return memory, memory[first : first + n]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@settings(max_examples=40, deadline=None)
@given(
    before=st.integers(0, 5000),
    extra=st.integers(0, 300),
    bad=st.sampled_from([None, float("nan"), float("inf"), float("-inf")]),
    at=st.floats(0, 1, exclude_max=True),
)
def test_all_bits_arrive_and_every_bad_value_is_seen(
    dtype, before, extra, bad, at, tmp_path_factory
):
    n = SIZE // dtype.itemsize + 32 // dtype.itemsize * extra
    values = torch.randn(n, generator=torch.Generator().manual_seed(before)).to(dtype)
    values[:2] = torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).min], dtype=dtype)
    if bad is not None:
        values[int(at * n)] = bad
    blob = written(tmp_path_factory.mktemp("copying"), values, before=before)
    memory, to = aligned(n, dtype)
    with blob.mapped(before, values.nbytes) as source:
        assert copied(source, to) is (bad is None)
    assert torch.equal(to.view(torch.uint8), values.view(torch.uint8))
    outside = memory.clone()
    outside[to.storage_offset() : to.storage_offset() + n] = 0
    assert not outside.any()


def test_what_is_oddly_placed_or_no_float_is_left_to_others():
    source, (_, to) = torch.ones(SIZE // 4), aligned(SIZE // 4, torch.float32)
    for part in (to[1:], to[:3], to.view(torch.int32)):
        assert copied(source.data_ptr(), part) is None
    assert not to.any()


KINDS = [*FLOATS, torch.int64, torch.bool, torch.float8_e4m3fn]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_tensors_that_lie_side_by_side_arrive_in_their_places(data, tmp_path_factory):
    count = data.draw(st.integers(1, 12))
    sizes = st.one_of(st.integers(0, 70), st.sampled_from([30_000, 600_000]))
    tensors, targets, bad = [], [], set()
    for i in range(count):
        dtype, n = data.draw(st.sampled_from(KINDS)), data.draw(sizes)
        values = torch.randint(0, 2, (n,), generator=torch.Generator().manual_seed(i)).to(dtype)
        if n and dtype in FLOATS and data.draw(st.booleans()):
            values[data.draw(st.integers(0, n - 1))] = float("nan")
            bad.add(i)
        casts = [dtype] if dtype not in FLOATS else FLOATS
        tensors.append(values)
        targets.append(torch.full((n,), 7).to(data.draw(st.sampled_from(casts))))
    before, between = data.draw(st.integers(0, 40)), data.draw(st.sampled_from([0, 3, 5000]))
    blob = written(tmp_path_factory.mktemp("w"), *tensors, before=before, between=between)
    blob = data.draw(st.sampled_from([blob, Part(blob, 0, blob.size)]))
    work, found, at = [], set(), before
    for i, (values, to) in enumerate(zip(tensors, targets, strict=True)):
        region = Region(blob, at, tuple(values.shape), values.dtype, str(i))
        work += region.pieces(to, found=lambda i=i: found.add(i))
        at += values.nbytes + between
    data.draw(st.randoms()).shuffle(work)
    looks = list(together(work))
    assert sum(look() for look in looks) == sum(t.numel() for t in tensors)
    for values, to in zip(tensors, targets, strict=True):
        expected = values.to(to.dtype).double()
        assert torch.equal(expected.nan_to_num(), to.double().nan_to_num())
    assert found == bad
    if not between and blob.size < WINDOW:  # one look is enough for all that no cast must cut
        assert len([look for look in looks if hasattr(look, "stretches")]) <= 1


def test_a_file_that_is_cut_after_it_was_opened_is_an_error_not_a_signal(tmp_path):
    values = torch.ones(SIZE // 4)
    blob = written(tmp_path, values)
    to = torch.zeros(SIZE // 4)
    with blob.mapped(0, SIZE) as address:  # the map is made
        assert address is not None
    work = together(Region(blob, 0, (SIZE // 4,), torch.float32, "values").pieces(to))
    os.truncate(blob.path, SIZE // 2)
    with pytest.raises(InitError, match="it was cut short just now"):
        sum(item() for item in work)
    assert not to.any()
    with pytest.raises(InitError, match="it was cut short just now"):
        blob.read(0, SIZE)
