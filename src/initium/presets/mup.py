"""muP: how spreads must shrink with width, so that wide models train as narrow ones do."""

from __future__ import annotations

from typing import Any

from initium.initializers.base import number
from initium.presets.checks import Count, Std, count, words
from initium.presets.registry import PRESETS

Names = str | list[str]


@PRESETS.register(
    "mup",
    formula="hidden: var(w) = std² · base_width / fan_in; output: var(w) = std² · (base_width / "
    "fan_in)²; inputs and embeddings: std²; biases 0",
    reference="Yang et al., Tensor Programs V, 2022 (arXiv 2203.03466), table 3",
    equals="table 3; at base_width it is N(0, std²) everywhere",
)
def mup(
    base_width: Count,
    std: Std = 0.02,
    output: Names = "**.lm_head.weight",
    input: Names | None = None,
    norm: Names | None = "LayerNorm",
) -> list[dict[str, Any]]:
    """The start of a model under the maximal update parametrization.

    It says how the model starts, and no more: learning rates by layer are the optimizer's. A
    layer whose weight is tied to an embedding is no output layer here; untie it.

    Args:
        base_width: the fan_in of hidden layers at which `std` holds: that of the model that was
            tuned.
        std: of weights at the base width.
        output: patterns of the weights that map the width to something finite (logits).
        input: patterns of weights of linear layers that map something finite to the width.
        norm: the classes of layers whose weight starts at 1; None: there are none.
    """
    count("base_width", base_width)
    number("std", std, least=0)
    words("output", output)
    if input is not None:
        words("input", input)
    hidden = {"type": "VarianceScaling", "layer": "Linear", "scale": std**2 * base_width}
    last = {"scale": std**2 * base_width**2, "exponent": 2}
    return [
        hidden,
        {"type": "Normal", "layer": "Embedding", "std": std},
        *([{"type": "Normal", "name": input, "std": std}] if input is not None else []),
        {"type": "VarianceScaling", "name": output, **last},
        *([{"type": "Constant", "layer": norm, "val": 1}] if norm is not None else []),
    ]
