"""Tiny versions of every model architecture of the installed transformers, built offline.

A config is shrunk by dividing all its widths by one power of two, which keeps what must fit
together together: heads × head_dim = hidden_size, the parts of a rotary embedding, the outputs of
one sub-model and the inputs of the next. Depth, vocabularies and experts are cut to small numbers.
"""

import copy
import functools
import importlib
import inspect
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import shrink_table as table
import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import configuration_auto, modeling_auto

TOO_LARGE = 50_000_000


@dataclass(frozen=True)
class Architecture:
    """One model type; either a factory or the reason why there is none."""

    name: str
    kind: str
    factory: Callable[[], nn.Module] | None
    skipped: str = ""


class UnevenError(ValueError):
    """A width cannot be divided by the scale."""


class TooLargeError(ValueError):
    """A model has more parameters than a sweep has time for."""


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
    for full in reversed(depths(config)):
        lists = {k: v for k, v in fields.items() if isinstance(v, list | tuple) and len(v) == full}
        lists = {k: v for k, v in lists.items() if k not in numbers}
        if lists and full <= table.MAX_DEPTH:
            continue  # stages, not layers
        kept = chosen([v for v in lists.values() if isinstance(v[0], str)], full, wanted)
        for name, items in lists.items():
            fields[name] = type(items)(items[i] for i in kept)
        same = [k for k, v in fields.items() if is_int(v) and v == full and kind_of(k) == "depth"]
        fields.update(dict.fromkeys(same, len(kept)))
        deepest = full
    cut_layer_numbers(fields, numbers, deepest, kept)
    cut_overrides(fields, deepest, kept)


def cut_layer_numbers(fields: dict, numbers: set[str], full: int, kept: list[int]) -> None:
    """Lists of layers and single layers stay inside the layers that are left."""
    stages = fields.get("stage_names") or []
    if stages and len(stages) != full + 1:
        return  # stages of several layers each: their number stays
    for name in numbers:
        fields[name] = type(fields[name])(renumbered(list(fields[name]), full, kept))
    for name, value in fields.items():
        if is_int(value) and table.LAYER_NUMBERS.search(name):
            fields[name] = min(value, len(kept) - 1)
    if stages:
        fields["stage_names"] = stages[: len(kept) + 1]
        fields["_out_features"] = [stages[i] for i in fields["_out_indices"]]


def cut_overrides(fields: dict, full: int, kept: list[int]) -> None:
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
        if kind == "width" and table.FREE_WIDTHS.search(name) and is_int(value):
            return max(value // self.scale, min(value, 8))
        return self.number(kind, value) if is_int(value) else value

    def number(self, kind: str, value: int) -> int:
        if kind in table.LIMITS:
            return min(value, table.LIMITS[kind])
        if kind == "width":
            return self.width(value)
        return self.token(value) if kind == "token" else value

    def width(self, value: int) -> int:
        if value % self.scale == 0:
            return value // self.scale
        if self.strict and value > 8:
            raise UnevenError(value)
        return value

    def sections(self, values: list[int]) -> list[int]:
        """The parts of a rotary embedding: their sum is what must be right."""
        parts = [n // self.scale for n in values]
        if self.strict and 0 in parts:
            raise UnevenError(values)
        return [parts[0] + sum(values) // self.scale - sum(parts), *parts[1:]]

    def token(self, value: int) -> int:
        """Ids stay different from each other."""
        last = table.LIMITS["vocab"] - 1
        return value if value <= last else self.tokens.setdefault(value, last - len(self.tokens))


def smaller_configs(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    """From the smallest to the config as it is."""
    sizes = [vars(c).get(name) for c in tree(config) for name in table.HIDDEN]
    widest = max((size for size in sizes if is_int(size)), default=256)
    scales = [scale for scale in (32, 16, 8, 4) if widest >= 32 * scale]
    tries = [(s, True) for s in scales] + [(s, False) for s in scales] + [(2, False), (1, False)]
    for scale, strict in tries:
        try:
            yield Shrinker(scale, strict)(config)
        except UnevenError:
            continue
    yield config


def build(cls: type[PreTrainedModel], config: PreTrainedConfig) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cls(copy.deepcopy(config))


def check(cls: type[PreTrainedModel], config: PreTrainedConfig) -> None:
    """Build on the meta device, which costs no memory, then for real."""
    with torch.device("meta"):
        size = sum(p.numel() for p in build(cls, config).parameters())
    if size > TOO_LARGE:
        raise TooLargeError(f"too large: {size / 1e6:.0f} M parameters")
    build(cls, config)


def factory(cls: type[PreTrainedModel], config: PreTrainedConfig) -> Callable[[], nn.Module]:
    """The smallest version that can be built; raises the first error when there is none."""
    errors: list[Exception] = []
    for smaller in smaller_configs(config):
        try:
            with torch.random.fork_rng(devices=[]):
                check(cls, smaller)
            return functools.partial(build, cls, smaller)
        except ImportError:
            raise
        except Exception as error:  # noqa: BLE001 whatever a model's constructor raises
            errors.append(error)
    raise next((e for e in reversed(errors) if not isinstance(e, TooLargeError)), errors[-1])


def own_class(config_class: type[PreTrainedConfig]) -> type[PreTrainedModel] | None:
    """A model of this very config in the config's own package: most sub-models are only there."""
    name = config_class.__module__.replace(".configuration_", ".modeling_")
    try:
        module = importlib.import_module(name)
    except ImportError:
        return None
    found = [c for _, c in inspect.getmembers(module, inspect.isclass)]
    found = [c for c in found if issubclass(c, PreTrainedModel) and c.config_class is config_class]
    found = [c for c in found if not c.__name__.endswith("PreTrainedModel")]
    return min(found, key=lambda c: (not c.__name__.endswith("Model"), len(c.__name__)), default=None)


def model_classes(config_class: type[PreTrainedConfig]) -> Iterator[type[PreTrainedModel]]:
    """The class that AutoModel takes, then those of other auto classes, then any."""
    names = sorted(name for name in vars(modeling_auto) if name.endswith("_MAPPING"))
    names = ["MODEL_MAPPING", *(n for n in names if n.startswith("MODEL_FOR_"))]
    for name in names:
        mapping = getattr(modeling_auto, name)
        try:
            found = mapping[config_class]
        except (KeyError, ValueError):  # not in it, or not to be imported by that name
            continue
        yield found[0] if isinstance(found, list | tuple) else found
    if (own := own_class(config_class)) is not None:
        yield own


def architecture(name: str) -> Architecture | None:
    """None for the configs of parts that are not models."""
    config_class = configuration_auto.CONFIG_MAPPING[name]
    kinds, error = [], None
    for cls in dict.fromkeys(model_classes(config_class)):
        kinds.append(cls.__name__)
        try:
            config = config_class(**copy.deepcopy(table.DEFAULTS.get(name, {})))
            return Architecture(name, cls.__name__, factory(cls, config))
        except Exception as raised:  # noqa: BLE001 the reason, whatever it is
            error = error or raised
    if not kinds:
        return None
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return Architecture(name, kinds[0], None, reason[:200])


def architectures() -> Iterator[Architecture]:
    """Every architecture of transformers, in its order; each is tried when its turn comes."""
    transformers.logging.set_verbosity_error()
    for name in configuration_auto.CONFIG_MAPPING_NAMES:
        found = architecture(name)
        if found is not None:
            yield found


def main() -> None:
    start, rows, skipped = time.perf_counter(), [], []
    for found in architectures():
        if found.factory is None:
            skipped.append(found)
            print("skipped", found.name, found.kind, found.skipped, flush=True)
            continue
        begin = time.perf_counter()
        model = found.factory()
        spent = time.perf_counter() - begin
        rows.append((spent, sum(p.numel() for p in model.parameters()), found))
    total = len(rows) + len(skipped)
    print(f"{total} architectures, {len(rows)} built, {len(skipped)} skipped")
    print(f"{time.perf_counter() - start:.0f} s, {sum(r[0] for r in rows):.0f} s building")
    for title, column in (("slowest", 0), ("biggest", 1)):
        print(title)
        for row in sorted(rows, key=lambda r: -r[column])[:10]:
            print(f"  {row[2].name:32}{row[0]:7.2f} s{row[1] / 1e6:8.1f} M")


if __name__ == "__main__":
    main()
