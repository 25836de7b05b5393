"""What the JSON of a plan file must look like, before plans are made of it."""

from __future__ import annotations

from functools import cache
from reprlib import repr as shortened
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Len, Lt
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import NotRequired, TypedDict

from initium.errors import InitError


def _dtype(name: str) -> str:
    if not isinstance(getattr(torch, name, None), torch.dtype):
        raise ValueError(f"{name!r} is no dtype of torch")  # noqa: TRY004 (pydantic asks for it)
    return name


_exactly = with_config(ConfigDict(strict=True, extra="forbid"))
Count = Annotated[int, Ge(0), Lt(2**63)]
Key = Annotated[int, Ge(0), Lt(2**64)]
# first, end, step
Slice = Annotated[list[int], Len(3, 3)] | None
By = Literal["constructor", "rule", "user code"]


@with_config(ConfigDict(strict=True, extra="allow"))
class Built(TypedDict):
    """What a registry makes something of; the arguments are checked by whatever it makes."""

    type: str
    dim: NotRequired[int]


@_exactly
class WrittenRecipe(TypedDict):
    """See `initium.checkpoint.Recipe`."""

    checkpoint: str
    key: NotRequired[str]
    prefix: NotRequired[str]
    converters: NotRequired[list[Built]]
    sha256: NotRequired[str]
    trust_pickle: NotRequired[bool]
    mmap: NotRequired[bool]


@_exactly
class WrittenFill(TypedDict):
    """See `initium.writes.Fill`."""

    kind: Literal["fill"]
    order: int
    source: str
    info: str
    initializer: Built
    where: list[Slice] | None
    stream: str | Key | None
    by: By


@_exactly
class WrittenLoad(TypedDict):
    """See `initium.writes.Load`."""

    kind: Literal["load"]
    order: int
    source: str
    info: str
    recipe: WrittenRecipe
    name: str
    origin: str
    adapters: list[Built]
    by: By
    stream: str | None


@_exactly
class WrittenCapture(TypedDict):
    """See `initium.writes.Capture`."""

    kind: Literal["capture"]
    order: int
    source: str
    info: str
    reason: str
    digest: str
    by: By


Written = Annotated[WrittenFill | WrittenLoad | WrittenCapture, Field(discriminator="kind")]


@_exactly
class WrittenLine(TypedDict):
    """See `initium.lines.Line`."""

    name: str
    path: str
    shape: list[Count]
    dtype: Annotated[str, AfterValidator(_dtype)]
    aliases: list[str]
    writes: list[Written]
    persistent: NotRequired[bool]


@_exactly
class WrittenLoading(TypedDict):
    """See `initium.checkpoint.loading.Loading`."""

    source: str
    checkpoint: str
    loaded: Count
    adapted: list[Annotated[list[str], Len(2, 2)]]
    fresh: list[str]
    unused: list[str]
    elements: Count
    total: Count
    superseded: str


@_exactly
class WrittenFinding(TypedDict):
    """See `initium.lines.Finding`."""

    kind: str
    message: str


@_exactly
class WrittenPlan(TypedDict):
    """See `initium.Plan`."""

    initium_plan: int
    model: str
    seed: Any  # nested lists; what is made of it is checked
    rng: str
    loadings: list[WrittenLoading]
    findings: list[WrittenFinding]
    lines: list[WrittenLine]


@cache
def _adapter() -> TypeAdapter[WrittenPlan]:
    return TypeAdapter(WrittenPlan)


def check_written(data: object) -> None:
    """Raise an `InitError` that names the place where data is not what a plan file holds."""
    try:
        _adapter().validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InitError(f"{place}: {first['msg']}, but got {shortened(first['input'])}") from error


def check_part(slices: list[list[int] | None], shape: tuple[int, ...]) -> None:
    """Raise an `InitError` unless these slices are those of a part of a tensor of this shape."""
    inside = len(slices) <= len(shape) and all(
        part is None or (0 <= part[0] <= part[1] <= size and part[2] > 0)
        for part, size in zip(slices, shape, strict=False)
    )
    if not inside:
        raise InitError(f"{slices} is no part of a tensor of the shape {list(shape)}")
