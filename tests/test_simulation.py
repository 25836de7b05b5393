"""A rank of a cluster, simulated: its numbers, its shards, its values, and what cannot be done."""

import json
import sys
from functools import partial
from math import prod

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import _StridedShard
from typer.testing import CliRunner

import initium
from initium import shard
from initium.cli import app
from initium.errors import InitError, InitTypeError
from initium.simulation import Simulation, drawing, simulate, simulating
from initium.simulation.geometry import boxes, runs_of, spread_of
from initium.simulation.mesh import as_rank, mesh_sizes


class Net(nn.Module):
    """Two blocks of 6 → 5 and a head: 5·6 + 5 = 35 elements each, 3·5 of the head, 3 in a buffer."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(6, 5) for _ in range(2))
        self.head = nn.Linear(5, 3, bias=False)
        self.register_buffer("scale", torch.ones(3, dtype=torch.float64))

    def forward(self, x):
        return x


class Straight(Net):
    """The same with an orthogonal matrix."""

    def __init__(self):
        super().__init__()
        initium.init.orthogonal_(self.blocks[0].weight)


class Experts(nn.Module):
    """Six experts, stacked."""

    def __init__(self):
        super().__init__()
        self.up = nn.Parameter(torch.randn(6, 8, 4))
        self.bias = nn.Parameter(torch.zeros(6, 8))

    def forward(self, x):
        return x


class Mixture(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict(dict(experts=Experts())) for _ in range(1))
        self.out = nn.Linear(4, 4)

    def forward(self, x):
        return x


def llama(tied=False):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            num_hidden_layers=2,
            intermediate_size=50,
            num_attention_heads=8,
            num_key_value_heads=4,
            vocab_size=101,
            tie_word_embeddings=tied,
        )
    )


def moe():
    from transformers import MixtralConfig, MixtralForCausalLM

    return MixtralForCausalLM(
        MixtralConfig(
            hidden_size=32,
            num_hidden_layers=2,
            intermediate_size=24,
            num_attention_heads=8,
            num_key_value_heads=4,
            num_local_experts=6,
            vocab_size=101,
        )
    )


def vit():
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=50,
            image_size=12,
            patch_size=4,
            num_labels=7,
        )
    )


run = partial(simulate, speed=1e9, draw=0)
PHI = {"**.up": "packed_colwise"}


# Numbers


def test_a_small_model_by_hand():
    """Rows 5 over 4 ranks: 2, 2, 1, 0; rows 3: 1, 1, 1, 0. The buffer is on every rank."""
    found = {rank: run(Net, world=4, rank=rank) for rank in range(4)}
    rows, head = [2, 2, 1, 0], [1, 1, 1, 0]
    for rank, one in found.items():
        elements = 2 * rows[rank] * (6 + 1) + head[rank] * 5
        assert one.parameters == elements
        assert one.parameter_bytes == one.kinds["drawn"] == 4 * elements
        assert one.buffer_bytes == one.kinds["constant"] == 3 * 8
        assert one.seconds == pytest.approx(elements / 1e9)
        assert one.coordinate == (rank,)
        assert one.most == (0, 4 * 33 + 24)
        assert one.least == (3, 24)
        assert one.mean == (4 * (33 + 33 + 19 + 0) + 4 * 24) / 4
    assert (found[0].elements, found[0].bytes, found[0].tensors) == (88, 4 * 85 + 24, 6)
    assert found[0].imbalance == pytest.approx(156 / 109)
    assert found[0].largest.name == "blocks.0.weight"
    assert found[0].largest.local == (2, 6)
    assert "some ranks hold nothing of 5 tensors" in found[0].notes[0]


def test_copies_are_counted():
    found = run(Net, world=6, mesh="dp_replicate=3,dp=2", rank=5)
    assert found.coordinate == (2, 1)
    assert found.parameters == 2 * 2 * 7 + 1 * 5
    assert {t.replicas for t in found.tiled} == {3}
    alone = run(Net, world=3, mesh="ddp=3", rank=2)
    assert alone.parameters == 85
    assert alone.most == (0, alone.bytes)
    assert alone.tiled == ()


def test_tensor_parallel_by_a_plan():
    """Columns of 6 over 2, then rows 5 over 3 by FSDP: 2, 2, 1. What no pattern names is whole."""
    plan = {"blocks.*": "rowwise", "head.weight": "shard(1)"}
    found = run(Net, world=6, mesh=dict(dp=3, tp=2), rank=5, tp_plan=plan)
    # rank 5 is (2, 1): 1 row of 3 columns and 1 of the bias; 1 row of the head, columns 3 and 4
    assert found.parameters == 2 * (3 + 1) + 2
    assert found.tiled[0].placed == "dp [0], tp [1]"
    assert found.largest.name == "scale"  # 24 bytes


MESHES = {
    llama: ["dp=3", "dp=2,tp=4", "dp_replicate=2,dp=3", "tp=4,dp=3", "replicate=2,fsdp=2,tp=2"],
    moe: ["dp=5", "dp=2,ep=3", "dp=4,tp=2", "ep=2,tp=2", "dp_replicate=2,dp=2,ep=2,tp=2"],
    vit: ["dp=7", "dp_replicate=2,dp_shard=5"],
}
CASES = [(model, mesh) for model, meshes in MESHES.items() for mesh in meshes]


@pytest.mark.parametrize(("model", "mesh"), CASES, ids=lambda x: getattr(x, "__name__", x))
def test_ranks_have_all_of_a_model_of_transformers(model, mesh, monkeypatch):
    """Every rank, looked at by itself, has as many bytes as any rank says of it."""
    per_rank, totals = simulating.per_rank, []
    monkeypatch.setattr(
        simulating, "per_rank", lambda *a: totals.append(per_rank(*a)) or totals[-1]
    )
    world = prod(int(part.split("=")[1]) for part in mesh.split(","))
    found = [run(model, world=world, mesh=mesh, rank=rank) for rank in range(world)]
    sizes = [one.parameter_bytes + one.buffer_bytes for one in found]
    assert [total.tolist() for total, _ in totals] == [sizes] * world
    assert (max(sizes), min(sizes)) == (found[0].most[1], found[0].least[1])
    assert sizes[found[0].most[0]] == max(sizes)
    assert sizes[found[0].least[0]] == min(sizes)
    assert sum(sizes) / world == pytest.approx(found[0].mean)
    assert all(t.ranks == world for t in found[0].tiled)
    if set(mesh_sizes(mesh, world, 0)) == {"dp"}:
        parameters = sum(p.numel() for p in model().parameters())
        assert sum(one.parameters for one in found) == parameters


@pytest.mark.parametrize(("model", "mesh"), CASES, ids=lambda x: getattr(x, "__name__", x))
def test_shards_are_those_of_the_whole_model(model, mesh):
    """What is drawn on a rank is cut out of the model that one process builds."""
    world = prod(int(part.split("=")[1]) for part in mesh.split(","))
    found = simulate(model, world=world, mesh=mesh, rank=world - 2, draw=4, seed=5, speed=1.0)
    assert len(found.drawn) == 4
    assert all(d.pieces == 1 and d.bytes == 4 * prod(d.shape) for d in found.drawn)
    assert found.drawn[0].bytes == found.largest.bytes


def test_the_drawn_values_are_those_of_build(monkeypatch):
    """Beside the simulation's own comparison with the streams: with the model on one process."""
    whole = initium.build(llama, seed=5).state_dict()
    values, seen = drawing._values, []

    def watched(share, plan, limit):
        for memory, block in values(share, plan, limit):
            assert torch.equal(memory, whole[share.slot.name][block.slices()])
            seen.append(memory.numel())
            yield memory, block

    monkeypatch.setattr(drawing, "_values", watched)
    found = simulate(llama, world=8, mesh="dp=2,tp=4", rank=5, draw=1000, seed=5)
    assert sum(seen) * 4 == found.kinds["drawn"]


def test_ties_stay_ties():
    plain, tied = (
        run(llama, world=4, mesh="dp=2,tp=2"),
        run(partial(llama, True), world=4, mesh="dp=2,tp=2"),
    )
    assert plain.elements - tied.elements == 101 * 32
    assert plain.parameters - tied.parameters == 26 * 32


def test_ranks_one_after_the_other_are_not_mixed_up():
    """Torch takes the meshes of two ranks for equal, and remembers what it did with the first."""
    first = [run(Net, world=4, mesh="tp=4", rank=r, tp_plan={"**": "shard(0)"}) for r in range(4)]
    assert [one.parameters for one in first] == [2 * 2 * 7 + 5, 2 * 2 * 7 + 5, 2 * 7 + 5, 0]


# What is done to tensors


def test_kinds_and_whole_matrices(tmp_path):
    from safetensors.torch import save_file

    save_file({"head.weight": torch.ones(2, 5)}, tmp_path / "w.safetensors")
    cfg = [
        dict(type="Constant", name="blocks.*.bias", val=1),
        dict(
            type="Pretrained",
            checkpoint=str(tmp_path / "w.safetensors"),
            adapt=[dict(type="Stretch", name="head.weight")],
        ),
    ]
    if "Stretch" not in initium.CHECKPOINT_ADAPTERS:
        from dataclasses import dataclass

        from initium.checkpoint.adapters.base import ComputingAdapter

        @initium.CHECKPOINT_ADAPTERS.register_module()
        @dataclass(frozen=True, kw_only=True)
        class Stretch(ComputingAdapter):
            def shape(self, have, want):
                return want

            def compute(self, tensor, shape, key):
                return torch.zeros(shape)

    try:
        with pytest.warns(initium.InitWarning, match="loads 1 of 6 tensors"):
            found = run(Straight, world=2, init_cfg=cfg, rank=0)
    finally:
        initium.CHECKPOINT_ADAPTERS.module_dict.pop("Stretch", None)
    # rank 0 of 2 has 3 of 5 rows, and 2 of 3 of the head
    assert found.kinds == dict(
        drawn=4 * 2 * 18, constant=4 * 2 * 3 + 24, loaded=4 * 10, captured=0, untouched=0
    )
    steps = {step.name: step for step in found.whole}
    assert steps["blocks.0.weight"].bytes == 4 * 30 + 4 * 5**2 + 5 * (16 << 10)
    assert steps["blocks.0.weight"].why == "Orthogonal(gain=1)"
    assert steps["head.weight"].bytes == 4 * 15
    assert found.temporary == (steps["blocks.0.weight"].bytes, "blocks.0.weight")
    assert found.seconds == pytest.approx((30 + 18) / 1e9)  # one matrix is drawn as a whole
    empty = run(Straight, world=8, rank=7)
    assert empty.whole == ()


def test_captured_values_are_needed_as_a_whole():
    found = run(llama, world=2)
    assert {step.name for step in found.whole} == {
        "model.rotary_emb.inv_freq",
        "model.rotary_emb.original_inv_freq",
    }
    assert found.kinds["captured"] == 2 * 4 * 2


# The proofs can fail


def test_a_wrong_block_is_found(monkeypatch):
    real = shard._runs

    def shifted(size, mesh, along, at):
        runs = real(size, mesh, along, at)
        return [(first, n - 1) for first, n in runs] if at == (2,) and size == 5 else runs

    monkeypatch.setattr(shard, "_runs", shifted)
    with pytest.raises(InitError, match=r"blocks.0.weight: rank 2 holds .* by initium.shard, but"):
        run(partial(wide, 5), world=4)


def wide(rows):
    model = Net()
    model.blocks[0] = nn.Linear(40, rows)
    model.forward = lambda x: x
    return model


def test_a_wrong_value_is_found(monkeypatch):
    real = drawing._materialized

    def changed(share, plan):
        memory = real(share, plan)
        memory[-1, -1] = memory[-1, -1].nextafter(torch.tensor(9.0))
        return memory

    monkeypatch.setattr(drawing, "_materialized", changed)
    with pytest.raises(InitError, match=r"blocks.0.weight: rank 1 draws other values than the glo"):
        simulate(Net, world=2, rank=1, draw=1)


def test_large_shards_are_drawn_in_pieces():
    found = simulate(llama, world=4, mesh="dp=2,tp=2", rank=1, draw=2, limit=1000)
    assert [d.name for d in found.drawn] == ["model.embed_tokens.weight", "lm_head.weight"]
    assert found.drawn[0].pieces == 4  # 26 rows of 32 values, of which 7 have at most 1,000 bytes


def test_many_ranks_are_sampled():
    found = run(partial(wide, 300), world=200)
    assert all(t.ranks == found.tiled[0].ranks < 25 for t in found.tiled)
    assert found.tiled[0].shards == 150
    assert found.tiled[0].smallest == found.tiled[0].largest == 2 * 40


# Geometry: every way of cutting, against torch


@st.composite
def cuts(draw):
    """A size, and how it is cut over a mesh of up to 3 dimensions."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    ways = st.one_of(
        st.just(Shard(0)),
        st.just(Replicate()),
        st.integers(1, 4).map(lambda n: _StridedShard(0, split_factor=n)),
    )
    where = draw(st.lists(ways, min_size=len(sizes), max_size=len(sizes)))
    return draw(st.integers(0, 40)), tuple(sizes), tuple(where)


@settings(max_examples=60, deadline=None)
@given(case=cuts(), data=st.data())
def test_cut_indices_are_where_torch_puts_them(case, data):
    size, sizes, where = case
    rank = data.draw(st.integers(0, prod(sizes) - 1))
    names = tuple("abc"[: len(sizes)])

    def seen():
        mesh = init_device_mesh("cpu", sizes, mesh_dim_names=names)
        tensor = distribute_tensor(torch.arange(size), mesh, where, src_data_rank=None)
        return spread_of(tensor), tuple(mesh.get_coordinate()), tensor.to_local()

    spread, coordinate, local = as_rank(prod(sizes), rank, seen)
    assert np.array_equal(spread.held(coordinate)[0], local.numpy())
    assert spread.counts()[coordinate] == len(local)
    assert spread.counts().sum() == size * spread.replicas()


def test_boxes_follow_each_other_in_memory():
    held = [np.array([0, 1, 5]), np.array([2, 4, 5])]
    assert boxes(held) == [
        ((0, 2), (2, 1)),
        ((0, 4), (2, 2)),
        ((5, 2), (1, 1)),
        ((5, 4), (1, 2)),
    ]
    assert runs_of(np.arange(0)) == []


# Experts


def test_experts_lie_over_ep_and_the_rest_over_both():
    """6 experts over 3 are 2 a rank; those over 4 more ranks would be none, so columns are cut."""
    found = run(Mixture, world=12, mesh="dp=4,ep=3", rank=0)
    # up 2×2×4, a bias of 2×2, and of the 4×4 weight and 4 of `out` what 12 ranks get: a row, one
    assert found.parameters == 16 + 4 + 4 + 1
    assert found.largest.placed == "dp [1], ep [0]"
    few = run(Mixture, world=4, mesh="dp=2,ep=2", rank=3)
    assert few.parameters == (6 // 4 * 8 * 4) + 8 + 4 + 1  # rank 3 has 1 expert of 3 on two ranks
    assert few.largest.placed == "dp [0, in 2 runs], ep [0]"


def test_packed_weights_are_not_cut_twice_along_their_runs():
    class Packed(Net):
        def __init__(self):
            super().__init__()
            self.up = nn.Linear(6, 40, bias=False)

    found = run(Packed, world=4, mesh="dp=2,tp=2", rank=3, tp_plan=PHI)
    assert found.largest.placed == "dp [1], tp [0, in 2 runs]"
    assert found.largest.local == (20, 3)
    with pytest.raises(InitError, match="no other one can be cut into 4 equal shards"):
        run(Packed, world=8, mesh="dp=4,tp=2", tp_plan=PHI)


# Models that shard themselves


def sharded(mesh):
    model = initium.build(Net, seed=3, device="meta")
    return fully_shard(model, mesh=mesh["inner"])


def test_a_target_with_a_parameter_mesh_shards_itself():
    found = simulate(sharded, world=6, mesh="outer=3,inner=2", rank=5, seed=9, draw=2)
    assert found.parameters == 2 * 2 * 7 + 5
    assert found.seed == 9
    assert {t.replicas for t in found.tiled} == {3}
    assert len(found.drawn) == 2


def test_meshes_of_a_target_may_be_in_another_order_or_its_own():
    """FSDP puts its dimensions before those of tensor parallelism; a mesh may be flattened, too."""

    def crossed(mesh):
        model = initium.build(Net, seed=3, device="meta")
        weight = model.blocks[0].weight.detach()
        part = distribute_tensor(weight, mesh["tp"], [Shard(1)], src_data_rank=None)
        model.blocks[0].weight = nn.Parameter(part)
        return fully_shard(model, mesh=mesh["dp"])

    found = run(crossed, world=6, mesh="tp=2,dp=3", rank=5)
    assert found.parameters == 3 + 1 + 7 + 5  # a row of each; of the first, 3 columns
    assert found.tiled[0].placed == "dp [0], tp [1]"
    assert found.coordinate == (1, 2)
    assert all(t.ranks == 6 for t in found.tiled)

    def apart(mesh):
        ranks = mesh.mesh.flatten()
        own = DeviceMesh("cpu", ranks, mesh_dim_names=("flat",))
        return fully_shard(initium.build(Net, seed=3, device="meta"), mesh=own)

    found = run(apart, world=6, mesh="a=2,b=3", rank=0)
    assert all(t.ranks == 0 for t in found.tiled)
    assert any("5 tensors are on a mesh of their own" in note for note in found.notes)


def test_a_sharded_target_needs_a_plan():
    def bare(mesh):
        with torch.device("meta"):
            return fully_shard(Net(), mesh=mesh)

    cfg = [dict(type="Normal", std=1, layer="Linear"), dict(type="Keep", name="scale")]
    assert simulate(bare, world=2, init_cfg=cfg).kinds["drawn"] == 4 * (2 * 3 * 6 + 2 * 5)
    with pytest.raises(InitError, match=r"the model that TARGET has sharded: .*no plan"):
        simulate(bare, world=2)
    with pytest.raises(InitTypeError, match=r"must return a torch.nn.Module, but got None"):
        simulate(lambda mesh: None, world=2)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(world=8, mesh="dp=4,tp=3"), r"dp=4,tp=3 has 4·3 = 12 ranks, but world is 8"),
        (dict(world=8, mesh="dp=4,xp=2"), r"'xp' is unknown\. Did you mean .* There are: dp, fsdp"),
        (dict(world=8, mesh="dp=4,fsdp=2"), r"'dp' and 'fsdp' are both for the same thing"),
        (dict(world=8, mesh="dp=2,dp=4"), "names of their own"),
        (dict(world=8, mesh="dp=eight"), "'dp' needs a size of 1 or more, as dp=4, not 'eight'"),
        (dict(world=8, mesh="8"), "mesh dimension '8' needs a size"),
        (dict(world=8, mesh=""), "needs a size of 1 or more"),
        (dict(world=8, mesh={}), "as dp=4,tp=2"),
        (dict(world=8, mesh=dict(dp=True)), "not True"),
        (dict(world=8, mesh=8), r"must be a str, as dp=4,tp=2, or a mapping, but got 8"),
        (dict(world=8, mesh={1: 8}), "name of a mesh dimension must be a str, but got 1"),
        (dict(world=8, rank=8), "rank from 0 to world - 1, but got world=8, rank=8"),
        (dict(world=0), "world must be from 1"),
        (dict(world=10**9), "world must be from 1 to 1048576"),
        (dict(world="8"), "world must be an int, but got '8'"),
        (dict(world=8, draw=-1), "draw must be an int of at least 0, but got -1"),
        (dict(world=8, draw=True), "draw must be an int of at least 0, but got True"),
        (dict(world=8, limit=0), "limit must be an int of at least 1, but got 0"),
        (dict(world=8, limit="1"), "limit must be an int"),
        (dict(world=8, speed="fast"), "above 0, but got 'fast'"),
        (dict(world=8, speed=0), "speed must be a number of values a second above 0, but got 0"),
        (dict(world=8, mesh="tp=8"), "Net has no plan for tensor parallelism .* --tp-plan FILE"),
        (dict(world=8, mesh="ep=8"), "Net has no stacked experts"),
        (dict(world=8, tp_plan={"**": "colwise"}), "but the mesh has no dimension tp"),
        (dict(world=8, seed=1.5), "a seed must be an int"),
    ],
    ids=str,
)
def test_mistakes_of_numbers_and_names(arguments, message):
    with pytest.raises(InitError, match=message):
        simulate(Net, **arguments)
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"blocks": "colwise"}, "match no parameter: blocks; there are blocks.0.weight"),
        ({"head": "columnwise"}, r"plan, head: 'columnwise' is no style\. Did you mean 'colwise'"),
        ({"head": "shard(2)"}, r"head.weight: shard\(2\) shards dimension 2, but its shape is \[3"),
        ({"head": 1}, "must map name patterns to styles"),
        (["head"], "must map name patterns to styles"),
        ({"a..b": "colwise"}, "plan, a..b: 'a..b' is no pattern"),
    ],
    ids=str,
)
def test_mistakes_of_tensor_plans(plan, message):
    with pytest.raises(InitError, match=message):
        simulate(Net, world=2, mesh="tp=2", tp_plan=plan)


def test_heads_and_experts_are_not_cut():
    with pytest.raises(InitError, match=r"k_proj.weight: tp=8 does not divide its 4 heads .* 1, 2"):
        run(llama, world=8, mesh="tp=8")
    with pytest.raises(InitError, match="ep=4 does not divide its 6 experts; ep can be 1, 2, 3, 6"):
        run(Mixture, world=8, mesh="dp=2,ep=4")


def test_a_process_group_of_ones_own_is_left_alone():
    store = dist.HashStore()
    dist.init_process_group("gloo", rank=0, world_size=1, store=store)
    try:
        with pytest.raises(InitError, match="a process group is running here"):
            simulate(Net, world=2)
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()


def test_nothing_is_left_behind():
    def fails():
        raise ZeroDivisionError

    hook = sys.excepthook
    with pytest.raises(ZeroDivisionError):
        simulate(fails, world=2)
    assert not dist.is_initialized()
    run(Net, world=2)
    assert not dist.is_initialized()
    assert sys.excepthook is hook


# Views, and the command line


def test_a_simulation_is_data_and_a_table():
    found = simulate(Net, world=4, rank=1, draw=1)
    assert isinstance(found, Simulation)
    data = json.loads(json.dumps(found.to_dict()))
    assert data["parameters"] == found.parameters
    assert data["drawn"][0]["name"] == "blocks.0.weight"
    text = str(found)
    assert text.startswith("simulation of Net: rank 1 of 4, mesh dp=4")
    assert "tiles its tensor" in text
    assert "drawn and compared" in text
    assert "! some ranks hold nothing" in text
    assert "<table>" in found._repr_html_()


MODEL = """
from torch import nn
def build():
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6))
"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODEL)
    (tmp_path / "c.yaml").write_text("{type: Constant, layer: Linear, val: 2}")
    (tmp_path / "tp.yaml").write_text("'0': rowwise")
    return lambda *words: CliRunner().invoke(app, ["simulate", *words])


def test_on_the_command_line(call):
    out = call("net.py:build", "--world", "4", "--mesh", "dp=2,tp=2", "--tp-plan", "tp.yaml",
               "--rank", "3", "--speed", "1e6", "--json")  # fmt: skip
    assert out.exit_code == 0, out.output
    data = json.loads(out.stdout)
    # a Linear of 6×4 and 6, of which rank 3 has 3×2 and 3; a LayerNorm of 6 and 6
    assert data["parameters"] == 6 + 3 + 3 + 3
    assert data["seconds"] == pytest.approx(9e-6)
    out = call("net.py:build", "c.yaml", "--world", "2", "--draw", "0")
    assert out.exit_code == 0, out.output
    assert "this rank: constant" in out.stdout
    assert "this rank: drawn" not in out.stdout


def test_mistakes_on_the_command_line(call):
    for words, message in [
        (
            ["net.py:build", "--world", "4", "--mesh", "dp=3"],
            "error: the mesh dp=3 has 3 ranks",
        ),
        (["net.py:bild", "--world", "4"], "error: net.py has no callable 'bild'. Did you mean"),
        (["net", "--world", "4"], "error: TARGET must be package.module:callable"),
        (
            ["net.py:build", "--world", "2", "--tp-plan", "no.yaml"],
            "error: there is no config file",
        ),
    ]:
        out = call(*words)
        assert out.exit_code == 2
        assert message in out.output.replace("\n", " ")
