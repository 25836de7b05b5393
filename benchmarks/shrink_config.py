"""Shrinking the config of a transformers model, by the rules in shrink_table.py.

All widths are divided by one power of two, which keeps what must fit together together:
heads × head_dim = hidden_size, the parts of a rotary embedding, the outputs of one sub-model and
the inputs of the next. Depth, vocabularies and experts are cut to small numbers.
"""

import copy

import shrink_table as table
from transformers import PreTrainedConfig


class UnevenError(ValueError):
    """A width cannot be divided by the scale."""


def kind_of(name: str) -> str:
    return next((kind for kind, pattern in table.KINDS if pattern.search(name)), "keep")


def is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def tree(config: PreTrainedConfig) -> list[PreTrainedConfig]:
    """A config and all configs in it, each once."""
    found = [config]
    for parent in found:
        for value in vars(parent).values():
            if isinstance(value, PreTrainedConfig) and not any(value is c for c in found):
                found.append(value)
    return found


def layer_numbers(name: str, value: object, full: int) -> bool:
    """Whether a field lists some of the layers 0…full."""
    return (
        isinstance(value, list | tuple)
        and bool(table.LAYER_LISTS.search(name) and not table.NOT_LAYERS.search(name))
        and all(is_int(i) and 0 <= i <= full for i in value)
        and len(set(value)) == len(value) > 0
    )


def depths(config: PreTrainedConfig) -> list[int]:
    """Different numbers of layers in a config, deepest first."""
    found = {v for k, v in vars(config).items() if is_int(v) and kind_of(k) == "depth"}
    return sorted((n for n in found if n > table.DEPTH), reverse=True)


def wanted_depth(configs: list[PreTrainedConfig]) -> int:
    """Enough layers for every list of a few layers, e.g. those that a backbone returns."""
    full = max((n for c in configs for n in depths(c)), default=0)
    fields = [field for c in configs for field in vars(c).items()]
    lengths = [len(v) for k, v in fields if layer_numbers(k, v, full)]
    return max([table.DEPTH, *(n for n in lengths if n <= table.MAX_DEPTH)])


def chosen(columns: list[list], full: int, wanted: int) -> list[int]:
    """The layers that stay: one of each sort first, then from the front."""
    rows = list(zip(*columns, strict=True)) or [()] * full
    firsts = sorted({row: i for i, row in reversed(list(enumerate(rows)))}.values())
    firsts = firsts[: table.MAX_DEPTH]
    others = [i for i in range(full) if i not in firsts]
    return sorted(firsts + others[: max(0, wanted - len(firsts))])


def renumbered(numbers: list[int], full: int, kept: list[int]) -> list[int]:
    """Layer numbers among the layers that stay: a few move to the end, many are filtered."""
    if len(numbers) > table.MAX_DEPTH:
        return [kept.index(i) for i in numbers if i in kept]
    first = len(kept) - len(numbers) + (max(numbers) == full)
    return [first + sorted(numbers).index(i) for i in numbers]


def cut_layers(config: PreTrainedConfig, wanted: int, deepest: int) -> None:
    """Fewer layers, and every list of one item per layer along with them."""
    fields, kept = vars(config), list(range(wanted))
    numbers = {k for k, v in fields.items() if layer_numbers(k, v, max([*depths(config), deepest]))}
    many = {name for name in numbers if len(fields[name]) > table.MAX_DEPTH}
    for full in reversed(depths(config)):
        lists = {k: v for k, v in fields.items() if isinstance(v, list | tuple) and len(v) == full}
        lists = {k: v for k, v in lists.items() if k not in numbers}
        if lists and full <= table.MAX_DEPTH:
            continue  # stages, not layers
        sorts = [items for items in lists.values() if isinstance(items[0], str)]
        sorts += [[i in fields[name] for i in range(full)] for name in sorted(many)]
        kept = chosen(sorts, full, wanted)
        for name, items in lists.items():
            fields[name] = type(items)(items[i] for i in kept)
        same = [k for k, v in fields.items() if is_int(v) and v == full and kind_of(k) == "depth"]
        fields.update(dict.fromkeys(same, len(kept)))
        deepest = full
    cut_layer_numbers(fields, numbers, deepest, kept)
    cut_overrides(fields, kept)


def cut_layer_numbers(fields: dict, numbers: set[str], full: int, kept: list[int]) -> None:
    """Lists of layers and single layers stay inside the layers that are left."""
    stages = fields.get("stage_names") or []
    if stages and ("depths" in fields or len(stages) != full + 1):
        return  # stages of several layers each: their number stays
    for name in numbers:
        fields[name] = type(fields[name])(renumbered(list(fields[name]), full, kept))
    for name, value in fields.items():
        if is_int(value) and table.LAYER_NUMBERS.search(name):
            fields[name] = min(value, len(kept) - 1)
    if stages:
        fields["stage_names"] = stages[: len(kept) + 1]
        fields["_out_features"] = [stages[i] for i in fields["_out_indices"]]


def cut_overrides(fields: dict, kept: list[int]) -> None:
    """What single layers have of their own moves with them."""
    if (spec := fields.get("_heterogeneity_spec")) is not None:
        own = spec.per_layer_overrides
        spec.per_layer_overrides = {kept.index(i): own[i] for i in own if i in kept}


def fit_heads(fields: dict) -> None:
    """Fewer heads where a head would be of odd or broken width; not if that width is a field."""
    heads = {k: n for k, n in fields.items() if is_int(n) and table.HEADS.search(k)}
    width = next((fields[k] for k in table.HIDDEN if is_int(fields.get(k))), 0)
    if not heads or any(is_int(n) and table.HEAD_WIDTHS.search(k) for k, n in fields.items()):
        return
    most, cut = max(heads.values()), 1
    while width % (2 * most // cut) and most % (2 * cut) == 0:
        cut *= 2
    fields.update({k: max(1, n // cut) for k, n in heads.items()})


class Shrinker:
    """Shrinks all configs of one model by the same rules.

    Fields are set below the configs' own checks: these compare fields that are still to be set.
    """

    def __init__(self, scale: int, strict: bool) -> None:
        self.scale, self.strict = scale, strict
        self.tokens: dict[int, int] = {}

    def __call__(self, config: PreTrainedConfig) -> PreTrainedConfig:
        config = copy.deepcopy(config)
        configs = tree(config)
        wanted = wanted_depth(configs)
        deepest = max((n for each in configs for n in depths(each)), default=0)
        for each in configs:
            cut_layers(each, wanted, deepest)
            for name, value in vars(each).items():
                vars(each)[name] = self.smaller(name, value)
            fit_heads(vars(each))
            fixes = table.FIXES.get(each.model_type or type(each).__name__, {})
            vars(each).update(copy.deepcopy(fixes))
        return config

    def smaller(self, name: str, value: object) -> object:
        if isinstance(value, dict) and name not in table.OTHER_DICTS:
            return {key: self.smaller(f"{key}", item) for key, item in value.items()}
        if name == "_heterogeneity_spec":
            value.per_layer_overrides = self.smaller("", value.per_layer_overrides)
        if name == "mrope_section" and value:
            return self.sections(value)
        kind = kind_of(name)
        if isinstance(value, list | tuple) and kind not in ("keep", "depth"):
            return type(value)(self.smaller(name, item) for item in value)
        return self.number(name, kind, value) if is_int(value) else value

    def number(self, name: str, kind: str, value: int) -> int:
        if kind in table.LIMITS:
            return min(value, table.LIMITS[kind])
        if kind == "width":
            return self.width(name, value)
        return self.token(value) if kind == "token" else value

    def width(self, name: str, value: int) -> int:
        small, rest = divmod(value, self.scale)
        if table.FREE_WIDTHS.search(name):
            return max(small, min(value, 8))
        # rotary embeddings take halves of a head
        odd = table.HEAD_WIDTHS.search(name) and value % 2 == 0 and small % 2
        if self.strict and value > 8 and (rest or odd):
            raise UnevenError(f"{name}: {value} / {self.scale}")
        return value if rest else small

    def sections(self, values: list[int]) -> list[int]:
        """The parts of a rotary embedding: their sum is what must be right."""
        parts = [n // self.scale for n in values]
        if self.strict and 0 in parts:
            raise UnevenError(f"mrope_section: {values} / {self.scale}")
        return [parts[0] + sum(values) // self.scale - sum(parts), *parts[1:]]

    def token(self, value: int) -> int:
        """Ids stay different from each other."""
        last = table.LIMITS["vocab"] - 1
        return value if value <= last else self.tokens.setdefault(value, last - len(self.tokens))
