"""What a simulation found: data, and a table of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from initium.report import table
from initium.simulation.counting import KINDS, WholeStep
from initium.simulation.drawing import Drawn
from initium.simulation.tiling import Tiled
from initium.streams import Seed


@dataclass(frozen=True)
class Part:
    """The largest part of a tensor that the rank holds.

    Attributes:
        name: of the tensor.
        shape: of the whole tensor.
        local: the shape of what the rank has.
        placed: how the tensor lies over the mesh.
        bytes: of what the rank has.
    """

    name: str
    shape: tuple[int, ...]
    local: tuple[int, ...]
    placed: str
    bytes: int


@dataclass(frozen=True)
class Simulation:
    """What a plan means for one rank of many, found without them.

    Attributes:
        model: the class of the model.
        seed: of the random streams.
        world: the number of ranks.
        mesh: the dimensions of the mesh and their sizes, in order.
        rank: the rank that was looked at.
        coordinate: where it is on the mesh.
        tensors: parameters and buffers of the model.
        elements: of all of them.
        bytes: of all of them.
        parameters: elements of parameters that the rank has.
        parameter_bytes: memory of these.
        buffer_bytes: memory of its buffers.
        kinds: bytes of the rank that are `drawn`, `constant`, `loaded`, `captured`, `untouched`.
        speed: values drawn a second, measured here or given.
        seconds: that the rank will take to draw its values; whole matrices are drawn whole.
        temporary: the largest memory that is needed beside that of the tensors, and its tensor.
        whole: the tensors that the rank must compute as a whole.
        largest: the largest shard of the rank.
        mean: bytes of a rank, in the mean.
        most: the rank with the most bytes, and how many.
        least: the rank with the fewest bytes, and how many.
        tiled: sampled tensors whose shards were compared on sampled ranks.
        drawn: the shards that were really drawn.
        notes: what a reader should know.
    """

    model: str
    seed: Seed | None
    world: int
    mesh: dict[str, int]
    rank: int
    coordinate: tuple[int, ...]
    tensors: int
    elements: int
    bytes: int
    parameters: int
    parameter_bytes: int
    buffer_bytes: int
    kinds: dict[str, int]
    speed: float
    seconds: float
    temporary: tuple[int, str]
    whole: tuple[WholeStep, ...]
    largest: Part | None
    mean: float
    most: tuple[int, int]
    least: tuple[int, int]
    tiled: tuple[Tiled, ...]
    drawn: tuple[Drawn, ...]
    notes: tuple[str, ...] = ()

    @property
    def imbalance(self) -> float:
        """Bytes of the rank with the most, as a multiple of those of a rank in the mean."""
        return self.most[1] / self.mean if self.mean else 1.0

    def to_dict(self) -> dict[str, Any]:
        """The simulation as data that JSON can hold."""
        return asdict(self)

    def _rows(self) -> tuple[str, list[str], list[list[str]], tuple[str, ...]]:
        mesh = ", ".join(f"{name}={size}" for name, size in self.mesh.items())
        title = f"simulation of {self.model}: rank {self.rank} of {self.world:,}, mesh {mesh}"
        rows = [*self._of_model(), *self._of_rank(), *self._of_all(), *self._checked()]
        return title, ["what", "value", "where"], rows, self.notes

    def _of_model(self) -> list[list[str]]:
        return [["the model", f"{self.elements:,} elements, {_size(self.bytes)}", _n(self.tensors)]]

    def _of_rank(self) -> list[list[str]]:
        at = ", ".join(f"{n} {i}" for n, i in zip(self.mesh, self.coordinate, strict=True))
        rows = [
            [
                "this rank: parameters",
                f"{self.parameters:,} elements, {_size(self.parameter_bytes)}",
                at,
            ],
            ["this rank: buffers", _size(self.buffer_bytes), ""],
        ]
        rows += [[f"this rank: {k}", _size(self.kinds[k]), ""] for k in KINDS if self.kinds[k]]
        rows.append(["time to fill", _time(self.seconds), f"at {self.speed:.3g} values/s"])
        rows.append(["largest temporary", _size(self.temporary[0]), self.temporary[1]])
        if self.largest is not None:
            part, shape = self.largest, _shape(self.largest.local)
            rows.append(
                ["largest shard", f"{_size(part.bytes)}, {shape}", f"{part.name}: {part.placed}"]
            )
        return rows

    def _of_all(self) -> list[list[str]]:
        rows = [
            ["whole-matrix step", _size(step.bytes), f"{step.name}: {step.why}"]
            for step in self.whole
        ]
        for word, (rank, size) in (("most", self.most), ("least", self.least)):
            share = f"{size / self.mean:.3f} of the mean" if self.mean else ""
            rows.append([f"rank with the {word}", _size(size), f"rank {rank}: {share}"])
        return rows

    def _checked(self) -> list[list[str]]:
        rows = []
        for t in self.tiled:
            value = f"{t.shards:,} shards of {t.smallest:,} to {t.largest:,}, {t.replicas:,}×"
            rows.append(
                ["tiles its tensor", value, f"{t.name}: {t.placed}; {t.ranks} ranks compared"]
            )
        for d in self.drawn:
            value = f"{_size(d.bytes)}, {_shape(d.shape)}"
            rows.append(
                ["drawn and compared", value, f"{d.name}: {_time(d.seconds)}, pieces: {d.pieces}"]
            )
        return rows

    def __str__(self) -> str:
        return table.text(*self._rows())

    def _repr_html_(self) -> str:
        return table.html(*self._rows())


def _n(tensors: int) -> str:
    return f"{tensors:,} tensors"


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _size(n: int) -> str:
    """Bytes, in words.

    >>> _size(1536)
    '1.50 KiB'
    """
    size, units = float(n), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{n} B" if units[0] == "B" else f"{size:.2f} {units[0]}"


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
