"""Types, bits and pointers; the words of blocks."""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202, ARG001, D103 (kernels are typed by Numba, and explained in reference.py)

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from initium.streams import coefficients as c
from initium.streams.layout import BLOCKS

F, D = np.float32, np.float64
U16, I32, U32, I64, U64 = np.uint16, np.int32, np.uint32, np.int64, np.uint64
compiled = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)

# typed, since Numba compiles a function anew for each literal that it is called with
W0, W1, W2, W3 = map(I64, range(0, 4 * BLOCKS, BLOCKS))  # where the planes begin
M0, M1 = U64(c.MULTIPLIERS[0]), U64(c.MULTIPLIERS[1])
STEP0, STEP1 = U32(c.WEYL[0]), U32(c.WEYL[1])


def _reinterpret(source, target):
    """The same bits as another type of the same width."""

    @intrinsic
    def view(context, value):
        def code(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

        return target(source), code

    return view


def _pointer(pointee):
    """An address as a pointer."""

    @intrinsic
    def at(context, address):
        def code(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(pointee)(types.uint64), code

    return at


bits_of, float_of = (
    _reinterpret(types.float32, types.int32),
    _reinterpret(types.int32, types.float32),
)
wide_bits_of, double_of = (
    _reinterpret(types.float64, types.int64),
    _reinterpret(types.int64, types.float64),
)
u16_at, u32_at, u64_at = map(_pointer, (types.uint16, types.uint32, types.uint64))
f32_at, f64_at = map(_pointer, (types.float32, types.float64))


@compiled
def philox(key, first, blocks, w):
    for i in range(blocks):
        counter = U64(first) + U64(i)
        c0, c1, c2, c3 = U32(counter), U32(counter >> U64(32)), U32(0), U32(0)
        k0, k1 = U32(key), U32(key >> U64(32))
        for _ in range(c.ROUNDS):
            p0, p1 = U64(c0) * M0, U64(c2) * M1
            c0, c1 = U32(U32(p1 >> U64(32)) ^ c1 ^ k0), U32(p1)
            c2, c3 = U32(U32(p0 >> U64(32)) ^ c3 ^ k1), U32(p0)
            k0, k1 = U32(k0 + STEP0), U32(k1 + STEP1)
        w[i], w[W1 + i], w[W2 + i], w[W3 + i] = c0, c1, c2, c3


@compiled
def clipped(value, low, high):
    value = low if value < low else value
    return high if value > high else value
