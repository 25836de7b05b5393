"""The checkpoints in a plan: which are needed, what each gives to which tensor, what is left over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from initium.checkpoint import Files, Match, Matcher, hooked, suggest
from initium.checkpoint.loading import Loading
from initium.config import Rule
from initium.errors import InitError, InitNameError, listing
from initium.initializers import PretrainedDeclaration
from initium.lines import Finding
from initium.shard import shape_of
from initium.tree import Slot, is_lazy
from initium.writes import Load


@dataclass(frozen=True, eq=False)
class Wish:
    """A checkpoint that a rule asks for.

    Attributes:
        rule: that asks.
        declared: what it says.
        below: the path in the model that the names of the file are seen from.
    """

    rule: Rule
    declared: PretrainedDeclaration
    below: str


class Loads:
    """Opens and matches the checkpoints of a plan.

    Attributes:
        files: those that were opened.
        loadings: what each gave.
        findings: what the reader should know.
    """

    def __init__(self) -> None:
        self.loadings: list[Loading] = []
        self.findings: list[Finding] = []
        self.files = Files()
        self._coming: list[Wish] = []  # by rules whose turn comes later, in that order

    def coming(self, wishes: Sequence[Wish]) -> None:
        """Note wishes whose turn comes later, but before that of those noted so far."""
        self._coming[:0] = wishes

    def place(self, wish: Wish, slots: Iterable[Slot], order: int) -> list[tuple[Slot, Load]]:
        """The loads of a wish whose turn has come; none where later ones load all its tensors.

        Args:
            wish: the rule, and where in the model it stands.
            slots: of the whole model.
            order: of these writes.

        Raises:
            InitError: the file cannot be read, nothing in it fits, or not as much as was demanded.
        """
        self._coming = [w for w in self._coming if w.rule is not wish.rule]
        slots = list(slots)
        mine = _below(slots, wish.below)
        if not mine:
            raise InitNameError(f"the model has no tensor below to={wish.declared.to!r}")
        later = self._superseding(mine, slots)
        source, path = wish.rule.source, wish.declared.recipe.checkpoint
        if later is not None:
            self.loadings.append(Loading(source, path, superseded=later))
            return []
        match, info = self._match(wish, mine), wish.declared.info()
        self._check(wish, match, mine)
        return [
            (
                slot,
                Load(
                    order=order,
                    source=source,
                    info=info,
                    recipe=wish.declared.recipe,
                    name=name,
                    origin=entry.text,
                    adapters=adapters,
                ),
            )
            for slot, name, entry, adapters in match.loads
        ]

    def _superseding(self, mine: list[Slot], slots: list[Slot]) -> str | None:
        """The source of the later rules that load every one of these tensors; None: they do not."""
        if not self._coming:
            return None
        left = {slot for slot in mine if not _by_itself(slot)}
        loaded: set[Slot] = set()
        sources = []
        for wish in reversed(self._coming):
            theirs = _below(slots, wish.below)
            if left.isdisjoint(theirs) or loaded.issuperset(theirs):
                continue  # it need not be opened for this
            found = {slot for slot, *_ in self._match(wish, theirs).loads}
            loaded |= found
            if not left.isdisjoint(found):
                sources.append(wish.rule.source)
                left -= found
            if not left:
                return " and ".join(reversed(sources))
        return None

    def _match(self, wish: Wish, slots: list[Slot]) -> Match:
        declared = wish.declared
        opened = self.files.opened(declared.recipe)
        return Matcher(
            wish.below,
            opened.entries,
            declared.adapters,
            declared.ignore,
            declared.ignore_unused,
            opened.stripped,
        ).match(slots)

    def _check(self, wish: Wish, match: Match, slots: list[Slot]) -> None:
        """Note what the checkpoint gives and what not, and raise where it must not be so."""
        declared, opened = wish.declared, self.files.opened(wish.declared.recipe)
        hint = suggest(slots, wish.below, opened.keys) if match.missing else ""
        classes = hooked([*match.missing, *match.mismatched])
        if classes:
            hint += (
                f" {listing(classes)} would change names or tensors as torch loads them: no hook "
            )
            hint += "of theirs is run here; say rename= or convert= instead"
        if not match.loads and not match.mismatched:
            raise InitError(
                f"{declared.checkpoint}: none of its {len(opened.entries)} keys is the name of a "
                f"tensor of the model.{hint} Keys of the file: {listing(opened.entries, 4)}; names "
                f"of the model: {listing((slot.path for slot in slots), 4)}"
            )
        loading = _loading(wish, match, slots)
        self.loadings.append(loading)
        problems = [*_problems(loading, match, hint), *opened.notes]
        problems += [
            f"{adapter.describe()} of {adapter.name} had nothing to do" for adapter in match.idle
        ]
        start = f"{wish.rule.source}: {declared.checkpoint}"
        least = declared.min_coverage
        if least is not None and loading.coverage < least:
            raise InitError(
                f"{start}: loads {loading.coverage:.2%} of {loading.total:,} parameters, but "
                f"min_coverage={least} asks for more; {'; '.join(problems)}"
            )
        if declared.strict and problems:
            raise InitError(f"{start}: strict; nothing was written: {'; '.join(problems)}")
        kind = "advice" if declared.strict is False else "checkpoint"
        self.findings += [Finding(kind, f"{start}: {problem}") for problem in problems]


def _loading(wish: Wish, match: Match, slots: list[Slot]) -> Loading:
    loaded = {slot for slot, *_ in match.loads}
    counted = (slot for slot in slots if not slot.is_buffer and not is_lazy(slot.tensor))
    elements = {slot: prod(shape_of(slot.tensor)) for slot in counted}
    return Loading(
        source=wish.rule.source,
        checkpoint=wish.declared.recipe.checkpoint,
        loaded=len(loaded),
        adapted=tuple(
            (slot.name, ", ".join(adapter.describe() for adapter in adapters))
            for slot, _, _, adapters in match.loads
            if adapters
        ),
        fresh=tuple(slot.name for slot in match.fresh),
        unused=tuple(match.unused),
        elements=sum(n for slot, n in elements.items() if slot in loaded),
        total=sum(elements.values()),
    )


def _problems(loading: Loading, match: Match, hint: str) -> list[str]:
    """Sentences on what was not loaded."""
    total = loading.loaded + len(match.missing) + len(match.mismatched)
    texts = []
    if match.missing:
        names = listing(slot.name for slot in match.missing)
        texts.append(f"loads {loading.loaded} of {total} tensors; not in the file: {names}.{hint}")
    if match.unused:
        texts.append(f"keys that the model does not have: {listing(match.unused)}")
    if match.mismatched:
        texts.append(f"not loaded: {listing(match.mismatched.values())}")
    return [text.removesuffix(".") for text in texts]


def _below(slots: Iterable[Slot], path: str) -> list[Slot]:
    stem = f"{path}."
    return [s for s in slots if not path or any(p.path.startswith(stem) for p in s.places())]


def _by_itself(slot: Slot) -> bool:
    """Whether a tensor need not be in a checkpoint at all."""
    return not slot.persistent or slot.local == "num_batches_tracked"
