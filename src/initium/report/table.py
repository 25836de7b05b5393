"""Rows as a table: text for terminals and logs, HTML for notebooks. Drawn by rich."""

from __future__ import annotations

import html as escaping
import io
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]


def text(title: str, columns: Sequence[str], rows: Rows, notes: Sequence[str] = ()) -> str:
    """A table without colours, as wide as its content; notes below it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    widths = [max([len(c), *(len(r[i]) for r in rows)]) for i, c in enumerate(columns)]
    out = io.StringIO()
    console = Console(
        file=out, width=max(len(title), sum(widths) + 3 * len(columns)) + 4,
        markup=False, highlight=False, emoji=False, no_color=True,
    )  # fmt: skip
    console.print(table)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join([*lines, *(f"! {note}" for note in notes)]).strip("\n")


def html(title: str, columns: Sequence[str], rows: Rows, notes: Sequence[str] = ()) -> str:
    """The same as an HTML table."""

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(f"<{tag}>{escaping.escape(value)}</{tag}>" for value in values)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    head = f"<caption>{escaping.escape(title)}</caption><tr>{cells('th', columns)}</tr>"
    below = "".join(f"<p>{escaping.escape(note)}</p>" for note in notes)
    return f"<table>{head}{body}</table>{below}"
