"""What a plan leaves out: rules without effect, tensors that nobody set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch.nn.utils.parametrize import is_parametrized

from initium.errors import InitError, listing
from initium.lines import Finding, Line
from initium.record import unwritten
from initium.tree import Slot, Tree, is_lazy, join
from initium.writes import CONSTRUCTOR, USER_CODE, Fill, Load, is_keep

COVERS = ("all",)


def check_cover(cover: str | None) -> None:
    """Raise unless `cover` is None or one of `COVERS`."""
    if cover is not None and cover not in COVERS:
        raise InitError(
            f"cover must be None or {' or '.join(map(repr, COVERS))}, but got {cover!r}"
        )


class Coverage:
    """Finds what the lines of a plan leave out.

    Args:
        lines: of the plan, by name.
        tree: the model.
    """

    def __init__(self, lines: Mapping[str, Line], tree: Tree) -> None:
        self.lines, self.tree = lines, tree
        self.slots = {slot.name: slot for slot in tree.slots}

    def findings(
        self,
        rules: Iterable[tuple[str, list[Slot]]],
        born: list[Slot],
        lost: Sequence[tuple[object, str]],
        cover: str | None,
    ) -> Iterator[Finding]:
        """All that is left out.

        Args:
            rules: (source, the tensors that it set) of every rule that matched something.
            born: the tensors whose memory nothing but the plan has written to.
            lost: (parametrization, source) of writes to what it has computed.
            cover: `'all'`: a parameter that no rule sets is a finding, too.
        """
        yield from self._shadowed(rules)
        yield from self._unwritten(born)
        yield from self._lost(lost)
        untouched = set(born)
        unset = [name for name, line in self.lines.items() if not line.writes]
        unset = [name for name in unset if self.slots[name] not in untouched]
        if unset:
            yield Finding(
                "unset",
                f"{len(unset)} tensors are set by nothing and stay as they are "
                f"(say dict(type='Keep', name=…) where that is meant): {listing(unset)}",
            )
        if cover == "all":
            yield from self._defaults()

    def _shadowed(self, rules: Iterable[tuple[str, list[Slot]]]) -> Iterator[Finding]:
        for source, slots in rules:
            lines = [self.lines[slot.name] for slot in slots]
            if not any(_counts(line, source) for line in lines):
                winners = {line.last.source for line in lines if line.last}
                yield Finding(
                    "shadowed",
                    f"{source}: every tensor that it sets is set again by "
                    f"{listing(sorted(winners))}",
                )

    def _unwritten(self, born: list[Slot]) -> Iterator[Finding]:
        found = []
        for slot in born:
            if is_lazy(slot.tensor):
                continue
            writes = self.lines[slot.name].writes if slot.name in self.lines else ()
            missing = unwritten(slot.tensor, writes)
            if missing:
                part = "" if missing == slot.tensor.numel() else f" ({missing} elements)"
                found.append(f"{slot.name}{part}")
        if found:
            yield Finding(
                "unwritten",
                f"{len(found)} tensors are never written, so that their values are uninitialised "
                f"memory; write them in the constructor, or by a rule: {listing(found)}",
            )

    def _lost(self, lost: Sequence[tuple[object, str]]) -> Iterator[Finding]:
        names = {
            id(
                parametrization
            ): f"{join(self.tree.paths[name], weight)} of a {type(module).__name__}"
            for name, module in (self.tree.modules.items() if lost else ())
            if is_parametrized(module)
            for weight, parametrization in module.parametrizations.items()  # type: ignore[operator, union-attr]
        }
        for parametrization, source in lost:
            name = names.get(id(parametrization), "a parametrized tensor")
            yield Finding(
                "lost",
                f"{name} is computed from other tensors: what {source} writes to it is lost; "
                "assign to it instead (module.weight = tensor)",
            )

    def _defaults(self) -> Iterator[Finding]:
        found = [
            name
            for name, line in self.lines.items()
            if line.writes
            and not self.slots[name].is_buffer
            and all(write.by == CONSTRUCTOR for write in line.writes)
        ]
        if found:
            yield Finding(
                "default",
                f"cover='all': {len(found)} parameters have only what their constructor gives "
                "them; cover them by a rule, or say dict(type='Keep', name=…) where that is "
                f"meant: {listing(found)}",
            )


def _counts(line: Line, source: str) -> bool:
    """Whether a rule decides a tensor, or repeats what does, or stands behind a checkpoint or code."""
    left = line.carried_out
    if is_keep(line.last) and line.last is not None and line.last.source == source:
        return True
    if any(isinstance(write, Load) or write.by == USER_CODE for write in left):
        return True
    mine = [w for w in line.writes if isinstance(w, Fill) and w.source == source]
    return any(
        w == kept or (isinstance(kept, Fill) and w.initializer == kept.initializer)
        for w in mine
        for kept in left
    )
