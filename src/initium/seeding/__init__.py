"""Seed checkpoints: the start of a model as a file, or as a folder that any number of ranks write."""

from initium.seeding.start import write_start as write_start
