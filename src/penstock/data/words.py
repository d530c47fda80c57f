"""The whole product of two 64-bit words, for kernels: one instruction where numba has four.

high_and_low(a, b)      (high, low) with high·2^64 + low = a·b, all of them uint64
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

_WIDE = ir.IntType(128)


@intrinsic
def _high_and_low(typingctx: Any, a: Any, b: Any) -> Any:
    pair: Any = types.UniTuple(types.uint64, 2)  # type: ignore[no-untyped-call]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        product = builder.mul(*(builder.zext(x, _WIDE) for x in args))
        high = builder.lshr(product, ir.Constant(_WIDE, 64))
        words = [builder.trunc(x, ir.IntType(64)) for x in (high, product)]
        return context.make_tuple(builder, signature.return_type, words)

    return pair(types.uint64, types.uint64), codegen


@intrinsic
def _trailing_zeros(typingctx: Any, a: Any) -> Any:

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), codegen


#: (high, low) of a product
high_and_low: Callable[[Any, Any], tuple[Any, Any]] = cast(Any, _high_and_low)
trailing_zeros: Callable[[Any], Any] = cast(Any, _trailing_zeros)
