"""The initializer that loads a checkpoint."""

from __future__ import annotations

from torch import nn

from initium.apply import initialize
from initium.initializers import PretrainedDeclaration
from initium.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module(name="Pretrained")
class PretrainedInit(PretrainedDeclaration):
    """Values from a checkpoint; they come last and beat all other rules of the same `init_cfg`.

    Tensors that the file lacks, or has with another shape, keep what their own rule gives them;
    what was not loaded is a warning, and an error in strict mode.

    Args:
        checkpoint: the path of a `.pth`, `.pt` or `.safetensors` file.
        prefix: take only the keys that start with it, without it: `'backbone.'`.
        map_location: the device to read onto.
        to: the submodule that the file is of, where that is not the whole: `'encoder'`.

    Raises:
        InitError: (when called, or planned) the file cannot be read, or has no key with the prefix.

    >>> PretrainedInit("resnet50.pth", prefix="backbone.").info()
    'PretrainedInit: load from resnet50.pth'
    """

    def __call__(self, module: nn.Module) -> None:
        """Load the checkpoint into `module`."""
        initialize(module, self)

    def declares(self) -> bool:
        """Whether this is all data: a subclass that defines its own `__call__` is user code."""
        return type(self).__call__ is PretrainedInit.__call__

    def _get_init_info(self) -> str:
        return self.info()
