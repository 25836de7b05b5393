"""`exact=True`: operations are put off, but none is dropped, and they run in program order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Program:
    """Operations that were put off, in order.

    >>> x, program = torch.zeros(2), Program()
    >>> program.add(lambda: x.add_(1))
    >>> program.add(lambda: x.mul_(3))
    >>> program.run(), x.tolist()
    (None, [3.0, 3.0])
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], Any]] = []

    def add(self, step: Callable[[], Any]) -> None:
        """Put one more operation off."""
        # what was made in inference mode can be written only there
        inference = torch.is_inference_mode_enabled()
        self._steps.append(torch.inference_mode()(step) if inference else step)

    def run(self) -> None:
        """Run all that was put off."""
        steps, self._steps = self._steps, []
        with torch.no_grad():
            for step in steps:
                step()
