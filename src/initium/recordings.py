"""`recording`: what is done by hand, to one model or several, is noted; then each is filled once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from torch import nn

from initium.apply import announce, apply_where
from initium.errors import InitError, InitTypeError
from initium.here import unseen
from initium.planning import Plan, remember_plan
from initium.record import Recorder, recorded_by
from initium.streams import Seed
from initium.tree import Tree
from initium.under_record import is_missing, new_recorder, planner_of, undone_on_error

Model = TypeVar("Model", bound=nn.Module)


class Recording:
    """What `recording` gives: names the models whose tensors were made or written within."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._named: list[tuple[nn.Module, str]] = []
        self._ended = False

    def name(self, model: Model, name: str = "") -> Model:
        """Have a plan for this model: its tensors are drawn by their names in it.

        Args:
            model: made, or written to, within the recording.
            name: sets it apart from other models of the recording: its seed is (seed, name).
        """
        if not isinstance(model, nn.Module):
            raise InitTypeError(f"model must be a torch.nn.Module, but got {model!r}")
        if self._ended:
            raise InitError("the recording has ended: name models within it")
        self._named.append((model, name))
        return model

    def _plans(self) -> list[tuple[nn.Module, Plan]]:
        self._ended = True
        planners = [planner_of(model, self._recorder, name) for model, name in self._named]
        return [(planner.tree.root, planner.plan()) for planner in planners]


@contextmanager
def recording(*, seed: Seed | None = None, exact: bool = False) -> Iterator[Recording]:
    """Record what this thread does with tensors within; at the end, fill each once.

    For code that makes several models, or initialises one by hand. Where a model is named
    (`rec.name(model)`), its tensors have lines in a plan, `plan_of(model)`, and are drawn by their
    names; everything else is drawn in the order of the program. Inside, tensors that are read have
    their values. An exception leaves memory that was there before as it was.

    Args:
        seed: as in `build`.
        exact: as in `build`.

    >>> import initium
    >>> with recording(seed=1) as rec:
    ...     actor, critic = nn.Linear(2, 2), nn.Linear(2, 2)
    ...     _ = rec.name(actor, "actor"), rec.name(critic, "critic")
    ...     _ = nn.init.zeros_(critic.bias)
    >>> initium.plan_of(critic)["bias"].what, bool(actor.weight.eq(critic.weight).any())
    ('Constant(val=0)', False)
    """
    with new_recorder(seed, exact) as recorder:
        made = Recording(recorder)
        with undone_on_error(recorder), recorded_by(recorder):
            yield made
        with unseen(), undone_on_error(recorder):
            plans = made._plans()
            for _, plan in plans:
                announce(plan)
            recorder.commit(slot.tensor for model, _ in plans for slot in Tree(model).slots)
            for model, plan in plans:
                remember_plan(model, plan)
                apply_where(plan, model, partial(is_missing, recorder))
