"""Converters: the keys and tensors of a checkpoint -> those of the model, before anything is read.

Each takes all tensors by name and gives all of them back. They follow each other in the order in
which they are written, so that what one makes the next one may take.
"""

from initium.checkpoint.converters.base import CHECKPOINT_CONVERTERS as CHECKPOINT_CONVERTERS
from initium.checkpoint.converters.base import Converter as Converter
from initium.checkpoint.converters.base import Entries as Entries
from initium.checkpoint.converters.build import build_converters as build_converters
from initium.checkpoint.converters.names import Rename as Rename
from initium.checkpoint.converters.names import Transpose as Transpose
from initium.checkpoint.converters.parts import Merge as Merge
from initium.checkpoint.converters.parts import Split as Split
