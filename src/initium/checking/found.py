"""What the comparison of a checkpoint with a plan has found. It is data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from initium.errors import listing
from initium.streams import Seed

SHOWN = 30  # differences; the text says how many more there are


@dataclass(frozen=True)
class Difference:
    """Something in which a checkpoint is not as the plan says.

    Attributes:
        name: of the tensor in the checkpoint; of a missing one, in the plan.
        kind: `missing`, `unknown` (the plan has no such tensor), `unreadable`, `shape`, `dtype` or
            `values`.
        message: what was found, and what was expected.
    """

    name: str
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


@dataclass(frozen=True)
class Checked:
    """What the comparison of a checkpoint with a plan has found.

    Attributes:
        checkpoint: the path or URL.
        model: the class of the model.
        seed: that the tensors were drawn with.
        differences: all that was found.
        checked: names of the tensors whose values were drawn again and compared.
        tensors: how many the plan has values for.
        checked_bytes: of the values that were compared.
        total_bytes: of all that the plan has values for.
        rounded: names of those that were compared in the lower precision of the checkpoint.
        unplanned: names of the tensors that the plan gives no values.
        left_out: names of buffers that the checkpoint lacks, as every state dict does.
    """

    checkpoint: str
    model: str
    seed: Seed
    differences: tuple[Difference, ...]
    checked: tuple[str, ...]
    tensors: int
    checked_bytes: int
    total_bytes: int
    rounded: tuple[str, ...] = ()
    unplanned: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether no difference was found."""
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        """The result as data that JSON can hold."""
        return {"same": self.same, **asdict(self)}

    def __str__(self) -> str:
        verdict = "is" if self.same else "is not"
        lines = [
            f"{self.checkpoint} {verdict} the start that the plan of {self.model} describes with "
            f"seed {self.seed!r}",
            f"drawn again and compared: {self._share()}",
            *self._notes(),
            *(f"- {difference}" for difference in self.differences[:SHOWN]),
        ]
        more = len(self.differences) - SHOWN
        return "\n".join([*lines, f"- … ({more} more)"] if more > 0 else lines)

    def _share(self) -> str:
        n = len(self.checked)
        return (
            f"{n} of {self.tensors} tensors ({_percent(n, self.tensors)}), "
            f"{self.checked_bytes:,} of {self.total_bytes:,} bytes "
            f"({_percent(self.checked_bytes, self.total_bytes)})"
        )

    def _notes(self) -> list[str]:
        notes = {
            "in lower precision, compared with the rounded values": self.rounded,
            "without values in the plan, not compared": self.unplanned,
            "buffers that are in no state dict, and not in this checkpoint": self.left_out,
        }
        return [f"{text}: {listing(names)}" for text, names in notes.items() if names]


def _percent(part: int, whole: int) -> str:
    """Never 100 unless it is all."""
    text = f"{part / max(whole, 1):.1%}"
    return "99.9%" if text == "100.0%" and part < whole else text
