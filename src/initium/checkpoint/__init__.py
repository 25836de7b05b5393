"""Checkpoints: reading them and matching their keys. Only `initium.apply` writes to a model."""

from initium.checkpoint.match import Match as Match
from initium.checkpoint.match import match as match
from initium.checkpoint.read import Entry as Entry
from initium.checkpoint.read import read_checkpoint as read_checkpoint
