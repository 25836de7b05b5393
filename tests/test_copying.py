"""From a mapped file into memory: the same bits, whatever the dtype and place; NaN is seen anywhere."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initium.checkpoint.blob import LocalFile, Part
from initium.checkpoint.copying import copied
from initium.errors import InitError

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SIZE = 1 << 18  # bytes of values


def written(tmp_path, tensor, before=0):
    """The tensor's bytes in a file, some bytes behind its start."""
    path = tmp_path / "values.bin"
    path.write_bytes(bytes(before) + tensor.view(torch.uint8).numpy().tobytes() + b"end")
    return LocalFile(path)


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
    blob = written(tmp_path_factory.mktemp("copying"), values, before)
    memory = torch.zeros(n + 64 // dtype.itemsize, dtype=dtype)
    first = (-memory.data_ptr() % 32) // dtype.itemsize
    to = memory[first : first + n]
    assert copied(blob, before, to) is (bad is None)
    assert torch.equal(to.view(torch.uint8), values.view(torch.uint8))
    assert not memory[:first].any()
    assert not memory[first + n :].any()


def test_what_is_small_or_oddly_placed_or_no_float_is_left_to_others(tmp_path):
    values = torch.ones(SIZE // 4)
    blob = written(tmp_path, values)
    to = torch.zeros(SIZE // 4 + 32)
    to = to[(-to.data_ptr() % 32) // 4 :][: SIZE // 4]
    assert copied(blob, 0, to[:8]) is None
    assert copied(blob, 0, to[1:]) is None
    assert copied(blob, 0, to.view(torch.int32)) is None
    assert not to.any()
    assert copied(Part(blob, 4, blob.size - 4), SIZE - 4 - (1 << 16), to[: 1 << 14]) is True


def test_a_file_that_is_cut_after_it_was_opened_is_an_error_not_a_signal(tmp_path):
    blob = written(tmp_path, torch.ones(SIZE // 4))
    to = torch.zeros(SIZE // 4 + 8)
    to = to[(-to.data_ptr() % 32) // 4 :][: SIZE // 4]
    with blob.mapped(0, SIZE) as address:  # the map is made
        assert address is not None
    os.truncate(blob.path, SIZE // 2)
    assert copied(blob, 0, to) is None
    assert not to.any()
    with pytest.raises(InitError, match="it was cut short just now"):
        blob.read(0, SIZE)
