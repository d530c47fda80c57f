"""What a typed expression does to the rows of a frame, node by node.

    strict     kernel of all rows, NULL where an argument is
    all_of     three-valued AND of what two operands gave; any_of OR
    chosen     CASE whose branches are computed for all rows
    reached    an operand for the rows that come to it, gathered, computed and scattered

`penstock.compile.expressions` builds these from a tree of expressions. Values are 0 under NULL, and
a column of one row stands for as many as the frame has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.compile.frame import Evaluator, Frame, Rows, Valid, both, heaps_of, masked
from penstock.data.batch import Array, Column
from penstock.data.types import BOOLEAN
from penstock.errors import RuntimeSqlError
from penstock.functions.definition import Kernel
from penstock.plan.expressions import Expr

_ONE, _ZERO = np.ones(1, dtype=np.uint8), np.zeros(1, dtype=np.uint8)
NEVER_NULL = BOOLEAN.with_nullable(False)


def column_at(index: int) -> Evaluator:
    """Column `index` of the frame."""

    def evaluate(frame: Frame) -> Column:
        column = frame.columns[index]
        assert column is not None
        return column

    return evaluate


def constant(column: Column) -> Evaluator:
    """`column`, of one row, for every row."""
    return lambda frame: column


def shared(evaluate: Evaluator, slot: int) -> Evaluator:
    """`evaluate`, once a frame: an expression that occurs more than once."""

    def lookup(frame: Frame) -> Column:
        column = frame.shared.get(slot)
        if column is None:
            column = frame.shared[slot] = evaluate(frame)
        return column

    return lookup


def strict(kernel: Kernel, args: Sequence[Evaluator], expr: Expr) -> Evaluator:
    """`kernel` over all rows; NULL where an argument is."""
    type = expr.type
    if len(args) == 2:
        left, right = args

        def binary(frame: Frame) -> Column:
            a, b = left(frame), right(frame)
            out = kernel((a, b), frame.n)
            return masked(type, out, both(both(a.valid, b.valid), out.valid))

        return binary

    def evaluate(frame: Frame) -> Column:
        columns = [a(frame) for a in args]
        out = kernel(columns, frame.n)
        valid = out.valid
        for column in columns:
            valid = both(valid, column.valid)
        return masked(type, out, valid)

    return evaluate


def lenient(kernel: Kernel, args: Sequence[Evaluator], expr: Expr) -> Evaluator:
    """`kernel` over all rows, which says itself what NULLs give."""
    type = expr.type

    def evaluate(frame: Frame) -> Column:
        out = kernel([a(frame) for a in args], frame.n)
        return masked(type, out, out.valid)

    return evaluate


def negated(operand: Evaluator, expr: Expr) -> Evaluator:
    """NOT `operand`."""
    type = expr.type

    def evaluate(frame: Frame) -> Column:
        column = operand(frame)
        return masked(type, Column(type, column.values ^ 1), column.valid)

    return evaluate


def is_null(operand: Evaluator, negated: bool) -> Evaluator:
    """`operand` IS NULL; IS NOT NULL if `negated`."""

    def evaluate(frame: Frame) -> Column:
        valid = operand(frame).valid
        if valid is None:
            return Column(NEVER_NULL, _ONE if negated else _ZERO)
        return Column(NEVER_NULL, valid if negated else valid ^ 1)

    return evaluate


def all_of(a: Array, ka: Valid | None, b: Array, kb: Valid | None) -> tuple[Array, Valid | None]:
    """AND of two operands' (values, which are known). Values are 0 under NULL: `x & 1` means TRUE
    and `k & ~x` means FALSE."""
    if ka is None and kb is None:
        return a & b, None
    p: Array = _ONE if ka is None else ka
    q: Array = _ONE if kb is None else kb
    known: Array = (p & q) | (p & (a ^ 1)) | (q & (b ^ 1))
    return a & b, known


def any_of(a: Array, ka: Valid | None, b: Array, kb: Valid | None) -> tuple[Array, Valid | None]:
    """OR of two operands' (values, which are known)."""
    if ka is None and kb is None:
        return a | b, None
    p: Array = _ONE if ka is None else ka
    q: Array = _ONE if kb is None else kb
    known: Array = (p & q) | a | b
    return a | b, known


def chosen(
    tests: Sequence[Evaluator], results: Sequence[Evaluator], otherwise: Evaluator, expr: Expr
) -> Evaluator:
    """CASE whose branches cannot fail: every branch on every row, then a choice."""
    type = expr.type

    def evaluate(frame: Frame) -> Column:
        chosen = otherwise(frame)
        used = [chosen]
        values, valid = chosen.values, chosen.valid
        for test, result in zip(reversed(tests), reversed(results), strict=True):
            hit = test(frame).values.view(np.bool_)
            column = result(frame)
            used.append(column)
            if valid is not None or column.valid is not None:
                p: Array = _ONE if column.valid is None else column.valid
                q: Array = _ONE if valid is None else valid
                valid = np.where(hit, p, q)
            values = np.where(hit[:, None] if values.ndim == 2 else hit, column.values, values)
        if valid is not None and valid.all():
            valid = None
        rows = values.shape[0]
        if valid is not None and valid.shape[0] != rows:
            valid = np.repeat(valid, rows)
        return Column(type, values, valid, heaps_of(used))

    return evaluate


def on_rows(evaluate: Evaluator, frame: Frame, rows: Rows, needed: frozenset[int]) -> Column:
    """`evaluate` over `rows` of the frame; a failing row is reported by its place in the frame."""
    if len(rows) == frame.n:
        return evaluate(frame)
    try:
        return evaluate(frame.subset(rows, needed))
    except RuntimeSqlError as error:
        if error.row is not None:
            error.row = int(rows[error.row])
        raise


def reached(
    operand: Evaluator, frame: Frame, open_: Array, needed: frozenset[int], filler: bool
) -> Column:
    """`operand` where `open_`; elsewhere the value that leaves the decided result as it is."""
    rows = np.flatnonzero(np.broadcast_to(open_, frame.n))
    if len(rows) == frame.n:
        return operand(frame)
    values = np.full(frame.n, filler, dtype=np.uint8)
    if not len(rows):
        return Column(BOOLEAN, values)
    column = on_rows(operand, frame, rows, needed)
    values[rows] = column.values
    if column.valid is None:
        return Column(BOOLEAN, values)
    valid = np.ones(frame.n, dtype=np.uint8)
    valid[rows] = column.valid
    return Column(BOOLEAN, values, valid)
