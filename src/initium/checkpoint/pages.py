"""Private maps of a file: memory that is the file's until it is written to.

Python's `mmap` would keep a file descriptor for each, of which a process has few, and a large model has
thousands of tensors.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import weakref
from functools import cache
from typing import Any

_FAILED = ctypes.c_void_p(-1).value


def private_pages(fd: int, offset: int, length: int) -> Any:
    """Bytes of an open file as a buffer; the map is undone when nobody holds it any more.

    None: there is no such map, on this system or of this file.
    """
    functions = _functions()
    if functions is None or length <= 0:
        return None
    map_, unmap = functions
    start = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    size = offset + length - start
    writable = mmap.PROT_READ | mmap.PROT_WRITE  # what is written is a copy
    address = map_(None, size, writable, mmap.MAP_PRIVATE, fd, start)
    if address == _FAILED:
        return None
    pages = (ctypes.c_char * length).from_address(address + offset - start)
    weakref.finalize(pages, unmap, address, size).atexit = False  # tensors may outlive this module
    return pages


@cache
def _functions() -> tuple[Any, Any] | None:
    if sys.platform not in ("linux", "darwin"):
        return None
    library = ctypes.CDLL(None)
    map_, unmap = library.mmap, library.munmap
    numbers = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
    map_.argtypes, map_.restype = (ctypes.c_void_p, ctypes.c_size_t, *numbers), ctypes.c_void_p
    unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return map_, unmap
