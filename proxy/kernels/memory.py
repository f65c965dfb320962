"""Loads and stores of the wire's numbers, for use inside the other kernels.

Owns the only unsafe code of the project: every function here trusts its caller to have checked the
range, as a C compiler would. Leaves all checks, and all meaning, to the kernels that call it.

The wire is big-endian (PostgreSQL, "Message Data Types"); `store_pair` alone writes in the host's
order, for tables of two digits. They are intrinsics, and not shifts of single bytes, because numba
indexes a uint8 array with a test for negative positions that keeps LLVM from joining the loads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj
from numpy.typing import NDArray

LANES = 8
"""Of `dot`: two vectors of AVX2, one of AVX-512, four of NEON."""

_LITTLE = sys.byteorder == "little"
# numba's own hints describe an intrinsic as it is written, not as it is called.
_intrinsic: Any = intrinsic
_cgutils: Any = cgutils
_arrayobj: Any = arrayobj
_types: Any = types


def view_bytes(buffer: bytes | bytearray | memoryview) -> NDArray[np.uint8]:
    """Return the buffer as the read-only array that every kernel takes, without a copy."""
    view: NDArray[np.uint8] = np.frombuffer(buffer, np.uint8)
    view.flags.writeable = False
    return view


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, position: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [position])


def _swapped(builder: Any, value: Any, bits: int) -> Any:
    return builder.bswap(value) if _LITTLE and bits > 8 else value


def _load(context: Any, builder: Any, signature: Any, arguments: Any, bits: int) -> Any:
    pointer = _pointer(context, builder, signature.args[0], *arguments)
    integer = ir.IntType(bits)
    pointer = builder.bitcast(pointer, integer.as_pointer())
    return _swapped(builder, builder.load(pointer, align=1), bits)


def _store(context: Any, builder: Any, signature: Any, arguments: Any, value: Any) -> Any:
    pointer = _pointer(context, builder, signature.args[0], *arguments[:2])
    pointer = builder.bitcast(pointer, value.type.as_pointer())
    builder.store(value, pointer, align=1)
    return context.get_dummy_value()


def _integer_load(result: Any, bits: int) -> Callable[..., Any]:
    """Make a load of `bits` bits at a byte position, widened to `result`."""

    def load(_typing: Any, array: Any, _position: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = _load(context, builder, signature, arguments, bits)
            if bits == 64:
                return value
            widen = builder.sext if result is types.int64 and bits == 32 else builder.zext
            return widen(value, ir.IntType(64))

        return result(array, types.int64), generate

    wrapped: Callable[..., Any] = _intrinsic(load)
    return wrapped


def _integer_store(bits: int) -> Callable[..., Any]:
    """Make a store of the low `bits` bits of an int64 at a byte position."""

    def store(_typing: Any, array: Any, _position: Any, _value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = arguments[2]
            if bits < 64:
                value = builder.trunc(value, ir.IntType(bits))
            value = _swapped(builder, value, bits)
            return _store(context, builder, signature, arguments, value)

        return types.void(array, types.int64, types.int64), generate

    wrapped: Callable[..., Any] = _intrinsic(store)
    return wrapped


# load(array of uint8, position) -> int64; 32 bits are signed, 16 and 8 are not.
load_uint8 = _integer_load(types.int64, 8)
load_uint16 = _integer_load(types.int64, 16)
load_int32 = _integer_load(types.int64, 32)
load_uint32 = _integer_load(types.uint64, 32)
load_uint64 = _integer_load(types.uint64, 64)

# store(array of uint8, position, int64)
store_uint8 = _integer_store(8)
store_int16 = _integer_store(16)
store_int32 = _integer_store(32)


@_intrinsic
def load_float64(_typing: Any, array: Any, _position: Any) -> Any:
    """Return the 8 bytes at the position as a float64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(_load(context, builder, signature, arguments, 64), ir.DoubleType())

    return types.float64(array, types.int64), generate


@_intrinsic
def store_float64(_typing: Any, array: Any, _position: Any, _value: Any) -> Any:
    """Write a float64 as 8 bytes at the position."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = _swapped(builder, builder.bitcast(arguments[2], ir.IntType(64)), 64)
        return _store(context, builder, signature, arguments, value)

    return types.void(array, types.int64, types.float64), generate


@_intrinsic
def store_pair(_typing: Any, array: Any, _position: Any, _value: Any) -> Any:
    """Write a uint16 in the host's byte order: two digits as they lie in the table."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _store(context, builder, signature, arguments, arguments[2])

    return types.void(array, types.int64, types.uint16), generate


@_intrinsic
def copy_bytes(
    _typing: Any, source: Any, _source_at: Any, target: Any, _target_at: Any, _size: Any
) -> Any:
    """Copy `size` bytes between two arrays that do not overlap (memcpy)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        origin = _pointer(context, builder, signature.args[0], *arguments[:2])
        goal = _pointer(context, builder, signature.args[2], *arguments[2:4])
        _cgutils.raw_memcpy(builder, goal, origin, arguments[4], 1)
        return context.get_dummy_value()

    position = types.int64
    return types.void(source, position, target, position, position), generate


@_intrinsic
def copy_16_bytes(_typing: Any, source: Any, _source_at: Any, target: Any, _target_at: Any) -> Any:
    """Copy exactly 16 bytes in one load and one store."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = ir.VectorType(ir.IntType(8), 16).as_pointer()
        origin = _pointer(context, builder, signature.args[0], *arguments[:2])
        goal = _pointer(context, builder, signature.args[2], *arguments[2:])
        value = builder.load(builder.bitcast(origin, block), align=1)
        builder.store(value, builder.bitcast(goal, block), align=1)
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), generate


@_intrinsic
def dot(_typing: Any, left: Any, _left_at: Any, right: Any, _right_at: Any, _count: Any) -> Any:
    """Return the sum of products of two stretches of float64 arrays, counted in elements.

    Added up in LANES lanes, then the lanes, then the rest, always in this order: the same bits
    whatever vectors a processor has. LLVM may not reorder a loop's additions so by itself.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, double = ir.IntType(64), ir.DoubleType()
        lanes = ir.VectorType(double, LANES)
        origins = (
            _pointer(context, builder, signature.args[0], *arguments[:2]),
            _pointer(context, builder, signature.args[2], *arguments[2:4]),
        )
        count, step = arguments[4], ir.Constant(word, LANES)
        whole = builder.sub(count, builder.srem(count, step))
        sums = _cgutils.alloca_once_value(builder, ir.Constant(lanes, [0.0] * LANES))
        with _cgutils.for_range_slice(builder, word(0), whole, step, intp=word) as (at, _):
            pieces = [
                builder.load(
                    builder.bitcast(builder.gep(origin, [at]), lanes.as_pointer()), align=8
                )
                for origin in origins
            ]
            builder.store(builder.fadd(builder.load(sums), builder.fmul(*pieces)), sums)
        parts = [
            builder.extract_element(builder.load(sums), ir.Constant(ir.IntType(32), lane))
            for lane in range(LANES)
        ]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [builder.fadd(*pair) for pair in zip(parts[:half], parts[half:], strict=True)]
        total = _cgutils.alloca_once_value(builder, parts[0])
        with _cgutils.for_range_slice(builder, whole, count, word(1), intp=word) as (at, _):
            product = builder.fmul(*(builder.load(builder.gep(each, [at])) for each in origins))
            builder.store(builder.fadd(builder.load(total), product), total)
        return builder.load(total)

    position = types.int64
    return types.float64(left, position, right, position, position), generate


@_intrinsic
def multiply_high(_typing: Any, _left: Any, _right: Any) -> Any:
    """Return the upper 64 bits of the 128-bit product of two uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(value, wide) for value in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


@_intrinsic
def float64_bits(_typing: Any, _value: Any) -> Any:
    """Return the 64 bits of a float64 as a uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.uint64(types.float64), generate


@_intrinsic
def signed(_typing: Any, _word: Any) -> Any:
    """Return the bits of a uint64 as an int64; numba would join the two types in a float."""

    def generate(_context: Any, _builder: Any, _signature: Any, arguments: Any) -> Any:
        return arguments[0]

    return types.int64(types.uint64), generate


@_intrinsic
def address_of(_typing: Any, array: Any) -> Any:
    """Return the address of an array's first element."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.int64(array), generate


def _put(builder: Any, address: Any, value: Any) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=4)


@_intrinsic
def put_float64(_typing: Any, _address: Any, _value: Any) -> Any:
    """Write a float64, in the host's order, at an address."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _put(builder, *arguments)
        return context.get_dummy_value()

    return types.void(types.int64, types.float64), generate


@_intrinsic
def put_int32(_typing: Any, _address: Any, _value: Any) -> Any:
    """Write the low 32 bits of an int64, in the host's order, at an address."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, value = arguments
        _put(builder, address, builder.trunc(value, ir.IntType(32)))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@_intrinsic
def get_int64(_typing: Any, _address: Any) -> Any:
    """Return the int64, in the host's order, at an address; it may be another thread's."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        load = builder.load(builder.inttoptr(arguments[0], word.as_pointer()), align=8)
        load.volatile = True
        return load

    return types.int64(types.int64), generate


def _array_at(array_type: Any) -> Callable[..., Any]:
    """Make a view of memory at an address: (address, length of each dimension) -> array.

    numba's `carray` does the same, but not without the reference counts that kernels do without.
    """

    def typed() -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            address, *lengths = arguments
            element = context.get_data_type(array_type.dtype)
            step = ir.Constant(ir.IntType(64), context.get_abi_sizeof(element))
            strides = [step]
            for length in reversed(lengths[1:]):
                strides.insert(0, builder.mul(strides[0], length))
            array = _arrayobj.make_array(array_type)(context, builder)
            _arrayobj.populate_array(
                array,
                data=builder.inttoptr(address, element.as_pointer()),
                shape=lengths,
                strides=strides,
                itemsize=step,
                meminfo=None,
            )
            return array._getvalue()  # noqa: SLF001 - numba's proxies have no other way

        return array_type(types.int64, *(types.int64,) * array_type.ndim), generate

    def line(_typing: Any, _address: Any, _length: Any) -> Any:
        return typed()

    def rectangle(_typing: Any, _address: Any, _rows: Any, _columns: Any) -> Any:
        return typed()

    wrapped: Callable[..., Any] = _intrinsic(line if array_type.ndim == 1 else rectangle)
    return wrapped


bytes_at = _array_at(_types.Array(types.uint8, 1, "C"))
int64s_at = _array_at(_types.Array(types.int64, 1, "C"))
float64s_at = _array_at(_types.Array(types.float64, 1, "C"))
int64_table_at = _array_at(_types.Array(types.int64, 2, "C"))
float64_table_at = _array_at(_types.Array(types.float64, 2, "C"))
