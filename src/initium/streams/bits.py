"""The bits of the specification: the words of a stream, and uniform numbers and integers of them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from initium.streams import coefficients as c

Index = NDArray[np.int64]
Words = NDArray[np.uint32]
Wide = NDArray[np.uint64]
Floats = NDArray[Any]
F = np.float32


def philox(key: int, block: Wide) -> tuple[Words, Words, Words, Words]:
    """The four words of each block; the counter is the block's number, its low word first."""
    low, high = block & np.uint64(0xFFFFFFFF), block >> np.uint64(32)
    return rounds(key, low, high, np.zeros_like(block), np.zeros_like(block))


def rounds(key: int, c0: Wide, c1: Wide, c2: Wide, c3: Wide) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10 of a counter of four words; the low half of the key is its first word."""
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(c.ROUNDS):
        p0, p1 = c0 * np.uint64(c.MULTIPLIERS[0]), c2 * np.uint64(c.MULTIPLIERS[1])
        c0, c1 = (p1 >> shift) ^ c1 ^ np.uint64(k0), p1 & low
        c2, c3 = (p0 >> shift) ^ c3 ^ np.uint64(k1), p0 & low
        k0, k1 = (k0 + c.WEYL[0]) & 0xFFFFFFFF, (k1 + c.WEYL[1]) & 0xFFFFFFFF
    w0, w1, w2, w3 = (word.astype(np.uint32) for word in (c0, c1, c2, c3))
    return w0, w1, w2, w3


def words(key: int, index: Index) -> Words:
    """The 32-bit word of element i: word i % 4 of block i // 4."""
    blocks: Any = philox(key, (index // 4).astype(np.uint64))
    return cast(Words, np.choose(index % 4, blocks))


def wide(key: int, index: Index) -> Wide:
    """The 64-bit word of element i: words 2·(i % 2) (low) and 2·(i % 2) + 1 of block i // 2."""
    low, high = words(key, 2 * index), words(key, 2 * index + 1)
    return low.astype(np.uint64) | (high.astype(np.uint64) << np.uint64(32))


def unit(key: int, index: Index, real: Any = F) -> Floats:
    """In [0, 1): the high 24 bits of a word, or the high 53 of a wide one."""
    if real is F:
        return (words(key, index) >> np.uint32(8)).astype(F) * F(2.0**-24)
    return (wide(key, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def open_unit(bits: Wide) -> Floats:
    """In (0, 1): the high 52 bits and a half. One less it is exact, too."""
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def integers(key: int, index: Index, n: int) -> Index:
    """Below n <= 2³²: the high half of (wide word · n); each has its 1/n to within 2⁻³²."""
    w, shift = wide(key, index), np.uint64(32)
    carried = ((w & np.uint64(0xFFFFFFFF)) * np.uint64(n)) >> shift
    high = w >> shift
    # high·n + carried may need 65 bits where n is 2³², so its high half is taken in two steps
    product = high * np.uint64(n)
    low = (product & np.uint64(0xFFFFFFFF)) + carried
    return ((product >> shift) + (low >> shift)).astype(np.int64)


def permutation(key: int, n: int) -> Index:
    """Of 0 … n - 1: the order of the 53-bit uniform numbers; of equal ones the first is less."""
    return np.argsort(unit(key, np.arange(n), np.float64), kind="stable")
