"""What a rank holds of a tensor, and that it fills that as if it held all: any shape, any mesh.

Ranks are played one by one in this process, with process groups that send nothing.
"""

import math
from contextlib import contextmanager

import torch
import torch.distributed as dist
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import _clear_sharding_prop_cache
from torch.distributed.tensor.placement_types import _StridedShard
from torch.testing._internal.distributed.fake_pg import FakeStore

import initium
from initium.shard import pieces_of

# with sizes that no mesh divides, and such as are smaller than the mesh
SIZES = [0, 1, 2, 3, 5, 7, 8, 12, 13, 16, 17, 31, 64]
SHAPES = st.lists(st.sampled_from(SIZES), max_size=4).filter(lambda s: math.prod(s) <= 20_000)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16])


@contextmanager
def rank_of(world, rank):
    """This process as one of many ranks."""
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()
        # torch caches what becomes of a spread tensor by its mesh: an equal one of the next case
        # would be taken for this one, whose groups are gone and whose rank is another
        _clear_sharding_prop_cache()


@st.composite
def spreads(draw, shape, world=64):
    """The sizes of a mesh, and how a tensor of this shape is placed on it."""
    sizes = []
    for _ in range(draw(st.integers(1, 3))):
        sizes.append(draw(st.integers(1, min(8, world // math.prod(sizes)))))
    ways = [st.just(Replicate())]
    if shape:
        dims = st.sampled_from(range(len(shape)))
        # the factor is the size of the tensor parallelism that FSDP is laid over
        factors = st.sampled_from([size for size in sizes if size > 1] or [1])
        ways += [st.builds(Shard, dims), st.builds(_StridedShard, dims, split_factor=factors)]
    placements = [draw(st.one_of(ways)) for _ in sizes]
    strided = [p.dim for p in placements if isinstance(p, _StridedShard)]
    assume(len(strided) == len(set(strided)))  # the others are refused
    return tuple(sizes), placements


def spread(tensor, sizes, placements):
    """Torch's own spreading, of values that every rank has."""
    mesh = init_device_mesh("cpu", sizes)
    return distribute_tensor(tensor, mesh, placements, src_data_rank=None)


@st.composite
def slices(draw, shape):
    """For each dimension (first, end, step), or None for all of it."""
    found = []
    for size in shape:
        whole = size == 0 or draw(st.booleans())
        first = 0 if whole else draw(st.integers(0, size - 1))
        end, step = draw(st.integers(first + 1, max(size, first + 1))), draw(st.integers(1, 3))
        found.append(None if whole else (first, end, step))
    return tuple(found)


def part_of(tensor, part):
    return tensor[tuple(slice(None) if s is None else slice(*s) for s in part)]


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_pieces_are_what_torch_gives_to_the_rank(data):
    shape = data.draw(SHAPES)
    sizes, placements = data.draw(spreads(shape))
    part = data.draw(st.none() | slices(shape))
    numbers = torch.arange(math.prod(shape)).view(shape)
    wanted = numbers if part is None else part_of(numbers, part)
    world = math.prod(sizes)
    with rank_of(world, data.draw(st.integers(0, world - 1))):
        held = spread(numbers, sizes, placements)
        counts = spread(torch.zeros_like(numbers), sizes, placements)
        for piece in pieces_of(held, part):
            assert piece.block.of == wanted.shape
            assert piece.memory.equal(piece.of(wanted))
        for piece in pieces_of(counts, part):  # a view: of the memory of the rank itself
            piece.memory.add_(1)
        here = torch.isin(held.to_local(), wanted.flatten())
        assert counts.to_local().equal(here.long())


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_the_pieces_of_all_ranks_tile_the_whole(data):
    shape = data.draw(SHAPES)
    sizes, placements = data.draw(spreads(shape, world=12))
    part = data.draw(st.none() | slices(shape))
    whole = torch.zeros(shape) if part is None else part_of(torch.zeros(shape), part)
    counts = torch.zeros(whole.shape, dtype=torch.int64)
    for rank in range(math.prod(sizes)):
        with rank_of(math.prod(sizes), rank):
            for piece in pieces_of(spread(torch.zeros(shape), sizes, placements), part):
                piece.of(counts).add_(1)
    copies = math.prod(
        size for size, p in zip(sizes, placements, strict=True) if isinstance(p, Replicate)
    )
    assert counts.eq(copies).all()


class One(nn.Module):
    """A module with one tensor, to which its constructor writes."""

    def __init__(self, shape, dtype, *writes):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape, dtype=dtype))
        with torch.no_grad():
            for write in writes:
                write(self.weight)


def captured(tensor):
    tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape).sin())


def chained(tensor):
    tensor.uniform_(-1, 1).abs_().clamp_(max=0.5)


@st.composite
def programs(draw, shape):
    """What a constructor does: a fill of all, then perhaps some of parts."""
    number = st.floats(-2, 2, width=16)
    fills = [
        st.builds(lambda m: lambda t: nn.init.normal_(t, m, 0.5), number),
        st.builds(lambda a: lambda t: nn.init.uniform_(t, a, a + 1), number),
        st.builds(lambda m: lambda t: nn.init.trunc_normal_(t, m, 0.5, m - 1, m + 0.25), number),
        st.builds(lambda val: lambda t: nn.init.constant_(t, val), number),
    ]
    wholes = [st.just(captured), st.just(chained)]
    if len(shape) == 2 and 0 not in shape:
        wholes.append(st.just(lambda t: initium.init.sparse_(t, 0.4)))
    if len(shape) > 1 and 0 not in shape:
        wholes.append(st.just(lambda t: initium.init.orthogonal_(t, 0.5)))
    program = [draw(st.one_of(*fills, *wholes))]
    for _ in range(draw(st.integers(0, 2)) if shape else 0):
        part, fill = draw(slices(shape)), draw(st.one_of(fills))
        program.append(lambda t, part=part, fill=fill: fill(part_of(t, part)))
    if shape and draw(st.booleans()):  # a padding row, where only the first dimension is said
        row = draw(st.integers(0, max(shape[0] - 1, 0)))
        program.append(lambda t: t[row : row + 1].zero_())
    return program


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_a_rank_materializes_its_shard_of_the_whole_tensor(data):
    shape, dtype = data.draw(SHAPES), data.draw(DTYPES)
    program = data.draw(programs(shape))
    sizes, placements = data.draw(spreads(shape))
    world = math.prod(sizes)
    one = initium.build(lambda: One(shape, dtype, *program), seed=3)
    with rank_of(world, data.draw(st.integers(0, world - 1))):
        model = initium.build(lambda: One(shape, dtype, *program), seed=3, device="meta")
        model.weight = nn.Parameter(spread(model.weight, sizes, placements))
        before = model.weight
        initium.materialize(model, device="cpu")
        assert model.weight is before
        assert_shard_of(one.weight, model.weight, sizes, placements)


def assert_shard_of(whole, tensor, sizes, placements):
    """A rank has, where it should, what torch would have given it of the whole."""
    assert isinstance(tensor, DTensor)
    assert tensor.shape == whole.shape
    assert list(tensor.placements) == placements
    local = tensor.to_local()
    expected = spread(whole.detach(), sizes, placements).to_local()
    assert (local.dtype, local.device) == (expected.dtype, expected.device)
    assert local.equal(expected)


@st.composite
def rules(draw, shape):
    """A rule, whose fans are those of the whole tensor."""
    kinds = [
        dict(type="Normal", std=0.5),
        dict(type="Uniform", a=-1, b=2),
        dict(type="TruncNormal", std=1, a=-1, b=2),
        dict(type="Constant", val=0.375),
    ]
    if len(shape) > 1 and 0 not in shape:
        kinds += [
            dict(type="Xavier", distribution="uniform"),
            dict(type="Kaiming", mode="fan_out"),
            dict(type="Caffe2Xavier"),
        ]
    return dict(draw(st.sampled_from(kinds)), name="weight")


@settings(deadline=None, max_examples=250)
@given(st.data())
def test_a_rank_initializes_its_shard_in_the_memory_it_has(data):
    shape, dtype = data.draw(SHAPES), data.draw(DTYPES)
    rule = data.draw(rules(shape))
    sizes, placements = data.draw(spreads(shape))
    world = math.prod(sizes)
    one = One(shape, dtype, captured)
    with rank_of(world, data.draw(st.integers(0, world - 1))):
        model = One(shape, dtype)
        model.weight = nn.Parameter(spread(one.weight, sizes, placements))
        memory, version = model.weight.to_local().data_ptr(), model.weight._version
        initium.initialize(model, rule, seed=("shards", 4))
        assert model.weight.to_local().data_ptr() == memory
        assert model.weight._version == version + 1
        initium.initialize(one, rule, seed=("shards", 4))
        assert_shard_of(one.weight, model.weight, sizes, placements)
