"""Configs from anywhere: dicts, dataclasses, OmegaConf, YAML, JSON, TOML; where a mistake stands."""

import copy
import dataclasses
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from torch import nn

import initium
from initium import InitError, InitWarning, read_config

RULES = [
    dict(
        type="Normal",
        layer=["Linear"],
        std=0.001,
        override=[dict(name="0.bias", type="Constant", val=3)],
    ),
    dict(type="Constant", layer="LayerNorm", val=1),
]
YAML = """\
# how it starts
- type: Normal
  layer: [Linear]
  std: 1e-3
  override:
  - name: 0.bias
    type: Constant
    val: 3

- {type: Constant, layer: LayerNorm, val: 1}
"""
TOML = """\
# how it starts
[[init_cfg]]
type = "Normal"
layer = ["Linear"]
std = 1e-3

[[init_cfg.override]]
name = "0.bias"
type = "Constant"
val = 3

[[init_cfg]]  # a list has as many of these
type = "Constant"
layer = "LayerNorm"
val = 1
"""


@dataclasses.dataclass
class Override:
    name: str
    type: str | None = None
    val: float = 3


@dataclasses.dataclass
class Normal:
    layer: list[str]
    std: float = 0.001
    override: Any = None
    type: str = "Normal"


@dataclasses.dataclass
class Ones:
    layer: str
    type: str = "Constant"
    val: float = 1


def net():
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))


def drawn(cfg):
    return {line.name: line.last.initializer for line in initium.plan(net(), cfg, strict=True)}


def sources(cfg):
    return [line.last.source for line in initium.plan(net(), cfg)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name, text):
    Path(name).write_text(text)
    return name


WAYS = {
    "tuple": lambda: tuple(RULES),
    "table": lambda: dict(init_cfg=RULES),
    "dataclasses": lambda: [Normal(["Linear"], override=[Override("0.bias", "Constant")]), Ones("LayerNorm")],
    "one override": lambda: (Normal(["Linear"], override=Override("0.bias", "Constant")), Ones("LayerNorm")),
    "a dict within dataclasses": lambda: [Normal(["Linear"], override=RULES[0]["override"]), RULES[1]],
    "dataclasses within a dict": lambda: [dict(RULES[0], override=[Override("0.bias", "Constant")]), RULES[1]],
    "omegaconf": lambda: OmegaConf.create(RULES),
    "omegaconf, a table": lambda: OmegaConf.create(dict(init_cfg=RULES)),
    "omegaconf, parts": lambda: [dict(RULES[0], override=OmegaConf.create(RULES[0]["override"])), OmegaConf.create(RULES[1])],
    "omegaconf, values": lambda: [dict(RULES[0], layer=OmegaConf.create(["Linear"])), RULES[1]],
    "omegaconf, of dataclasses": lambda: [OmegaConf.structured(Normal(["Linear"], override=RULES[0]["override"])), OmegaConf.structured(Ones("LayerNorm"))],
    "omegaconf, interpolated": lambda: OmegaConf.create(dict(s=0.001, r=[dict(RULES[0], std="${s}"), RULES[1]])).r,
    "yaml": lambda: write("c.yaml", YAML),
    "yml, a path": lambda: Path(write("c.yml", YAML)),
    "yaml, a table": lambda: write("c.yaml", yaml.safe_dump({"$schema": "x.json", "x-mine": 3, "init_cfg": RULES})),
    "yaml, read": lambda: read_config(write("c.yaml", YAML)),
    "yaml, without suffix": lambda: Path(write("config", YAML)),
    "json": lambda: write("c.json", json.dumps(RULES)),
    "json, a table with tabs": lambda: write("c.json", json.dumps({"$schema": "x.json", "init_cfg": RULES}, indent="\t")),
    "json, of a shape that YAML lacks": lambda: write("c.json", json.dumps(RULES).replace('"type":', '"type"\n:')),
    "toml": lambda: write("c.toml", TOML),
    "toml, inline": lambda: write("c.toml", 'init_cfg = [{type = "Normal", layer = ["Linear"], std = 1e-3, override = {name = "0.bias", type = "Constant", val = 3}}, {type = "Constant", layer = "LayerNorm", val = 1}]'),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_same_config_from_anywhere(way, here):
    assert drawn(WAYS[way]()) == drawn(RULES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "type: Normal\nlayer: Linear"),
        ("c.yaml", "$schema: x.json\ntype: Normal\nlayer: Linear"),
        ("c.yaml", "init_cfg: {type: Normal, layer: Linear}"),
        ("c.json", '{"type": "Normal", "layer": "Linear"}'),
        ("c.toml", 'type = "Normal"\nlayer = "Linear"'),
        ("c.toml", '[init_cfg]\ntype = "Normal"\nlayer = "Linear"'),
    ],
)
def test_a_file_may_be_one_rule(name, text, here):
    cfg = write(name, text)
    expected = initium.plan(net(), dict(type="Normal", layer="Linear"))
    assert [str(x.write) for x in initium.plan(net(), cfg)] == [str(x.write) for x in expected]
    assert f"{name}, line " in initium.plan(net(), cfg)["0.weight"].last.source


@pytest.mark.parametrize("name", ["c.yaml", "c.json", "c.toml"])
def test_plans_say_file_line_and_rule(name, here):
    text = {"c.yaml": YAML, "c.toml": TOML, "c.json": json.dumps(RULES, indent=1)}[name]
    rule, override, second = {"c.yaml": (2, 6, 10), "c.toml": (2, 7, 12), "c.json": (2, 9, 16)}[
        name
    ]
    assert sources(write(name, text)) == [
        f"{name}, line {rule} (rule 1)",
        f"{name}, line {override} (rule 1, override 1)",
        f"{name}, line {second} (rule 2)",
        f"{name}, line {second} (rule 2)",
    ]


def test_a_rule_keeps_its_place_whatever_list_it_is_put_into(here):
    first, second = read_config(write("c.yaml", YAML))
    extended = [dict(type="Constant", layer="Linear", val=0), second, copy.deepcopy(first)]
    assert sources(pickle.loads(pickle.dumps(extended)))[::2] == [
        "c.yaml, line 2 (rule 1)",
        "c.yaml, line 10 (rule 2)",
    ]
    assert yaml.safe_load(yaml.safe_dump(read_config("c.yaml"))) == RULES
    assert json.loads(json.dumps(read_config("c.yaml"))) == RULES
    assert read_config("c.yaml") == RULES


def test_below_the_root_the_module_is_named_too(here):
    class Head(initium.BaseModule):
        def __init__(self, init_cfg):
            super().__init__(init_cfg)
            self.fc = nn.Linear(2, 2)

    cfg = read_config(write("c.yaml", "- {type: Constant, layer: Linear, val: 1}"))
    model = initium.Sequential(Head(cfg), Head("c.yaml"))
    found = {line.last.source for line in initium.plan(model)}
    assert found == {
        "c.yaml, line 1 (rule 1), init_cfg of Sequential.0",
        "c.yaml, line 1 (rule 1), init_cfg of Sequential.1",
    }
    model.init_weights()
    assert model[1].fc.weight.eq(1).all()


def test_paths_outside_of_the_working_directory_are_shown_as_given(here, monkeypatch):
    path = here / "c.yaml"
    path.write_text(YAML)
    assert sources(path)[0] == "c.yaml, line 2 (rule 1)"
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")
    assert sources(path)[0] == f"{path}, line 2 (rule 1)"
    assert sources(Path("../c.yaml"))[0] == "../c.yaml, line 2 (rule 1)"


# YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E+2", 100.0), ("-2.5e3", -2500.0), (".5", 0.5), ("1.", 1.0),
        ("010", 10), ("0o10", 8), ("0x1F", 31), ("-3", -3), ("1:30", "1:30"), ("1_000", "1_000"),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("~", None),
        ("true", True), ("False", False), ("null", None), ("", None), ("2024-01-02", "2024-01-02"),
        ("'1e-3'", "1e-3"), (".inf", float("inf")), ("-.inf", float("-inf")), ("!!float 3", 3.0),
    ],
)  # fmt: skip
def test_plain_words_mean_what_yaml_1_2_says(text, value, here):
    found = read_config(write("c.yaml", f"x: {text}"))["x"]
    assert found == value and type(found) is type(value)


def test_anchors_and_merge_keys(here):
    cfg = read_config(
        write(
            "c.yaml",
            """
x-linear: &linear {type: Normal, layer: Linear}
x-small: &small {std: 0.1, mean: 1}
init_cfg:
- <<: *linear
  layer: Bilinear
  std: 0.2
- {<<: [*small, {std: 9, bias: 7}], type: Normal, layer: &norm LayerNorm}
- {type: Constant, layer: *norm, val: 1}
- *linear
""",
        )
    )
    assert cfg == [
        dict(type="Normal", layer="Bilinear", std=0.2),
        dict(type="Normal", layer="LayerNorm", std=0.1, mean=1, bias=7),
        dict(type="Constant", layer="LayerNorm", val=1),
        dict(type="Normal", layer="Linear"),
    ]
    assert [each.place.rule for each in cfg] == ["rule 1", "rule 2", "rule 3", "rule 4"]


# mistakes

MISTAKES = [
    ("c.yaml", "- {type: Normal, layer: Linear}\n- type: Normal\n  layer: Linear\n  sdt: 3", "c.yaml, line 4 (rule 2): NormalInit got an unknown argument 'sdt'. Did you mean 'std'? It takes: mean, std"),
    ("c.yaml", "- type: Normal\n  layer: Linear\n  std: '1e-3'", "c.yaml, line 3 (rule 1): std must be a number, but got '1e-3'"),
    ("c.yaml", "- layer: Linear\n  type: Norml", "c.yaml, line 2 (rule 1): 'Norml' is not in the weight initializer registry. Did you mean 'Normal'"),
    ("c.yaml", "- {type: Normal}\n- {layer: Linear}", "c.yaml, line 2 (rule 2): a config must contain the key 'type' or 'preset', but got {'layer': 'Linear'}"),
    ("c.yaml", "- {type: Normal}\n- Normal", "c.yaml, line 2 (rule 2): a rule must be a dict with a 'type' or a 'preset'"),
    ("c.yaml", "- type: Normal\n  override:\n  - {name: a}\n  - name: b\n    type: Norml", "c.yaml, line 5 (rule 1, override 2): 'Norml' is not"),
    ("c.yaml", "- type: Normal\n  override:\n    type: Normal", "c.yaml, line 3 (rule 1, override 1): override must contain the key 'name'"),
    ("c.yaml", "- type: Normal\n  override: [0]", "c.yaml, line 1 (rule 1), override 1: override must be a dict"),
    ("c.yaml", "- type: Normal\n  override: 0", "c.yaml, line 1 (rule 1): override must be a dict"),
    ("c.yaml", "- type: Normal\n  layer: a\n  layer: b", "c.yaml, line 3: 'layer' stands here twice, first in line 2"),
    ("c.yaml", "- type: Pretrained\n  checkpoint: x\n  strict: yes", "c.yaml, line 3 (rule 1): strict must be a bool or None, but got 'yes' (write true or false: "),
    ("c.yaml", "- type: Normal\n\tstd: 3", "cannot read the config c.yaml, line 2, column 1: found character '\\t' that cannot start any token; indent by blanks, not tabs"),
    ("c.yaml", "a: [", "cannot read the config c.yaml, line 1, column 5: "),
    ("c.yaml", "# nothing\n", "the config c.yaml is empty"),
    ("c.yaml", "- 1: 2", "c.yaml, line 1: a key must be a string, but got 1"),
    ("c.yaml", "- type: !!python/name:os.system Normal", "c.yaml, line 1: the tag 'tag:yaml.org,2002:python/name:os.system' has no meaning"),
    ("c.yaml", "- !mine {type: Normal}", "c.yaml, line 1: the tag '!mine' has no meaning"),
    ("c.yaml", "- type: !!int x", "c.yaml, line 1: cannot read 'x'"),
    ("c.yaml", "- &a\n  - *a", "c.yaml, line 1: an alias within its own anchor"),
    ("c.yaml", "x-a: &a {std: 1}\ninit_cfg:\n- <<: *a\n  <<: *a", "c.yaml, line 4: '<<' stands here twice, first in line 3"),
    ("c.yaml", "- <<: 3", "c.yaml, line 1: << takes a mapping"),
    ("c.yaml", "a: 1\n---\nb: 2", "cannot read the config c.yaml, line 2, column 1"),
    ("c.yaml", "init_cfg: []\ninit_cgf: []", "c.yaml, line 2: unknown key 'init_cgf' beside 'init_cfg'. Did you mean 'init_cfg'? Allowed: $schema, init_cfg, and keys that start with x-"),
    ("c.yaml", "x-a: 1\ninit_cfg:", "c.yaml, line 2: init_cfg must be a rule or a list of rules, but got None"),
    ("c.yaml", "Normal", "c.yaml: a config is a list of rules, one rule, or a table with init_cfg"),
    ("c.json", '[{"type": "Normal",\n"std" 3}]', "cannot read the config c.json, line 2, column 7: Expecting ':' delimiter"),
    ("c.json", '[{"type": "Normal",\n"std": NaN}]', "c.json, line 2: cannot read 'NaN': NaN is no JSON"),
    ("c.json", '[{"type": "Normal",\n"std": 3,\n"std": 4}]', "c.json, line 3: 'std' stands here twice, first in line 2"),
    ("c.json", '[{"type"\n: "Normal", "std": 3, "std": 4}]', "c.json: 'std' stands twice in one object"),
    ("c.json", '[\n {"type": "Normal"},\n {"type": "Kaiming",\n  "mod": "fan_in"}]', "c.json, line 4 (rule 2): KaimingInit got an unknown argument 'mod'"),
    ("c.json", "- type: Normal", "cannot read the config c.json, line 1"),
    ("c.toml", '[[init_cfg]]\ntype = "Normal"\n\n[[init_cfg]]\ntype = "Normal"\nsdt = 3', "c.toml, line 6 (rule 2): NormalInit got an unknown argument 'sdt'"),
    ("c.toml", '[[init_cfg]]\ntype = "Normal"\n[init_cfg.override]\nname = "0"\ntype = "Norml"', "c.toml, line 5 (rule 1, override 1): 'Norml' is not"),
    ("c.toml", 'x-a = 1\ninit_cfg = [\n {type = "Normal"}, {type = "Norml"}]', "c.toml, line 2 (rule 2): 'Norml' is not"),
    ("c.toml", "a = 1\na = 2", "cannot read the config c.toml, line 2, column "),
    ("c.toml", '[[init_cfg]]\ntype = "Normal" std = 3', "cannot read the config c.toml, line 2, column "),
    ("c.toml", 'lr = 3\n[[init_cfg]]\ntype = "Normal"', "c.toml, line 1: unknown key 'lr' beside 'init_cfg'"),
]  # fmt: skip


# what a reader would have to be told twice: where a format hides what was meant
HINTS = [
    ("c.yaml", "- type: Normal\n  name: **.weight", "stands in quotes: '**.weight'"),
    ("c.yaml", "- type: Normal\n  name: *.weight", "stands in quotes"),
    ("c.yaml", "- type:Normal\n  std: 1", "is a blank missing behind a colon"),
    ("c.yaml", "- type: Normal\n std: 1", "indented unlike the lines before"),
    ("c.yaml", "- {type: Normal", "never closed"),
    ("c.yaml", "- type: Normal\n---\n- type: Normal", "without a second ---"),
    ("c.yaml", "- type: Normal\n  std: '0.1'", "write the number 0.1"),
    ("c.yaml", "- type: Normal\n  std: 0,1", "write the number 0.1"),
    ("c.yaml", "-type: Normal", "a blank belongs between - and type"),
    ("c.yaml", "- tpye: Normal", "Did you mean 'type'?"),
    ("c.yaml", "- Normal:\n    std: 1", "type: Normal, std: 1"),
    ("c.yaml", "rules:\n- type: Normal", "stand under init_cfg, not under 'rules'"),
    ("c.yaml", "model:\n  init_cfg: []", "at the top of the file, not below 'model'"),
    ("c.json", '{"initium_plan": 4}', "this file is a plan"),
    ("c.json", '// start\n[]', "JSON has no comments"),
    ("c.json", "[{'type': 'Normal'}]", "strings stand in double quotes"),
    ("c.json", '[{"type": "Normal",}]', "no comma stands before a closing bracket"),
    ("c.json", "", "the file is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "hint"), HINTS)
def test_mistakes_say_what_was_probably_meant(name, text, hint, here):
    write(name, text)
    with pytest.raises(InitError, match=re.escape(hint)) as raised:
        initium.plan(net(), name)
    assert "\n" not in str(raised.value)


def test_a_text_that_may_be_a_number_gets_no_hint_where_none_was_asked_for(here):
    write("c.yaml", "- type: Pretrained\n  checkpoint: '3'")
    with pytest.raises(InitError) as raised:
        initium.plan(net(), "c.yaml")
    assert "write the number" not in str(raised.value)


@pytest.mark.parametrize(("name", "text", "message"), MISTAKES)
def test_mistakes_say_file_line_and_what_is_allowed(name, text, message, here):
    write(name, text)
    with pytest.raises(InitError, match=re.escape(message)) as raised:
        initium.plan(net(), name)
    # once: the place is not said by the rule, and again by what is around it
    assert str(raised.value).count(name) == 1


def test_findings_name_file_and_line(here):
    write("c.yaml", "- {type: Normal, layer: Linear}\n\n- {type: Normal, layer: Lineer}")
    with pytest.warns(InitWarning, match=r"^c\.yaml, line 3 \(rule 2\): layer 'Lineer' is no"):
        initium.initialize(net(), "c.yaml")


def test_what_is_no_config(here):
    with pytest.raises(TypeError, match=r"a file that ends in \.yaml, .* got a str: 'config'"):
        initium.plan(net(), "config")
    for path in ("none.yaml", Path("none")):
        with pytest.raises(FileNotFoundError, match="there is no config file none"):
            initium.plan(net(), path)
    Path("bad.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InitError, match=r"cannot read the config bad\.yaml: it is no UTF-8 text"):
        initium.plan(net(), "bad.yaml")


def test_a_byte_order_mark_and_other_ends_of_lines(here):
    Path("c.yaml").write_bytes(b"\xef\xbb\xbf" + YAML.replace("\n", "\r\n").encode())
    assert sources("c.yaml")[0] == "c.yaml, line 2 (rule 1)"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(std="${none}"), r"cannot be resolved: r\[0\]\.std: Interpolation key 'none' not found"),
        (dict(std="???"), r"cannot be resolved: r\[0\]\.std: Missing mandatory value"),
        (dict(sdt=1), "rule 1: NormalInit got an unknown argument 'sdt'"),
    ],
)  # fmt: skip
def test_nodes_that_cannot_be_resolved(values, message):
    cfg = OmegaConf.create(dict(r=[dict(type="Normal", layer="Linear", **values)])).r
    with pytest.raises(InitError, match=f"^init_cfg of Sequential.*{message}"):
        initium.plan(net(), cfg)


def test_mistakes_in_dataclasses():
    with pytest.raises(KeyError, match=r"rule 2: 'Constnat' is not in .* Did you mean 'Constant'"):
        initium.plan(net(), [Ones("Linear"), Ones("Linear", type="Constnat")])
    with pytest.raises(
        KeyError, match=r"must contain the key 'type' or 'preset', but got {'x': 1}"
    ):
        initium.plan(net(), dataclasses.make_dataclass("Rule", [("x", int)])(1))


def test_a_dataclass_that_can_be_called_is_an_initializer():
    @dataclasses.dataclass
    class Fives:
        type: str = "not looked at"

        def __call__(self, module):
            nn.init.constant_(module[0].weight, 5)

    model = net()
    initium.initialize(model, Fives())
    assert model[0].weight.eq(5).all()


def test_objects_within_arguments_stay_objects():
    from initium.reading.plain import plain_values

    given = Override("a")  # its `type` is None: it could be an adapter's
    values = plain_values(dict(type="Pretrained", adapt=[given], map_location=sys))
    assert values["map_location"] is sys
    cfg = dict(type="Normal", layer=("Linear",))
    before = copy.deepcopy(cfg)
    initium.plan(net(), cfg)
    assert cfg == before


def test_a_start_needs_no_omegaconf_and_no_pydantic():
    code = (
        "import sys, initium; from torch import nn; initium.plan(nn.Linear(1, 1), "
        "dict(type='Normal', layer='Linear')); "
        "print([m for m in ('omegaconf', 'pydantic', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "omegaconf" not in done.stdout and "pydantic" not in done.stdout
