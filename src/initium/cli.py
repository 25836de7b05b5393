"""The command line under its name here; it is a package of its own, which imports no torch."""

from initium_cli import app as app
