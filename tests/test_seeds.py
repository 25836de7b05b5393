"""Seeds: the same bits whatever else happens; `rng="torch"` for those who need torch's sequence."""

import sys

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

import initium
from initium import BaseModule, InitError, initialize, plan
from initium.initializers import Orthogonal, Sparse

RULES = [
    dict(type="Normal", layer="Linear", std=0.02, bias=0.5),
    dict(type="Xavier", layer="Conv1d", distribution="uniform"),
    dict(type="TruncNormal", layer="Embedding", std=1),
]


def model():
    return nn.Sequential(
        nn.Embedding(30, 8, padding_idx=3), nn.Linear(8, 300), nn.Conv1d(3, 5, 7), nn.Linear(9, 4)
    )


class Net(BaseModule):
    def __init__(self):
        super().__init__(init_cfg=RULES)
        self.body = model()


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_one_pass_fills_all_tensors_as_if_each_were_alone():
    both, one = model(), model()
    initialize(both, RULES, seed=4)
    for name, tensor in one.named_parameters():
        alone = dict(type="Constant", name=name, val=0)
        for rule in RULES:
            line = plan(one, rule)[name]
            if line.write is not None:
                alone = dict(line.write.initializer.to_dict(), name=name)
        initialize(one, alone, seed=4)
        assert tensor.equal(both.get_parameter(name)), name


def test_the_padding_row_stays_zero_and_each_tensor_changes_version_once():
    net = model()
    before = {name: p._version for name, p in net.named_parameters()}
    initialize(net, RULES, seed=4)
    assert not net[0].weight[3].any()
    assert net[0].weight.abs().max() <= 2
    assert {name: p._version - 1 for name, p in net.named_parameters()} == before


@pytest.mark.parametrize("rng", ["philox", "torch"])
def test_the_seed_alone_decides(rng):
    nets = [Net() for _ in range(4)]
    for i, (net, seed) in enumerate(zip(nets, (7, 7, 8, 7), strict=True)):
        torch.manual_seed(i)
        before = torch.get_rng_state()
        report = net.init_weights(seed=seed, rng=rng)
        assert report.seed == seed
        assert torch.get_rng_state().equal(before)
    assert same(state(nets[0]), state(nets[1]))
    assert not same(state(nets[0]), state(nets[2]))
    assert same(state(nets[0]), state(nets[3]))


@pytest.mark.parametrize("rng", ["philox", "torch"])
def test_a_plan_keeps_its_rng(rng, tmp_path):
    made = plan(model(), RULES, seed=3, rng=rng)
    made.save(tmp_path / "plan.json")
    read = initium.Plan.load(tmp_path / "plan.json")
    assert read == made
    a, b = model(), model()
    initium.apply(read, a)
    initialize(b, RULES, seed=3, rng=rng)
    assert same(state(a), state(b))
    assert ("rng 'torch'" in str(made)) == (rng == "torch")


@pytest.mark.parametrize("seed", [None, 5])
def test_torch_draws_in_the_order_of_the_plan(seed):
    ours, theirs = model(), model()
    torch.manual_seed(5)
    report = initialize(ours, RULES, seed=seed, rng="torch")
    assert report.seed == seed
    after = torch.get_rng_state()
    torch.manual_seed(5)
    nn.init.normal_(theirs[1].weight, 0, 0.02)
    nn.init.normal_(theirs[3].weight, 0, 0.02)
    nn.init.xavier_uniform_(theirs[2].weight)
    nn.init.trunc_normal_(theirs[0].weight)
    with torch.no_grad():
        theirs[0].weight[3] = 0
        for bias, value in ((theirs[1].bias, 0.5), (theirs[3].bias, 0.5), (theirs[2].bias, 0)):
            bias.fill_(value)
    assert same(state(ours), state(theirs))
    if seed is None:  # torch's default generator has moved as it always did
        assert after.equal(torch.get_rng_state())


class WithCode(BaseModule):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

    def init_weights(self):
        initium.normal_init(self.a, std=2)
        initium.normal_init(self.b, std=2)


def test_functions_called_by_user_code_follow_the_rng_and_seed_of_the_run():
    net = initium.Sequential(WithCode())
    net.init_weights(seed=1, rng="torch")
    generator = torch.Generator().manual_seed(1)
    for layer in (net[0].a, net[0].b):
        wanted = nn.init.normal_(torch.empty(3, 3), 0, 2, generator=generator)
        assert layer.weight.equal(wanted)
    other, again = initium.Sequential(WithCode()), initium.Sequential(WithCode())
    other.init_weights(seed=1)
    again.init_weights(seed=1)
    assert same(state(other), state(again))
    assert not other[0].a.weight.equal(other[0].b.weight)


class Twice(BaseModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def init_weights(self):
        self.drawn = []
        for _ in range(2):
            initium.normal_init(self.layer)
            self.drawn.append(self.layer.weight.detach().clone())


def test_user_code_that_draws_twice_gets_other_values():
    nets = [initium.Sequential(Twice()) for _ in range(2)]
    for net in nets:
        net.init_weights(seed=1)
    (a, b), (c, d) = (net[0].drawn for net in nets)
    assert not a.equal(b)
    assert a.equal(c)
    assert b.equal(d)


def test_a_plan_for_another_dtype_is_checked_before_the_first_write():
    made = plan(model(), dict(type="Uniform", layer="Linear", a=1.01, b=1.02, bias=4))
    net = model().to(torch.float8_e5m2)
    before = state(net)
    with pytest.raises(
        InitError, match=r"1\.weight: torch\.float8_e5m2 has no value in \[1\.01, 1"
    ):
        initium.apply(made, net)
    after = state(net)
    assert all(before[name].double().equal(after[name].double()) for name in before)


class Mine(initium.BaseInit):
    def __init__(self, initializer, **common):
        super().__init__(**common)
        self.initializer = initializer


@pytest.mark.parametrize("initializer", [Orthogonal(2), Sparse(0.5)])
def test_whole_matrices_take_part_in_plans(initializer):
    rule = Mine(initializer, layer="Linear")
    a, b, c = model(), model(), model()
    line = plan(a, rule, seed=1)["1.weight"]
    initialize(a, rule, seed=1)
    # 2,400 elements: within 10 percent
    assert a[1].weight.std().item() == pytest.approx(line.std, rel=0.1)
    initialize(b, rule, seed=1)
    assert same({"w": a[1].weight}, {"w": b[1].weight})
    initialize(c, rule, seed=1, rng="torch")
    wanted = torch.empty(300, 8)
    generator = torch.Generator().manual_seed(1)
    if isinstance(initializer, Orthogonal):
        assert c[1].weight.equal(nn.init.orthogonal_(wanted, 2, generator=generator))


def test_an_orthogonal_matrix_does_not_depend_on_the_number_of_threads():
    threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            net = nn.Linear(300, 500)
            initialize(net, Mine(Orthogonal(), layer="Linear"), seed=1)
            assert torch.get_num_threads() == n
            found.append({"w": net.weight})
    finally:
        torch.set_num_threads(threads)
    assert same(found[0], found[1])
    assert same(found[0], found[2])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(rng="mt19937"), InitError, "rng must be 'philox' or 'torch', but got 'mt19937'"),
        (dict(rng="torch", seed="a"), TypeError, "with rng='torch' a seed must be an int"),
        (dict(seed=1.5), TypeError, "a seed must be an int, a str or a tuple"),
    ],
)
def test_bad_seeds_and_rngs_change_nothing(arguments, error, message):
    for call in (
        lambda: initialize(model(), RULES, **arguments),
        lambda: plan(model(), RULES, **arguments),
        lambda: Net().init_weights(**arguments),
    ):
        with pytest.raises(error, match=message):
            call()


def test_a_plan_of_an_older_version_is_refused(tmp_path):
    plan(model(), RULES).save(tmp_path / "plan.json")
    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace('"initium_plan": 4', '"initium_plan": 2'))
    with pytest.raises(InitError, match=r"is no plan of version 4, as .*: it is of version 2"):
        initium.Plan.load(tmp_path / "plan.json")


def test_parts_of_a_tensor_are_refused():
    net = model()
    net[1].weight.ds_shape = ()
    before = state(net)
    with pytest.raises(InitError, match=r"1\.weight: .*does not say where its slice is"):
        initialize(net, RULES)
    with pytest.raises(InitError, match="does not say where its slice is"):
        initium.init.normal_(net[1].weight)
    assert same(before, state(net))


def _rank(rank, store, results):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    torch.manual_seed(100 + rank)  # ranks that were seeded apart
    net = model()
    report = initialize(net, RULES)
    results.put((rank, report.seed, net[1].weight.double().sum().item()))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file store")
def test_ranks_without_a_seed_take_that_of_rank_0(tmp_path):
    context = mp.get_context("spawn")
    results = context.Queue()
    ranks = mp.spawn(_rank, (tmp_path / "store", results), nprocs=2, join=False)
    a, b = sorted(results.get(timeout=100) for _ in range(2))
    ranks.join()
    assert a[1:] == b[1:]
    torch.manual_seed(100)
    net = model()
    assert initialize(net, RULES).seed == a[1]
    assert net[1].weight.double().sum().item() == a[2]
