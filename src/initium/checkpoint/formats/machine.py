"""The stack machine that a pickle is a program for; what it makes is inert."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from initium.checkpoint.formats.plain import made_of
from initium.checkpoint.formats.values import Global, Opaque, key_of
from initium.errors import InitError

_MOST_STEPS = 1 << 24  # opcodes and copied elements: a byte of pickle may make an object of 200


def damaged(reason: str) -> InitError:
    """The error for a pickle that makes no sense."""
    return InitError(f"its pickle is damaged: {reason}")


class Machine:
    """The stack, and what each opcode does to it."""

    def __init__(
        self,
        persistent: Callable[[Any], Any] | None,
        rebuild: Callable[[str, tuple[Any, ...]], Any] | None,
    ) -> None:
        self.persistent, self.rebuild = persistent, rebuild
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        self.left = _MOST_STEPS

    def spend(self, steps: int) -> None:
        """Count opcodes and copied elements; too many are an InitError."""
        self.left -= steps
        if self.left < 0:
            raise InitError(f"its pickle has more than {_MOST_STEPS} parts")

    def refuse(self, argument: Any) -> None:
        """Any opcode that is not known here."""
        raise InitError("its pickle needs extension codes or buffers that lie outside of it")

    def protocol(self, number: int) -> None:
        """The first opcode of most pickles."""
        if number > 5:
            raise InitError(f"its pickle has the protocol {number}; 0 to 5 are known")

    def push(self, value: Any) -> None:
        """Lay a value on the stack."""
        self.stack.append(value)

    def string(self, text: str) -> None:
        """A str of Python 2: mostly text, read as UTF-8 like torch.load does, else as Latin-1."""
        try:
            self.push(text.encode("latin-1").decode())
        except ValueError:
            self.push(text)

    def pop(self) -> Any:
        """Take the uppermost value."""
        if not self.stack:
            raise damaged("it takes more from its stack than there is")
        return self.stack.pop()

    def top(self) -> Any:
        """Look at the uppermost value."""
        self.push(value := self.pop())
        return value

    def drop(self) -> None:
        """Forget the uppermost value, or a mark with nothing upon it."""
        (self.pop if self.stack else self.since_mark)()

    def mark(self) -> None:
        """Begin a stack upon the stack."""
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """Take all values since the last mark, and the mark."""
        if not self.below:
            raise damaged("a mark is missing")
        values, self.stack = self.stack, self.below.pop()
        return values

    def last(self, count: int) -> tuple[Any, ...]:
        """Take so many values, the lowest first."""
        return tuple([self.pop() for _ in range(count)][::-1])

    def put(self, index: int) -> None:
        """Note the uppermost value in the memo."""
        if index < 0:
            raise damaged("a negative place in its memo")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        """Push a value of the memo."""
        if index not in self.memo:
            raise damaged("it refers to what it has not said yet")
        self.push(self.memo[index])

    def extend(self, values: list[Any]) -> None:
        """Append to the list on top."""
        target = self.top()
        if not isinstance(target, (list, Opaque)):
            raise damaged(f"it appends to a {type(target).__name__}")
        (target.items if isinstance(target, Opaque) else target).extend(values)

    def append(self, value: Any) -> None:
        """Append one value to the list on top."""
        self.extend([value])

    def add(self, values: list[Any]) -> None:
        """Add members to the set on top."""
        target = self.top()
        if not isinstance(target, (set, Opaque)):
            raise damaged(f"it adds to a {type(target).__name__}")
        (target.items.extend if isinstance(target, Opaque) else target.update)(map(key_of, values))

    def set_items(self, values: list[Any] | tuple[Any, ...]) -> None:
        """Set keys and values, in turn, of the dict on top."""
        target = self.top()
        if len(values) % 2 or not isinstance(target, (dict, Opaque)):
            raise damaged(f"it sets {len(values)} keys and values of a {type(target).__name__}")
        pairs = [(key_of(key), value) for key, value in zip(values[::2], values[1::2], strict=True)]
        (target.items.extend if isinstance(target, Opaque) else target.update)(pairs)

    def dictionary(self, values: list[Any]) -> None:
        """Push a dict of keys and values, in turn."""
        self.push({})
        self.set_items(values)

    def outside(self, pid: Any) -> None:
        """Push what a persistent id stands for."""
        if self.persistent is None:
            raise InitError("its pickle refers to something outside of it")
        self.push(self.persistent(pid))

    def build(self, state: Any) -> None:
        """Give the object on top its state; it is kept, not obeyed."""
        target = self.top()
        if isinstance(target, Opaque):
            target.state = state

    def name(self, words: str) -> None:
        """Push a class or function: its module and name, with a space between."""
        self.push(Global(words.replace(" ", ".", 1)))

    def joined_name(self, module: Any, name: Any) -> None:
        """Push a class or function: its module and name."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise damaged("a name that is no text")
        self.push(Global(f"{module}.{name}"))

    def call(self, maker: Any, args: Any) -> None:
        """Push a tensor or plain data where the call makes such, else what stands for its result."""
        if not isinstance(args, tuple):
            raise damaged("arguments that are no tuple")
        result: Any = NotImplemented
        if isinstance(maker, Global):
            result = self.rebuild(maker.name, args) if self.rebuild else result
            result = made_of(maker.name, args, self.spend) if result is NotImplemented else result
        if result is NotImplemented:
            self.make(maker, args)
        else:
            self.push(result)

    def make(self, maker: Any, args: Any) -> None:
        """Push what stands for an object of the class `maker`."""
        if not isinstance(args, tuple):
            raise damaged("arguments that are no tuple")
        known = isinstance(maker, (Global, Opaque))
        self.push(Opaque(maker.name if known else type(maker).__name__, args))

    def make_old(self, values: list[Any]) -> None:
        """The same for a class and its arguments in one list."""
        if not values:
            raise damaged("an object without a class")
        self.make(values[0], tuple(values[1:]))
