"""What is in a checkpoint, without loading it: names, shapes, dtypes and sizes, as a tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from initium.checkpoint.entry import Entry
from initium.checkpoint.opening import open_checkpoint


@dataclass(frozen=True)
class Inspection:
    """The tensors of a checkpoint; as text they are a tree, in which equal blocks are one branch.

    Attributes:
        checkpoint: the path or URL.
        entries: by name, in the order of the file.
    """

    checkpoint: str
    entries: Mapping[str, Entry]

    def to_dict(self) -> dict[str, Any]:
        """Names, shapes, dtypes and bytes as JSON data."""
        tensors = {
            name: {"shape": list(e.shape), "dtype": _dtype(e), "nbytes": e.nbytes}
            for name, e in self.entries.items()
        }
        return {"checkpoint": self.checkpoint, "tensors": tensors}

    def __str__(self) -> str:
        from rich.console import Console
        from rich.tree import Tree

        sizes = [entry.nbytes for entry in self.entries.values()]
        values = sum(_numel(entry) for entry in self.entries.values())
        head = f"{self.checkpoint}: {len(sizes)} tensors, {values:,} values, {_size(sum(sizes))}"
        tree = Tree(head)
        _grow(tree, _nested(self.entries))
        console = Console(width=200, color_system=None, markup=False, highlight=False)
        with console.capture() as captured:
            console.print(tree)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())


def inspect_checkpoint(
    checkpoint: Any, *, key: str | None = None, offline: bool = False
) -> Inspection:
    """What is in a checkpoint.

    Of a remote file no more than the header is fetched, where the server can send parts of it.

    Args:
        checkpoint: a path, folder or URL, as in `Pretrained`.
        key: where in the file the state dict is; None: where it usually is.
        offline: take downloads from the cache only.

    Raises:
        InitFileNotFoundError: a FileNotFoundError; there is no such file.
        InitError: it cannot be read.
    """
    entries = open_checkpoint(checkpoint, key=key, offline=offline, header_only=True)
    return Inspection(str(checkpoint), entries)


def _nested(entries: Mapping[str, Entry]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for name, entry in entries.items():
        node, segments = root, name.split(".")
        for i, segment in enumerate(segments):
            below = node.get(segment)
            if isinstance(below, Entry):  # `a` is a tensor, and `a.b` another one
                segment = ".".join(segments[i:])
                node[segment] = entry
                break
            if i == len(segments) - 1:
                node[segment] = entry
            else:
                node = node.setdefault(segment, {})
    return root


def _grow(tree: Any, node: Mapping[str, Any]) -> None:
    """Add the branches of a node; a run of numbered ones that look alike is one branch."""
    for names, below in _runs(node):
        label = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)} alike)"
        if isinstance(below, Entry):
            problem = f", {below.problem()}" if below.problem() else ""
            shape = "×".join(map(str, below.shape)) or "scalar"
            tree.add(f"{label}  {shape} {_dtype(below)}, {_size(below.nbytes)}{problem}")
        else:
            leaves = _leaves(below)
            size = sum(entry.nbytes for entry in leaves) * len(names)
            branch = tree.add(f"{label}  {len(leaves) * len(names)} tensors, {_size(size)}")
            _grow(branch, below)


def _runs(node: Mapping[str, Any]) -> list[tuple[list[str], Any]]:
    runs: list[tuple[list[str], Any]] = []
    before: Any = None
    numbered = all(name.isdigit() for name in node)  # which a file may have as 0, 1, 10, 11, 2
    for name, below in sorted(node.items(), key=lambda i: int(i[0])) if numbered else node.items():
        looks = _looks(below) if name.isdigit() else None
        if looks is not None and looks == before:
            runs[-1][0].append(name)
        else:
            runs.append(([name], below))
        before = looks
    return runs


def _looks(node: Any) -> Any:
    if isinstance(node, Entry):
        return node.shape, node.dtype
    return {name: _looks(below) for name, below in node.items()}


def _leaves(node: Mapping[str, Any]) -> list[Entry]:
    found = []
    for below in node.values():
        found += [below] if isinstance(below, Entry) else _leaves(below)
    return found


def _numel(entry: Entry) -> int:
    return entry.nbytes // entry.dtype.itemsize


def _dtype(entry: Entry) -> str:
    return str(entry.dtype).removeprefix("torch.")


def _size(nbytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.2f} GiB"
