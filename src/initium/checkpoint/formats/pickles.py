"""Pickles read as data: nothing that a pickle names is imported, looked up or called.

The opcodes are documented in the standard library's `pickletools`, which also decodes them here.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from initium.checkpoint.formats.plain import made_of
from initium.checkpoint.formats.values import Global, Opaque, key_of
from initium.errors import InitError

MOST_BYTES = 512 << 20  # of one pickle; tensors lie outside of it
_MOST_STEPS = 1 << 24  # opcodes and copied elements: a byte of pickle may make an object of 200
_PIECE = 1 << 20


def read_pickle(
    file: BinaryIO,
    persistent: Callable[[Any], Any] | None = None,
    rebuild: Callable[[str, tuple[Any, ...]], Any] | None = None,
) -> Any:
    """What a pickle of protocol 0 to 5 holds; `file` stands right behind the pickle afterwards.

    Plain data are themselves, an OrderedDict or defaultdict is a dict; every other object is an
    `Opaque`, a class or function by itself a `Global`.

    Args:
        file: buffered, and open for reading in binary.
        persistent: gives the value for a persistent id; None: there may be none.
        rebuild: gives the value of a call of the function with this name, or NotImplemented.

    Raises:
        InitError: it is damaged, cut short or too large, or needs what lies outside of it.

    >>> import io, pickle, datetime
    >>> read_pickle(io.BytesIO(pickle.dumps({"epoch": 3, "when": datetime.date(2024, 5, 1)})))
    {'epoch': 3, 'when': Opaque(name='datetime.date')}
    """
    machine = _Machine(persistent, rebuild)
    try:
        for opcode, argument, _ in pickletools.genops(cast(BinaryIO, _Careful(file))):
            machine.spend(1)
            step: Callable[[_Machine, Any], Any] = _STEPS.get(opcode.name, _Machine.refuse)
            step(machine, argument)
    except InitError:
        raise
    except (ValueError, Warning) as error:  # pickletools' own; `\q` in a string is a warning
        raise _damaged(str(error)[:200]) from error
    return machine.pop()


def _damaged(reason: str) -> InitError:
    return InitError(f"its pickle is damaged: {reason}")


class _Careful:
    """A file that is read piece by piece: a length that lies costs no memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._position = file, 0

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if size <= _PIECE:
            return self._count(self._file.read(size))
        pieces = []
        while size and (piece := self._count(self._file.read(min(size, _PIECE)))):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def readline(self) -> bytes:
        return self._count(self._file.readline(_PIECE))

    def _count(self, data: bytes) -> bytes:
        self._position += len(data)
        if self._position > MOST_BYTES:
            raise InitError(f"its pickle is larger than {MOST_BYTES >> 20} MiB")
        return data


class _Machine:
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
        self.left -= steps
        if self.left < 0:
            raise InitError(f"its pickle has more than {_MOST_STEPS} parts")

    def refuse(self, argument: Any) -> None:
        raise InitError("its pickle needs extension codes or buffers that lie outside of it")

    def protocol(self, number: int) -> None:
        if number > 5:
            raise InitError(f"its pickle has the protocol {number}; 0 to 5 are known")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def string(self, text: str) -> None:
        """A str of Python 2: mostly text, read as UTF-8 like torch.load does, else as Latin-1."""
        try:
            self.push(text.encode("latin-1").decode())
        except ValueError:
            self.push(text)

    def pop(self) -> Any:
        if not self.stack:
            raise _damaged("it takes more from its stack than there is")
        return self.stack.pop()

    def top(self) -> Any:
        self.push(value := self.pop())
        return value

    def drop(self) -> None:
        (self.pop if self.stack else self.since_mark)()

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        if not self.below:
            raise _damaged("a mark is missing")
        values, self.stack = self.stack, self.below.pop()
        return values

    def last(self, count: int) -> tuple[Any, ...]:
        return tuple([self.pop() for _ in range(count)][::-1])

    def put(self, index: int) -> None:
        if index < 0:
            raise _damaged("a negative place in its memo")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise _damaged("it refers to what it has not said yet")
        self.push(self.memo[index])

    def extend(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, (list, Opaque)):
            raise _damaged(f"it appends to a {type(target).__name__}")
        (target.items if isinstance(target, Opaque) else target).extend(values)

    def append(self, value: Any) -> None:
        self.extend([value])

    def add(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, (set, Opaque)):
            raise _damaged(f"it adds to a {type(target).__name__}")
        (target.items.extend if isinstance(target, Opaque) else target.update)(map(key_of, values))

    def set_items(self, values: list[Any] | tuple[Any, ...]) -> None:
        target = self.top()
        if len(values) % 2 or not isinstance(target, (dict, Opaque)):
            raise _damaged(f"it sets {len(values)} keys and values of a {type(target).__name__}")
        pairs = [(key_of(key), value) for key, value in zip(values[::2], values[1::2], strict=True)]
        (target.items.extend if isinstance(target, Opaque) else target.update)(pairs)

    def dictionary(self, values: list[Any]) -> None:
        self.push({})
        self.set_items(values)

    def outside(self, pid: Any) -> None:
        if self.persistent is None:
            raise InitError("its pickle refers to something outside of it")
        self.push(self.persistent(pid))

    def build(self, state: Any) -> None:
        target = self.top()
        if isinstance(target, Opaque):
            target.state = state

    def name(self, words: str) -> None:
        self.push(Global(words.replace(" ", ".", 1)))

    def joined_name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise _damaged("a name that is no text")
        self.push(Global(f"{module}.{name}"))

    def call(self, maker: Any, args: Any) -> None:
        if not isinstance(args, tuple):
            raise _damaged("arguments that are no tuple")
        result: Any = NotImplemented
        if isinstance(maker, Global):
            result = self.rebuild(maker.name, args) if self.rebuild else result
            result = made_of(maker.name, args, self.spend) if result is NotImplemented else result
        if result is NotImplemented:
            self.make(maker, args)
        else:
            self.push(result)

    def make(self, maker: Any, args: Any) -> None:
        if not isinstance(args, tuple):
            raise _damaged("arguments that are no tuple")
        known = isinstance(maker, (Global, Opaque))
        self.push(Opaque(maker.name if known else type(maker).__name__, args))

    def make_old(self, values: list[Any]) -> None:
        if not values:
            raise _damaged("an object without a class")
        self.make(values[0], tuple(values[1:]))


def _each(names: str, step: Callable[[_Machine, Any], Any]) -> dict[str, Any]:
    return dict.fromkeys(names.split(), step)


_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    **_each("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT", _Machine.push),
    **_each("UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8", _Machine.push),
    **_each("SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8", _Machine.push),
    **_each("STRING BINSTRING SHORT_BINSTRING", _Machine.string),
    **_each("PUT BINPUT LONG_BINPUT", _Machine.put),
    **_each("GET BINGET LONG_BINGET", _Machine.get),
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "PROTO": _Machine.protocol,
    **_each("FRAME STOP", lambda *_: None),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "LIST": lambda m, _: m.push(m.since_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "TUPLE1": lambda m, _: m.push(m.last(1)),
    "TUPLE2": lambda m, _: m.push(m.last(2)),
    "TUPLE3": lambda m, _: m.push(m.last(3)),
    "DICT": lambda m, _: m.dictionary(m.since_mark()),
    "FROZENSET": lambda m, _: m.push(frozenset(map(key_of, m.since_mark()))),
    "APPEND": lambda m, _: m.append(m.pop()),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "SETITEM": lambda m, _: m.set_items(m.last(2)),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "ADDITEMS": lambda m, _: m.add(m.since_mark()),
    "POP": lambda m, _: m.drop(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.push(m.top()),
    "MARK": lambda m, _: m.mark(),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": lambda m, _: m.joined_name(*m.last(2)),
    "REDUCE": lambda m, _: m.call(*m.last(2)),
    "NEWOBJ": lambda m, _: m.make(*m.last(2)),
    "NEWOBJ_EX": lambda m, _: m.make(*m.last(3)[:2]),  # named arguments are of no use here
    "INST": lambda m, words: m.make(Global(words.replace(" ", ".", 1)), tuple(m.since_mark())),
    "OBJ": lambda m, _: m.make_old(m.since_mark()),
    "BUILD": lambda m, _: m.build(m.pop()),
    "PERSID": _Machine.outside,
    "BINPERSID": lambda m, _: m.outside(m.pop()),
}
