"""A billion normals, and as many truncated ones, against theory.

The moments, and how many lie 4, 5 and 6 sigmas out, each in standard errors off what it should be.
Fails if one is off by more than five. Written to out/stats.json, too.
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from scipy import stats

from initium.streams import Block, Job, Normal, TruncNormal, fill, key_of

N = 1 << 30
PIECE, TILE = 1 << 26, 1 << 16  # elements drawn at a time (256 MiB), and summed up at a time
LIMIT = 5  # standard errors: one seed in 10,000 fails, nearly always by ten values beyond 6 sigmas


class Row(NamedTuple):
    """A figure of a sample, what it should be, and the standard error of it."""

    what: str
    seen: float
    expected: float
    error: float

    @property
    def off(self) -> float:
        """How many standard errors it is off."""
        return (self.seen - self.expected) / self.error


def figures(
    distribution: Normal | TruncNormal, n: int, key: int, sigmas: Sequence[float] = ()
) -> Iterator[Row]:
    """Moments and tails of n float32 values of a distribution that is symmetric about 0."""
    sums, beyond = _sums(distribution, n, key, sigmas)
    mean, second, third, fourth = (s / n for s in sums)
    var = second - mean**2
    skewness = (third - 3 * mean * second + 2 * mean**3) / var**1.5
    kurtosis = (fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4) / var**2
    law = _law(distribution)
    std = float(law.std())
    # moments of the standardised law; the odd ones are 0
    m4, m6, m8 = (float(law.moment(k)) / std**k for k in (4, 6, 8))
    # the standard errors are those of the delta method, 6/n and 24/n under the root for a normal
    yield Row("mean", mean, 0.0, std / math.sqrt(n))
    yield Row("std", math.sqrt(var), std, std * math.sqrt((m4 - 1) / (4 * n)))
    yield Row("skewness", skewness, 0.0, math.sqrt((m6 - 6 * m4 + 9) / n))
    yield Row("kurtosis", kurtosis, m4, math.sqrt((m8 - 4 * m4 * m6 + 4 * m4**3 - m4**2) / n))
    for sigma, count in zip(sigmas, beyond, strict=True):
        p = math.erfc(sigma / math.sqrt(2))
        yield Row(f"beyond {sigma:g} sigmas", count, n * p, math.sqrt(n * p * (1 - p)))


def _law(distribution: Normal | TruncNormal):
    if isinstance(distribution, Normal):
        return stats.norm(0, distribution.std)
    reach = distribution.b / distribution.std
    return stats.truncnorm(-reach, reach, 0, distribution.std)


def _sums(distribution, n: int, key: int, sigmas: Sequence[float]):
    """The sums of the first four powers, in float64, and the counts beyond sigmas."""
    sums, beyond = [0.0] * 4, [0] * len(sigmas)
    edges = [sigma * distribution.std for sigma in sigmas]
    least = min(edges, default=math.inf)
    piece = torch.empty(min(n, PIECE))
    for start in range(0, n, PIECE):
        values = piece[: min(PIECE, n - start)]
        fill([Job(values, key, distribution, Block((n,), (start,), (len(values),)))])
        for tile in values.split(TILE):
            x = tile.double()
            squares = x * x
            powers = x.sum(), x.dot(x), x.dot(squares), squares.dot(squares)
            sums = [total + power.item() for total, power in zip(sums, powers, strict=True)]
            far = tile[tile.abs() > least].abs()  # few, so that the rest is looked at once
            beyond = [k + int((far > edge).sum()) for k, edge in zip(beyond, edges, strict=True)]
    return sums, beyond


CASES = {
    "normal": (Normal(0.0, 1.0), (4, 5, 6)),
    "truncated": (TruncNormal(0.0, 1.0, -2.0, 2.0), ()),
}


def main() -> None:
    """Print the table and fail where a figure is too far off."""
    table = Table("distribution", "figure", title=f"{N:,} values each")
    for column in ("seen", "expected", "error", "off"):
        table.add_column(column, justify="right")
    found = []
    for name, (distribution, sigmas) in CASES.items():
        for row in figures(distribution, N, key_of(0, name), sigmas):
            found.append(dict(row._asdict(), distribution=name, off=row.off))
            numbers = (f"{number:.7g}" for number in (row.seen, row.expected))
            table.add_row(name, row.what, *numbers, f"{row.error:.2g}", f"{row.off:+.2f}")
    Console().print(table)
    out = Path("out/stats.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    if far := [row for row in found if not abs(row["off"]) <= LIMIT]:
        sys.exit(f"{len(far)} figures are more than {LIMIT} standard errors off")


if __name__ == "__main__":
    main()
