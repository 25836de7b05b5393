"""Presets against the constructors that they name, tensor by tensor; their words and mistakes."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from typer.testing import CliRunner

import initium
from initium import PRESETS, InitError, InitWarning, plan_of
from initium.cli import app
from initium.presets import Presets
from initium.presets.showing import shown
from initium.writes import Capture

FROZEN = Path(__file__).with_name("presets.json")


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def distribution(line):
    """Kind and numbers of what a tensor gets; bounds beyond 40 standard deviations cut nothing."""
    found = []
    for fill in line.carried_out:
        drawn = fill.initializer.draws(line.shape)
        if not isinstance(drawn, (int, float)):
            kind, numbers = type(drawn).__name__, dict(vars(drawn))
            if kind == "TruncNormal" and min(-numbers["a"], numbers["b"]) > 40 * numbers["std"]:
                kind, numbers = "Normal", {k: numbers[k] for k in ("mean", "std")}
            drawn = kind, {k: pytest.approx(v, rel=1e-6, abs=1e-12) for k, v in numbers.items()}
        found.append((fill.where, drawn))
    return found


def bare(line):
    return [
        (where, drawn if isinstance(drawn, (int, float)) else (drawn[0], {k: a.expected for k, a in drawn[1].items()}))
        for where, drawn in distribution(line)
    ]  # fmt: skip


def compare(make, cfg):
    """That a preset gives every parameter what its constructor gives it; returns the plan."""
    model = initium.build(make, device="meta", seed=0)
    real = plan_of(model)
    made = initium.plan(model, cfg, strict=True)
    names = [name for name, _ in model.named_parameters()]
    assert {line.name for line in made} == set(names) and len(names) > 10
    for line in made:
        assert line.last.source.startswith("preset "), line.name
        if isinstance(real[line.name].last, Capture):  # values: the bias of BERT's head, padded
            values = initium.build(make, seed=0).get_parameter(line.name)
            assert values.eq(line.last.initializer.val).all(), line.name
        else:
            assert bare(line) == distribution(real[line.name]), line.name
    return made


def small(kind, **more):
    import transformers

    sizes = dict(vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=2)
    return getattr(transformers, kind)(**{**sizes, "intermediate_size": 24, **more})


MODELS = {
    "gpt2": ("GPT2LMHeadModel", lambda: small("GPT2Config", n_layer=3), dict(n_layer=3)),
    "gpt2, no head": ("GPT2Model", lambda: small("GPT2Config"), dict(n_layer=3)),
    "gpt2, untied": ("GPT2LMHeadModel", lambda: small("GPT2Config", tie_word_embeddings=False, initializer_range=0.1), dict(n_layer=3, std=0.1)),
    "llama": ("LlamaForCausalLM", lambda: small("LlamaConfig"), {}),
    "llama, others": ("LlamaForCausalLM", lambda: small("LlamaConfig", tie_word_embeddings=True, attention_bias=True, mlp_bias=True, initializer_range=0.01, pad_token_id=0), dict(std=0.01)),
    "llama, mistral": ("MistralForCausalLM", lambda: small("MistralConfig", num_key_value_heads=1), {}),
    "llama, qwen 2": ("Qwen2ForCausalLM", lambda: small("Qwen2Config", num_key_value_heads=1), {}),
    "llama, qwen 3": ("Qwen3ForCausalLM", lambda: small("Qwen3Config", num_key_value_heads=1, head_dim=8), {}),
    "bert": ("BertForMaskedLM", lambda: small("BertConfig"), {}),
    "bert, classifier": ("BertForSequenceClassification", lambda: small("BertConfig", initializer_range=0.05), dict(std=0.05)),
    "vit": ("ViTForImageClassification", lambda: small("ViTConfig"), {}),
    "vit, wider": ("ViTModel", lambda: small("ViTConfig", initializer_range=0.04), dict(std=0.04)),
}  # fmt: skip


@pytest.mark.parametrize("which", MODELS)
def test_transformers_models_get_what_their_constructors_give(which):
    import transformers

    kind, config, arguments = MODELS[which]
    name = which.split(",")[0]
    compare(lambda: getattr(transformers, kind)(config()), dict(preset=name, **arguments))


def test_the_comparison_sees_other_numbers():
    import transformers

    for wrong in (dict(n_layer=4), dict(n_layer=3, std=0.021)):
        with pytest.raises(AssertionError):
            compare(
                lambda: transformers.GPT2Model(small("GPT2Config")), dict(preset="gpt2", **wrong)
            )


# torchvision and timm: small models of the same names, with their formulas written out


class Block(nn.Module):
    def __init__(self, width, bottleneck):
        super().__init__()
        sizes = (
            [(width, width, 1), (width, width, 3), (width, width, 1)]
            if bottleneck
            else [(width, width, 3)] * 2
        )
        for i, (a, b, k) in enumerate(sizes, 1):
            setattr(self, f"conv{i}", nn.Conv2d(a, b, k, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(b))
        self.downsample = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))  # fmt: skip


class ResNet(nn.Module):
    """As torchvision starts one: `ResNet.__init__` of models/resnet.py."""

    def __init__(self, bottleneck, zero):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, bias=False), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Block(8, bottleneck), Block(8, bottleneck))
        self.fc = nn.Linear(2048 if bottleneck else 512, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        for module in self.modules() if zero else ():
            if isinstance(module, Block):
                nn.init.zeros_((module.bn3 if bottleneck else module.bn2).weight)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnet(depth, zero):
    cfg = dict(preset="resnet", depth=depth, zero_init_residual=zero)
    plan = compare(lambda: ResNet(depth > 34, zero), cfg)
    last = "bn3" if depth > 34 else "bn2"
    assert plan[f"layer1.1.{last}.weight"].last.initializer.val == (0 if zero else 1)
    # torch's Linear: both uniform within 1/√fan_in
    bound = 1 / math.sqrt(2048 if depth > 34 else 512)
    assert plan["fc.bias"].last.initializer.b == pytest.approx(bound)


class ViT(nn.Module):
    """As timm starts one: `VisionTransformer.init_weights` with weight_init=''."""

    def __init__(self, token=True, patch=4, channels=3, width=8):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(channels, width, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, width))
        self.blocks = nn.Sequential(*(self.block(width) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 7)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if token:
            nn.init.normal_(self.cls_token, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def block(self, width):
        attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        return nn.ModuleDict({"norm1": nn.LayerNorm(width), "attn": attn})


@pytest.mark.parametrize("sizes", [{}, dict(patch=16), dict(channels=1), dict(token=False)])
def test_vit_of_timm(sizes):
    patch, channels = sizes.get("patch", 4), sizes.get("channels", 3)
    cfg = dict(preset="vit-timm", patch_size=patch, in_chans=channels, class_token=sizes.get("token", True))  # fmt: skip
    compare(lambda: ViT(**sizes), cfg)


# muP


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embed, self.input = nn.Embedding(50, width), nn.Linear(12, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm, self.lm_head = nn.LayerNorm(width), nn.Linear(width, 50, bias=False)


def test_mup_scales_with_width_as_table_3_says():
    cfg = dict(preset="mup", base_width=64, std=0.05, input="input.weight")
    narrow, wide = (
        {line.name: line.std for line in initium.plan(Net(width), cfg, strict=True)}
        for width in (64, 1024)
    )
    factors = {name: narrow[name] / wide[name] for name in narrow if narrow[name]}
    assert factors == {
        "embed.weight": pytest.approx(1),  # inputs do not see the width
        "input.weight": pytest.approx(1),
        "up.weight": pytest.approx(4),  # hidden: 1/√fan_in
        "down.weight": pytest.approx(4),
        "lm_head.weight": pytest.approx(16),  # output: 1/fan_in
    }
    at_base = {name: std for name, std in narrow.items() if std}
    assert at_base.pop("down.weight") == pytest.approx(0.05 / 2)  # its fan_in is four widths
    assert list(at_base.values()) == pytest.approx([0.05] * 4)


def test_mup_draws_what_it_says():
    model = Net(256)
    initium.initialize(model, dict(preset="mup", base_width=64), seed=0)
    # 12,800 values each: five standard errors are 3 %
    assert model.lm_head.weight.std().item() == pytest.approx(0.02 / 4, rel=0.032)
    assert model.embed.weight.std().item() == pytest.approx(0.02, rel=0.032)
    assert model.up.bias.eq(0).all() and model.norm.weight.eq(1).all()


def test_mup_for_other_norms_and_outputs():
    cfg = dict(preset="mup", base_width=8, norm=None, output=["up.weight", "down.weight"])
    plan = initium.plan(Net(16), cfg)
    assert plan["norm.weight"].last is None
    assert plan["up.weight"].std == pytest.approx(0.02 / 2)


# presets among other rules


def test_sources_name_preset_version_and_rule():
    cfg = [dict(type="Constant", layer="Linear", val=0), dict(preset="llama")]
    plan = initium.plan(nn.Sequential(nn.Linear(2, 2)), cfg)
    assert plan["0.weight"].last.source == "preset llama@1, rule 1"
    assert initium.plan(nn.Sequential(nn.Linear(2, 2)), dict(preset="llama@1")) == initium.plan(
        nn.Sequential(nn.Linear(2, 2)), [dict(preset="llama")]
    )
    below = initium.Sequential(initium.Sequential(nn.Linear(2, 2), init_cfg=dict(preset="llama")))
    source = initium.plan(below)["0.0.weight"].last.source
    assert source == "preset llama@1, rule 1, init_cfg of Sequential.0"


def test_later_rules_extend_and_override_a_preset():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.fc, self.head = nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.norm = nn.RMSNorm(4)
            self.scale = nn.Parameter(torch.zeros(3))

    rules = [
        dict(preset="llama", std=0.1),
        dict(type="Constant", name="head.weight", val=0),
        dict(type="Constant", name="scale", val=0.5),
    ]
    plan = initium.plan(Model(), rules, strict=True)
    assert {line.name: (line.std, line.last.source) for line in plan if line.name != "norm.weight"} == {
        "scale": (0, "init_cfg of Model, rule 3"),
        "words.weight": (0.1, "preset llama@1, rule 1"),
        "fc.weight": (0.1, "preset llama@1, rule 1"),
        "fc.bias": (0, "preset llama@1, rule 1"),
        "head.weight": (0, "init_cfg of Model, rule 2"),
        "head.bias": (0, "preset llama@1, rule 1"),
    }  # fmt: skip
    first = [rules[1], rules[0]]
    with pytest.warns(
        InitWarning, match="rule 1: every tensor that it sets is set again by preset"
    ):
        initium.initialize(Model(), first)


def test_in_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("- preset: llama\n  std: 1e-2\n\n- {type: Keep, name: '0.bias'}\n")
    plan = initium.plan(nn.Sequential(nn.Linear(2, 2)), "c.yaml")
    assert plan["0.weight"].std == 0.01
    assert plan["0.bias"].last.source == "c.yaml, line 4 (rule 2)"


MISTAKES = [
    (dict(preset="gpt3"), KeyError, "rule 1: 'gpt3' is no preset. Did you mean 'gpt2'? There are: bert, gpt2, llama, mup, resnet, vit, vit-timm"),
    (dict(preset="gpt2@2"), KeyError, "rule 1: preset 'gpt2' has no version '2'; it has: gpt2@1"),
    (dict(preset="gpt2@"), KeyError, "rule 1: preset 'gpt2' has no version ''"),
    (dict(preset=3), TypeError, "rule 1: preset must be the name of one, but got 3"),
    (dict(preset="gpt2", layers=3), TypeError, "rule 1: preset gpt2@1 got an unknown argument 'layers'. Did you mean 'n_layer'? It takes: n_layer, std, bias; to change more, write rules after it"),
    (dict(preset="mup"), TypeError, "rule 1: preset mup@1 needs the argument 'base_width'; it takes: base_width, std"),
    (dict(preset="gpt2", n_layer=0), TypeError, "rule 1: preset gpt2@1: n_layer must be an int from 1, but got 0"),
    (dict(preset="gpt2", n_layer=True), TypeError, "n_layer must be an int from 1, but got True"),
    (dict(preset="gpt2", std=-1), ValueError, "preset gpt2@1: std must be finite and at least 0"),
    (dict(preset="gpt2", bias=1), TypeError, "bias must be true or false, but got 1"),
    (dict(preset="resnet", depth=20), ValueError, "depth must be one of 18, 34, 50, 101, 152, but got 20"),
    (dict(preset="llama", type="Normal"), ValueError, "an entry has a 'type' or a 'preset', but got type='Normal' and preset='llama'"),
    (dict(preset="llama", override=dict(name="a")), TypeError, "unknown argument 'override'"),
    (dict(preset="mup", base_width=4, norm=3), TypeError, "preset mup@1, rule 4: layer must be a str or class"),
    (dict(preset="mup", base_width=4, norm=False), TypeError, "preset mup@1, rule 4: layer must be a str or class"),
    (dict(preset="mup", base_width=4, output=None), TypeError, "output must be a str or a list of them"),
    (dict(preset="mup", base_width=4, input=[1]), TypeError, "input must be a str or a list of them"),
]  # fmt: skip


@pytest.mark.parametrize(("cfg", "kind", "message"), MISTAKES)
def test_mistakes(cfg, kind, message):
    with pytest.raises(kind, match=re.escape(message)) as raised:
        initium.plan(nn.Linear(2, 2), cfg)
    assert isinstance(raised.value, InitError)


# your own


@pytest.fixture
def presets(monkeypatch):
    monkeypatch.setattr(PRESETS, "_versions", {k: dict(v) for k, v in PRESETS._versions.items()})
    return PRESETS


def test_users_register_their_own_and_new_versions(presets):
    @presets.register("mine", reference="my notebook")
    def first(val: float = 1):
        """Constants."""
        return [dict(type="Constant", layer="Linear", val=val)]

    @presets.register("mine", version=2)
    def second(val: float = 2):
        return [dict(preset="mine@1", val=val), dict(type="Constant", name="**.bias", val=7)]

    def got(cfg):
        plan = initium.plan(nn.Linear(2, 2), cfg)
        return [(line.last.initializer.val, line.last.source) for line in plan]

    assert got(dict(preset="mine@1")) == [
        (1, "preset mine@1, rule 1"),
        (0, "preset mine@1, rule 1"),
    ]
    assert got(dict(preset="mine")) == [(2, "preset mine@1, rule 1"), (7, "preset mine@2, rule 2")]
    assert got(dict(preset="mine", val=5))[0][0] == 5
    assert "mine" in presets and "mine@2" in presets and "mine@3" not in presets
    with pytest.raises(KeyError, match=r"mine@2 is registered already; give .* version=3"):
        presets.register("mine", version=2)(second)
    presets.register("mine", version=2, force=True)(first)
    assert got(dict(preset="mine"))[0][0] == 1


def test_a_preset_within_itself_and_other_bad_ones(presets):
    presets.register("a")(lambda: [dict(preset="b")])
    presets.register("b")(lambda: [dict(preset="a")])
    with pytest.raises(InitError, match="preset a@1 contains itself: a@1 > b@1 > a@1"):
        initium.plan(nn.Linear(2, 2), dict(preset="a"))
    presets.register("c")(lambda: dict(type="Normal"))
    with pytest.raises(TypeError, match=r"preset c@1: its function must return a list of dicts"):
        initium.plan(nn.Linear(2, 2), dict(preset="c"))
    for name in ("x@1", "", 3):
        with pytest.raises(InitError, match="the name of a preset must be a str without '@'"):
            presets.register(name)
    for version in (0, True, "1"):
        with pytest.raises(InitError, match="version must be an int from 1"):
            presets.register("x", version=version)
    assert len(Presets()) == 0


# fixed for ever


def test_versions_never_change():
    """What was released: never change an entry of presets.json; a change is a new version."""
    frozen = json.loads(FROZEN.read_text())
    assert {entry["preset"] for entry in frozen} == set(PRESETS.labels())
    for entry in frozen:
        assert PRESETS.find(entry["preset"]).rules(entry["arguments"]) == entry["rules"]


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_says_what_where_from_and_the_same_as_what(name):
    preset = PRESETS.find(name)
    assert preset.formula and preset.reference and preset.equals
    assert set(preset.arguments) <= set(re.findall(r"^ +(\w+): ", preset.make.__doc__, re.M))


# the command


def test_the_list_names_arguments_and_references():
    done = run("presets")
    assert done.exit_code == 0
    assert "gpt2@1(n_layer=12, std=0.02, bias=True)" in done.stdout
    assert "mup@1(base_width, std=0.02" in done.stdout and "arXiv 2203.03466" in done.stdout
    data = json.loads(run("presets", "--json").stdout)
    assert {entry["name"] for entry in data} == set(PRESETS)
    assert data[1]["arguments"]["n_layer"] == {"default": 12}


@pytest.mark.parametrize("name", list(PRESETS))
def test_rules_are_shown_as_yaml_that_can_be_pasted(name, tmp_path):
    needed = ["--arg", "base_width=128"] if name == "mup" else []
    done = run("presets", name, *needed)
    assert done.exit_code == 0 and done.stdout.startswith(f"# {name}@1")
    expected = shown(name, needed[1:]).rules
    assert yaml.safe_load(done.stdout) == expected
    (tmp_path / "c.yaml").write_text(done.stdout)
    assert initium.read_config(tmp_path / "c.yaml") == expected
    as_json = json.loads(run("presets", name, *needed, "--json").stdout)
    assert as_json["rules"] == expected


def test_arguments_of_the_command():
    done = run("presets", "gpt2", "-a", "n_layer=24", "-a", "std=1e-2", "-a", "bias=false")
    rules = yaml.safe_load(done.stdout)
    assert rules[0]["std"] == 0.01 and rules[2]["std"] == pytest.approx(0.01 / 48**0.5)
    assert len(rules) == 3 and "# gpt2@1: n_layer=24, std=0.01, bias=False" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpt3"], "'gpt3' is no preset. Did you mean 'gpt2'?"),
        (["gpt2", "-a", "layers=3"], "preset gpt2@1 got an unknown argument 'layers'"),
        (["gpt2", "-a", "n_layer"], "an argument is written NAME=VALUE, but got 'n_layer'"),
        (["gpt2", "-a", "n_layer=x"], "n_layer must be an int from 1, but got 'x'"),
        (["gpt2", "-a", "n_layer=["], "--arg n_layer=[: "),
        (["--import", "no_such_module"], "cannot import no_such_module"),
    ],
)
def test_mistakes_of_the_command(arguments, message):
    done = run("presets", *arguments)
    assert done.exit_code == 2 and message in done.stderr and "Traceback" not in done.output


def test_own_presets_in_the_command(presets, tmp_path):
    (tmp_path / "own.py").write_text(
        "import initium\n@initium.PRESETS.register('own')\ndef own(std=1):\n"
        "    return [dict(type='Normal', layer='Linear', std=std)]\n"
    )
    done = run("presets", "own", "--import", tmp_path / "own.py")
    assert yaml.safe_load(done.stdout) == [dict(type="Normal", layer="Linear", std=1)]


def test_a_rule_of_a_preset_may_be_overridden_entirely():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    rules = [dict(preset="resnet"), dict(type="Constant", layer="Conv2d", val=1)]
    plan = initium.plan(model, rules, seed=0)
    assert plan["0.weight"].what == "Constant(val=1)"
    assert not [finding for finding in plan.findings if finding.kind == "shadowed"]
    twice = [dict(type="Normal", layer="Conv2d"), dict(type="Xavier", layer="Conv2d", bias=2)]
    assert [f.kind for f in initium.plan(model, twice, seed=0).findings if f.kind == "shadowed"]
