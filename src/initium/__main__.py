"""`python -m initium` is `initium`: for `torchrun -m initium init …`."""

from initium_cli import app

if __name__ == "__main__":
    app(prog_name="initium")
