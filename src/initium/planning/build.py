"""Model + declarations -> Plan. It touches no value, so it works on `meta`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from initium.config import InitCfg, Rule, parse
from initium.errors import InitError, InitTypeError, located
from initium.flat import check_not_flat
from initium.initializers import (
    Constant,
    Declaration,
    PretrainedDeclaration,
    check_tensor,
)
from initium.lines import Finding
from initium.planning.coverage import Coverage, check_cover
from initium.planning.loads import Loads, Wish
from initium.planning.model import Plan
from initium.planning.noted import Noted, line_of
from initium.planning.select import Selection
from initium.planning.user_code import UserCode
from initium.protection import check_writes
from initium.record import Recorder
from initium.shard import check_held
from initium.streams import Seed, check_rng
from initium.tree import Slot, Tree, join
from initium.writes import Fill, Where


class Planner(Noted):
    """Collects the writes of rules and user code in the order of precedence.

    Args:
        model: the model, or the part of one, that declarations belong to.
        seed: recorded in the plan, as is `rng`.
        recorder: that has seen how the model was made.
        joined: whether it goes on recording, and carries out what is added here.
    """

    def __init__(
        self,
        model: nn.Module,
        seed: Seed | None = None,
        rng: str = "philox",
        recorder: Recorder | None = None,
        joined: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InitTypeError(f"model must be a torch.nn.Module, but got {model!r}")
        check_rng(rng, seed)
        super().__init__(Tree(model))
        check_not_flat(self.tree)
        self.seed, self.rng = seed, rng
        self.findings: list[Finding] = []
        self.rules: list[tuple[str, list[Slot]]] = []  # (source, what it set)
        self.user_code = UserCode(self, recorder, joined)
        self.writes = self.user_code.adopted()
        self.loads = Loads()

    def config(self, init_cfg: InitCfg, path: str, module: nn.Module) -> Callable[[], None]:
        """Add the rules of an `init_cfg`; what is returned adds its checkpoints, which come last."""
        rules = parse(init_cfg, f"init_cfg of {join(type(self.tree.root).__name__, path)}")
        for rule in rules:
            self._advise(rule)
            if not rule.is_pretrained:
                self._with_overrides(rule, path, module)
        self.loads.coming([w for w in (_wish(rule, path) for rule in rules) if w is not None])

        def pretrained() -> None:
            for rule in rules:
                if rule.is_pretrained:
                    self._with_overrides(rule, path, module)

        return pretrained

    def call(self, module: nn.Module, run: Callable[[nn.Module], Any] | None = None) -> Any:
        """Run user code on a module (its `init_weights`, or an initializer), and add its writes."""
        if run is None:
            info = f"Initialized by user-defined `init_weights` in {type(module).__name__}"
            method: Any = module
            return self.user_code.run(module, info, lambda: method.init_weights())
        described = getattr(run, "_get_init_info", None)
        info = described() if described else f"Initialized by {type(run).__name__}"
        return self.user_code.run(module, info, lambda: run(module))

    def plan(self, strict: bool = False, cover: str | None = None) -> Plan:
        """The plan of everything that was added.

        Raises:
            InitError: in strict mode, with every finding that is an error there.
        """
        check_cover(cover)
        finished = self.user_code.finished(self.writes)
        for slot, writes in finished.items():
            if (id(slot.owner), slot.local) not in self.released:
                check_writes(slot, writes)
        lines = {
            slot.name: line_of(slot, writes)
            for slot, writes in finished.items()
            if writes or not slot.is_buffer
        }
        born, lost = self.user_code.born(finished), self.user_code.lost()
        self.findings += Coverage(lines, self.tree).findings(self.rules, born, lost, cover)
        findings = tuple(dict.fromkeys([*self.loads.findings, *self.findings]))
        errors = [f.message for f in findings if f.strict]
        if strict and errors:
            raise InitError("strict mode; nothing was written:\n- " + "\n- ".join(errors))
        name, loadings = type(self.tree.root).__name__, tuple(self.loads.loadings)
        return Plan(name, lines, findings, loadings, self.seed, self.rng, self.loads.files)

    def _advise(self, rule: Rule) -> None:
        for each in (rule, *rule.overrides):
            # what is odd about a rule, whatever the model, is that it means nothing
            self.findings += [Finding("unmatched", f"{each.source}: {t}") for t in each.advice]
            if isinstance(each.declared, Declaration) and each.declared.declares():
                text = each.declared.initializer.advice()
                self.findings += [Finding("advice", f"{each.source}: {text}")] if text else []

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
        wish = _wish(rule, self.tree.path_of(target))
        if wish is not None:
            self._loads(wish)
        else:
            assert callable(declared)
            self.call(target, declared)

    def _fills(self, rule: Rule, declared: Declaration, selection: Selection) -> None:
        targets = selection.of(rule, declared)
        order, info = self.next_order(), declared.info()
        for slot, initializer in targets:
            with located(slot.name):
                check_tensor(slot.tensor, initializer)
            stream = self.user_code.stream(slot)
            fill = Fill(order, rule.source, info, initializer, None, stream)
            self.writes[slot].append(fill)
            row = _zero_row(slot)
            if row is not None and initializer != Constant(0):
                where = Where(((row, row + 1, 1),))
                self.writes[slot].append(replace(fill, initializer=Constant(0), where=where))
        if targets and not rule.preset:
            self.rules.append((rule.source, [slot for slot, _ in targets]))

    def _loads(self, wish: Wish) -> None:
        order = self.next_order()
        placed = self.loads.place(wish, self.writes, order)
        with located() as at:
            for slot, load in placed:
                at.place = slot.name
                check_held(slot.tensor)
                self.writes[slot].append(load)


def plan_config(
    model: nn.Module,
    init_cfg: InitCfg,
    *,
    seed: Seed | None = None,
    rng: str = "philox",
    strict: bool = False,
    cover: str | None = None,
) -> tuple[Plan, Tree]:
    """The plan of one `init_cfg` for a whole model, and the tree of tensors that it was made of."""
    planner = Planner(model, seed, rng)
    with planner.user_code.closing():
        planner.config(init_cfg, "", model)()
        return planner.plan(strict, cover), planner.tree


def _wish(rule: Rule, path: str) -> Wish | None:
    """The checkpoint that a rule on the module at `path` asks for; None: it asks for none."""
    declared = rule.declared
    if not isinstance(declared, PretrainedDeclaration) or not declared.declares():
        return None
    return Wish(rule, declared, join(path, (declared.to or "").rstrip(".")))


def _zero_row(slot: Slot) -> int | None:
    """The row of an embedding that stays zero (`padding_idx`)."""
    for place in slot.places():
        owner = place.owner
        if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)) and owner.padding_idx is not None:
            return int(owner.padding_idx) % owner.num_embeddings
    return None
