"""What a type cannot say of an argument: the words and numbers that are allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Allowed:
    """Keywords of JSON Schema for an argument, to stand in its `Annotated` type.

    Type checkers see the plain type, so that a `str` from elsewhere may be passed on.

    >>> from typing import Annotated
    >>> Mode = Annotated[str, Allowed(enum=["fan_in", "fan_out"])]
    """

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords

    def __get_pydantic_json_schema__(
        self, core: Any, handler: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any]:
        return {**handler(core), **self.keywords}
