"""`rng="torch"`: torch's own functions, one tensor after the other, to reproduce old runs."""

from __future__ import annotations

import torch
from torch import Tensor

from initium.errors import InitError, InitTypeError
from initium.streams.distributions import Distribution, Normal, Uniform
from initium.streams.keys import Seed, check_seed
from initium.streams.whole import Whole

RNGS = ("philox", "torch")
_SEEDS = range(-(2**63), 2**64)  # of torch.Generator.manual_seed


def check_rng(rng: str, seed: Seed | None) -> None:
    """Raise unless `rng` is a name in `RNGS` and `seed` is one for it.

    Raises:
        InitError: another name, or a seed that torch does not take.
        InitTypeError: a TypeError; the seed is none.
    """
    if rng not in RNGS:
        raise InitError(f"rng must be {' or '.join(map(repr, RNGS))}, but got {rng!r}")
    if seed is not None:
        check_seed(seed)
    if rng == "torch" and not (seed is None or isinstance(seed, int)):
        raise InitTypeError(f"with rng='torch' a seed must be an int, but got {seed!r}")
    if rng == "torch" and seed is not None and seed not in _SEEDS:
        raise InitError(
            f"with rng='torch' a seed must be at least -2**63 and below 2**64, but got {seed!r}"
        )


class Generators:
    """torch's generators for a seed, one a device; for None, torch's default ones.

    >>> a = torch.Generator().manual_seed(3)
    >>> torch.equal(torch.rand(2, generator=a), torch.rand(2, generator=Generators(3).on("cpu")))
    True
    """

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self._made: dict[torch.device, torch.Generator] = {}

    def on(self, device: torch.device | str) -> torch.Generator | None:
        """The generator of a device."""
        device = torch.device(device)
        if self.seed is None:
            return None
        if device not in self._made:
            self._made[device] = torch.Generator(device).manual_seed(self.seed)
        return self._made[device]


def fill_by_torch(
    tensor: Tensor, drawn: Distribution | Whole, generator: torch.Generator | None
) -> None:
    """Fill a tensor with torch's own function for what is drawn.

    >>> w, v = torch.empty(3), torch.empty(3)
    >>> fill_by_torch(w, Normal(0, 2), torch.Generator().manual_seed(1))
    >>> torch.equal(w, torch.nn.init.normal_(v, 0, 2, torch.Generator().manual_seed(1)))
    True
    """
    if isinstance(drawn, Whole):
        drawn.by_torch(tensor, generator)
    elif isinstance(drawn, Normal):
        tensor.normal_(drawn.mean, drawn.std, generator=generator)
    elif isinstance(drawn, Uniform):
        tensor.uniform_(drawn.a, drawn.b, generator=generator)
    else:
        torch.nn.init.trunc_normal_(
            tensor, drawn.mean, drawn.std, drawn.a, drawn.b, generator=generator
        )
