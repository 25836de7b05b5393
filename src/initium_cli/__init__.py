"""The command line of Initium.

It lies beside the package, not in it: a shell that completes a word, and `--help`, must not wait for
torch. So only what runs within a command imports `initium`. The rooms are imported in the order in
which `--help` lists their commands.
"""

from initium_cli.app import app as app

from initium_cli import plans, starts, checkpoints, configs  # isort: skip

__all__ = ["app", "checkpoints", "configs", "plans", "starts"]
