"""What an operation of torch does to values, as far as the recorder needs to know."""

from __future__ import annotations

from enum import Enum, auto
from functools import cache
from typing import Any

import torch

from initium.initializers import POINTWISE


class Kind(Enum):
    """Kinds of operations; `modes.py` has a handler for each."""

    VIEW = auto()
    LIFT = auto()
    EMPTY = auto()
    FULL = auto()
    DRAWN = auto()
    FILL = auto()
    POINTWISE_ = auto()
    POINTWISE = auto()
    COPY = auto()
    OTHER = auto()


_NAMES = {
    Kind.LIFT: ("lift_fresh",),
    Kind.EMPTY: ("empty", "empty_like", "empty_strided", "empty_permuted", "new_empty",
                 "new_empty_strided"),
    Kind.FULL: ("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros",
                "new_ones", "new_full"),
    Kind.DRAWN: ("rand", "randn", "rand_like", "randn_like"),
    Kind.FILL: ("fill_", "zero_", "normal_", "uniform_"),
    Kind.COPY: ("copy_",),
    Kind.POINTWISE: ("clone", "_to_copy", *POINTWISE),
    Kind.POINTWISE_: tuple(f"{name}_" for name in POINTWISE),
}  # fmt: skip
_BY_NAME = {f"aten::{name}": kind for kind, names in _NAMES.items() for name in names}


@cache
def name_of(func: Any) -> str:
    """The name of an operation, without its namespace and overload: `normal_`."""
    name: str = func._schema.name
    return name.removeprefix("aten::")


@cache
def kind_of(func: Any) -> Kind:
    """The kind of an operation.

    >>> kind_of(torch.ops.aten.select.int).name, kind_of(torch.ops.aten.normal_.default).name
    ('VIEW', 'FILL')
    """
    schema = func._schema
    if any(argument.is_out for argument in schema.arguments):
        return Kind.OTHER
    named = _BY_NAME.get(schema.name)
    if named is not None:
        return named
    # resize_ is one of these, but it may allocate
    shape_only = torch.Tag.inplace_view in func.tags and schema.name != "aten::resize_"
    return Kind.VIEW if shape_only or getattr(func, "is_view", False) else Kind.OTHER
