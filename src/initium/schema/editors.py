"""What only editors read of a schema: Markdown, the meaning of words, suggestions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LINE = "A JSON Schema for editors; Initium leaves it out."
# any class may be named; these are what most models consist of
LAYERS = (
    *("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose2d", "Embedding", "LayerNorm"),
    *("RMSNorm", "GroupNorm", "BatchNorm1d", "BatchNorm2d", "MultiheadAttention", "LSTM", "GRU"),
)


def documented(text: str) -> dict[str, Any]:
    r"""The description of a schema, twice where a plain one would show its backticks.

    >>> documented("of `a*b`, times 2*c.")["markdownDescription"]
    'of `a*b`, times 2\\*c.'
    """
    if not text:
        return {}
    shown = {"description": text}
    return {**shown, "markdownDescription": markdown(text)} if "`" in text else shown


def markdown(text: str) -> str:
    """A text of docstrings as Markdown: what stands outside of backticks means itself."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*_<\\])", r"\\\1", p) for p in parts)


def words(meanings: Mapping[str, str], description: str) -> dict[str, Any]:
    """One of several words, each with its meaning, which editors show in lists and on hovering."""
    return {
        "enum": list(meanings),
        "description": description,
        "enumDescriptions": list(meanings.values()),
        "markdownEnumDescriptions": list(map(markdown, meanings.values())),
    }


def layers(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of `layer=`, with names that editors suggest, also within a list."""
    suggested = {"defaultSnippets": [{"label": name, "body": name} for name in LAYERS]}
    kinds = [
        {**kind, "items": {**kind["items"], **suggested}} if "items" in kind else kind
        for kind in schema.get("anyOf", ())
    ]
    return {**schema, **({"anyOf": kinds} if kinds else {}), **suggested}
