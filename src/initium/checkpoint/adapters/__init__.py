"""Adapters: named, explicit ways to make a saved tensor fit a tensor of another shape."""

from initium.checkpoint.adapters.base import CHECKPOINT_ADAPTERS as CHECKPOINT_ADAPTERS
from initium.checkpoint.adapters.base import Adapter as Adapter
from initium.checkpoint.adapters.base import Shape as Shape
from initium.checkpoint.adapters.channels import InputChannels as InputChannels
from initium.checkpoint.adapters.grids import PositionEmbedding as PositionEmbedding
from initium.checkpoint.adapters.patches import PatchSize as PatchSize
from initium.checkpoint.adapters.rows import ClassHead as ClassHead
from initium.checkpoint.adapters.vocabulary import Vocabulary as Vocabulary
