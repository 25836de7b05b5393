"""Tiny versions of every model architecture of the installed transformers, built offline.

Each architecture is tried with its config shrunk as far as shrink_config.py can, then less and
less, until a version can be built; the list says which ones cannot, and why.
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
from shrink_config import Shrinker, UnevenError, is_int, tree
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


class TooLargeError(ValueError):
    """A model has more parameters than a sweep has time for."""


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
    """The smallest version that can be built; raises the last error when there is none."""
    errors: list[Exception] = []
    for smaller in smaller_configs(config):
        try:
            with torch.random.fork_rng(devices=[]):
                check(cls, smaller)
            return functools.partial(build, cls, smaller)
        except ImportError:
            raise
        except Exception as error:  # whatever a model's constructor raises
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
    found.sort(key=lambda c: (not c.__name__.endswith("Model"), len(c.__name__)))
    return next(iter(found), None)


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
        except Exception as raised:
            error = error or raised
    if not kinds:
        return None
    reason = " ".join(f"{type(error).__name__}: {error}".split()).split(". ")[0]
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
