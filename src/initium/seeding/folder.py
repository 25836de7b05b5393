"""A folder of torch.distributed.checkpoint: all of it, or none."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch.distributed as dist
from torch import Tensor, nn

from initium.cluster import Ranks
from initium.errors import InitError
from initium.planning import plan_of
from initium.seeding.processes import hear_no_sigterm


def check_folder(path: Path, force: bool) -> None:
    """Raise an `InitError` where a folder may not be written there."""
    if not path.exists():
        return
    if not force:
        raise InitError(f"{path} is there already; say --force to replace it")
    if not (path / ".metadata").is_file() and (not path.is_dir() or any(path.iterdir())):
        raise InitError(
            f"{path} is no folder of torch.distributed.checkpoint, so --force does not replace it; "
            "remove it yourself, or write to another place"
        )


def write_folder(model: nn.Module, path: Path, ranks: Ranks) -> None:
    """Write beside the place, and move there what is complete."""
    part, first = path.with_name(f"{path.name}.part"), dist.get_rank() == 0
    try:
        with ranks.together():
            if first:
                _remove(part)
                part.mkdir(parents=True)
        _save(model.state_dict(), part)
        with ranks.together():
            if first:
                plan_of(model).save(part / "plan.json")
                _exchange(path, part)
    finally:
        if first:
            hear_no_sigterm()
            _remove(part)


def _exchange(path: Path, part: Path) -> None:
    """Put what is new in its place; what was there before is removed when that is done."""
    old = path.with_name(f".{path.name}.replaced")
    _remove(old)
    if path.exists():
        path.rename(old)
    part.rename(path)
    _remove(old)


def _save(tensors: dict[str, Tensor], folder: Path) -> None:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.state_dict_saver import save

    try:
        save(tensors, checkpoint_id=folder)
    except CheckpointException as error:  # on every rank, with what each of them has met
        rank, (cause, _) = min(error.failures.items())
        raise InitError(f"rank {rank} cannot write its share to {folder}: {cause}") from error


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
