"""The initializer that loads a checkpoint."""

from __future__ import annotations

from torch import nn

from initium.apply import initialize
from initium.initializers import PretrainedDeclaration
from initium.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module(name="Pretrained")
class PretrainedInit(PretrainedDeclaration):
    """Values from a checkpoint; they come last and beat all other rules of the same `init_cfg`.

    Everything is found, and matched by names and shapes, before anything is written. Tensors that
    the file lacks, or has with another shape, keep what their own rule gives them; what was not
    loaded is a warning, and an error in strict mode.

    Args:
        checkpoint: a path, a folder, or a URL: `https://…`, `s3://…`, `hf://owner/repo/file`,
            `torchvision://resnet50` and others (`CHECKPOINT_SOURCES`). Formats: `torch.save`,
            safetensors, an index of shards (`*.index.json`), a folder of
            `torch.distributed.checkpoint`.
        prefix: take only the keys that start with it, without it: `'backbone.'`.
        map_location: as in MMEngine; values go straight to where each tensor is, whatever it says.
        to: the submodule that the file is of, where that is not the whole: `'encoder'`.
        key: where in the file the state dict is: `'ema'`; None: where it usually is.
        rename: (pattern, replacement) pairs of regular expressions, applied to the keys in order.
        convert: `dict(type="Split", …)`, `Merge`, `Transpose`, applied to what the keys are then.
        adapt: what makes tensors of another shape fit: `dict(type="InputChannels", name=…, …)`.
        ignore: patterns on names of the model (as in `name=`) that the file may lack.
        ignore_unused: patterns on keys of the file that the model may lack.
        strict: what is missing, unused or of another shape is an error for this rule, or (False)
            never; None: where the plan is strict.
        min_coverage: the least fraction of the parameters, by element, that must be loaded.
        sha256: of the file, or its first 8 digits or more; without it the one in the name of a
            download (`resnet50-0676ba61.pth`) is checked.
        trust_pickle: unpickle the file as Python does, which runs any code that it names.
        offline: take downloads from the cache only.
        mmap: leave the values in the file, as `torch.load(mmap=True)` does: nothing is read until
            it is used, and processes share it. The file must stay as it is for as long as the model
            lives; nothing looks for NaN. What must be cast or adapted, is sharded, shares memory,
            is small or lies on another device is copied as ever.

    Raises:
        InitError: (when called, or planned) the file cannot be had or read, has no key with the
            prefix or too few of the tensors, or an adapter cannot do what it is told to.

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
