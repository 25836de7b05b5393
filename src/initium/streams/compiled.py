"""The compiled kernels: made by Numba once per machine, loaded from the disk ever after.

Numba's own cache needs Numba to be imported, and its registries filled, in each process: close to a
second. A kernel is plain machine code that calls nothing but sqrt (and fma, on processors that have
none), so its object file is enough: llvmlite loads it in a few hundredths of a second.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from threading import Lock
from typing import Any

from initium.cache import cache_dir

Kernel = Callable[..., int | None]
_U64, _I64 = ctypes.c_uint64, ctypes.c_int64
# a kernel of each name lies in the module of `kernels` given here
_KERNELS = {
    # address of rows, their number, addresses of tables and of scratch memory (see `layout`), and
    # whether the caches could not hold what is written
    "draw": ("draw", ctypes.CFUNCTYPE(None, _U64, _I64, _U64, _U64, _I64)),
    # from, to, how many bytes, two masks, whether they are of 64 bits
    "copy": ("copying", ctypes.CFUNCTYPE(_I64, _U64, _U64, _I64, _U64, _U64, _I64)),
    # address of a matrix, whether it is float64, its shape, row, first column and end of columns of
    # tiles, addresses of the Gram matrix's tiles, of their distances, of scratch memory
    "gram": ("orthonormal", ctypes.CFUNCTYPE(None, _U64, *[_I64] * 6, _U64, _U64, _U64)),
    # address of the Gram matrix's tiles, its rows, row and column of a tile
    "eliminate": ("orthonormal", ctypes.CFUNCTYPE(_I64, _U64, _I64, _I64, _I64)),
    # address of a matrix, whether it is float64, its columns, first tile, first row, number of rows,
    # addresses of the factor's tiles, of scratch memory
    "solve": ("orthonormal", ctypes.CFUNCTYPE(None, _U64, *[_I64] * 5, _U64, _U64)),
}
_SOURCES = ("kernels/*.py", "coefficients.py", "layout.py", "parameters.py", "compiled.py")
_ALIVE: list[Any] = []  # the engines that own the machine code
_lock = Lock()


def kernel(name: str) -> Kernel:
    """A kernel (`draw`, `copy`, …) as a function of integers; it runs without the GIL."""
    with _lock:
        return _loaded(name)


@cache
def _loaded(name: str) -> Kernel:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        jit=True,
    )
    path = _path(llvm, name)
    code = _read(path)
    if code is None:
        code = _compile(llvm, machine, name)
        _write(path, code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ALIVE.append(engine)
    return _KERNELS[name][1](engine.get_function_address(_symbol(name)))


def _symbol(name: str) -> str:
    return f"initium_{name}"


def _path(llvm: Any, name: str) -> Path:
    """Other sources, other versions or another processor: another file."""
    here = Path(__file__).parent
    parts = [path.read_bytes() for glob in _SOURCES for path in sorted(here.glob(glob))]
    parts += [metadata.version(name).encode() for name in ("numba", "llvmlite")]
    host = (llvm.get_process_triple(), llvm.get_host_cpu_name())
    parts += [*map(str.encode, host), llvm.get_host_cpu_features().flatten().encode()]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return cache_dir() / f"{name}-{digest[:32]}.o"


def _compile(llvm: Any, machine: Any, name: str) -> bytes:
    """Numba's module, stripped of all that would report an exception, as an object file."""
    if sys.stderr.isatty():
        print("initium: compiling its kernels, once on this machine …", file=sys.stderr)
    made = getattr(import_module(f"initium.streams.kernels.{_KERNELS[name][0]}"), name)
    module = llvm.parse_assembly(made.inspect_llvm())
    # what only this module calls cannot fail, which the optimizer sees once nobody else may call it
    for value in [*module.functions, *module.global_variables]:
        if value.name == made.native_name:
            value.name = _symbol(name)
        elif not value.is_declaration:
            value.linkage = "internal"
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:32], content[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _write(path: Path, code: bytes) -> None:
    """The whole file or none; without a place to write, the next process compiles again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            part.write(hashlib.sha256(code).digest() + code)
        Path(part.name).replace(path)
    except OSError:
        pass
