"""Other classes: some rows of a classifier, or none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from initium.checkpoint.adapters.base import CHECKPOINT_ADAPTERS, Adapter, Shape
from initium.checkpoint.adapters.checks import is_int, keep_tuple
from initium.errors import InitError, InitTypeError, did_you_mean


@CHECKPOINT_ADAPTERS.register_module()
@dataclass(frozen=True, kw_only=True)
class ClassHead(Adapter):
    """The weights [K, ...] or bias [K] of a classifier for other classes: W'[i] = W[rows[i]].

    Rows are picked by number or by label, and even where the shapes are equal. With neither, nothing
    is loaded: the tensor keeps its own rule, as where a new head is trained from the start.

    Args:
        name: the tensors that are meant.
        rows: for each class of the model, the number of its row in the file.
        labels: for each class of the model, its label.
        old_labels: the labels of the rows in the file.

    Raises:
        InitError: an argument that is not allowed, or a label that is not among the old ones.

    >>> saved = torch.tensor([10.0, 11.0, 12.0])
    >>> ClassHead(name="head.*", rows=[2, 0]).adapt(saved, (2,), key=0)
    tensor([12., 10.])
    >>> ClassHead(name="head.*", labels=["dog"], old_labels=["cat", "dog", "owl"]).adapt(
    ...     saved, (1,), key=0
    ... )
    tensor([11.])
    >>> ClassHead(name="head.*").drops
    True
    """

    rows: tuple[int, ...] | None = None
    labels: tuple[str, ...] | None = None
    old_labels: tuple[str, ...] | None = None
    computes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rows", "labels", "old_labels"):
            keep_tuple(self, name)
        if (self.labels is None) != (self.old_labels is None):
            missing = "labels" if self.labels is None else "old_labels"
            raise InitError(f"labels and old_labels go together, but {missing} is not given")
        if self.rows is not None and self.labels is not None:
            raise InitError("rows and labels both say which rows are picked; give only one of them")
        _check_rows(self.rows)
        _check_labels(self.labels, self.old_labels)

    @property
    def drops(self) -> bool:
        """True where neither rows nor labels are given."""
        return self.rows is None and self.labels is None

    @property
    def always(self) -> bool:
        """True where rows are picked, which may be the same number in another order."""
        return not self.drops

    def shape(self, have: Shape, want: Shape) -> Shape:
        """[rows, ...]; where it drops, `have`.

        Raises:
            InitError: the file has too few rows or not as many as old labels, or the model has
                another number of classes.
        """
        if self.drops:
            return have
        self.check_layout(have, want, len(have) >= 1, "[classes, ...]")
        rows, classes = self._picked(), have[0]
        if self.old_labels is not None and len(self.old_labels) != classes:
            raise self.error(
                f"there are {len(self.old_labels)} old labels, but the saved tensor has {classes} rows"
            )
        if max(rows) >= classes:
            raise self.error(
                f"there is no row {max(rows)}: the saved tensor has the rows 0 to {classes - 1}"
            )
        if len(rows) != want[0]:
            raise self.error(
                f"it picks {len(rows)} rows, but the model's tensor has {want[0]}; name one for each"
            )
        return (len(rows), *have[1:])

    def adapt(self, tensor: Tensor, want: Shape, key: int) -> Tensor:
        """The rows, bit by bit; where it drops, the tensor itself.

        Raises:
            InitError: as `shape`.
        """
        self.shape(tuple(tensor.shape), want)
        if self.drops:
            return tensor
        return tensor.detach().index_select(0, torch.tensor(self._picked()))

    def _picked(self) -> Sequence[int]:
        if self.labels is None or self.old_labels is None:
            return self.rows or ()
        places = {label: i for i, label in enumerate(self.old_labels)}
        return [places[label] for label in self.labels]


def _check_rows(rows: object) -> None:
    if rows is None:
        return
    if not isinstance(rows, tuple) or not rows or not all(map(is_int, rows)):
        raise InitTypeError(f"rows must be a list of ints, at least one, but got {rows!r}")
    if min(rows) < 0:
        raise InitError(f"rows must be at least 0, but got {min(rows)}")


def _check_labels(labels: object, old_labels: object) -> None:
    for name, value in {"labels": labels, "old_labels": old_labels}.items():
        if value is None:
            return
        if not isinstance(value, tuple) or not value or not all(isinstance(v, str) for v in value):
            raise InitTypeError(f"{name} must be a list of str, at least one, but got {value!r}")
    assert isinstance(labels, tuple)
    assert isinstance(old_labels, tuple)
    known = set(old_labels)
    if len(known) < len(old_labels):
        twice = next(v for i, v in enumerate(old_labels) if v in old_labels[:i])
        raise InitError(f"old_labels must differ from each other, but {twice!r} is there twice")
    for label in labels:
        if label not in known:
            raise InitError(
                f"labels: {label!r} is not in old_labels.{did_you_mean(label, old_labels)}"
            )
