"""What ranks do with models in the wrappers of others: DDP, FSDP1 and DeepSpeed's ZeRO-3."""

import math
import os
import warnings
from enum import Enum
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy, size_based_auto_wrap_policy
from torch.nn.parallel import DistributedDataParallel
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm

import initium.fsdp1
from families import FAMILIES
from initium.flat import check_not_flat
from initium.tree import Tree

RULES = [
    dict(type="Xavier", layer="Linear", distribution="uniform", bias=0.5),
    dict(type="TruncNormal", layer="Embedding", std=0.05, a=-0.1, b=0.1),
    dict(type="Kaiming", name="head.weight", mode="fan_in"),
    dict(type="Normal", name="scale", std=3.0),
]
IDS = torch.arange(8).view(4, 2)


class Net(nn.Module):
    """Uneven sizes, three dimensions, a row of zeros, a buffer of each sort; or a tie."""

    def __init__(self, tied=False):
        super().__init__()
        self.words = nn.Embedding(13, 6, padding_idx=2)
        self.body = nn.Sequential(nn.Linear(6, 7), nn.LayerNorm(7), nn.BatchNorm1d(7))
        self.head = nn.Linear(7, 6, bias=False)
        self.out = nn.Linear(6, 13, bias=False)
        self.scale = nn.Parameter(torch.ones(3, 2, 5))
        self.register_buffer("angles", torch.arange(9).view(3, 3).cos(), persistent=False)
        if tied:
            self.out.weight = self.words.weight

    def forward(self, ids):
        hidden = self.body(self.words(ids).mean(1))
        return self.out(self.head(hidden)).logsumexp(-1) * self.scale.mean() + self.angles.sum()


class Outer(nn.Module):
    """A module that holds a tie within."""

    def __init__(self):
        super().__init__()
        self.net = Net(tied=True)
        self.last = nn.Linear(len(IDS), 3)

    def forward(self, ids):
        return self.last(self.net(ids))


def bits(model):
    """Every value of a model, buffers that are in no checkpoint included."""
    found = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in sorted(found)}


def different(one, other):
    """Names of the tensors that are not the same."""
    both = one.keys() | other.keys()
    return sorted(n for n in both if n not in one or n not in other or not one[n].equal(other[n]))


def initialized(**how):
    """The model of one process."""
    model = Net(**how)
    initium.initialize(model, RULES, seed=0)
    return model


def stepped(model, ids):
    """The model, after a step of training."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(ids).mean().backward()
    optimizer.step()
    return model


# ---- DDP


def ddp():
    rank = dist.get_rank()
    torch.manual_seed(rank)  # so that what a rank draws by itself shows
    found = {}
    late = DistributedDataParallel(Net())
    report = initium.initialize(late, RULES, seed=0)
    found["names"] = [entry.name for entry in report.entries]
    found["path"] = initium.plan_of(late)["module.head.weight"].path
    found["late"] = bits(late.module)
    early = initialized()
    found["before"] = bits(early)
    found["early"] = bits(DistributedDataParallel(early).module)
    unseeded = DistributedDataParallel(Net())
    initium.initialize(unseeded, RULES)
    found["unseeded"] = bits(unseeded.module)
    late.eval()  # the statistics of a batch are those of a rank
    found["stepped"] = bits(stepped(late, IDS[2 * rank : 2 * rank + 2]).module)
    return found


# ---- FSDP1

FACTORIES = {
    "net": Net,
    "tied net": lambda: Net(tied=True),
    "outer": Outer,
    "llama": FAMILIES["llama"].crafted,
    "tied llama": FAMILIES["tied llama"].crafted,
    "bert": FAMILIES["bert"].crafted,
}
POLICIES = {
    "one unit": None,
    "blocks": ModuleWrapPolicy({nn.Sequential, Net, LlamaDecoderLayer, BertLayer}),
    "layers": ModuleWrapPolicy({nn.Linear, nn.LayerNorm, LlamaRMSNorm}),
    "by size": partial(size_based_auto_wrap_policy, min_num_params=2000),
}


def flattened(model, policy=None, orig=True, **how):
    """A model in FSDP1, on the CPU."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*switching to use `NO_SHARD`")
        return FullyShardedDataParallel(
            model,
            device_id=torch.device("cpu"),
            use_orig_params=orig,
            auto_wrap_policy=POLICIES[policy] if policy else None,
            **how,
        )


def whole(sharded):
    """Every value of a model in FSDP1, by the names of the model."""
    with FullyShardedDataParallel.summon_full_params(sharded):
        return {clean(name): values for name, values in bits(sharded).items()}


def clean(name):
    return name.replace("_fsdp_wrapped_module.", "")


def fsdp1(cases):
    """For each case: what differs from the model of one process; and after a step of training."""
    return {case: _fsdp1(*case) for case in cases}


def _fsdp1(factory, policy, orig):
    model = initium.build(FACTORIES[factory], seed=3, device="meta")
    ties = len(dict(model.named_parameters(remove_duplicate=False))) - len(list(model.parameters()))
    fill = initium.fsdp1.param_init_fn(model)
    sharded = flattened(model, policy, orig, param_init_fn=fill)
    single = initium.build(FACTORIES[factory], seed=3)
    wrong = different(whole(sharded), bits(single))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*``NO_SHARD``")
        saved = different(sharded.state_dict(), single.state_dict())
    batch = FAMILIES[factory].batch() if factory in FAMILIES else dict(ids=IDS)
    losses = []
    for each in (sharded, single):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        for _ in range(2):
            out = each(**batch)
            loss = out.mean() if isinstance(out, torch.Tensor) else out.loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    found = {"wrong": wrong, "wrong in state_dict": saved, "losses": losses, "ties": ties}
    return found | dict(tensors=len(bits(single)))


def fsdp1_refused():
    """The errors of ranks that go wrong, and what works in their stead."""
    found, rank = {}, dist.get_rank()
    for orig in (True, False):
        model = initialized()
        sharded = flattened(model, "blocks", orig)
        found["flat", orig] = _error(lambda m=sharded: check_not_flat(Tree(m)))
        plan = initium.plan_of(model)
        found["rules", orig] = _error(lambda m=sharded: initium.initialize(m, RULES, seed=0))
        found["plan", orig] = _error(lambda m=sharded, p=plan: initium.apply(p, m))
        found["kept", orig] = different(whole(sharded), bits(initialized()))
        with FullyShardedDataParallel.summon_full_params(sharded):
            check_not_flat(Tree(sharded))
            initium.initialize(sharded, RULES, seed=9)
        again = Net()
        initium.initialize(again, RULES, seed=9)
        found["summoned", orig] = different(whole(sharded), bits(again))
        for cut in ({nn.Embedding}, {nn.Linear}, {nn.Embedding, nn.Linear}):
            model = initium.build(lambda: Net(tied=True), seed=3, device="meta")
            fill = initium.fsdp1.param_init_fn(model)
            POLICIES["torn"] = ModuleWrapPolicy(cut)
            torn = _error(lambda m=model, f=fill, o=orig: flattened(m, "torn", o, param_init_fn=f))
            found["torn", orig, len(cut), nn.Linear in cut] = torn
    two = initium.build(lambda: nn.Linear(3, 2), device="meta", seed=0)
    found["seeds"] = _error(lambda: initium.fsdp1.param_init_fn(two, seed=rank))
    found["one fails"] = _error(
        lambda: initium.fsdp1.param_init_fn(two if rank else nn.Linear(3, 2))
    )
    rules = dict(type="Normal", layer="Linear")
    torch.manual_seed(rank)
    fill = initium.fsdp1.param_init_fn(two, initium.plan(two, rules))
    found["unseeded"] = whole(flattened(two, param_init_fn=fill))
    return found


def _error(run):
    try:
        run()
    except initium.InitError as error:
        return str(error)
    return None


# ---- ZeRO-3


class Status(Enum):
    """As DeepSpeed has it."""

    AVAILABLE = 1
    NOT_AVAILABLE = 2
    INFLIGHT = 3


def sliced(shape, rank, world, dtype=torch.float32):
    """What `deepspeed.zero.Init` makes of a parameter: a rank's slice of it."""
    parameter = nn.Parameter(torch.empty(0, dtype=dtype))
    n = math.prod(shape)
    parameter.ds_shape, parameter.ds_numel = torch.Size(shape), n
    parameter.ds_status = Status.NOT_AVAILABLE
    parameter.ds_tensor = torch.full((-(-n // world),), torch.nan, dtype=dtype)
    parameter.ds_zero_partition_rank, parameter.ds_process_group = rank, None
    return parameter


def slice_all(model, rank, world):
    """Make every parameter of a model one of ZeRO-3, without DeepSpeed."""
    made = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                shape = parameter.shape
                made.setdefault(parameter, sliced(shape, rank, world, parameter.dtype))
                module._parameters[name] = made[parameter]
    return model


def joined(slices):
    """A whole tensor of its slices on all ranks, which are all there."""
    flat = torch.cat([parameter.ds_tensor for parameter in slices])
    assert flat[slices[0].ds_numel :].isnan().all()  # the padding is nobody's
    return flat[: slices[0].ds_numel].view(slices[0].ds_shape)


def _deepspeed(stage=3, **settings):
    """DeepSpeed on the CPU: itself, a config, and what makes a model under it."""
    warnings.simplefilter("ignore")  # its own are many
    rank, world = dist.get_rank(), dist.get_world_size()
    os.environ |= dict(DS_ACCELERATOR="cpu", LOCAL_RANK=str(rank), LOCAL_SIZE=str(world))
    import deepspeed

    deepspeed.init_distributed("gloo", verbose=False)
    config = dict(train_micro_batch_size_per_gpu=4, zero_allow_untested_optimizer=True)
    config |= dict(zero_optimization=dict(stage=stage, **settings), gradient_clipping=0.0)
    torch.manual_seed(rank)

    def made(factory=Net):
        with deepspeed.zero.Init(config_dict_or_path=config, enabled=stage == 3):
            return factory()

    return deepspeed, config, made


def zero3_filled():
    """What differs from models of one process, where they are made under DeepSpeed's ZeRO-3."""
    deepspeed, _, made = _deepspeed()
    found, rank, world = {}, dist.get_rank(), dist.get_world_size()

    def gathered(model, **how):
        return deepspeed.zero.GatheredParameters(list(model.parameters()), **how)

    def whole_of(model):
        with gathered(model):
            return bits(model)

    model, single = made(), initialized()
    found["shape"] = initium.initialize(model, RULES, seed=0)["head.weight"].shape
    found["slices"] = different(whole_of(model), bits(single))
    found["checked"] = initium.verify(model)
    model.head.weight.ds_tensor[0] += 1
    found["changed"] = _error(lambda: initium.verify(model))
    for factory in ("tied net", "tied llama"):
        built = initium.build(FACTORIES[factory], seed=3)
        model = made(FACTORIES[factory])
        initium.apply(initium.plan_of(built), model)
        found["plan", factory] = different(whole_of(model), bits(built))
    for modifier in (0, world - 1, None):
        model = made()
        with gathered(model, modifier_rank=modifier):
            initium.initialize(model, RULES, seed=0)
            found["within", modifier] = different(bits(model), bits(single))
        found["after", modifier] = different(whole_of(model), bits(single))
    model = made()
    initium.init.xavier_normal_(model.head.weight)
    with gathered(model):
        found["alone"] = model.head.weight.detach().clone()
    found["seeds"] = _error(lambda: initium.initialize(model, RULES, seed=rank))
    found["recorded"] = _error(lambda: made(lambda: initium.build(Net, seed=3)))
    return found


def deepspeed_trained(stage):
    """A step of training by DeepSpeed, and what is refused from then on."""
    deepspeed, config, made = _deepspeed(stage)
    model, single = made(), initialized().eval()
    initium.initialize(model, RULES, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine, *_ = deepspeed.initialize(model=model, config=config, optimizer=optimizer)
    engine.eval()  # which returns nothing
    losses = [engine(IDS).mean(), single(IDS).mean()]
    engine.backward(losses[0])
    error = _error(lambda: initium.initialize(model, RULES, seed=1))
    engine.step()
    losses[1].backward()
    torch.optim.SGD(single.parameters(), lr=0.1).step()
    with deepspeed.zero.GatheredParameters(list(model.parameters())):
        after = bits(model)
    return dict(
        losses=[loss.item() for loss in losses], error=error, after=after, single=bits(single)
    )


def zero3_twice():
    """Slices that hpZeRO keeps a second time, within a node of two ranks."""
    _, _, made = _deepspeed(zero_hpz_partition_size=2)
    model, single = made(), initialized()
    initium.initialize(model, RULES, seed=0)
    found = {}
    for name, parameter in model.named_parameters():
        flat = single.get_parameter(name).detach().flatten()
        second = parameter.ds_secondary_tensor
        at = dist.get_rank() % 2 * second.numel()
        held = flat[at : at + second.numel()]
        found[name] = second[: len(held)].equal(held), initium.verify(model)
    return found
