"""The real Lightning: InitWeights runs once, at the right time, and never over what was restored."""

import json
import os
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import initium
from processes import TORCHRUN, output

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    lightning = pytest.importorskip("lightning.pytorch")
    from initium.integrations.lightning import InitWeights

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own
RULES = [dict(type="Normal", layer="Linear", std=0.3, bias=1)]


class Module(lightning.LightningModule):
    def __init__(self, net=None, configured=None):
        super().__init__()
        self.net = (
            nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)) if net is None else net
        )
        self.configured = configured
        self.start = None

    def configure_model(self):
        if self.configured is not None:
            self.configured(self)

    def on_train_batch_start(self, *_):
        if self.start is None:
            self.start = {k: v.clone() for k, v in self.state_dict().items()}

    def training_step(self, batch):
        return self.net(batch).square().mean()

    def configure_optimizers(self):
        self.given = list(self.parameters())
        return torch.optim.SGD(self.given, lr=0.1)


def fit(module, callback, folder, ckpt_path=None, **options):
    trainer = lightning.Trainer(
        max_steps=2,
        accelerator="cpu",
        callbacks=[callback],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **{"logger": lightning.loggers.CSVLogger(folder), **options},
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.ones(4, 4)), ckpt_path=ckpt_path)
    return trainer


def expected(rules=RULES, seed=3):
    module = Module()
    initium.initialize(module, rules, seed=seed)
    return module.state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_fit_starts_as_the_rules_say_and_trains(tmp_path):
    module, callback = Module(), InitWeights(RULES, seed=3)
    trainer = fit(module, callback, tmp_path)
    assert same(module.start, expected())
    assert not same(module.state_dict(), expected())  # the optimizer has the same parameters
    assert [report.counts for report in callback.reports] == [{"filled": 4}]
    saved = json.loads(next(tmp_path.rglob("initium.json")).read_text())
    assert [entry["name"] for entry in saved[0]["entries"]] == list(dict(module.named_parameters()))
    assert trainer.logger.experiment.hparams["initium_seed"] == "3"
    assert len(trainer.logger.experiment.hparams["initium_plan"]) == 32


def test_a_resumed_fit_is_left_alone(tmp_path):
    first = Module()
    trainer = fit(first, InitWeights(RULES, seed=3), tmp_path)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second, callback = Module(), InitWeights(RULES, seed=4)
    fit(second, callback, tmp_path, ckpt_path=str(tmp_path / "last.ckpt"))
    assert same(second.state_dict(), first.state_dict())
    assert callback.reports == []


def test_what_modules_declare_counts_where_no_rules_are_given(tmp_path):
    def net():
        cfg = dict(type="Constant", layer="Linear", val=0.5)
        return initium.Sequential(nn.Linear(4, 5), nn.Linear(5, 2), init_cfg=cfg)

    module = Module(net())
    fit(module, InitWeights(), tmp_path)
    assert (module.start["net.0.weight"] == 0.5).all()
    assert module.net.is_init


@pytest.mark.parametrize("when", ["init", "configure_model"])
def test_what_was_built_on_meta_gets_its_plan(tmp_path, when):
    def net(device):
        factory = lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))  # noqa: E731
        return initium.build(factory, seed=6, init_cfg=RULES, device=device)

    def configured(module):
        if when == "configure_model":
            module.net = net("meta")
            initium.materialize(module.net)

    module = Module(net("meta") if when == "init" else nn.Identity(), configured)
    fit(module, InitWeights(), tmp_path)
    want = net("cpu").state_dict()
    assert same(module.start, {f"net.{name}": value for name, value in want.items()})


def test_a_mistake_is_an_error_before_training(tmp_path):
    module = Module()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    with pytest.raises(initium.InitError, match="Linaer"):
        fit(module, InitWeights(dict(type="Normal", layer="Linaer"), strict=True), tmp_path)
    assert same(module.state_dict(), before)


class Sharded(Module):
    """Shards itself over the ranks, as models for ModelParallelStrategy do."""

    def configure_model(self):
        from torch.distributed.fsdp import fully_shard

        if isinstance(self.net, nn.Identity):
            with torch.device("meta"):
                self.net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def on_train_batch_start(self, *_):
        if self.start is None:
            self.start = {k: v.full_tensor().clone() for k, v in self.state_dict().items()}


@pytest.fixture
def environment():
    """Lightning leaves MASTER_ADDR and the like behind, which others would take for a cluster."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("environment")
def test_a_model_on_meta_that_a_strategy_shards(tmp_path):
    assert same(sharded_start(tmp_path, 1), expected())
    torch.distributed.destroy_process_group()


def sharded_start(folder, processes):
    """The whole state at the first step of a model that is sharded over all processes."""
    from lightning.pytorch.strategies import ModelParallelStrategy

    strategy = ModelParallelStrategy(
        data_parallel_size=processes, tensor_parallel_size=1, process_group_backend="gloo"
    )
    module, callback = Sharded(nn.Identity()), InitWeights(RULES, seed=3)
    fit(module, callback, folder, strategy=strategy, devices=processes, enable_checkpointing=False)
    return module.start


def ddp_start(folder, processes):
    """The state at the first step of replicas."""
    strategy = lightning.strategies.DDPStrategy(process_group_backend="gloo")
    module = Module()
    fit(module, InitWeights(RULES, seed=3), folder, strategy=strategy, devices=processes)
    return module.start


SCRIPT = """
import sys
import time
import torch
import test_lightning

found = getattr(test_lightning, sys.argv[1])(sys.argv[2], 2)
torch.save(found, f"{sys.argv[2]}/{torch.distributed.get_rank()}.pt")
torch.distributed.destroy_process_group()
time.sleep(0.1)  # gloo's threads let go of tensors, while there is an interpreter
"""


@pytest.mark.parametrize("way", ["sharded_start", "ddp_start"])
def test_two_processes_start_as_one(tmp_path, way):
    (tmp_path / "ranks.py").write_text(SCRIPT)
    command = [*TORCHRUN, "--nproc-per-node=2", str(tmp_path / "ranks.py"), way, str(tmp_path)]
    output(command, env={"PYTHONPATH": str(Path(__file__).parent)})
    for rank in range(2):
        assert same(torch.load(tmp_path / f"{rank}.pt"), expected())
