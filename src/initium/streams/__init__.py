"""Random numbers: each tensor has a stream of its own, known by a key."""

from initium.streams.distributions import Distribution as Distribution
from initium.streams.distributions import Normal as Normal
from initium.streams.distributions import TruncNormal as TruncNormal
from initium.streams.distributions import Uniform as Uniform
from initium.streams.draw import fill as fill
from initium.streams.keys import Seed as Seed
from initium.streams.keys import check_seed as check_seed
from initium.streams.keys import key_of as key_of
