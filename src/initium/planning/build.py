"""Model + declarations -> Plan. It touches no value, so it works on `meta`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from initium.checkpoint import match, read_checkpoint
from initium.config import InitCfg, Rule, parse
from initium.errors import InitError, InitNameError, InitTypeError, listing, located
from initium.initializers import Declaration, Keep, PretrainedDeclaration, check_tensor
from initium.planning.history import remembered
from initium.planning.model import Plan
from initium.planning.select import Selection
from initium.planning.writes import Call, Fill, Finding, Line, Load, Write
from initium.streams import Seed, check_rng
from initium.tree import Slot, Tree, is_lazy, join


class Planner:
    """Collects the writes of rules and user code in the order of precedence.

    Args:
        model: the model, or the part of one, that declarations belong to.
        seed: recorded in the plan, as is `rng`.
    """

    def __init__(self, model: nn.Module, seed: Seed | None = None, rng: str = "philox") -> None:
        if not isinstance(model, nn.Module):
            raise InitTypeError(f"model must be a torch.nn.Module, but got {model!r}")
        check_rng(rng, seed)
        self.tree = Tree(model)
        self.seed, self.rng = seed, rng
        self.writes: dict[Slot, list[Write]] = {slot: [] for slot in self.tree.slots}
        self.calls: list[Call] = []
        self.findings: list[Finding] = []
        self.rules: list[tuple[str, list[Slot]]] = []  # (source, what it set)
        self._order = 0

    def config(self, init_cfg: InitCfg, path: str, module: nn.Module) -> Callable[[], None]:
        """Add the rules of an `init_cfg`; what is returned adds its checkpoints, which come last."""
        rules = parse(init_cfg, f"init_cfg of {join(type(self.tree.root).__name__, path)}")
        for rule in rules:
            self._advise(rule)
            if not rule.is_pretrained:
                self._with_overrides(rule, path, module)

        def pretrained() -> None:
            for rule in rules:
                if rule.is_pretrained:
                    self._with_overrides(rule, path, module)

        return pretrained

    def call(self, name: str, module: nn.Module, run: Callable[[nn.Module], Any] | None) -> None:
        """Add user code that runs on a module: its `init_weights`, or an initializer of the user."""
        if run is None:
            info = f"Initialized by user-defined `init_weights` in {type(module).__name__}"
            source = f"{join(type(self.tree.root).__name__, name)}.init_weights"
        else:
            described = getattr(run, "_get_init_info", None)
            info = described() if described else f"Initialized by {type(run).__name__}"
            source = f"{type(run).__name__} on {join(type(self.tree.root).__name__, name)}"
        method = "" if run else "init_weights"
        call = Call(self._next(), source, info, name, method, run)
        self.calls.append(call)
        for slot in self.tree.below(module):
            self.writes[slot].append(call)

    def keep(self, path: str, module: nn.Module) -> None:
        """Keep what a module's own `init_weights` has set earlier."""
        source = f"init_weights of {join(type(self.tree.root).__name__, path)}, called before"
        paths = {join(path, relative) for relative in remembered(module)}
        for slot in self.tree.below(module):
            if slot.path in paths:
                self.writes[slot].append(Fill(self._next(), source, "", Keep()))

    def plan(self, strict: bool = False) -> Plan:
        """The plan of everything that was added.

        Raises:
            InitError: in strict mode, with every finding that is an error there.
        """
        lines = {}
        for slot, writes in self.writes.items():
            if writes or not slot.is_buffer:
                lines[slot.name] = _line(slot, writes)
        self._find_shadowed()
        self._find_unset(lines)
        findings = tuple(dict.fromkeys(self.findings))
        errors = [f.message for f in findings if f.strict]
        if strict and errors:
            raise InitError("strict mode; nothing was written:\n- " + "\n- ".join(errors))
        model = type(self.tree.root).__name__
        return Plan(model, lines, tuple(self.calls), findings, self.seed, self.rng)

    def _next(self) -> int:
        self._order += 1
        return self._order

    def _advise(self, rule: Rule) -> None:
        for each in (rule, *rule.overrides):
            texts = list(each.advice)
            if isinstance(each.declared, Declaration) and each.declared.declares():
                texts.append(each.declared.initializer.advice() or "")
            self.findings += [Finding("advice", f"{each.source}: {t}") for t in texts if t]

    def _with_overrides(self, rule: Rule, path: str, module: nn.Module) -> None:
        for each in (rule, *rule.overrides):
            with located(each.source):
                self._place(each, path, module)

    def _place(self, rule: Rule, path: str, module: nn.Module) -> None:
        def note(text: str) -> None:
            self.findings.append(Finding("unmatched", f"{rule.source}: {text}"))

        selection = Selection(self.tree, path, module, note)
        declared = rule.declared
        if isinstance(declared, Declaration) and declared.declares():
            self._fills(rule, declared, selection)
            return
        target = module if rule.scope is None else selection.resolve(rule.scope)
        if not isinstance(target, nn.Module):
            raise InitTypeError(
                f"{type(declared).__name__} needs a module, but {rule.scope!r} is a tensor"
            )
        name = next(n for n, m in self.tree.modules.items() if m is target)
        if isinstance(declared, PretrainedDeclaration) and declared.declares():
            below = join(self.tree.paths[name], (declared.to or "").rstrip("."))
            self._loads(rule, declared, below)
        else:
            assert callable(declared)
            self.call(name, target, declared)

    def _fills(self, rule: Rule, declared: Declaration, selection: Selection) -> None:
        targets = selection.of(rule, declared)
        order = self._next()
        for slot, initializer in targets:
            with located(slot.name):
                check_tensor(slot.tensor, initializer)
            fill = Fill(order, rule.source, declared.info(), initializer, _zero_row(slot))
            self.writes[slot].append(fill)
        if targets:
            self.rules.append((rule.source, [slot for slot, _ in targets]))

    def _loads(self, rule: Rule, declared: PretrainedDeclaration, below: str) -> None:
        entries = read_checkpoint(declared.checkpoint, declared.map_location)
        module_slots = [
            s for s in self.writes
            if any(not below or p.path.startswith(f"{below}.") for p in s.places())
        ]  # fmt: skip
        if not module_slots:
            raise InitNameError(f"the model has no tensor below to={declared.to!r}")
        found = match(module_slots, below, entries, declared.prefix)
        order, path = self._next(), str(declared.checkpoint)
        device = str(declared.map_location or "cpu")
        for slot, key, entry in found.loads:
            load = Load(order, rule.source, declared.info(), path, key, device, entry)
            self.writes[slot].append(load)
        total = len(found.loads) + len(found.missing) + len(found.mismatched)
        start = f"{rule.source}: {path}"
        for what, names in {
            f"loads {len(found.loads)} of {total} tensors; not in the file": found.missing,
            "keys that the model does not have": found.unexpected,
            "other shapes, not loaded": found.mismatched,
        }.items():
            if names:
                self.findings.append(Finding("checkpoint", f"{start}: {what}: {listing(names)}"))

    def _find_shadowed(self) -> None:
        for source, slots in self.rules:
            lines = [_line(slot, self.writes[slot]) for slot in slots]
            if not any(_counts(line, source) for line in lines):
                winners = {line.write.source for line in lines if line.write}
                self.findings.append(Finding(
                    "shadowed",
                    f"{source}: every tensor that it sets is set again by {listing(sorted(winners))}",
                ))  # fmt: skip

    def _find_unset(self, lines: dict[str, Line]) -> None:
        unset = [name for name, line in lines.items() if not line.writes]
        if unset:
            self.findings.append(Finding(
                "unset",
                f"{len(unset)} tensors are set by nothing and stay as they are "
                f"(say dict(type='Keep', name=…) where that is meant): {listing(unset)}",
            ))  # fmt: skip


def plan_config(
    model: nn.Module,
    init_cfg: InitCfg,
    *,
    seed: Seed | None = None,
    rng: str = "philox",
    strict: bool = False,
) -> Plan:
    """The plan of one `init_cfg` for a whole model."""
    planner = Planner(model, seed, rng)
    planner.config(init_cfg, "", model)()
    return planner.plan(strict)


def _line(slot: Slot, writes: list[Write]) -> Line:
    tensor = slot.tensor
    return Line(
        name=slot.name,
        path=slot.path,
        shape=() if is_lazy(tensor) else tuple(tensor.shape),
        dtype=str(tensor.dtype).removeprefix("torch."),
        aliases=tuple(alias.name for alias in slot.aliases),
        writes=tuple(writes),
    )


def _counts(line: Line, source: str) -> bool:
    """Whether a rule decides a tensor, or repeats what does, or stands in for a checkpoint."""
    if isinstance(line.write, Load):
        return True
    mine = [w for w in line.writes if isinstance(w, Fill) and w.source == source]
    return line.write is not None and any(
        w == line.write
        or (isinstance(line.write, Fill) and w.initializer == line.write.initializer)
        for w in mine
    )


def _zero_row(slot: Slot) -> int | None:
    for place in slot.places():
        padding = getattr(place.owner, "padding_idx", None)
        if isinstance(place.owner, (nn.Embedding, nn.EmbeddingBag)) and padding is not None:
            return int(padding)
    return None
