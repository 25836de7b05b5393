"""Which tensors of a checkpoint are those of a plan, and which of them can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from initium.checking.found import Difference
from initium.checkpoint import Entry
from initium.lines import Line
from initium.planning import Plan

# what wrappers put into names
_WITHIN = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))
# by the name of a line: the keys of the checkpoint that are this tensor, and what lies there
Places = dict[str, dict[str, Entry]]


def placed(plan: Plan, entries: Mapping[str, Entry]) -> tuple[Places, list[Difference]]:
    """Where each tensor lies; and the keys of the checkpoint that are none of the plan."""
    owners = _owners(plan)
    places: Places = {line.name: {} for line in plan}
    unknown = []
    for key, entry in entries.items():
        if key in owners:
            places[owners[key]][key] = entry
        else:
            message = f"the plan has no such tensor; the checkpoint has {_described(entry)}"
            unknown.append(Difference(key, "unknown", message))
    return places, unknown


def _owners(plan: Plan) -> dict[str, str]:
    """The name of the line that each key may stand for, wrappers seen through."""
    pairs = [
        (".".join(segment for segment in name.split(".") if segment not in _WITHIN), line.name)
        for line in plan
        for name in (line.path, line.name, *line.aliases)
    ]
    # what data parallel puts before all names comes last: a model may have a module of that name
    pairs += [(name.removeprefix("module."), owner) for name, owner in pairs]
    return dict(reversed(pairs))  # of one name, the first owner


def take_out_unfit(places: Places, plan: Plan) -> Iterator[Difference]:
    """Take out what cannot be compared, as it is no tensor of the line's shape and dtype."""
    for name, entries in places.items():
        for key, entry in list(entries.items()):
            kind, message = _misfit(plan.lines[name], entry)
            if kind:
                del entries[key]
                yield Difference(key, kind, message)


def _misfit(line: Line, entry: Entry) -> tuple[str, str]:
    unreadable, wanted = entry.problem(), dtype_of(line)
    if unreadable is not None:
        return "unreadable", f"it cannot be read: {unreadable}"
    if entry.shape != line.shape:
        return "shape", f"its shape is {list(entry.shape)}, expected {list(line.shape)}"
    if entry.dtype != wanted and not _rounds(wanted, entry.dtype):
        return "dtype", f"its dtype is {entry.dtype}, expected {wanted}"
    return "", ""


def _rounds(wanted: torch.dtype, saved: torch.dtype) -> bool:
    """Whether a dtype is a lower precision of another one."""
    floats = wanted.is_floating_point and saved.is_floating_point
    return (floats or (wanted.is_complex and saved.is_complex)) and saved.itemsize < wanted.itemsize


def dtype_of(line: Line) -> torch.dtype:
    """The dtype of a line's tensor."""
    found: torch.dtype = getattr(torch, line.dtype)
    return found


def _described(entry: Entry) -> str:
    return f"{list(entry.shape)} {str(entry.dtype).removeprefix('torch.')}"
