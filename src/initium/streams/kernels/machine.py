"""Types, bits and pointers; the words of blocks."""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN002, ANN201, ANN202, ARG001, D103 (kernels are typed by Numba, and explained in reference.py)

import numpy as np
from llvmlite import ir
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
    """The words of some blocks, in planes. The high half of the counter must not change on the way."""
    low, high = U32(first), U32(U64(first) >> U64(32))
    for i in range(blocks):
        c0, c1, c2, c3 = U32(low + U32(i)), high, U32(0), U32(0)
        k0, k1 = U32(key), U32(key >> U64(32))
        for _ in range(c.ROUNDS):
            p0, p1 = U64(c0) * M0, U64(c2) * M1
            c0, c1 = U32(U32(p1 >> U64(32)) ^ c1 ^ k0), U32(p1)
            c2, c3 = U32(U32(p0 >> U64(32)) ^ c3 ^ k1), U32(p0)
            k0, k1 = U32(k0 + STEP0), U32(k1 + STEP1)
        w[i], w[W1 + i], w[W2 + i], w[W3 + i] = c0, c1, c2, c3


def _zipping(past_caches):
    """Eight blocks of four planes, in the order of their elements: out[at:at+32].

    Spelt out, since LLVM makes nearly twice as many shuffles of it. Past the caches: for memory that
    they could not hold anyway, written without being read first; the address is a multiple of 32.
    """

    @intrinsic
    def zip_vectors(context, planes, i, out, at):
        def code(context, builder, signature, arguments):
            planes, i, out, at = arguments
            planar = [_load(builder, planes, i, k * BLOCKS) for k in range(4)]
            for k, vector in enumerate(_transposed(builder, planar)):
                place = _place(builder, out, at, 8 * k)
                stored = builder.store(vector, place, align=32 if past_caches else 4)
                if past_caches:
                    one = ir.Constant(ir.IntType(32), 1)
                    stored.set_metadata("nontemporal", builder.module.add_metadata([one]))
            return context.get_dummy_value()

        return types.void(planes, types.int64, out, types.int64), code

    return zip_vectors


def _place(builder, pointer, index, offset):
    index = builder.add(index, ir.Constant(index.type, offset))
    vector = ir.VectorType(ir.FloatType(), 8)
    return builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())


def _load(builder, pointer, index, offset):
    return builder.load(_place(builder, pointer, index, offset), align=4)


def _transposed(builder, planar):
    def shuffled(vectors, pairs, *masks):
        lanes = ir.VectorType(ir.IntType(32), 8)
        return [
            builder.shuffle_vector(vectors[j], vectors[k], ir.Constant(lanes, mask))
            for mask in masks
            for j, k in pairs
        ]

    # within halves of 16 bytes: pairs, then fours; then the halves are brought together
    low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
    twos = shuffled(planar, [(0, 1), (2, 3)], low, high)
    first, second = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
    fours = shuffled(twos, [(0, 1), (2, 3)], first, second)
    left, right = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
    return shuffled(fours, [(0, 2), (1, 3)], left, right)


zip_vectors, zip_past_caches = _zipping(False), _zipping(True)


@intrinsic
def fence(context):
    """What was written past the caches is there for other threads."""

    def code(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), code


@compiled
def zipped(planes, blocks, out, at, past_caches):
    """Planes of values in the order of their elements."""
    vectors = blocks >> 3
    if past_caches:
        for v in range(vectors):
            zip_past_caches(planes, 8 * v, out, at + 32 * v)
    else:
        for v in range(vectors):
            zip_vectors(planes, 8 * v, out, at + 32 * v)
    for i in range(8 * vectors, blocks):
        out[at + 4 * i] = planes[i]
        out[at + 4 * i + 1] = planes[W1 + i]
        out[at + 4 * i + 2] = planes[W2 + i]
        out[at + 4 * i + 3] = planes[W3 + i]


@compiled
def clipped(value, low, high):
    value = low if value < low else value
    return high if value > high else value
