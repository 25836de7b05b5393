"""Starts: written, simulated, shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from initium_cli.app import Config, RngOption, SeedOption, Strict, Target, app
from initium_cli.working import working


@app.command("init")
def init_command(
    target: Target,
    config: Config,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="A .safetensors file, or a folder, written by any ranks."),
    ],
    seed: SeedOption = None,
    rng: RngOption = "philox",
    strict: Strict = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Initialise a model by a config and write its weights.

    Example: initium init model.py:build vit.yaml -o start.safetensors --seed 0

    A folder is one of torch.distributed.checkpoint, with the plan in it; each rank writes its share:
    torchrun --nproc-per-node 8 -m initium init model.py:build vit.yaml --out start --seed 0
    """
    import json

    from initium.files import read_config
    from initium.seeding import write_start
    from initium.targets import model_factory

    with working():
        report = write_start(
            model_factory(target),
            lambda: read_config(config),
            out,
            seed=seed,
            rng=rng,
            strict=strict,
            force=force,
        )
    if report is not None:
        typer.echo(json.dumps(report.to_dict(), indent=1) if as_json else f"{report}\nwrote {out}")


@app.command("simulate")
def simulate_command(
    target: Target,
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="The init_cfg, a file; none: the constructor alone."),
    ] = None,
    world: Annotated[int, typer.Option(help="The number of ranks.")] = 1,
    mesh: Annotated[
        str | None, typer.Option(help="dp=128,tp=8: names and sizes, in order; none: dp alone.")
    ] = None,
    rank: Annotated[int, typer.Option(help="The rank to look at.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the random streams.")] = 0,
    draw: Annotated[int, typer.Option(min=0, help="How many shards are really drawn.")] = 3,
    speed: Annotated[
        float | None, typer.Option(help="Values a second of a rank; else as measured here.")
    ] = None,
    tp_plan: Annotated[
        Path | None,
        typer.Option(help="YAML: name patterns to colwise, rowwise, shard(dim), replicate."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All that was found, as JSON.")] = False,
) -> None:
    """Say what one rank of a cluster would hold, draw and need, without the cluster.

    Example: initium simulate model.py:build --world 1024 --mesh dp=128,tp=8 --rank 17
    """
    import json

    from initium.files import read_config
    from initium.simulation import simulate
    from initium.targets import model_factory

    with working():
        found = simulate(
            model_factory(target),
            world=world,
            mesh=mesh,
            rank=rank,
            init_cfg=None if config is None else read_config(config),
            seed=seed,
            draw=draw,
            speed=speed,
            tp_plan=None if tp_plan is None else read_config(tp_plan),
        )
        text = json.dumps(found.to_dict(), indent=1) if as_json else str(found)
    typer.echo(text)


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option(help="Where to write to.")] = Path("out"),
) -> None:
    """Initialise a Vision Transformer from a config, and load real MiniLM weights under a new head."""
    from initium.demo import demo

    with working(prints=True):
        demo(out)
