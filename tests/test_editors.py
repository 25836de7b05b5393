"""What an editor shows with the schema: `npm install -g yaml-language-server`, and these run."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from editor import Editor
from initium.schema import config_schema

ROOT = Path(__file__).parents[1]
SERVER = os.environ.get("YAML_LANGUAGE_SERVER") or shutil.which("yaml-language-server")
pytestmark = pytest.mark.skipif(SERVER is None, reason="yaml-language-server is not installed")
FIRST = "# yaml-language-server: $schema=init.schema.json\n"


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editor")
    (folder / "init.schema.json").write_text(json.dumps(config_schema()))
    opened = Editor([SERVER, "--stdio"], folder)
    yield opened
    opened.close()


MISTAKES = [
    ("- {type: Norml}", "Norml", "Kaiming"),
    ("- type: Normal\n  sdt: 1", "sdt", "Property sdt is not allowed"),
    ("- type: Normal\n  std: '1'", "'1'", 'Expected "number"'),
    ("- type: Normal\n  std: -1", "-1", "below the minimum of 0"),
    ("- layer: Linear\n  std: 1", "l", 'Missing property "type"'),
    ("- type: Constant\n  layer: Linear", "t", 'Missing property "val"'),
    ("- type: Kaiming\n  mode: fan", "fan", '"fan_in", "fan_out"'),
    ("- type: Normal\n  bias_prob: 1", "1", "above the exclusive maximum of 1"),
    ("- Normal", "Normal", 'Expected "rule"'),
    ("- - type: Normal", "- type: Normal", 'Expected "rule"'),
    ("init_cfg: 3", "3", "Expected one of array, object"),
    ("init_cfg:\n  - type: Normal\nseed: 3", "seed", "Property seed is not allowed"),
    ("- preset: gpt3", "gpt3", '"gpt2"'),
    ("- preset: gpt2\n  n_layers: 3", "n_layers", "Property n_layers is not allowed"),
    ("- preset: gpt2\n  type: Normal", "type", "Property type is not allowed"),
    ("- preset: mup", "p", 'Missing property "base_width"'),
    ("- type: Constant\n  val: 1\n  override: conv", "conv", "Expected one of array, object"),
    ("- type: Constant\n  val: 1\n  override:\n    type: Normal", "override", 'Missing property "name"'),
    ("- type: Constant\n  val: 1\n  override: {name: a, val: 1}", "val", "Property val is not allowed"),
    ("- type: Constant\n  val: 1\n  override: [{name: a, type: Norml}]", "Norml", "Kaiming"),
    ("- {type: Pretrained, checkpoint: x, convert: [{type: Trnspose}]}", "Trnspose", "Transpose"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "underlined", "message"), MISTAKES)
def test_a_mistake_is_underlined_where_it_is(editor, text, underlined, message):
    [(where, said)] = editor.complaints(f"{FIRST}{text}\n")
    assert where == underlined and message in said


ANCHORS = """\
x-small: &small {type: Normal, std: 1e-2}
init_cfg:
  - {<<: *small, layer: Linear}
  - <<: *small
    name: "**.head.weight"
    std: 0.5
"""


def valid():
    yield "anchors", ANCHORS
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        yield path.name, path.read_text()
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for text in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S):
            if "type:" in text or "preset:" in text:
                yield page.name, text


@pytest.mark.parametrize(("page", "text"), list(valid()))
def test_a_config_of_the_docs_is_not_underlined(editor, page, text):
    assert editor.complaints(FIRST + text) == [], page


def test_what_is_offered(editor):
    kinds = editor.completions(f"{FIRST}- type: |")
    assert {"Kaiming", "Pretrained"} <= set(kinds) and "Glorot" in str(kinds["Xavier"])
    keys = set(editor.completions(f"{FIRST}- type: Kaiming\n  |"))
    assert keys == {"a", "mode", "nonlinearity", "distribution", "bias", "bias_prob",
                    "layer", "name", "override"}  # fmt: skip
    assert set(editor.completions(f"{FIRST}- type: Kaiming\n  mode: |")) == {"fan_in", "fan_out"}
    assert {"Linear", "Conv2d"} <= set(editor.completions(f"{FIRST}- type: Kaiming\n  layer: |"))
    assert {"gpt2", "gpt2@1"} <= set(editor.completions(f"{FIRST}- preset: |"))
    assert set(editor.completions(f"{FIRST}- preset: gpt2\n  |")) == {"n_layer", "std", "bias"}
    begun = editor.completions(f"{FIRST}- |")
    assert {"type", "preset"} <= set(begun) and not {"val", "std", "init_cfg"} & set(begun)
    assert {"type", "preset", "init_cfg"} <= set(editor.completions(f"{FIRST}|"))
    rule = (
        f"{FIRST}- type: Constant\n  val: 1\n  override:\n    name: head\n    type: Kaiming\n    |"
    )
    within = editor.completions(rule)
    assert "mode" in within and not {"layer", "override"} & set(within)


def test_what_is_shown_on_hovering(editor):
    shown = editor.hover(f"{FIRST}- type: Kai|ming\n")
    assert shown.index("`Kaiming`: Weights of variance") < shown.index("`Constant`")
    shown = editor.hover(f"{FIRST}- type: Kaiming\n  mo|de: fan_in\n")
    assert "`'fan_in'` or `'fan_out'`, of the weight's own shape" in shown
    shown = editor.hover(f"{FIRST}- preset: gpt|2\n")
    assert "Radford" in shown
    shown = editor.hover(f"{FIRST}- type: Constant\n  val: 1\n  overr|ide: {{name: a}}\n")
    assert "What beats this rule" in shown
