"""The command line. The rooms are imported in the order that `--help` lists their commands in."""

from initium.cli.app import app as app

from initium.cli import plans, starts, checkpoints, configs  # isort: skip

__all__ = ["app", "checkpoints", "configs", "plans", "starts"]
