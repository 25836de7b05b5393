"""Random numbers: each tensor has a stream of its own, known by a key."""

from initium.streams.blocks import Block as Block
from initium.streams.checks import check as check
from initium.streams.checks import check_dtype as check_dtype
from initium.streams.checks import check_memory as check_memory
from initium.streams.compiled import kernel as kernel
from initium.streams.distributions import Distribution as Distribution
from initium.streams.distributions import Normal as Normal
from initium.streams.distributions import TruncNormal as TruncNormal
from initium.streams.distributions import Uniform as Uniform
from initium.streams.jobs import Job as Job
from initium.streams.jobs import fill as fill
from initium.streams.keys import Seed as Seed
from initium.streams.keys import check_seed as check_seed
from initium.streams.keys import key_from as key_from
from initium.streams.keys import key_of as key_of
from initium.streams.keys import keys_of as keys_of
from initium.streams.memory import advise as advise
from initium.streams.memory import advise_huge_pages as advise_huge_pages
from initium.streams.memory import has_memory as has_memory
from initium.streams.memory import staging as staging
from initium.streams.pool import carry_out as carry_out
from initium.streams.torch_rng import Generators as Generators
from initium.streams.torch_rng import check_rng as check_rng
from initium.streams.torch_rng import fill_by_torch as fill_by_torch
from initium.streams.whole import Whole as Whole
from initium.streams.whole import one_thread as one_thread
