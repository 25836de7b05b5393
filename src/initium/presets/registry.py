"""Names -> presets. `PRESETS` holds what `preset=` may say in an `init_cfg`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from initium.errors import (
    InitError,
    InitKeyError,
    InitTypeError,
    did_you_mean,
    located,
)

Rules = list[dict[str, Any]]


@dataclass(frozen=True)
class Preset:
    """A list of rules with a name and a version, whose numbers follow from a few arguments.

    Attributes:
        name: without the version.
        version: from 1; what a version gives never changes.
        make: the function that was registered; its signature says which arguments there are.
        formula: what the rules say, in a line.
        reference: where the formula was published.
        equals: the library, version and function that give the same.
    """

    name: str
    version: int
    make: Callable[..., Rules]
    formula: str = ""
    reference: str = ""
    equals: str = ""

    @property
    def label(self) -> str:
        """Name and version: `gpt2@1`."""
        return f"{self.name}@{self.version}"

    def __str__(self) -> str:
        return f"preset {self.label}"

    @property
    def arguments(self) -> dict[str, inspect.Parameter]:
        """The arguments by name, with their defaults."""
        return dict(inspect.signature(self.make).parameters)

    def rules(self, arguments: Mapping[str, Any]) -> Rules:
        """The rules for these arguments.

        Raises:
            InitTypeError: a TypeError; an argument is unknown, missing or of the wrong type.
            InitError: a bad value.
        """
        known = self.arguments
        for argument in arguments:
            if argument not in known:
                raise InitTypeError(
                    f"{self} got an unknown argument {argument!r}."
                    f"{did_you_mean(argument, known)} It takes: {', '.join(known) or 'nothing'}; "
                    "to change more, write rules after it: later ones win"
                )
        for argument, parameter in known.items():
            if parameter.default is parameter.empty and argument not in arguments:
                raise InitTypeError(
                    f"{self} needs the argument {argument!r}; it takes: {', '.join(known)}"
                )
        with located(str(self)):
            return _checked(self.make(**arguments))


class Presets:
    """Presets by name and version.

    >>> mine = Presets()
    >>> @mine.register("tiny", formula="all 0.01")
    ... def tiny(std: float = 0.01):
    ...     return [dict(type="Normal", name="**", std=std)]
    >>> mine.find("tiny").label, mine.find("tiny@1").rules({})
    ('tiny@1', [{'type': 'Normal', 'name': '**', 'std': 0.01}])
    """

    def __init__(self) -> None:
        self._versions: dict[str, dict[int, Preset]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions)

    def __len__(self) -> int:
        return len(self._versions)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._versions or name in self.labels())

    def register(
        self,
        name: str,
        version: int = 1,
        *,
        formula: str = "",
        reference: str = "",
        equals: str = "",
        force: bool = False,
    ) -> Callable[[Callable[..., Rules]], Callable[..., Rules]]:
        """A decorator that registers a function from arguments to a list of rules.

        Args:
            name: what `preset=` says; without a version.
            version: from 1; a change of what the rules give is a new version.
            formula: what the rules say, in a line.
            reference: where that was published.
            equals: the library, version and function that give the same.
            force: replace a preset of this name and version.

        Raises:
            InitKeyError: a KeyError; there is one already, and `force` is False.
            InitError: a bad name or version.
        """
        if not isinstance(name, str) or not name or "@" in name:
            raise InitError(f"the name of a preset must be a str without '@', but got {name!r}")
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise InitError(f"version must be an int from 1, but got {version!r}")

        def add(make: Callable[..., Rules]) -> Callable[..., Rules]:
            known = self._versions.setdefault(name, {})
            if version in known and not force:
                raise InitKeyError(
                    f"preset {name}@{version} is registered already; give the new one "
                    f"version={max(known) + 1}, or pass force=True to replace it"
                )
            known[version] = Preset(name, version, make, formula, reference, equals)
            return make

        return add

    def labels(self) -> list[str]:
        """Every name with every version."""
        return [f"{name}@{version}" for name, known in self._versions.items() for version in known]

    def find(self, name: Any) -> Preset:
        """The preset that a name means: `gpt2@1`, or the newest `gpt2`.

        Raises:
            InitTypeError: a TypeError; the name is no str.
            InitKeyError: a KeyError; there is no such preset, or no such version.
        """
        if not isinstance(name, str):
            raise InitTypeError(f"preset must be the name of one, but got {name!r}")
        bare, at, version = name.partition("@")
        known = self._versions.get(bare)
        if not known:
            raise InitKeyError(
                f"{name!r} is no preset.{did_you_mean(bare, self)} There are: "
                f"{', '.join(sorted(self))}"
            )
        if not at:
            return known[max(known)]
        if not version.isdecimal() or int(version) not in known:
            raise InitKeyError(
                f"preset {bare!r} has no version {version!r}; it has: "
                f"{', '.join(f'{bare}@{v}' for v in sorted(known))}"
            )
        return known[int(version)]


def _checked(rules: Any) -> Rules:
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise InitTypeError(f"its function must return a list of dicts, but returned {rules!r}")
    return rules


PRESETS = Presets()
