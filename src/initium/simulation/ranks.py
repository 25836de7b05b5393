"""How many bytes every rank has: tensor by tensor, by the coordinates of the meshes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from initium.simulation.counting import Share
from initium.simulation.geometry import Spread
from initium.simulation.mesh import Layout


def per_rank(shares: Iterable[Share], roots: Sequence[Layout], world: int) -> tuple[Any, list[str]]:
    """Bytes of every rank; and tensors on another mesh, counted as if all ranks had as much."""
    total, apart = np.zeros(world, dtype=np.int64), []
    for share in shares:
        root = root_of(share.spread, roots)
        if root is None:
            apart.append(share.slot.name)
            total += share.bytes
            continue
        counts = _on(root, share.spread) * share.itemsize
        total[root.ranks.flatten().numpy()] += counts.flatten()
    return total, apart


def root_of(spread: Spread, roots: Sequence[Layout]) -> Layout | None:
    """The layout that the mesh of a tensor is a part of; None: none of them."""
    for root in roots:
        known = dict(zip(root.names, root.ranks.shape, strict=True))
        if all(known.get(n) == size for n, size in zip(spread.names, spread.sizes, strict=True)):
            return root
    return None


def _on(root: Layout, spread: Spread) -> Any:
    """The number of elements at every coordinate of a layout that has the spread's dimensions."""
    axes = [root.names.index(name) for name in spread.names]
    shape = [size if axis in axes else 1 for axis, size in enumerate(root.ranks.shape)]
    counts = spread.counts().transpose(np.argsort(np.array(axes, dtype=np.int64)))
    return np.broadcast_to(counts.reshape(shape), tuple(root.ranks.shape))
