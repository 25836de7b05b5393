"""Words that a shell completes. A user waits for them: nothing here may import torch."""

from __future__ import annotations

from typing import Any

import typer

# as the registry has them, which would import torch; a test compares
PRESETS = ("bert", "gpt2", "llama", "mup", "resnet", "vit", "vit-timm")


def preset_names(incomplete: str) -> list[str]:
    """The presets that begin so."""
    return [name for name in PRESETS if name.startswith(incomplete)]


def rngs(incomplete: str) -> list[str]:
    """What `--rng` may be."""
    return [name for name in ("philox", "torch") if name.startswith(incomplete)]


def tensor_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The tensors in the plan that was named, up to the next dot where there are many."""
    names = [name for name in _names(ctx.params.get("plan")) if name.startswith(incomplete)]
    if len(names) <= _MANY:
        return names
    at = len(incomplete)
    parts = [name[: name.find(".", at) + 1] if "." in name[at:] else name for name in names]
    return list(dict.fromkeys(parts))


_MANY = 50


def _names(plan: Any) -> list[str]:
    import json
    from pathlib import Path

    try:
        return [line["name"] for line in json.loads(Path(plan).read_text("utf-8"))["lines"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []  # no plan: the command will say so
