"""Plan + checkpoint -> what differs."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral

import torch

from initium.checking.found import Checked, Difference
from initium.checking.matching import dtype_of, placed, take_out_unfit
from initium.checking.values import Drawing
from initium.checkpoint import Entry, Files, Recipe
from initium.errors import InitError
from initium.given import check_is
from initium.here import unseen
from initium.lines import Line
from initium.planning import Plan
from initium.streams import Seed, check_seed
from initium.writes import is_keep

# how much is drawn again where nobody says: so many tensors, or this share if that is more
TENSORS, SHARE = 20, 0.05


def check_checkpoint(
    plan: Plan,
    checkpoint: str | os.PathLike[str],
    *,
    sample: int | None = None,
    everything: bool = False,
    seed: Seed | None = None,
    key: str | None = None,
    prefix: str | None = None,
) -> Checked:
    """Compare a checkpoint with a plan: names, shapes, dtypes, and the values of a sample.

    Each tensor is drawn as `initium.apply` would fill it, and compared bit for bit, one after the
    other: in memory are never more than the drawn and the saved values of one tensor. What the plan
    loads is read again.

    A tensor that was saved in a lower precision than the plan's is compared with the planned values
    as `Tensor.to` rounds them, or else as they are drawn in that precision (which keeps them within
    the bounds of their distribution), and named in the result: a start that was cast before it was
    saved is still that start. Any other dtype is a difference; also a higher precision.

    Args:
        plan: of the whole model, with a seed.
        checkpoint: a path, folder or URL, as in `Pretrained`. Its keys may be those of a wrapped
            model; a tied tensor may be there under one or all of its names.
        sample: how many tensors are drawn again: the first, the largest, and others by chance, of
            the operating system's randomness. None: 20, or 5 % where that is more.
        everything: draw all again.
        seed: in place of the plan's.
        key: where in the file the state dict is; None: where it usually is.
        prefix: only the keys that start so, without it.

    Raises:
        InitTypeError: a TypeError; an argument of another type.
        InitError: the plan has no seed or draws with `rng='torch'`, or a checkpoint cannot be read.

    >>> import tempfile, initium
    >>> model = initium.build(lambda: torch.nn.Linear(3, 2), seed=0)
    >>> with tempfile.NamedTemporaryFile(suffix=".pth") as file:
    ...     torch.save(model.state_dict(), file.name)
    ...     print(check_checkpoint(initium.plan_of(model), file.name, seed=1))
    /... is not the start that the plan of Linear describes with seed 1
    drawn again and compared: 2 of 2 tensors (100.0%), 32 of 32 bytes (100.0%)
    - weight: 6 of 6 elements differ; the first at [0, 0]: got ..., expected ...
    - bias: 2 of 2 elements differ; the first at [0]: got ..., expected ...
    """
    check_is("plan", plan, Plan, "an initium.Plan")
    check_is("checkpoint", checkpoint, (str, os.PathLike), "a path or a URL")
    check_is("sample", sample, (Integral, type(None)), "an int or None")
    check_is("everything", everything, bool, "a bool")
    seed = _seed_of(plan, seed)
    if sample is not None and (everything or sample < 1):
        raise InitError(f"sample must be 1 or more, and without everything, but got {sample!r}")
    with unseen(), torch.no_grad():
        files = Files()
        opened = files.opened(Recipe(os.fspath(checkpoint), key=key, prefix=prefix))
        places, found = placed(plan, opened.entries)
        lacking = [line for line in plan if not places[line.name]]
        found += [_missing(line) for line in lacking if line.persistent]
        found += take_out_unfit(places, plan)
        known = [line for line in plan if _has_values(line)]
        drawn = _chosen([line for line in known if places[line.name]], sample, everything)
        drawing = Drawing(seed, files)
        for line in drawn:
            found += _compared(line, places[line.name], drawing)
    return Checked(
        checkpoint=str(checkpoint),
        model=plan.model,
        seed=seed,
        differences=tuple(found),
        checked=_names(drawn),
        tensors=len(known),
        checked_bytes=sum(map(_bytes, drawn)),
        total_bytes=sum(map(_bytes, known)),
        rounded=_names(line for line in drawn if _is_rounded(line, places[line.name])),
        unplanned=_names(line for line in plan if not _has_values(line)),
        left_out=_names(line for line in lacking if not line.persistent),
    )


def _seed_of(plan: Plan, seed: Seed | None) -> Seed:
    if plan.rng != "philox":
        raise InitError(
            f"the plan draws with rng={plan.rng!r}, one tensor after the other, so none can be drawn "
            "again alone; only plans with rng='philox' can be checked"
        )
    seed = plan.seed if seed is None else seed
    if seed is None:
        raise InitError("the plan has no seed; say which one it was applied with: seed=, --seed")
    check_seed(seed)
    return seed


def _missing(line: Line) -> Difference:
    tied = f", nor as {' or '.join(line.aliases)}" if line.aliases else ""
    return Difference(line.name, "missing", f"it is not in the checkpoint{tied}")


def _is_rounded(line: Line, places: Mapping[str, Entry]) -> bool:
    return any(entry.dtype != dtype_of(line) for entry in places.values())


def _has_values(line: Line) -> bool:
    return bool(line.carried_out) and not is_keep(line.carried_out[0])


def _chosen(lines: list[Line], sample: int | None, everything: bool) -> list[Line]:
    """The lines that are drawn again, in the order of the plan."""
    n = max(TENSORS, math.ceil(SHARE * len(lines))) if sample is None else sample
    if everything or n >= len(lines):
        return lines
    fixed = {lines[0].name, max(lines, key=_bytes).name}
    others = [line.name for line in lines if line.name not in fixed]
    # not torch's or Python's own randomness, which who has made the checkpoint might know
    more = random.SystemRandom().sample(others, max(0, n - len(fixed)))
    return [line for line in lines if line.name in fixed.union(more)]


def _compared(line: Line, places: Mapping[str, Entry], drawing: Drawing) -> Iterator[Difference]:
    for key, entry in places.items():
        problem = drawing.problem(line, entry)
        if problem is not None:
            yield Difference(key, "values", problem)


def _names(lines: Iterable[Line]) -> tuple[str, ...]:
    return tuple(line.name for line in lines)


def _bytes(line: Line) -> int:
    return line.elements() * dtype_of(line).itemsize
