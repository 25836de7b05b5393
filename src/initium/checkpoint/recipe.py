"""What is asked of a checkpoint: which file, which of its tensors, under which names. It is data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from initium.checkpoint.adapters import Adapter
from initium.checkpoint.computed import Adapted
from initium.checkpoint.converters import Converter, Entries, build_converters
from initium.checkpoint.entry import Entry
from initium.checkpoint.opening import open_checkpoint
from initium.checkpoint.sources import valid_sha256
from initium.errors import InitAssertionError, InitError, InitTypeError, did_you_mean, listing

# what data parallel, FSDP and the compiler put into names
_WITHIN = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_BEFORE = "module."


@dataclass(frozen=True)
class Recipe:
    """Which file, which of its tensors, under which names.

    Attributes:
        checkpoint: a path, folder or URL.
        key: where in the file the state dict is.
        prefix: only the keys that start with it, without it.
        converters: what makes the model's names and tensors of them, in order.
        sha256: what the file must have, or its first digits.
        trust_pickle: unpickle it as Python does.
        offline: take downloads from the cache only.
        mmap: tensors may stay in the file.
    """

    checkpoint: str
    key: str | None = None
    prefix: str | None = None
    converters: tuple[Converter, ...] = ()
    sha256: str | None = None
    trust_pickle: bool = False
    offline: bool = field(default=False, compare=False)
    mmap: bool = field(default=False, repr=False)  # its tensors are the same

    def __post_init__(self) -> None:
        if not isinstance(self.checkpoint, str):
            raise InitTypeError(f"checkpoint must be a str, but got {self.checkpoint!r}")
        for name in ("key", "prefix", "sha256"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InitTypeError(f"{name} must be a str or None, but got {value!r}")
        for name in ("trust_pickle", "offline", "mmap"):
            if not isinstance(getattr(self, name), bool):
                raise InitTypeError(f"{name} must be a bool, but got {getattr(self, name)!r}")
        if self.sha256 is not None:
            valid_sha256(self.sha256)

    def to_dict(self) -> dict[str, Any]:
        """JSON data; defaults are left out."""
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.compare}
        data["converters"] = [converter.to_dict() for converter in self.converters]
        return {k: v for k, v in data.items() if v or k == "checkpoint"}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_dict` described."""
        arguments = dict(data)
        arguments["converters"] = build_converters(arguments.get("converters", []))
        return cls(**arguments)

    @property
    def stem(self) -> str:
        """The prefix with a dot at its end; empty where there is none."""
        return f"{self.prefix.rstrip('.')}." if self.prefix else ""


class Opened:
    """The tensors that a recipe asks for, by the names it gives them.

    Attributes:
        entries: by name.
        keys: the names before the prefix was taken off and converters came, wrappers stripped.
        stripped: `module.` where every name began so, and it was taken off.
        notes: on converters without effect.

    Raises:
        InitError: the checkpoint cannot be read, no key starts with the prefix (then it is an
            AssertionError, too), or a converter fails.
    """

    def __init__(self, recipe: Recipe, whole: Entries) -> None:
        bare = {_WITHIN.sub("", key): entry for key, entry in whole.items()}
        self.stripped = ""
        if all(key.startswith(_BEFORE) for key in bare) and not recipe.stem.startswith(_BEFORE):
            self.stripped = _BEFORE
            bare = {key.removeprefix(_BEFORE): entry for key, entry in bare.items()}
        self.keys = list(bare)
        self.notes: list[str] = []
        self.entries = self._converted(recipe, _below(recipe.stem, bare))

    def _converted(self, recipe: Recipe, entries: Entries) -> Entries:
        for converter in recipe.converters:
            before, entries = entries, converter.convert(entries)
            if before == entries and list(before) == list(entries):
                self.notes.append(f"{converter} matches no key of the file")
        return entries


class Files:
    """Checkpoints that were opened already: each file is opened once for one plan."""

    def __init__(self) -> None:
        self._files: dict[tuple[Any, ...], Entries] = {}
        self._opened: dict[str, Opened] = {}
        self._met: dict[int, tuple[Recipe, Opened]] = {}  # by id

    def __reduce__(self) -> tuple[type[Files], tuple[()]]:
        return Files, ()  # what is open here is not elsewhere

    def copy(self) -> Files:
        """The same files; what either of the two opens from now on, the other does not know."""
        made = Files()
        made._files, made._opened = dict(self._files), dict(self._opened)
        return made

    def opened(self, recipe: Recipe) -> Opened:
        """What a recipe asks for."""
        if id(recipe) not in self._met:
            at = repr(recipe)  # a converter of a user may have no hash
            if at not in self._opened:
                self._opened[at] = Opened(recipe, self.open(recipe))
            self._met[id(recipe)] = recipe, self._opened[at]
        return self._met[id(recipe)][1]

    def entry(
        self, recipe: Recipe, name: str, adapters: Sequence[Adapter], shape: tuple[int, ...]
    ) -> Entry:
        """The tensor to which a recipe gives this name, made by adapters to be of this shape.

        Raises:
            InitError: there is none.
        """
        entries = self.opened(recipe).entries
        if name not in entries:
            raise InitError(f"the checkpoint has no tensor {name!r}")
        return Adapted(entries[name], tuple(adapters), shape) if adapters else entries[name]

    def open(self, recipe: Recipe) -> Entries:
        """The tensors of the recipe's file by the names they have in it."""
        stem = recipe.stem
        indexed = recipe.checkpoint.endswith(".index.json")  # one shard in many may be enough
        at = (recipe.checkpoint, recipe.key, recipe.sha256, recipe.trust_pickle, indexed and stem)
        if at not in self._files:
            self._files[at] = open_checkpoint(
                recipe.checkpoint,
                key=recipe.key,
                sha256=recipe.sha256,
                trust_pickle=recipe.trust_pickle,
                offline=recipe.offline,
                wanted=lambda key: stem in _WITHIN.sub("", key),
            )
        return self._files[at]


def _below(stem: str, entries: Entries) -> Entries:
    found = {k.removeprefix(stem): entry for k, entry in entries.items() if k.startswith(stem)}
    if not found:
        prefixes = {".".join(key.split(".")[:n]) + "." for key in entries for n in (1, 2)}
        raise InitAssertionError(
            f"no key of the checkpoint starts with the prefix {stem!r}."
            f"{did_you_mean(stem, prefixes)} Its keys start with: {listing(sorted(prefixes))}"
        )
    return found
