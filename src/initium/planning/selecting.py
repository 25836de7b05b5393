"""The lines of a plan for a part of its model: a pipeline stage, or a module of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from torch import nn

from initium.errors import InitError, InitKeyError, InitTypeError, did_you_mean
from initium.lines import Line
from initium.tree import Slot, Tree, join
from initium.writes import Capture, Fill, Load, Write

Names = str | Mapping[str, str] | nn.Module


def lines_of_part(lines: Mapping[str, Line], names: Names) -> dict[str, Line]:
    """The lines that a part of the model has, by the names that its tensors have there.

    Args:
        lines: of the whole model.
        names: see `Plan.select`.
    """
    if isinstance(names, nn.Module):
        found = list(_of_module(lines, names))
    elif isinstance(names, str):
        found = list(_renamed(lines.values(), {_stem(names, lines): ""}))
    elif isinstance(names, Mapping):
        prefixes = {_stem(old, lines): _text(new).rstrip(".") for old, new in names.items()}
        found = list(_renamed(lines.values(), prefixes))
    else:
        raise InitTypeError(
            "a part of a plan is selected by a prefix, a mapping of prefixes or a module, but got "
            f"{names!r}"
        )
    _check_apart(found)
    return {line.name: line for line in found}


def _text(prefix: object) -> str:
    if not isinstance(prefix, str):
        raise InitTypeError(f"a prefix must be a str, but got {prefix!r}")
    return prefix


def _stem(prefix: object, lines: Mapping[str, Line]) -> str:
    """A prefix without a dot at its end; it must be that of a tensor."""
    stem = _text(prefix).rstrip(".")
    names = {name for line in lines.values() for name in _names(line)}
    if not any(_starts(name, stem) for name in names):
        heads = {".".join(n.split(".")[:i]) for n in names for i in range(1, n.count(".") + 2)}
        raise InitKeyError(
            f"no tensor of the plan has a name that starts with {stem!r}."
            f"{did_you_mean(stem, sorted(heads))}"
        )
    return stem


def _names(line: Line) -> dict[str, None]:
    return dict.fromkeys((line.name, line.path, *line.aliases))


def _starts(name: str, stem: str) -> bool:
    return not stem or name == stem or name.startswith(f"{stem}.")


def _renamed(lines: Iterable[Line], prefixes: Mapping[str, str]) -> Iterator[Line]:
    """The lines with a name below one of the prefixes, which is exchanged."""
    longest_first = sorted(prefixes, key=len, reverse=True)

    def new(name: str) -> str | None:
        stem = next((stem for stem in longest_first if _starts(name, stem)), None)
        return None if stem is None else join(prefixes[stem], name[len(stem) :].lstrip("."))

    for line in lines:
        places = [new(name) for name in (line.name, *line.aliases)]
        if not any(place is not None for place in places):
            places = [new(line.path)]  # the prefix is one without wrappers
        named = list(dict.fromkeys(place for place in places if place))
        if named:
            yield _line(line, named[0], new(line.path) or named[0], named[1:])
        elif "" in places:
            raise InitError(
                f"{line.name} is a tensor, which would have no name in the part; say "
                f"{{{line.name!r}: 'its name there'}}"
            )


def _of_module(lines: Mapping[str, Line], module: nn.Module) -> Iterator[Line]:
    """The lines of the tensors that a module has under the names of the whole model."""
    by_name: dict[str, Line] = dict(lines)
    for line in lines.values():
        for name in (line.path, *line.aliases):
            by_name.setdefault(name, line)
    slots = Tree(module).slots
    found = [(slot, known) for slot in slots if (known := _line_of(slot, by_name.get)) is not None]
    if not found:
        first = slots[0].path if slots else ""
        raise InitKeyError(
            f"no tensor of the {type(module).__name__} has a name of the plan"
            f"{f', as {first!r}' if first else ': it has none'}.{did_you_mean(first, by_name)} "
            "Where names differ, say how: select({'prefix in the whole': 'prefix in the part'})"
        )
    for slot, known in found:
        yield _line(known, slot.name, slot.path, (place.name for place in slot.aliases))


def _line_of(slot: Slot, known: Callable[[str], Line | None]) -> Line | None:
    """The line of a tensor of the part; where it is tied, all its places must have that one."""
    lines = [known(place.path) or known(place.name) for place in slot.places()]
    found = {line.name: line for line in lines if line is not None}
    if len(found) > 1:
        raise InitError(
            f"{' and '.join(place.name for place in slot.places())} are one tensor in the part, but "
            f"several in the plan: {', '.join(found)}; untie them, or tie them in the whole model, too"
        )
    return next(iter(found.values()), None)


def _check_apart(found: Iterable[Line]) -> None:
    owners: dict[str, Line] = {}
    for line in found:
        for name in (line.name, *line.aliases):
            other = owners.setdefault(name, line)
            if other is not line:
                raise InitError(
                    f"two tensors of the plan would both be {name!r} in the part; give each prefix "
                    "a place of its own"
                )


def _line(line: Line, name: str, path: str, aliases: Iterable[str]) -> Line:
    writes = tuple(_as_before(write, line.path, path) for write in line.writes)
    return replace(line, name=name, path=path, aliases=tuple(aliases), writes=writes)


def _as_before(write: Write, old: str, new: str) -> Write:
    """A write that draws goes on drawing the stream that it draws in the whole model."""
    random = isinstance(write, Load) and write.random
    random |= isinstance(write, Fill) and write.initializer.random
    if isinstance(write, Capture) or not random:
        return write
    if write.stream is None:
        return write if old == new else replace(write, stream=old)
    return replace(write, stream=None) if write.stream == new else write
