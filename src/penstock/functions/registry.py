"""The table of scalar functions and operators: one declarative entry each.

A `Function` is one *resolved* overload: exact argument types, result type, kernel. The binder
calls `resolve(name, argument types)`, inserts the casts that `arg_types` asks for, and builds
`plan.expressions.Call(function.result, function, args)`.

A kernel is `kernel(args: Sequence[Column], n: int) -> Column`: whole columns in, a column of `n`
rows of type `result` out, pure, no Python loop over rows. Where `strict` (the default), NULL in
any argument gives NULL and the evaluator takes care of it: the kernel must produce any value
and must not fail on such rows (it receives the argument columns with `valid` set and may look).
A kernel fails by raising RuntimeSqlError with `row` = the first failing row's position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from penstock.data.batch import Column
from penstock.data.types import SqlType

Kernel = Callable[[Sequence[Column], int], Column]


@dataclass(frozen=True, slots=True)
class Function:
    """One resolved overload of a scalar function.

    `can_fail`: some rows can raise (overflow, division by zero), so the optimiser must not move
    it past a guard.
    """

    name: str
    arg_types: tuple[SqlType, ...]
    result: SqlType
    kernel: Kernel = field(compare=False, hash=False, repr=False)
    strict: bool = True
    can_fail: bool = False
