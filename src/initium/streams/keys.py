"""Keys: 64 bits from (seed, tensor name). A tensor's values depend on nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch

from initium.errors import InitTypeError

Seed = int | str | tuple["Seed", ...]


def key_of(seed: Seed, name: str) -> int:
    """The 64-bit key of the tensor `name`: BLAKE2b over (seed, name), little endian.

    Args:
        seed: an int, a str, or a tuple of seeds. Two models whose tensors bear the same names (a
            generator and a critic, an ensemble) need different seeds: `(seed, "critic")`.
        name: the tensor's dotted name from the root of the model.

    Raises:
        InitTypeError: a TypeError; the seed is something else.

    >>> key_of(0, "conv.weight") == key_of("0", "conv.weight")
    False
    """
    return keys_of(seed)(name)


def keys_of(seed: Seed) -> Callable[[str], int]:
    """`key_of` for many names of one seed.

    >>> keys_of(7)("bias") == key_of(7, "bias")
    True
    """
    start = _encoded(seed)

    def key(name: str) -> int:
        encoded = _tagged(b"t", start + _tagged(b"s", name.encode()))
        return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little")

    return key


def key_from(generator: torch.Generator | None, device: torch.device | str = "cpu") -> int:
    """A key of 64 random bits from a generator of torch; None: the default one of the CPU.

    >>> key_from(torch.Generator().manual_seed(1)) == key_from(torch.Generator().manual_seed(1))
    True
    """
    word = torch.empty((), dtype=torch.int64, device=device)
    return int(word.random_(-(2**63), None, generator=generator)) % 2**64


def check_seed(seed: object) -> None:
    """Raise an `InitTypeError` unless `seed` is an int, a str or a tuple of them."""
    _encoded(seed)


def _encoded(seed: object) -> bytes:
    """Tag, length, content: no two seeds have the same bytes."""
    if isinstance(seed, tuple):
        content, tag = b"".join(map(_encoded, seed)), b"t"
    elif isinstance(seed, str):
        content, tag = seed.encode(), b"s"
    elif isinstance(seed, int) and not isinstance(seed, bool):
        content, tag = str(seed).encode(), b"i"
    else:
        raise InitTypeError(f"a seed must be an int, a str or a tuple of them, but got {seed!r}")
    return _tagged(tag, content)


def _tagged(tag: bytes, content: bytes) -> bytes:
    return tag + len(content).to_bytes(8, "little") + content
