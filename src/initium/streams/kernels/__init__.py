"""The streams on a CPU, as kernels for Numba: `reference.py`, written so that loops vectorise.

Imported when kernels are compiled, once per machine (`compiled.py` loads them afterwards).

Three habits keep LLVM's vectors wide. Planes: the words 0 of all blocks of a tile lie together,
then the words 1, and so on. Short chains: a formula of many steps is cut into passes over a tile
that fits the first-level cache. Narrow types: Numba widens int32 arithmetic to int64, so each
result is cast back. Memory is addressed by plain pointers: nothing here can raise.
"""
