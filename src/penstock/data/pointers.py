"""Memory by address from inside kernels: the bytes of a heap by its id.

Only for kernels; from Python use `Heap.data`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic


@intrinsic
def _load_u8(typingctx: Any, address: Any) -> Any:

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        return builder.load(pointer)

    return types.uint8(types.uint64), codegen


@intrinsic
def _load_u32(typingctx: Any, address: Any) -> Any:

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(32).as_pointer())
        return builder.load(pointer)

    return types.uint32(types.uint64), codegen


@intrinsic
def _load_u64(typingctx: Any, address: Any) -> Any:

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        loaded = builder.load(pointer)
        loaded.align = 1
        return loaded

    return types.uint64(types.uint64), codegen


@intrinsic
def _store_u64(typingctx: Any, address: Any, value: Any) -> Any:

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        stored = builder.store(args[1], pointer)
        stored.align = 1
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), codegen


#: the byte at an address (uint64)
load_u8: Callable[[Any], Any] = cast(Any, _load_u8)
#: the four bytes at an address that is a multiple of four, little endian
load_u32: Callable[[Any], Any] = cast(Any, _load_u32)
#: the eight bytes at an address, little endian, alignment not needed
load_u64: Callable[[Any], Any] = cast(Any, _load_u64)
#: write eight bytes to an address, little endian, alignment not needed
store_u64: Callable[[Any, Any], Any] = cast(Any, _store_u64)
