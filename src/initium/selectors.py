"""Which tensors a rule means: by the class of a layer, by a pattern on names.

A pattern is matched against the whole dotted name of a tensor, segment by segment:

- a segment matches itself: `head.weight` is that one tensor;
- `*` stands for any characters within a segment: `blocks.*.attn.qkv.weight`, `layer*.bias`;
- `**` as a segment stands for any number of segments, none included: `backbone.**`, `**.bias`;
- every other character is itself; names are matched from the root of the model that the
  declaration belongs to, and wrappers (`module.` of data parallel, `_orig_mod.` of a compiled
  module) may be left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import lru_cache

from torch import Tensor, nn

from initium.errors import InitError

# weight, in_proj_weight, weight_ih, weight_hr_l0_reverse; not weight_g, which is a norm's scale
_TIMES = r"(_[ih]h|_hr)?(_l\d+)?(_reverse)?"
_WEIGHT = re.compile(rf"(\w+_)?weight{_TIMES}")
_BIAS = re.compile(rf"(\w+_)?bias(_[kv])?{_TIMES}")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression, to be used with `fullmatch`.

    Raises:
        InitError: an empty segment, or `**` within one.

    >>> bool(compile_pattern("**.bias").fullmatch("blocks.0.bias."))
    True
    """
    regex = ""
    for segment in pattern.split("."):
        if segment == "**":
            regex += r"(?:[^.]+\.)*"
        elif not segment or "**" in segment:
            raise InitError(
                f"{pattern!r} is no pattern: its segments, between dots, must not be empty, and "
                "** must stand alone in one"
            )
        else:
            regex += re.escape(segment).replace(r"\*", "[^.]*") + r"\."
    # a name is matched with a dot at its end, so that all segments look alike
    return re.compile(regex)


def matches(pattern: re.Pattern[str], name: str) -> bool:
    """Whether the pattern matches the whole of `name`."""
    return pattern.fullmatch(name + ".") is not None


def ancestors(module: nn.Module) -> Iterator[type]:
    """The class of a module and every class it derives from, below `nn.Module`."""
    for cls in type(module).__mro__:
        if cls not in (nn.Module, object):
            yield cls


def is_layer(module: nn.Module, layer: str | type) -> bool:
    """Whether the module is of the class `layer`: a class, its name, or a dotted name of it."""
    if isinstance(layer, type):
        return isinstance(module, layer)
    if "." in layer:
        cls = _imported(layer)
        return isinstance(module, cls) if cls else False
    return layer in _names_of(type(module))  # type: ignore[arg-type]  # classes are hashable


@lru_cache(maxsize=4096)
def _names_of(cls: type) -> frozenset[str]:
    return frozenset(c.__name__ for c in cls.__mro__ if c not in (nn.Module, object))


def _imported(dotted: str) -> type | None:
    """The class that a dotted name means, among what is imported already: a model's class is."""
    module_name, _, attribute = dotted.rpartition(".")
    cls = getattr(sys.modules.get(module_name), attribute, None)
    return cls if isinstance(cls, type) else None


def layer_tensors(module: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """(owner, attribute, 'weight' or 'bias') of the tensors that make up a layer.

    They are the module's own parameters by their names; the output projection of
    `nn.MultiheadAttention`, which torch keeps in a module of its own; and, as in MMEngine, buffers
    that are called `weight` and `bias`, as those of a frozen norm.

    >>> [role for _, _, role in layer_tensors(nn.LSTM(2, 3))]
    ['weight', 'weight', 'bias', 'bias']
    """
    for local, tensor in module._parameters.items():
        if tensor is not None and (role := _role(local)):
            yield module, local, role
    for local in ("weight", "bias"):
        buffer = module._buffers.get(local)
        # integers belong to a quantized layer; in a loss they are the weights of its classes
        if buffer is not None and buffer.is_floating_point() and not hasattr(module, "reduction"):
            yield module, local, local
    if isinstance(module, nn.MultiheadAttention):
        yield from layer_tensors(module.out_proj)


def _role(local: str) -> str:
    if _BIAS.fullmatch(local):
        return "bias"
    return "weight" if _WEIGHT.fullmatch(local) else ""


def computed_weights(module: nn.Module) -> list[str]:
    """Weights and biases that the module computes from other tensors.

    A parametrization does; so do pruning, and the older spectral and weight norm of torch, which
    keep `weight` as a plain attribute beside `weight_orig`, or `weight_g` and `weight_v`.
    """
    plain = [
        name for name, held in vars(module).items() if isinstance(held, Tensor) and _role(name)
    ]
    sources = tuple(module._parameters)
    hooked = [name for name in plain if any(s.startswith(f"{name}_") for s in sources)]
    return [*getattr(module, "parametrizations", {}), *hooked]
