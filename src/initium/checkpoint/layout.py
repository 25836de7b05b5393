"""Where in a checkpoint the tensors of the model are: what training loops write beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from initium.checkpoint.entry import Entry
from initium.checkpoint.formats import Global, Opaque, state_dict_of
from initium.errors import InitError, did_you_mean, listing

# MMEngine's Runner and Lightning; timm; DeepSpeed; others
WRAPPERS = ("state_dict", "model", "module", "model_state_dict", "model_state")


def pick(content: Any, key: str | None) -> dict[str, Entry]:
    """The tensors of the state dict in a checkpoint, by name.

    Args:
        content: of the file, entries in place of tensors.
        key: under which the state dict is, dots for more than one level; None: where it usually
            is, or the only place where there is one.

    Raises:
        InitError: nothing is there, there are no tensors, or several state dicts and no `key`.
    """
    found = _at(content, key) if key else _usual(content)
    if found is None:
        kind = content.name if isinstance(content, (Global, Opaque)) else type(content).__name__
        holds = "there are no tensors" if isinstance(content, Mapping) else f"a {kind} is"
        raise InitError(f"{holds} in it, where a state dict is expected{_not_run(content)}")
    return found


def _not_run(content: Any) -> str:
    """What in a pickle was not run, and might have made tensors."""
    values = content.values() if isinstance(content, Mapping) else [content]
    names = sorted({value.name for value in values if isinstance(value, Opaque)})
    if not names:
        return ""
    return (
        f"; what {listing(names)} would make was not run: trust_pickle=True runs it, and anything"
    )


def _at(content: Any, key: str) -> dict[str, Entry]:
    value, rest = content, key
    while rest:
        if not isinstance(value, Mapping):
            break
        # names may themselves have dots: the longest first
        heads = [rest] + [rest[:i] for i in range(len(rest) - 1, 0, -1) if rest[i] == "."]
        head = next((h for h in heads if h in value), None)
        if head is None:
            break
        value, rest = value[head], rest[len(head) + 1 :]
    found = None if rest else (_usual(value))
    if found is None:
        places = [name for name, _ in _places(content)]
        raise InitError(
            f"there is no state dict at key={key!r}.{did_you_mean(key, places)} There are: "
            f"{listing(places) or 'none'}"
        )
    return found


def _usual(content: Any) -> dict[str, Entry] | None:
    """The tensors of a state dict, or of the one within what a training loop writes."""
    module = state_dict_of(content)
    if module is not None:
        return module
    if not isinstance(content, Mapping):
        return None
    for wrapper in WRAPPERS:
        found = _usual(content.get(wrapper))
        if found is not None:
            return found
    tensors = _tensors(content)
    if tensors:
        return tensors
    below = list(_places(content))
    if len(below) > 1:
        names = listing(name for name, _ in below)
        raise InitError(f"it holds several state dicts; say key= one of: {names}")
    return below[0][1] if below else None


def _tensors(content: Mapping[Any, Any]) -> dict[str, Entry]:
    return {str(key): value for key, value in content.items() if isinstance(value, Entry)}


def _places(content: Any) -> Iterator[tuple[str, dict[str, Entry]]]:
    """The state dicts directly below, by their keys."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        found = state_dict_of(value)
        if found is None and isinstance(value, Mapping):
            found = _tensors(value)
        if found:
            yield str(key), found
