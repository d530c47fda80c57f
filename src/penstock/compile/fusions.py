"""Calls of calls that one kernel computes, without the value in between.

    SPLIT(s, d)[i]                    the part, not the array of all parts
    CHAR_LENGTH(REPLACE(s, a, b))     the length, not the string: how SQL counts what is in one

What is fused means the same, NULLs included; see the kernels. A kernel here is strict.
"""

from __future__ import annotations

from penstock.data.types import VARCHAR
from penstock.functions.definition import Kernel
from penstock.functions.split import split_item
from penstock.functions.strings import replaced_length
from penstock.plan.expressions import Call, Expr, Literal

_LENGTHS = frozenset(("CHAR_LENGTH", "CHARACTER_LENGTH", "LENGTH", "LEN"))
_COMMA = Literal(VARCHAR.with_nullable(False), ",")


def fused(call: Call) -> tuple[Kernel, tuple[Expr, ...]]:
    """The kernel for `call` and the arguments it takes; `call`'s own where nothing is fused."""
    if call.function.name == "[]":
        inner, index = call.args
        if isinstance(inner, Call) and inner.function.name == "SPLIT":
            text, *delimiter = inner.args
            return split_item, (text, *(delimiter or [_COMMA]), index)
    if call.function.name in _LENGTHS:
        (inner,) = call.args
        if isinstance(inner, Call) and inner.function.name == "REPLACE":
            return replaced_length, inner.args
    return call.function.kernel, call.args
