"""The command line: plan, init, inspect, convert, demo."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Says how a PyTorch model starts, does exactly that once, and shows what it did.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Target = Annotated[
    str, typer.Argument(help="What makes the model: package.module:callable or file.py:callable.")
]
Config = Annotated[Path, typer.Argument(help="The init_cfg, a YAML or JSON file.")]
SeedOption = Annotated[
    int | None, typer.Option(help="Of the random streams; drawn where not given.")
]
RngOption = Annotated[
    str, typer.Option(help="philox: a stream for each tensor; torch: torch's own functions.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Rules without effect are errors.")]


@app.command("plan")
def plan_command(
    target: Target,
    config: Annotated[
        Path | None, typer.Argument(help="The init_cfg, a file; left out: the constructor alone.")
    ] = None,
    seed: SeedOption = None,
    rng: RngOption = "philox",
    strict: Strict = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write it as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what a constructor, and a config on top, do to every tensor of a model, without memory.

    Example: initium plan torchvision.models:resnet50 resnet.yaml
    """
    import json

    import initium
    from initium.errors import InitWarning
    from initium.files import model_factory, read_config
    from initium.planning.file import to_dict

    with _errors():
        make, rules = model_factory(target), None if config is None else read_config(config)
        if rng == "philox":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InitWarning)  # they stand below the table
                model = initium.build(make, init_cfg=rules, seed=seed, strict=strict, device="meta")
            made = initium.plan_of(model)
        else:
            made = initium.plan(make(), rules, seed=seed, rng=rng, strict=strict)
        if out is not None:
            made.save(out)
    typer.echo(json.dumps(to_dict(vars(made)), indent=1) if as_json else made)


PlanFile = Annotated[Path, typer.Argument(help="A plan that was saved as JSON.")]


@app.command("explain")
def explain_command(
    plan: PlanFile,
    names: Annotated[list[str], typer.Argument(help="Of tensors.")],
) -> None:
    """Say of tensors every write that a plan has for them, which one wins, and why.

    Example: initium explain plan.json blocks.0.attn.qkv.weight
    """
    from initium.planning import Plan

    with _errors():
        made = Plan.load(plan)
        texts = [made.explain(name) for name in names]
    typer.echo("\n\n".join(texts))


@app.command("diff")
def diff_command(plan: PlanFile, other: PlanFile) -> None:
    """Show what differs between two plans, a line a tensor.

    The exit code is 0 where nothing differs, 1 where something does, 2 where one cannot be read.

    Example: initium diff before.json after.json
    """
    from initium.planning import Plan

    with _errors():
        text = Plan.load(plan).diff(Plan.load(other))
    if text:
        typer.echo(text)
        raise typer.Exit(1)


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

    from initium.files import model_factory, read_config
    from initium.seeding import write_start

    with _errors():
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


Checkpoint = Annotated[str, typer.Argument(help="A file, folder or URL.")]
KeyOption = Annotated[
    str | None, typer.Option(help="Where in the file the state dict is: ema, model.")
]


@app.command("inspect")
def inspect_command(
    checkpoint: Checkpoint,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, a tensor an entry.")] = False,
) -> None:
    """Show the tensors of a checkpoint, with shapes, dtypes and sizes; nothing is loaded.

    Example: initium inspect hf://google/vit-base-patch16-224/model.safetensors
    """
    import json

    from initium.checkpoint import inspect_checkpoint

    with _errors():
        found = inspect_checkpoint(checkpoint, key=key)
        typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else found)


@app.command("verify")
def verify_command(
    plan: PlanFile,
    checkpoint: Checkpoint,
    everything: Annotated[bool, typer.Option("--all", help="Draw every tensor again.")] = False,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="How many tensors are drawn again; else 20, or 5 %."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="In place of the plan's.")] = None,
    key: KeyOption = None,
    prefix: Annotated[str | None, typer.Option(help="Only keys that start so, without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All that was found, as JSON.")] = False,
) -> None:
    """Say whether a checkpoint is the start that a plan describes: draw tensors again, and compare.

    The exit code is 0 where all that was compared is the same, 1 where something differs, 2 where
    it cannot be compared.

    Example: initium verify plan.json start.safetensors --all
    """
    import json

    from initium.checking import check_checkpoint
    from initium.planning import Plan

    with _errors():
        found = check_checkpoint(
            Plan.load(plan),
            checkpoint,
            sample=sample,
            everything=everything,
            seed=seed,
            key=key,
            prefix=prefix,
        )
    typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else found)
    raise typer.Exit(0 if found.same else 1)


@app.command("convert")
def convert_command(
    checkpoint: Checkpoint,
    out: Annotated[
        Path,
        typer.Argument(help="A .safetensors, .pth, .pt, .bin or .ckpt file; no ending: a folder."),
    ],
    key: KeyOption = None,
    prefix: Annotated[str | None, typer.Option(help="Only keys that start so, without it.")] = None,
    rename: Annotated[
        list[str] | None, typer.Option(help="PATTERN=REPLACEMENT, in order; may be repeated.")
    ] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Run the code that the file names.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write the tensors of a checkpoint in another format.

    Example: initium convert epoch_12.pth backbone.safetensors --prefix backbone
    """
    from initium.checkpoint import convert_checkpoint

    with _errors():
        names = convert_checkpoint(
            checkpoint,
            out,
            key=key,
            prefix=prefix,
            rename=[pair.split("=", 1) for pair in rename or []],
            trust_pickle=trust_pickle,
            force=force,
        )
    typer.echo(f"wrote {len(names)} tensors to {out}")


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option(help="Where to write to.")] = Path("out"),
) -> None:
    """Initialise a Vision Transformer from a config, and load real MiniLM weights under a new head."""
    from initium.demo import demo

    with _errors():
        demo(out)


@app.command("simulate")
def simulate_command(
    target: Target,
    config: Annotated[
        Path | None, typer.Argument(help="The init_cfg; none: what the constructor writes.")
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

    from initium.files import find_target, read_config
    from initium.simulation import simulate

    with _errors():
        found = simulate(
            find_target(target),
            world=world,
            mesh=mesh,
            rank=rank,
            init_cfg=None if config is None else read_config(config),
            seed=seed,
            draw=draw,
            speed=speed,
            tp_plan=None if tp_plan is None else read_config(tp_plan),
        )
        typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else found)


Import = Annotated[
    list[str] | None,
    typer.Option("--import", help="A module that registers your own; may be repeated."),
]


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

    from initium.files import import_modules
    from initium.schema import config_schema

    with _errors():
        import_modules(modules or [])
        text = json.dumps(config_schema(), indent=1, ensure_ascii=False)
        if out is not None:
            out.write_text(f"{text}\n", encoding="utf-8")
    typer.echo(text if out is None else f"wrote {out}")


@app.command("presets")
def presets_command(
    name: Annotated[
        str | None, typer.Argument(help="One of them: its rules as YAML, to be pasted.")
    ] = None,
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

    from initium.files import import_modules
    from initium.presets.showing import listed, shown

    with _errors():
        import_modules(modules or [])
        found = listed() if name is None else shown(name, arguments or [])
        typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else found)


class _errors:  # noqa: N801 (a context manager, read as a word)
    """Mistakes of the user in one line, with exit code 2; warnings in one line, too."""

    def __enter__(self) -> None:
        warnings.showwarning = lambda message, *_: typer.echo(f"warning: {message}", err=True)

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        from initium.errors import InitError

        warnings.showwarning = _SHOW
        if isinstance(error, InitError):
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from error


_SHOW = warnings.showwarning
