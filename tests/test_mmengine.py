"""The real MMEngine: its Runner trains our models, its models get our plans and initializers."""

import sys
import warnings
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader

import initium
from initium.errors import InitTypeError, InitWarning

pytest.importorskip("cv2", reason="make test-integrations installs what MMEngine needs")
pytest.importorskip("matplotlib")
pytestmark = pytest.mark.filterwarnings("ignore")  # MMEngine's own


@pytest.fixture(scope="module")
def theirs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from initium.integrations import mmengine
    return mmengine


DATA = [(torch.arange(4.0) + i, torch.tensor(i % 3)) for i in range(8)]


def steps(self, data, optim_wrapper):
    x, y = data
    loss = nn.functional.cross_entropy(self(x), y)
    optim_wrapper.update_params(loss)
    return dict(loss=loss)


class Ours(initium.BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.linear = nn.Linear(4, 3)
        self.calls = []

    def forward(self, x):
        return self.linear(x)

    def init_weights(self):
        super().init_weights()
        self.calls.append(self.linear.weight.tolist())

    train_step = steps


def runner(model, folder, **options):
    from mmengine.runner import Runner

    return Runner(
        model=model,
        work_dir=str(folder),
        train_dataloader=DataLoader(DATA, batch_size=4),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        **options,
    )


def test_the_runner_initialises_our_model_once(tmp_path):
    model = Ours(init_cfg=dict(type="Constant", layer="Linear", val=1, bias=2))
    runner(model, tmp_path).train()
    assert model.is_init
    assert model.calls == [[[1.0] * 4] * 3]
    assert not torch.equal(model.linear.weight, torch.ones(3, 4))  # it has been trained


@pytest.fixture(autouse=True)
def loggers(monkeypatch):
    """MMEngine's of each test are its own: they are called by the second in which a run starts."""
    from mmengine.logging import MMLogger

    monkeypatch.setattr(MMLogger, "_instance_dict", OrderedDict())
    yield MMLogger
    for made in MMLogger._instance_dict.values():
        for handler in made.handlers:
            handler.close()


def test_the_log_of_a_run_has_the_report(tmp_path, caplog, loggers):
    save_file({"weight": torch.ones(3, 4)}, tmp_path / "x.safetensors")
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "x.safetensors"), to="linear")
    model = Ours(init_cfg=[dict(type="Constant", layer="Linear", val=1, bias=2), rule])
    runner(model, tmp_path).train()
    (file,) = tmp_path.glob("*/*.log")
    text = file.read_text()
    for said in (
        f"load model from: {tmp_path}/x.safetensors",
        "linear.weight - torch.Size([3, 4]):\nPretrainedInit: load from",
        "linear.bias - torch.Size([3]):\nConstantInit: val=1, bias=2",
    ):
        assert text.count(said) == 1, text
    assert "ConstantInit" not in caplog.text  # of a long report, in one place, as MMEngine does


def test_whoever_silences_our_log_silences_it_there(tmp_path, caplog, loggers):
    loggers.get_instance("quiet", log_file=str(tmp_path / "out.log"))
    save_file({"weight": torch.ones(3, 4)}, tmp_path / "x.safetensors")
    rule = dict(type="Pretrained", checkpoint=str(tmp_path / "x.safetensors"), to="linear")
    with caplog.at_level("WARNING", "initium"):
        Ours(init_cfg=rule).init_weights()
    assert (tmp_path / "out.log").read_text() == ""


def test_its_log_without_files_is_left_alone(caplog, loggers):
    loggers.get_instance("without a file")
    with caplog.at_level("INFO", "initium"):
        Ours(init_cfg=dict(type="Constant", layer="Linear", val=1)).init_weights()
    assert caplog.text.count("ConstantInit: val=1, bias=0") == 2


def test_a_model_that_is_resumed_is_as_its_checkpoint(tmp_path, monkeypatch):
    # MMEngine's checkpoints hold its HistoryBuffer, which torch does not load any more
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    first = Ours(init_cfg=dict(type="Constant", layer="Linear", val=1))
    runner(first, tmp_path).train()
    second = Ours(init_cfg=dict(type="Constant", layer="Linear", val=5))
    run = runner(second, tmp_path, load_from=str(tmp_path / "epoch_1.pth"), resume=True)
    run.train()
    assert torch.equal(second.linear.weight, first.linear.weight)


def model_of(base, init_cfg, code=None):
    """A net of blocks on one of the two BaseModules, with or without user code."""

    class Block(base):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.conv, self.norm = nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8)

    class Net(base):
        def __init__(self):
            super().__init__(init_cfg)
            self.one = Block()
            self.two = Block(dict(type="Normal", layer="Conv1d", std=0.5))
            self.head = nn.Linear(8, 3)

        if code is not None:

            def init_weights(self):
                super().init_weights()
                code(self)

    return Net()


def mm_model(init_cfg, code=None):
    from mmengine.model import BaseModule

    return model_of(BaseModule, init_cfg, code)


RULES = [
    dict(type="Kaiming", layer="Conv1d"),
    dict(type="Constant", layer="Linear", val=3, override=dict(name="head", type="Xavier")),
]


def halve(model):
    nn.init.uniform_(model.head.weight, -1, 1)
    with torch.no_grad():
        model.head.bias.add_(0.25)


@pytest.mark.parametrize("code", [None, halve])
def test_a_model_of_theirs_gets_what_ours_would(theirs, code):
    model, twin = mm_model(RULES, code), model_of(initium.BaseModule, RULES, code)
    plan = theirs.plan(model, seed=4)
    assert not model.is_init
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = theirs.init_weights(model, seed=4)
    twin.init_weights(seed=4)
    for name, value in twin.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert not torch.equal(before["head.weight"], model.head.weight)
    assert model.is_init
    assert [str(entry.name) for entry in report.entries] == list(plan.lines)
    assert plan["two.conv.weight"].what == "Normal(mean=0, std=0.5)"
    assert initium.verify(model) > 0
    with pytest.warns(InitWarning, match="called more than once"):
        assert theirs.init_weights(model) is None


def test_their_own_method_is_theirs_again(theirs):
    from mmengine.model import BaseModule

    before = BaseModule.init_weights
    theirs.init_weights(mm_model(RULES), seed=1)
    with pytest.raises(Exception, match="no submodule or parameter"):
        theirs.plan(
            mm_model(dict(type="Normal", override=dict(name="nowhere", type="Constant", val=1)))
        )
    assert BaseModule.init_weights is before


def test_their_models_use_our_initializers_while_installed(theirs):
    from mmengine.registry import WEIGHT_INITIALIZERS

    model = mm_model(dict(type="TruncNormal", layer=["Linear", "Conv1d"], std=0.01, units="sigma"))
    with theirs.install():
        assert WEIGHT_INITIALIZERS.get("TruncNormal") is initium.TruncNormalInit
        model.init_weights()
    assert WEIGHT_INITIALIZERS.get("TruncNormal") is not initium.TruncNormalInit
    assert model.head.weight.abs().max() <= 0.02
    assert not model.head.bias.any()


def test_other_modules_are_refused(theirs):
    with pytest.raises(
        InitTypeError, match=r"must be a mmengine\.model\.BaseModule, but got Linear"
    ):
        theirs.init_weights(nn.Linear(2, 2))


def test_importing_initium_does_not_import_mmengine():
    import subprocess

    code = "import sys, initium; print('mmengine' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
