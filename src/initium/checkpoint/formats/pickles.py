"""Pickles read as data: nothing that a pickle names is imported, looked up or called.

The opcodes are documented in the standard library's `pickletools`, which also decodes them here.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from initium.checkpoint.formats.machine import Machine, damaged
from initium.checkpoint.formats.values import Global, key_of
from initium.errors import InitError

MOST_BYTES = 512 << 20  # of one pickle; tensors lie outside of it
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
    machine = Machine(persistent, rebuild)
    try:
        for opcode, argument, _ in pickletools.genops(cast(BinaryIO, _Careful(file))):
            machine.spend(1)
            step: Callable[[Machine, Any], Any] = _STEPS.get(opcode.name, Machine.refuse)
            step(machine, argument)
    except InitError:
        raise
    except (ValueError, Warning) as error:  # pickletools' own; `\q` in a string is a warning
        raise damaged(str(error)[:200]) from error
    return machine.pop()


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


def _each(names: str, step: Callable[[Machine, Any], Any]) -> dict[str, Any]:
    return dict.fromkeys(names.split(), step)


_STEPS: dict[str, Callable[[Machine, Any], Any]] = {
    **_each("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT", Machine.push),
    **_each("UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8", Machine.push),
    **_each("SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8", Machine.push),
    **_each("STRING BINSTRING SHORT_BINSTRING", Machine.string),
    **_each("PUT BINPUT LONG_BINPUT", Machine.put),
    **_each("GET BINGET LONG_BINGET", Machine.get),
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "PROTO": Machine.protocol,
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
    "GLOBAL": Machine.name,
    "STACK_GLOBAL": lambda m, _: m.joined_name(*m.last(2)),
    "REDUCE": lambda m, _: m.call(*m.last(2)),
    "NEWOBJ": lambda m, _: m.make(*m.last(2)),
    "NEWOBJ_EX": lambda m, _: m.make(*m.last(3)[:2]),  # named arguments are of no use here
    "INST": lambda m, words: m.make(Global(words.replace(" ", ".", 1)), tuple(m.since_mark())),
    "OBJ": lambda m, _: m.make_old(m.since_mark()),
    "BUILD": lambda m, _: m.build(m.pop()),
    "PERSID": Machine.outside,
    "BINPERSID": lambda m, _: m.outside(m.pop()),
}
