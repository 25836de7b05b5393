"""The JSON Schema of configs: what works validates, mistakes do not; docs, enums, a user's own."""

import contextlib
import copy
import functools
import io
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from torch import nn
from typer.testing import CliRunner

import initium
from initium import PRESETS, WEIGHT_INITIALIZERS, InitError, read_config
from initium.cli import app
from initium.config import parse
from initium.presets.showing import shown
from initium.registry import known_arguments
from initium.schema import config_schema

ROOT = Path(__file__).parents[1]
BUILT_IN = ["Constant", "Xavier", "Normal", "TruncNormal", "Uniform", "Kaiming", "Caffe2Xavier",
            "VarianceScaling", "Orthogonal", "Sparse", "Keep", "Pretrained"]  # fmt: skip


def validator():
    schema = config_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(json.loads(json.dumps(schema)))


@pytest.fixture(scope="module")
def known():
    return validator()


def says(validator, cfg):
    """The messages of all that is wrong, those of the branches within included."""
    found, left = [], list(validator.iter_errors(json.loads(json.dumps(cfg))))
    while left:
        error = left.pop()
        found.append(error.message)
        left += error.context or []
    return found


def named_files():
    return [*sorted((ROOT / "examples").glob("*.yaml"))]


@pytest.mark.parametrize("path", named_files(), ids=lambda path: path.name)
def test_examples_validate(path, known):
    assert says(known, read_config(path)) == []


def documented():
    """The configs in the docs: blocks of YAML, JSON and TOML."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for kind, text in re.findall(r"^```(yaml|json|toml)\n(.*?)^```", page.read_text(), re.M | re.S):  # fmt: skip
            if "preset" in text or "type" in text:
                yield pytest.param(kind, text, id=f"{page.name}: {text[:20]!r}")


@pytest.mark.parametrize(("kind", "text"), list(documented()))
def test_configs_in_the_docs_validate_and_are_read(kind, text, known, tmp_path):
    path = tmp_path / f"c.{kind}"
    path.write_text(text)
    assert says(known, read_config(path)) == []
    parse(read_config(path), "here")


@pytest.mark.parametrize("name", list(PRESETS))
def test_what_presets_say_validates(name, known):
    arguments = ["base_width=64"] if name == "mup" else []
    assert says(known, shown(name, arguments).rules) == []


WORKS = [
    [],
    dict(type="Normal"),
    dict(type="Normal", layer="Linear", name=None, bias_prob=0.01),
    dict(type="Normal", std=1e-3, mean=-1),
    {"$schema": "x", "type": "Normal"},
    {"$schema": "x", "init_cfg": dict(type="Keep", name="a")},
    {"init_cfg": [dict(type="Keep", name=["a", "b"])], "x-mine": [1]},
    dict(type="Kaiming", layer=["Conv2d", "torch.nn.Linear"], mode="fan_in", nonlinearity="selu"),
    dict(type="TruncNormal", a=-1, b=1, units="sigma"),
    dict(type="Constant", val=1, override=dict(name="a.b")),
    dict(type="Constant", val=1, override=[dict(name="a"), dict(name="b", type="Normal", std=2)]),
    dict(type="Constant", val=1, override=dict(name="b", type="Pretrained", checkpoint="x.pth")),
    dict(type="Orthogonal", gain=2, layer="Linear"),
    dict(type="Sparse", sparsity=0.5, std=0.1),
    dict(type="VarianceScaling", scale=2, mode="fan_avg", exponent=2, distribution="uniform"),
    dict(type="Pretrained", checkpoint="x.pth", prefix="a.", rename=[["a", "b"]], strict=False),
    dict(type="Pretrained", checkpoint="x.pth", ignore="a.*", ignore_unused=["b"]),
    dict(type="Pretrained", checkpoint="x", convert=[dict(type="Transpose", key="a.weight")]),
    dict(preset="gpt2"),
    dict(preset="gpt2@1", n_layer=24),
    [dict(preset="resnet", depth=18), dict(type="Normal", name="**.fc.weight", std=0.01)],
    dict(preset="mup", base_width=64, input=["a", "b"], norm=None),
]


@pytest.mark.parametrize("cfg", WORKS, ids=str)
def test_what_works_validates(cfg, known):
    assert says(known, cfg) == []
    parse(copy.deepcopy(cfg), "here")


MISTAKES = [
    (dict(type="Norml"), "'Norml' is not one of"),
    (dict(type="Normal", sdt=1), "'sdt' does not match"),
    (dict(type="Normal", std="1e-3"), "'1e-3' is not of type 'number'"),
    (dict(type="Normal", std=-1), "-1 is less than the minimum of 0"),
    (dict(type="Constant", layer="Linear"), "'val' is a required property"),
    (dict(layer="Linear"), "'type' is a required property"),
    (dict(type="Kaiming", mode="fan"), "'fan' is not one of ['fan_in', 'fan_out']"),
    (dict(type="Kaiming", nonlinearity="gelo"), "'gelo' is not one of"),
    (dict(type="TruncNormal", units="sigmas"), "'sigmas' is not one of"),
    (dict(type="Normal", layer=[1]), "1 is not of type 'string'"),
    (dict(type="Normal", bias=True), "True is not of type 'number'"),
    (dict(type="Constant", val=1, override="conv"), "'conv' is not of type 'array', 'object'"),
    (dict(type="Constant", val=1, override=dict(type="Normal")), "'name' is a required property"),
    (dict(type="Constant", val=1, override=dict(name="a", val=1)), "'val' was unexpected"),
    (dict(type="Constant", val=1, override=dict(name="a", type="Norml")), "'Norml' is not one of"),
    (dict(type="Constant", val=1, override=[dict(name="a", type="Normal", sdt=1)]), "'sdt' does not match"),
    (dict(type="Pretrained", checkpoint="x", strict="yes"), "'yes' is not of type 'boolean'"),
    (dict(type="Pretrained"), "'checkpoint' is a required property"),
    (dict(type="Pretrained", checkpoint=3), "3 is not of type 'string'"),
    (dict(type="Pretrained", checkpoint="x", convert=[dict(type="Trnspose")]), "'Trnspose' is not one of"),
    (dict(preset="gpt3"), "'gpt3' is not one of"),
    (dict(preset="gpt2@7"), "'gpt2@7' is not one of"),
    (dict(preset="gpt2", n_layers=3), "'n_layers' does not match"),
    (dict(preset="gpt2", n_layer=2.5), "2.5 is not of type 'integer'"),
    (dict(preset="gpt2", n_layer=0), "0 is less than the minimum of 1"),
    (dict(preset="resnet", depth=20), "20 is not one of [18, 34, 50, 101, 152]"),
    (dict(preset="mup"), "'base_width' is a required property"),
    (dict(preset="llama", type="Normal"), "'type' does not match"),
    (dict(type="Keep"), "'name' is a required property"),
    ("Normal", "'Normal' is not of type 'array', 'object'"),
    (["Normal"], "'Normal' is not of type 'object'"),
    (dict(init_cfg=[], seed=3), "'seed' does not match any of the regexes"),
    (dict(init_cfg=3), "3 is not of type 'array', 'object'"),
]  # fmt: skip


@pytest.mark.parametrize(("cfg", "message"), MISTAKES, ids=str)
def test_mistakes_do_not_validate_and_do_not_work(cfg, message, known):
    assert any(message in text for text in says(known, cfg)), says(known, cfg)
    with pytest.raises(InitError):
        parse(copy.deepcopy(cfg), "here")


def parts(schema):
    """A schema and all within it that is an object."""
    yield schema
    for value in schema.values():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                yield from parts(each)


@pytest.mark.parametrize(("cfg", "message"), MISTAKES, ids=str)
def test_a_mistake_is_one_complaint(cfg, message, known):
    """Editors show all that they find: a flood, or several that contradict, would say nothing."""
    found = list(known.iter_errors(json.loads(json.dumps(cfg))))
    assert len(found) == 1, [error.message for error in found]
    assert message in " ".join(says(known, cfg))


def test_what_is_no_rule_is_one_complaint_wherever_it_stands(known):
    for junk in ("Normal", 3, True, None, [[]]):
        for cfg in ([junk], {"init_cfg": [junk]}, dict(type="Constant", val=1, override=[junk])):
            assert len(list(known.iter_errors(cfg))) == 1, cfg


def test_editors_get_markdown_the_meaning_of_words_and_no_nulls():
    found = list(parts(config_schema()))
    for part in found:
        assert part.get("default", 0) is not None  # completed to `layer: null`
        assert ("`" in str(part.get("description", ""))) == ("markdownDescription" in part)
        if "enumDescriptions" in part:
            assert len(part["enum"]) == len(part["enumDescriptions"]) and all(
                part["enumDescriptions"]
            )
        if "enum" in part.get("if", {}).get("properties", {}).get("type", {}):
            raise AssertionError("an enum within an if is shown as the list of what is allowed")
    kinds = [
        p["properties"]["type"]
        for p in found
        if "enumDescriptions" in p.get("properties", {}).get("type", {})
    ]
    assert any("Kaiming" in kind["enum"] for kind in kinds)
    snippets = config_schema()["$defs"]["Kaiming"]["properties"]["layer"]["defaultSnippets"]
    assert all(hasattr(nn, snippet["body"]) for snippet in snippets)


def test_what_has_no_effect_in_an_override_is_taken_but_not_offered(known):
    assert "layer" not in config_schema()["$defs"]["override-Normal"]["properties"]
    assert (
        says(known, dict(type="Keep", name="a", override=dict(name="b", type="Normal", layer="c")))
        == []
    )


# what no schema can say: two arguments that depend on each other, and the syntax of patterns
BEYOND = ("must not be above b", "is no pattern", "KeepInit needs the argument 'name'")
VALUES = [None, True, 0, 1, -1, 0.5, 2.5, "", "a", "Linear", "fan_in", "normal", [], ["a"], [1], [None],
          [["a", "b"]], {}, dict(name="a"), [dict(name="a", type="Normal")], dict(type="Normal"),
          [dict(type="Transpose", key="a")], "ab12cd34"]  # fmt: skip


@functools.cache
def checker():
    return validator()


def definitions():
    return checker().schema["$defs"]


@st.composite
def random_rules(draw):
    name = draw(st.sampled_from([*BUILT_IN, *(f"preset-{label}" for label in PRESETS.labels())]))
    made = definitions()[name]
    label = name.removeprefix("preset-")
    rule = {"preset" if label in PRESETS else "type": label}
    keys = [k for k in made["properties"] if k not in rule]
    chosen = [k for k in made["required"] if k not in rule]
    if keys:
        chosen += draw(st.lists(st.sampled_from([*keys, "std", "nam", "$schema"]), max_size=2))
    for argument in chosen:  # val=True is taken for 1; an editor may say that it is no number
        values = [v for v in VALUES if v is not True] if argument == "val" else VALUES
        rule[argument] = draw(st.sampled_from(values))
    if draw(st.integers(0, 4)) == 0:
        rule = dict(type="Constant", val=1, override={**rule, "name": "a"})
    return rule


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_rules())
def test_schema_and_parser_refuse_the_same(cfg):
    try:
        parse(copy.deepcopy(cfg), "here")
        refused = None
    except InitError as error:
        refused = str(error)
        assume(not any(text in refused for text in BEYOND))
    assert bool(says(checker(), cfg)) == (refused is not None), refused


def test_every_argument_has_its_docs_and_its_default():
    definitions = config_schema()["$defs"]
    for name in BUILT_IN:
        names, required, _ = known_arguments(WEIGHT_INITIALIZERS.get(name))
        made = definitions[name]
        assert set(made["properties"]) == {"type", "override", *names}
        assert made["required"] == ["type", *required] and not made["additionalProperties"]
    for name, made in definitions.items():
        for argument, schema in made.get("properties", {}).items():
            assert schema.get("description"), (name, argument)
    kaiming = definitions["Kaiming"]["properties"]
    assert kaiming["mode"]["default"] == "fan_out" and kaiming["a"]["default"] == 0
    assert "2015" in definitions["Kaiming"]["description"]
    # own, and those all share
    assert "pattern on dotted tensor names" in kaiming["name"]["description"]
    assert "negative slope" in kaiming["a"]["description"]
    # where both a class and its base have docs, the nearer ones count
    keep = definitions["Keep"]["properties"]["name"]["description"]
    assert keep == "a pattern on dotted tensor names, or a list (see `initium.selectors`)."
    preset = definitions["preset-gpt2@1"]["properties"]
    assert preset["n_layer"]["default"] == 12 and "Radford" in preset["preset"]["description"]
    assert "number of blocks" in preset["n_layer"]["description"]


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(WEIGHT_INITIALIZERS, "_module_dict", dict(WEIGHT_INITIALIZERS.module_dict))
    monkeypatch.setattr(PRESETS, "_versions", {k: dict(v) for k, v in PRESETS._versions.items()})
    return WEIGHT_INITIALIZERS


def test_a_users_own_are_in_it(registered):
    @registered.register_module()
    class Small(initium.BaseInit):
        """Small weights.

        Args:
            width (int): of the model,
                in features.
            how: a word.

        Returns:
            nothing: at all
        """

        def __init__(self, width: int, how: Literal["in", "out"] = "in", **common: Any) -> None:
            super().__init__(**common)

    @registered.register_module(name=["Odd", "Strange"])
    class Odd:
        def __init__(self, where: "NoSuchName", cls: type = nn.Linear, **more):  # noqa: F821
            pass

        def __call__(self, module):
            pass

    @registered.register_module()
    def of_function(module: Any = None, sizes: Sequence[int] = (1, 2)):
        return lambda module: None

    @PRESETS.register("gpt2", version=2)
    def newer(depth: int):
        return []

    made = validator()
    small = made.schema["$defs"]["Small"]
    assert small["description"] == "Small weights."
    assert small["properties"]["width"] == dict(
        type="integer", description="of the model, in features."
    )
    assert small["properties"]["how"]["enum"] == ["in", "out"]
    assert "nothing" not in small["properties"] and small["required"] == ["type", "width"]
    assert "layer" in small["properties"]
    for cfg in (
        dict(type="Small", width=3, layer="Linear"),
        dict(type="Odd", where=3, anything="goes"),
        dict(type="Strange", where=None),
        dict(type="of_function", sizes=[3]),
        dict(preset="gpt2", depth=3),
        dict(preset="gpt2@2", depth=3),
        dict(preset="gpt2@1", n_layer=3),
    ):
        assert says(made, cfg) == [], cfg
    for cfg, message in (
        (dict(type="Small", width="3"), "'3' is not of type 'integer'"),
        (dict(type="Odd"), "'where' is a required property"),
        (dict(type="of_function", sizes=3), "3 is not of type 'array'"),
        (dict(preset="gpt2", n_layer=3), "'n_layer' does not match"),
    ):
        assert any(message in text for text in says(made, cfg)), cfg


def test_configs_of_the_guide_validate(registered, tmp_path, monkeypatch):
    """All that its Python blocks hand over, with the initializers that they register."""
    monkeypatch.chdir(tmp_path)
    given = []

    def recording(cfg, where):
        rules = parse(cfg, where)  # what does not work is not noted
        given.append(cfg)
        return rules

    monkeypatch.setattr("initium.planning.build.parse", recording)
    code = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/guide.md").read_text(), re.M | re.S)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        exec(compile("\n".join(code), "guide.md", "exec"), {"__name__": "__main__"})
    made = validator()
    as_data = [cfg for cfg in given if _is_data(cfg)]
    assert len(as_data) > 20
    assert [cfg for cfg in as_data if says(made, cfg)] == []


def _is_data(cfg):
    try:
        return bool(json.dumps(cfg))
    except TypeError:  # a class, or an object
        return False


def test_the_command_prints_or_writes_it(tmp_path, registered):
    done = CliRunner().invoke(app, ["schema"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads(json.dumps(config_schema()))
    assert json.loads(done.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    (tmp_path / "own.py").write_text(
        "import initium\n@initium.WEIGHT_INITIALIZERS.register_module()\n"
        "class FromAFile(initium.BaseInit):\n    pass\n"
    )
    out = tmp_path / "s.json"
    done = CliRunner().invoke(app, ["schema", "-o", str(out), "--import", str(tmp_path / "own.py")])
    assert done.stdout.startswith("wrote ") and "FromAFile" in json.loads(out.read_text())["$defs"]
    done = CliRunner().invoke(app, ["schema", "--import", "no_such_module"])
    assert done.exit_code == 2 and "cannot import no_such_module" in done.stderr


def test_words_of_yaml_are_the_same_in_editors_and_here(known, tmp_path):
    """Editors read YAML 1.2, as we do: `1e-3` is a number, `yes` is a word."""
    (tmp_path / "c.yaml").write_text("- type: Normal\n  std: 1e-3\n")
    assert says(known, read_config(tmp_path / "c.yaml")) == []
    assert says(known, yaml.safe_load((tmp_path / "c.yaml").read_text())) != []
