"""Configs: their schema and presets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from initium_cli.app import Import, PresetName, app
from initium_cli.working import working, write_file


@app.command("schema")
def schema_command(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write it to a file.")] = None,
    modules: Import = None,
) -> None:
    """Print a JSON Schema of configs, by which editors complete and check them.

    Example: initium schema -o init.schema.json

    Then begin a YAML config with: # yaml-language-server: $schema=init.schema.json
    """
    import json

    from initium.schema import config_schema
    from initium.targets import import_modules

    with working():
        import_modules(modules or [])
        text = json.dumps(config_schema(), indent=1, ensure_ascii=False)
        if out is not None:
            write_file(out, f"{text}\n")
    typer.echo(text if out is None else f"wrote {out}")


@app.command("presets")
def presets_command(
    name: PresetName = None,
    arguments: Annotated[
        list[str] | None, typer.Option("-a", "--arg", help="NAME=VALUE; may be repeated.")
    ] = None,
    modules: Import = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the presets, or show the rules of one.

    Example: initium presets gpt2 --arg n_layer=24
    """
    import json

    from initium.errors import InitError
    from initium.presets.showing import listed, shown
    from initium.targets import import_modules

    with working():
        import_modules(modules or [])
        if name is None and arguments:
            raise InitError("--arg belongs to a preset: initium presets NAME --arg …")
        found = listed() if name is None else shown(name, arguments or [])
        text = json.dumps(found.to_dict(), indent=1) if as_json else str(found)
    typer.echo(text)
