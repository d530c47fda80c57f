"""Reading memory by address from inside kernels: the bytes of a heap by its id.

Only for kernels; from Python use `Heap.data`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic  # type: ignore[untyped-decorator]
def load_u8(typingctx: Any, address: Any) -> Any:
    """The byte at `address` (uint64)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        return builder.load(pointer)

    return types.uint8(types.uint64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def load_u64(typingctx: Any, address: Any) -> Any:
    """The eight bytes at `address`, little endian, alignment not needed."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        loaded = builder.load(pointer)
        loaded.align = 1
        return loaded

    return types.uint64(types.uint64), codegen
