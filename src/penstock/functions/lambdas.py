"""Functions with a lambda: `LambdaFunction`, and the table of those on arrays.

    TRANSFORM(a, x -> x % 2)      the body over all elements of a column at once
    ARRAY_EXISTS(a, x -> x > 0)   TRUE if one is TRUE, else NULL if one is NULL, else FALSE

A kernel gets the operand (NULL where it is) and `call`, which evaluates the body:

    call(rows, variables) → Column    variables[p]: m values of parameter p; rows: int64[m], the row
                                      of the operand each belongs to

Source: sql-reference 2.11. Those on VARIANTs are in `variant_lambdas`.
Not here: how a body is compiled (`penstock.compile.lambdas`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from penstock.data.batch import Column
from penstock.data.nested import Offsets, explode, implode
from penstock.data.types import BOOLEAN, Kind, SqlType, array_of

Call = Callable[[Offsets, Sequence[Column]], Column]
LambdaKernel = Callable[[Column, Call], Column]


@dataclass(frozen=True, slots=True)
class LambdaFunction:
    """A function of an operand and a lambda with as many parameters as `params` has types.

    `body`: the type the body must have, None for any. `kernel` is strict in the operand.
    """

    name: str
    operand: SqlType
    params: tuple[SqlType, ...]
    body: SqlType | None
    #: the type of the result from that of the body, nullable as the function alone decides
    result: Callable[[SqlType], SqlType] = field(compare=False, repr=False)
    #: from the result's type to the kernel
    kernel: Callable[[SqlType], LambdaKernel] = field(compare=False, repr=False)


Resolver = Callable[[SqlType], LambdaFunction | None]
#: by upper-case name: the function for an operand of a type, None where it takes no such operand
LAMBDA_FUNCTIONS: dict[str, Resolver] = {}


def _array(body: SqlType) -> SqlType:
    return array_of(body).with_nullable(False)


def _transform(operand: SqlType) -> LambdaFunction | None:
    if operand.kind is not Kind.ARRAY:
        return None

    def kernel(result: SqlType) -> Callable[[Column, Call], Column]:
        def run(column: Column, call: Call) -> Column:
            x = explode(column)
            return implode(result, x.offsets, (call(x.rows, x.columns),), column.valid)

        return run

    return LambdaFunction("TRANSFORM", operand, operand.children, None, _array, kernel)


def _exists(operand: SqlType) -> LambdaFunction | None:
    if operand.kind is not Kind.ARRAY:
        return None

    def kernel(result: SqlType) -> Callable[[Column, Call], Column]:
        def run(column: Column, call: Call) -> Column:
            x = explode(column)
            answer = call(x.rows, x.columns)
            n = len(column)
            found = np.bincount(x.rows, answer.values, n) > 0
            known = np.ones(n, np.bool_)
            if answer.valid is not None:
                known = (np.bincount(x.rows, answer.valid == 0, n) == 0) | found
            if column.valid is not None:
                known &= column.valid == 1
            return Column(result, found.view(np.uint8), known.view(np.uint8))

        return run

    def result(body: SqlType) -> SqlType:
        return BOOLEAN.with_nullable(body.nullable)

    return LambdaFunction("ARRAY_EXISTS", operand, operand.children, BOOLEAN, result, kernel)


LAMBDA_FUNCTIONS["TRANSFORM"] = _transform
LAMBDA_FUNCTIONS["ARRAY_EXISTS"] = _exists
