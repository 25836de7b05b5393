"""What public functions are given, looked at before anything is done with it."""

from __future__ import annotations

from reprlib import repr as shortened

from torch import nn

from initium.errors import InitTypeError


def check_is(what: str, value: object, kind: type | tuple[type, ...], allowed: str) -> None:
    """Raise an `InitTypeError` unless the argument `what` is of this kind (a bool is no number).

    >>> check_is("sample", "all", int, "an int")
    Traceback (most recent call last):
    initium.errors.InitTypeError: sample must be an int, but got 'all'
    """
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        # a model or a state dict would fill the screen
        raise InitTypeError(f"{what} must be {allowed}, but got {shortened(value)}")


def check_model(model: object) -> None:
    """Raise an `InitTypeError` unless it is a model."""
    check_is("model", model, nn.Module, "a torch.nn.Module")
