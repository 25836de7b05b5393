"""Another number of positions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from initium.checkpoint.adapters.base import CHECKPOINT_ADAPTERS, Adapter, Shape
from initium.checkpoint.adapters.checks import is_int, keep_tuple, whole
from initium.checkpoint.adapters.resize import check_interpolation, resized
from initium.errors import InitTypeError

Grid = tuple[int, int]


@CHECKPOINT_ADAPTERS.register_module()
@dataclass(frozen=True, kw_only=True)
class PositionEmbedding(Adapter):
    """Position embeddings [1, T, D] or [T, D] for another grid of patches, by interpolation.

    The first `class_tokens` positions are kept. The others are a grid of (height, width) cells, row
    by row, that is resized as an image of D channels (Dosovitskiy et al. 2021, "An image is worth
    16x16 words", section 3.2). Two images of different size that show the same scene so get about
    the same embedding at the same place of it.

    Args:
        name: the tensors that are meant.
        class_tokens: how many positions come before the grid: 1 in most ViTs, 0 without one.
        grid: (height, width) of the model's grid; None: it is a square.
        old_grid: (height, width) of the saved grid; None: it is a square.
        mode: `'bicubic'` or `'bilinear'`, of `torch.nn.functional.interpolate`.
        antialias: whether more than the nearest cells count where the grid shrinks.

    Raises:
        InitError: an argument that is not allowed.

    >>> saved = torch.tensor([9.0, 0, 1, 0, 1]).view(1, 5, 1)  # a class token, a grid of (2, 2)
    >>> adapter = PositionEmbedding(name="pos_embed", class_tokens=1, grid=(2, 3), mode="bilinear")
    >>> adapter.adapt(saved, (1, 7, 1), key=0).flatten()
    tensor([9.0000, 0.0000, 0.5000, 1.0000, 0.0000, 0.5000, 1.0000])
    """

    class_tokens: int
    grid: Grid | None = None
    old_grid: Grid | None = None
    mode: str = "bicubic"
    antialias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("class_tokens", self.class_tokens, 0)
        for name in ("grid", "old_grid"):
            keep_tuple(self, name)
            _check_grid(name, getattr(self, name))
        check_interpolation(self)

    @property
    def always(self) -> bool:
        """True where two different grids are given, which may have as many cells."""
        return self.grid is not None and self.old_grid not in (None, self.grid)

    def shape(self, have: Shape, want: Shape) -> Shape:
        """[1, T', D] or [T', D].

        Raises:
            InitError: another layout, or a number of positions that is not that of the grid.
        """
        grids = self._grids(have, want)
        return have if grids is None else (*have[:-2], want[-2], have[-1])

    def adapt(self, tensor: Tensor, want: Shape, key: int) -> Tensor:
        """The embeddings for the other grid; computed in float32 (float64 if saved so).

        Raises:
            InitError: as `shape`, and where the embeddings are no floating-point numbers.
        """
        grids = self._grids(tuple(tensor.shape), want)
        if grids is None:
            return tensor
        self.check_dtype(tensor.dtype)
        saved, k = tensor.detach(), self.class_tokens
        cells = _resized(saved[..., k:, :], *grids, self.mode, self.antialias)
        return torch.cat([saved[..., :k, :], cells.to(saved.dtype)], dim=-2)

    def _grids(self, have: Shape, want: Shape) -> tuple[Grid, Grid] | None:
        """The saved grid and the model's; None: they are the same."""
        if have == want and self.grid is None and self.old_grid is None:
            return None
        fits = len(have) == 2 or (len(have) == 3 and have[0] == 1)
        # torch cannot resize an image of no channels
        self.check_layout(
            have, want, fits and have[-1] > 0, "[1, positions, width] or [positions, width]"
        )
        if have[-2] == want[-2] and (self.grid is None or self.old_grid is None):
            self._check_same(have[-2])
            return None
        old = self._grid("old_grid", "saved", self.old_grid, have[-2])
        new = self._grid("grid", "model's", self.grid, want[-2])
        return None if old == new else (old, new)

    def _check_same(self, positions: int) -> None:
        """Where the number stays and one grid is given, the other might be a square or the same."""
        given = self.grid or self.old_grid
        cells = positions - self.class_tokens
        if given is not None and given != (math.isqrt(max(cells, 0)),) * 2:
            missing = "old_grid" if self.old_grid is None else "grid"
            raise self.error(
                f"the saved tensor and the model's both have {positions} positions, so give "
                f"{missing}=(height, width), too; it may be the same one"
            )

    def _grid(self, which: str, whose: str, given: Grid | None, positions: int) -> Grid:
        cells = positions - self.class_tokens
        side = math.isqrt(max(cells, 0))
        grid = (side, side) if given is None else given
        if cells > 0 and grid[0] * grid[1] == cells:
            return grid
        left = (
            f"the {whose} tensor has {positions} positions, that is {cells} after "
            f"class_tokens={self.class_tokens}"
        )
        if given is not None:
            raise self.error(f"{left}, but {which}={given} has {given[0] * given[1]}; correct one")
        raise self.error(
            f"{left}, and this is no square; give {which}=(height, width), or correct class_tokens"
        )


def _resized(cells: Tensor, old: Grid, new: Grid, mode: str, antialias: bool) -> Tensor:
    """Cells [..., positions, width], which are the channels of an image, in another grid."""
    dtype = torch.float64 if cells.dtype == torch.float64 else torch.float32
    width = cells.shape[-1]
    image = cells.to(dtype).reshape(1, *old, width).permute(0, 3, 1, 2)
    result = resized(image, new, mode, antialias).permute(0, 2, 3, 1)
    return result.reshape(*cells.shape[:-2], new[0] * new[1], width)


def _check_grid(name: str, grid: object) -> None:
    if grid is None:
        return
    if not isinstance(grid, tuple) or len(grid) != 2 or not all(is_int(n) and n > 0 for n in grid):
        raise InitTypeError(f"{name} must be (height, width), two positive ints, but got {grid!r}")
