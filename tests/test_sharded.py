"""What a rank of a sharded model gets: its part of the whole, and nothing else is read for it."""

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import _StridedShard
from torch.testing._internal.distributed.fake_pg import FakeStore

import initium
from initium.checkpoint.blob import LocalFile
from initium.errors import InitError, InitWarning
from initium.shard import memory_of

ROWS, COLUMNS = [Shard(0), Replicate()], [Replicate(), Shard(1)]
BOTH, STACK = [Shard(0), Shard(1)], [Shard(1), Shard(2)]


@pytest.fixture(scope="module", params=[(0, (4, 2)), (5, (2, 4))], ids=str)
def mesh(request):
    """A rank of eight in a mesh; what it would say to others goes nowhere."""
    rank, shape = request.param  # torch keeps meshes that are equal, with groups that are gone
    dist.init_process_group("fake", rank=rank, world_size=8, store=FakeStore())
    yield init_device_mesh("cpu", shape, mesh_dim_names=("dp", "tp"))
    dist.destroy_process_group()


def net(dtype=torch.float32):
    torch.manual_seed(0)
    model = nn.Module()
    model.rows = nn.Linear(48, 33, bias=False)
    model.columns = nn.Linear(50, 40)
    model.table = nn.Embedding(70, 16, padding_idx=3)
    model.stack = nn.Parameter(torch.zeros(3, 30, 20))
    model.register_buffer("steps", torch.arange(4.0))
    return model.to(dtype)


PLACED = {"rows.weight": ROWS, "columns.weight": COLUMNS, "table.weight": BOTH, "stack": STACK}
RULES = [
    dict(type="Kaiming", layer=["Linear", "Embedding"], bias=1),
    dict(type="TruncNormal", name="stack", std=2),
]


def sharded(model, mesh):
    for name, placements in PLACED.items():
        owner, _, local = name.rpartition(".")
        whole = model.get_parameter(name)
        spread = distribute_tensor(whole.detach(), mesh, placements, src_data_rank=None)
        setattr(model.get_submodule(owner), local, nn.Parameter(spread))
    return model


def check(model, whole, mesh):
    """Every tensor is this rank's part of the whole one."""
    wanted = {**dict(whole.named_parameters()), **dict(whole.named_buffers())}
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert tensors.keys() == wanted.keys()
    for name, tensor in tensors.items():
        want = wanted[name].detach()
        if name in PLACED:
            assert isinstance(tensor, DTensor)
            want = distribute_tensor(want, mesh, PLACED[name], src_data_rank=None).to_local()
        assert torch.equal(memory_of(tensor), want), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rules_fill_the_part_of_the_whole(mesh, dtype):
    whole, model = net(dtype), sharded(net(dtype), mesh)
    initium.initialize(whole, RULES, seed=3)
    report = initium.initialize(model, RULES, seed=3)
    check(model, whole, mesh)
    assert report.seed == 3
    assert initium.verify(model) == 5
    assert not whole.table.weight[3].any()


def test_verify_sees_a_shard_that_has_changed(mesh):
    model = sharded(net(), mesh)
    initium.initialize(model, RULES, seed=3)
    memory_of(model.columns.weight)[0, 0] += 1
    with pytest.raises(
        InitError, match=r"columns\.weight: the part of it that this rank holds is not"
    ):
        initium.verify(model)


def test_verify_knows_elements_that_nothing_has_written(mesh):
    class Part(initium.BaseModule):
        def __init__(self):
            super().__init__()
            self.stack = nn.Parameter(torch.ones(3, 30, 20))

        def init_weights(self):
            nn.init.uniform_(self.stack[1])

    model = Part()
    spread = distribute_tensor(model.stack.detach(), mesh, STACK, src_data_rank=None)
    model.stack = nn.Parameter(spread)
    model.init_weights(seed=1)
    assert initium.verify(model) == 1
    memory_of(model.stack)[1, 0, 0] += 1
    with pytest.raises(InitError, match="stack: the part of it that this rank holds is not"):
        initium.verify(model)


def test_each_call_of_a_function_on_a_shard_has_the_key_of_the_whole(mesh):
    model, whole = sharded(net(), mesh), net()
    for one in (model, whole):
        with torch.no_grad():
            initium.init.zeros_(one.stack)
        for tensor in (one.rows.weight, one.stack):
            initium.init.kaiming_normal_(tensor, generator=torch.Generator().manual_seed(1))
    rows = distribute_tensor(whole.rows.weight.detach(), mesh, ROWS, src_data_rank=None)
    assert torch.equal(memory_of(model.rows.weight), rows.to_local())
    stack = distribute_tensor(whole.stack.detach(), mesh, STACK, src_data_rank=None)
    assert torch.equal(memory_of(model.stack), stack.to_local())


def test_built_on_meta_sharded_and_materialized(mesh):
    whole = initium.build(net, seed=8, init_cfg=RULES)
    model = sharded(initium.build(net, seed=8, init_cfg=RULES, device="meta"), mesh)
    plan = initium.plan_of(whole)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert initium.materialize(model, plan=plan).counts == initium.apply(plan, whole).counts
    check(model, whole, mesh)
    held = optimizer.param_groups[0]["params"]
    assert all(a is b for a, b in zip(held, model.parameters(), strict=True))


class Net(initium.BaseModule):
    """Fills by hand what it has, in the ways that people do."""

    def __init__(self):
        super().__init__(init_cfg=dict(type="Constant", layer="Linear", val=4))
        self.rows = nn.Linear(48, 33, bias=False)
        self.columns = nn.Linear(50, 40)
        self.table = nn.Embedding(70, 16, padding_idx=3)
        self.stack = nn.Parameter(torch.zeros(3, 30, 20))

    def init_weights(self):
        super().init_weights()
        nn.init.kaiming_uniform_(self.columns.weight)
        nn.init.normal_(self.table.weight, std=0.5)
        with torch.no_grad():
            self.table.weight[3].zero_()
            for i in range(3):
                self.stack[i].uniform_(-i - 1, i + 1)


def test_user_code_sees_whole_tensors(mesh):
    whole, model = Net(), sharded(Net(), mesh)
    before = model.rows.weight
    whole.init_weights(seed=5)
    model.init_weights(seed=5)
    assert model.rows.weight is before
    check(model, whole, mesh)


def test_user_code_that_reads_shards_is_refused_and_nothing_is_written(mesh):
    class Reads(Net):
        def init_weights(self):
            nn.init.normal_(self.table.weight)
            with torch.no_grad():
                self.stack.copy_(self.columns.weight.sum())

    model = sharded(Reads(), mesh)
    before = {name: memory_of(p).clone() for name, p in model.named_parameters()}
    with pytest.raises(InitError, match=r"stack: .* computes its values .* it is sharded"):
        model.init_weights(seed=5)
    assert all(torch.equal(memory_of(p), before[name]) for name, p in model.named_parameters())
    assert isinstance(model.stack, DTensor)


def test_whole_matrices_are_computed_and_cut(mesh):
    whole, model = net(), sharded(net(), mesh)

    class Orthogonal(initium.BaseInit):
        def __init__(self):
            super().__init__(layer="Linear")
            self.initializer = initium.initializers.Orthogonal(2)

    for one in (whole, model):
        initium.initialize(one, Orthogonal(), seed=1)
    check(model, whole, mesh)
    assert "all of the matrix" in initium.plan_of(model).explain("rows.weight")


def test_torchs_generators_cannot_draw_shards(mesh):
    model = sharded(net(), mesh)
    before = memory_of(model.stack).clone()
    with pytest.raises(InitError, match="rng='torch' draws whole tensors"):
        initium.initialize(model, RULES, seed=1, rng="torch")
    assert torch.equal(memory_of(model.stack), before)


def test_tensors_that_sharding_has_untied_are_filled_alike(mesh):
    def tied():
        model = nn.ModuleDict(
            {"table": nn.Embedding(40, 16), "head": nn.Linear(16, 40, bias=False)}
        )
        model["head"].weight = model["table"].weight
        return model

    whole = initium.build(tied, seed=2)
    model = initium.build(tied, seed=2, device="meta")
    for name, placements in (("table", ROWS), ("head", COLUMNS)):
        weight = model[name].weight.detach()
        spread = distribute_tensor(weight, mesh, placements, src_data_rank=None)
        model[name].weight = nn.Parameter(spread)
    initium.materialize(model)
    for name, placements in (("table", ROWS), ("head", COLUMNS)):
        want = distribute_tensor(
            whole["table"].weight.detach(), mesh, placements, src_data_rank=None
        )
        assert torch.equal(memory_of(model[name].weight), want.to_local())


# checkpoints


def saved(folder, kind, model):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    if kind == "dcp":
        import torch.distributed.checkpoint as dcp

        with pytest.warns(UserWarning, match="assuming the intent is to save in a single process"):
            dcp.save(state, checkpoint_id=folder / "dcp", no_dist=True)
        return folder / "dcp"
    path = folder / f"model.{kind}"
    save_file(state, path) if kind == "safetensors" else torch.save(state, path)
    return path


class Counted:
    """Counts the bytes that are read of files, but for headers."""

    def __init__(self, monkeypatch):
        self.bytes = 0
        read_into, mapped = LocalFile.read_into, LocalFile.mapped

        def read(file, offset, buffer):
            self.bytes += len(memoryview(buffer))
            return read_into(file, offset, buffer)

        def mapping(file, offset, length):
            self.bytes += length
            return mapped(file, offset, length)

        monkeypatch.setattr(LocalFile, "read_into", read)
        monkeypatch.setattr(LocalFile, "mapped", mapping)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["safetensors", "pth", "dcp"])
def test_a_shard_is_read_alone(mesh, kind, dtype, tmp_path):
    whole = net()
    initium.initialize(whole, [*RULES, dict(type="Normal", name="columns.bias")], seed=1)
    whole.steps.add_(1)
    path = saved(tmp_path, kind, whole)
    model = sharded(net(dtype), mesh)
    initium.initialize(model, dict(type="Pretrained", checkpoint=str(path)), strict=True)
    check(model, whole.to(dtype), mesh)
    assert initium.verify(model) == 6


def test_of_rows_only_their_bytes_are_read(mesh, tmp_path, monkeypatch):
    big = nn.Linear(1 << 10, 1 << 10, bias=False)  # 4 MiB
    save_file({"weight": big.weight.detach()}, tmp_path / "w.safetensors")
    for placements, most in ((ROWS, 1 << 21), (COLUMNS, 1 << 22)):
        model = nn.Linear(1 << 10, 1 << 10, bias=False)
        spread = distribute_tensor(model.weight.detach(), mesh, placements, src_data_rank=None)
        model.weight = nn.Parameter(torch.zeros_like(spread))
        counted = Counted(monkeypatch)
        initium.initialize(
            model, dict(type="Pretrained", checkpoint=str(tmp_path / "w.safetensors"))
        )
        want = distribute_tensor(big.weight.detach(), mesh, placements, src_data_rank=None)
        assert torch.equal(memory_of(model.weight), want.to_local())
        assert counted.bytes < most + 4096  # the header
        monkeypatch.undo()


def test_converted_and_adapted_tensors_are_cut(mesh, tmp_path):
    whole = nn.Module()
    whole.rows = nn.Linear(48, 33, bias=False)
    save_file(
        {"rows.weight": whole.rows.weight.detach().T.contiguous()}, tmp_path / "t.safetensors"
    )
    model = nn.Module()
    model.rows = nn.Linear(48, 33, bias=False)
    spread = distribute_tensor(model.rows.weight.detach() * 0, mesh, BOTH, src_data_rank=None)
    model.rows.weight = nn.Parameter(spread)
    rule = dict(
        type="Pretrained",
        checkpoint=str(tmp_path / "t.safetensors"),
        convert=[dict(type="Transpose", key="rows.weight")],
    )
    initium.initialize(model, rule)
    want = distribute_tensor(whole.rows.weight.detach(), mesh, BOTH, src_data_rank=None)
    assert torch.equal(memory_of(model.rows.weight), want.to_local())


def test_a_nan_in_a_shard_is_warned_of(mesh, tmp_path):
    whole = net()
    whole.rows.weight.data.fill_(float("nan"))
    path = saved(tmp_path, "safetensors", whole)
    model, rule = sharded(net(), mesh), dict(type="Pretrained", checkpoint=str(path))
    if dist.get_rank():
        initium.initialize(model, rule)  # rank 0 warns, of what all have seen
        return
    with pytest.warns(InitWarning, match=r"rows\.weight: the checkpoint has NaN"):
        initium.initialize(model, rule)


def test_a_strided_shard_that_is_cut_again_is_refused(mesh):
    strided = [_StridedShard(0, split_factor=2)] * 2
    model = nn.Linear(4, 64, bias=False)
    spread = distribute_tensor(model.weight.detach(), mesh, strided, src_data_rank=None)
    model.weight = nn.Parameter(spread)
    before = memory_of(model.weight).clone()
    with pytest.raises(InitError, match=r"weight: its placements .* cut a strided shard once more"):
        initium.initialize(model, dict(type="Normal", layer="Linear"))
    assert torch.equal(memory_of(model.weight), before)
