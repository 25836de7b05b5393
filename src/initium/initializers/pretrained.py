"""The data of a declared checkpoint: what `dict(type="Pretrained", …)` in an `init_cfg` becomes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from initium.checkpoint import CHECKPOINT_ADAPTERS, Adapter, Recipe, build_converters
from initium.errors import InitError, InitTypeError
from initium.initializers.numbers import is_number, plain
from initium.selectors import compile_pattern


class PretrainedDeclaration:
    """Values from a checkpoint.

    Args:
        checkpoint: a path, folder or URL.
        prefix: take only the keys that start with it, without it; `'backbone'` and `'backbone.'`
            mean the same.
        map_location: as in MMEngine; values go straight to where each tensor is, whatever it says.
        to: the submodule that the file is of: put in front of the keys; None: the module that
            the rule belongs to.
        key: where in the file the state dict is: `'ema'`; None: where it usually is.
        rename: (pattern, replacement) pairs of regular expressions, applied to the keys in order.
        convert: converters, applied after them in order: `dict(type="Split", …)`, `Merge`,
            `Transpose`.
        adapt: adapters for tensors of another shape: `dict(type="InputChannels", name=…, …)`.
        ignore: patterns on names of the model (as in `name=`) that the file may lack.
        ignore_unused: patterns on keys of the file that the model may lack.
        strict: what is missing, unused or of another shape is an error for this rule; None: where
            the plan is strict.
        min_coverage: the least fraction of the parameters, by element, that must be loaded.
        sha256: of the file, or its first 8 digits or more.
        trust_pickle: unpickle the file as Python does, which runs any code that it names.
        offline: take downloads from the cache only.
        mmap: leave the values in the file: a tensor's memory becomes a private map of it, of which
            pages are read when they are used, and copied when they are written to.

    Raises:
        InitTypeError: a TypeError; an argument of another type.
        InitError: a bad pattern, or a number outside its range.
    """

    wholemodule = False

    def __init__(
        self,
        checkpoint: Any,
        prefix: str | None = None,
        map_location: Any = "cpu",
        to: str | None = None,
        *,
        key: str | None = None,
        rename: Sequence[Any] = (),
        convert: Sequence[Any] = (),
        adapt: Sequence[Any] = (),
        ignore: Sequence[str] | str = (),
        ignore_unused: Sequence[str] | str = (),
        strict: bool | None = None,
        min_coverage: float | None = None,
        sha256: str | None = None,
        trust_pickle: bool = False,
        offline: bool = False,
        mmap: bool = False,
    ) -> None:
        if not isinstance(checkpoint, str) and not hasattr(checkpoint, "__fspath__"):
            raise InitTypeError(f"checkpoint must be a path, but got {checkpoint!r}")
        if to is not None and not isinstance(to, str):
            raise InitTypeError(f"to must be a str or None, but got {to!r}")
        if strict is not None and not isinstance(strict, bool):
            raise InitTypeError(f"strict must be a bool or None, but got {strict!r}")
        converters = build_converters(convert, rename)
        path = os.fspath(checkpoint)
        self.recipe = Recipe(path, key, prefix, converters, sha256, trust_pickle, offline, mmap)
        self.checkpoint, self.prefix, self.map_location = checkpoint, prefix, map_location
        self.to, self.strict = to, strict
        self.adapters = CHECKPOINT_ADAPTERS.build_list("adapt", adapt, Adapter)
        self.ignore = _patterns("ignore", ignore)
        self.ignore_unused = _patterns("ignore_unused", ignore_unused)
        self.min_coverage = _fraction(min_coverage)

    def declares(self) -> bool:
        """Whether this is all data, so that it can be planned (a user's subclass may compute)."""
        return True

    def info(self) -> str:
        """What the log says of a tensor that was loaded."""
        return f"{type(self).__name__}: load from {self.checkpoint}"


def _patterns(what: str, value: Any) -> tuple[Any, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
        raise InitTypeError(f"{what} must be a pattern or a list of patterns, but got {value!r}")
    return tuple(map(compile_pattern, values))


def _fraction(value: Any) -> float | None:
    if value is None:
        return None
    value = plain(value)
    if not is_number(value):
        raise InitTypeError(f"min_coverage must be a number, but got {value!r}")
    if not 0 <= value <= 1:
        raise InitError(f"min_coverage must lie between 0 and 1, but got {value!r}")
    return float(value)
