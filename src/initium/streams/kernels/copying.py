"""Copying past the caches, with a look at every value on the way."""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, ARG001 (kernels are typed by Numba)

from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic

from initium.streams.kernels.machine import I64, U32, U64, compiled, fence, u32_at, u64_at

VECTOR, TILE = 32, 4096  # bytes; a tile that was just read is looked at in the first-level cache


@intrinsic
def move(context, source, target):
    """One vector from anywhere to an address that is a multiple of 32, which is not read first."""

    def code(context, builder, signature, arguments):
        vector = ir.VectorType(ir.IntType(32), 8).as_pointer()
        places = [builder.inttoptr(address, vector) for address in arguments]
        stored = builder.store(builder.load(places[0], align=1), places[1], align=VECTOR)
        one = ir.Constant(ir.IntType(32), 1)
        stored.set_metadata("nontemporal", builder.module.add_metadata([one]))
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), code


@compiled
def any_hits(address, n, low, high, wide):
    """Whether all bits of a mask are set in one of n bytes' words: two masks for the halves of 32."""
    hits = U32(0)
    if wide:
        words = u64_at(address)
        for i in range(n >> 3):
            hits |= U32(U64(words[i] & U64(high)) == U64(high))
    else:
        narrow = u32_at(address)
        for i in range(n >> 2):
            word = narrow[i]
            hits |= U32(U32(word & U32(low)) == U32(low)) | U32(U32(word & U32(high)) == U32(high))
    return hits


@cfunc("int64(uint64, uint64, int64, uint64, uint64, int64)", error_model="numpy")
def copy(source, target, n, low, high, wide):
    """Copy n bytes, a multiple of 32, to a multiple of 32; whether one of the masks is hit."""
    hits = U32(0)
    for first in range(0, n, TILE):
        size = min(I64(TILE), n - first)
        for at in range(first, first + size, VECTOR):
            move(source + U64(at), target + U64(at))
        hits |= any_hits(source + U64(first), size, low, high, wide)
    fence()
    return I64(hits)
