"""Checkpoints: found, opened, matched, adapted. Nothing here writes to a model."""

from initium.checkpoint.adapters import CHECKPOINT_ADAPTERS as CHECKPOINT_ADAPTERS
from initium.checkpoint.adapters import Adapter as Adapter
from initium.checkpoint.converters import CHECKPOINT_CONVERTERS as CHECKPOINT_CONVERTERS
from initium.checkpoint.converters import Converter as Converter
from initium.checkpoint.converters import build_converters as build_converters
from initium.checkpoint.converting import convert_checkpoint as convert_checkpoint
from initium.checkpoint.entry import Entry as Entry
from initium.checkpoint.entry import Work as Work
from initium.checkpoint.hints import hooked as hooked
from initium.checkpoint.hints import suggest as suggest
from initium.checkpoint.inspecting import Inspection as Inspection
from initium.checkpoint.inspecting import inspect_checkpoint as inspect_checkpoint
from initium.checkpoint.loading import Loading as Loading
from initium.checkpoint.match import Match as Match
from initium.checkpoint.match import Matcher as Matcher
from initium.checkpoint.match import check_fits as check_fits
from initium.checkpoint.recipe import Files as Files
from initium.checkpoint.recipe import Opened as Opened
from initium.checkpoint.recipe import Recipe as Recipe
from initium.checkpoint.sources import CHECKPOINT_SOURCES as CHECKPOINT_SOURCES
from initium.checkpoint.window import together as together
