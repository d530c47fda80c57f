"""Typed expressions → functions over batches.

    Expr ──_Compiler──► Evaluator: Frame → Column ──► Callable[[Batch], Column]

* A constant expression is evaluated once, at compile time, and stays one row; if it fails it is
  left to run time, where its guard may keep it from being reached.
* An expression that occurs more than once is evaluated once per batch (per set of rows).
* NULL: strict calls are computed for all rows and masked once; AND, OR and NOT are three-valued.
* Guards: where an operand of AND, OR, CASE or COALESCE can fail or costs much, it is evaluated only
  on the rows that reach it: gathered, computed, scattered. Where not, all rows are cheaper.
* A row that fails raises RuntimeSqlError with the relation, the expression as written and the
  values it was computed from.

Cost: one numpy (or numba) call per node and a few hundred ns around it; no loop over rows.
Not here: what one node does to rows (`evaluators`), kernels (`penstock.functions`), the operators
that call this (`program`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from penstock.compile.evaluators import (
    NEVER_NULL,
    all_of,
    any_of,
    chosen,
    column_at,
    constant,
    is_null,
    lenient,
    negated,
    on_rows,
    reached,
    shared,
    strict,
)
from penstock.compile.failures import located, reported
from penstock.compile.frame import (
    Evaluator,
    Frame,
    Rows,
    Valid,
    masked,
    scatter,
    spread,
)
from penstock.compile.fusions import fused
from penstock.compile.lambdas import is_constant, lambda_call, variable
from penstock.data.batch import Array, Batch, Column
from penstock.data.build import column_from_python, empty_column
from penstock.data.types import Schema
from penstock.errors import RuntimeSqlError
from penstock.functions.casts import cast_kernel
from penstock.functions.comparison import compare_kernel
from penstock.plan.expressions import (
    And,
    Call,
    Case,
    Cast,
    Coalesce,
    Expr,
    Fails,
    InList,
    InputRef,
    IsNull,
    LambdaCall,
    LambdaVar,
    Literal,
    Not,
    Or,
)
from penstock.plan.rewrite import can_fail, cheapest_first, columns_of, is_costly
from penstock.plan.rewrite import parts as children


def references(expr: Expr) -> frozenset[int]:
    """Positions of the input columns that `expr` reads."""
    return frozenset(columns_of(expr))


class _Compiler:
    """Compiles expressions over one schema that may share subexpressions."""

    def __init__(self, exprs: Sequence[Expr], text: str) -> None:
        self.text = text
        counts: Counter[Expr] = Counter()
        for expr in exprs:
            self._count(expr, counts)
        repeated = (e for e, k in counts.items() if k > 1 and children(e))
        self.slots = {e: i for i, e in enumerate(repeated)}

    def _count(self, expr: Expr, counts: Counter[Expr]) -> None:
        counts[expr] += 1
        if counts[expr] == 1:  # the parts of a repeated expression are not repeated by it
            for child in children(expr):
                self._count(child, counts)

    def compile(self, expr: Expr) -> Evaluator:
        if isinstance(expr, InputRef):
            return column_at(expr.index)
        if isinstance(expr, LambdaVar):
            return variable(expr)
        if isinstance(expr, Literal):
            return constant(column_from_python(expr.type, [expr.value]))
        evaluate = self._node(expr)
        if is_constant(expr):
            try:
                with np.errstate(all="ignore"):
                    return constant(evaluate(Frame((), 1)))
            except RuntimeSqlError:
                return evaluate
        slot = self.slots.get(expr)
        return evaluate if slot is None else shared(evaluate, slot)

    def _node(self, expr: Expr) -> Evaluator:
        match expr:
            case Call():
                f = expr.function
                kernel, operands = fused(expr)
                args = [self.compile(a) for a in operands]
                kernel = located(kernel, expr, self.text) if f.can_fail else kernel
                return strict(kernel, args, expr) if f.strict else lenient(kernel, args, expr)
            case Cast():
                kernel = cast_kernel(expr.operand.type, expr.type, expr.safe)
                kernel = located(kernel, expr, self.text)
                return strict(kernel, [self.compile(expr.operand)], expr)
            case And():
                return self._connective(expr, expr.args, conjunction=True)
            case Or():
                return self._connective(expr, expr.args, conjunction=False)
            case Not():
                return negated(self.compile(expr.operand), expr)
            case IsNull():
                return is_null(self.compile(expr.operand), expr.negated)
            case InList():
                return self._in_list(expr)
            case Case():
                return self._case(expr)
            case Coalesce():
                return self._coalesce(expr)
            case Fails():
                return self._fails(expr)
            case LambdaCall():
                operand, body = self.compile(expr.operand), self.compile(expr.body)
                return lambda_call(expr, operand, body, references(expr.body))
        raise AssertionError(f"no rule for {type(expr).__name__}")

    def _connective(self, expr: Expr, args: Sequence[Expr], conjunction: bool) -> Evaluator:
        combine = all_of if conjunction else any_of
        args = cheapest_first(args)
        first = self.compile(args[0])
        rest = [(self.compile(a), a) for a in args[1:]]
        guarded = [(e, references(a) if can_fail(a) or is_costly(a) else None) for e, a in rest]
        type = expr.type

        def evaluate(frame: Frame) -> Column:
            column = first(frame)
            value, known = column.values, column.valid
            for operand, needed in guarded:
                if needed is None:
                    other = operand(frame)
                else:
                    # decided: FALSE for AND, TRUE for OR (values are 0 under NULL)
                    decided = value == 0 if conjunction else value == 1
                    if known is not None:
                        decided = decided & (known == 1)
                    other = reached(operand, frame, ~decided, needed, not conjunction)
                value, known = combine(value, known, other.values, other.valid)
            return masked(type, Column(type, value), known)

        return evaluate

    def _in_list(self, expr: InList) -> Evaluator:
        operand = self.compile(expr.operand)
        items = [self.compile(i) for i in expr.items]
        equal = compare_kernel("=", expr.operand.type, expr.operand.type)
        type, denied = expr.type, expr.negated

        def evaluate(frame: Frame) -> Column:
            column = operand(frame)
            found: Array = np.zeros(1, dtype=np.bool_)
            unknown = False
            for item in items:
                candidate = item(frame)
                if candidate.valid is not None and not candidate.valid.all():
                    unknown = True
                else:
                    found = found | equal(column, candidate)
            known = column.valid
            if unknown:
                hit = found.view(np.uint8)
                known = hit if known is None else hit & known
            answer = ~found if denied else found
            return masked(type, Column(type, answer.view(np.uint8)), known)

        return evaluate

    def _case(self, expr: Case) -> Evaluator:
        tests = [self.compile(c) for c, _ in expr.branches]
        results = [self.compile(r) for _, r in expr.branches]
        otherwise = self.compile(expr.otherwise)
        if not any(can_fail(e) or is_costly(e) for e in children(expr)[1:]):
            return chosen(tests, results, otherwise, expr)
        # a test that cannot fail may be computed for all rows, sharing what others computed
        test_refs = [
            references(c) if can_fail(c) or is_costly(c) else None for c, _ in expr.branches
        ]
        result_refs = [references(r) for _, r in expr.branches]
        last_refs, type = references(expr.otherwise), expr.type

        def evaluate(frame: Frame) -> Column:
            left: Rows = np.arange(frame.n)
            pieces: list[tuple[Rows, Column]] = []
            for test, result, needs, wants in zip(
                tests, results, test_refs, result_refs, strict=True
            ):
                if not len(left):
                    break
                if needs is None:
                    hit = np.broadcast_to(test(frame).values.view(np.bool_), frame.n)[left]
                else:
                    hit = on_rows(test, frame, left, needs).values.view(np.bool_)
                    hit = np.broadcast_to(hit, len(left))
                rows, left = left[hit], left[~hit]
                if len(rows):
                    pieces.append((rows, on_rows(result, frame, rows, wants)))
            if len(left):
                pieces.append((left, on_rows(otherwise, frame, left, last_refs)))
            return scatter(type, frame.n, pieces)

        return evaluate

    def _fails(self, expr: Fails) -> Evaluator:
        operands, needed = [self.compile(a) for a in expr.args], references(expr)

        def evaluate(frame: Frame) -> Column:
            failing = np.zeros(frame.n, dtype=np.uint8)
            left: list[Rows] = [np.arange(frame.n)]
            while left:  # once around unless rows fail, and those are found by halves
                rows = left.pop()
                try:
                    for operand in operands:
                        on_rows(operand, frame, rows, needed)
                except RuntimeSqlError:
                    if len(rows) == 1:
                        failing[rows] = 1
                    else:
                        left += np.array_split(rows, 2)
            return Column(NEVER_NULL, failing)

        return evaluate

    def _coalesce(self, expr: Coalesce) -> Evaluator:
        parts = [(self.compile(a), references(a)) for a in expr.args]
        type = expr.type

        def evaluate(frame: Frame) -> Column:
            first = parts[0][0](frame)
            if first.valid is None:
                return first.with_type(type)
            first = spread(first, frame.n)
            assert first.valid is not None
            left: Rows = np.flatnonzero(first.valid == 0)
            pieces: list[tuple[Rows, Column]] = [(np.arange(frame.n), first)]
            for part, needs in parts[1:]:
                if not len(left):
                    break
                column = on_rows(part, frame, left, needs)
                pieces.append((left, column))
                if column.valid is None:
                    break
                left = left[np.broadcast_to(column.valid == 0, len(left))]
            return scatter(type, frame.n, pieces)

        return evaluate


def compile_expressions(
    exprs: Sequence[Expr], schema: Schema, relation: str = "", text: str = ""
) -> Callable[[Batch], tuple[Column, ...]]:
    """All of `exprs` over batches of `schema`, common subexpressions evaluated once.

    `relation` and `text` (the program) are for the message of a RuntimeSqlError.
    """
    compiler = _Compiler(exprs, text)
    compiled = [(compiler.compile(e), e.type) for e in exprs]

    def evaluate(batch: Batch) -> tuple[Column, ...]:
        n = len(batch)
        if n == 0:
            return tuple(empty_column(t) for _, t in compiled)
        frame = Frame(batch.columns, n)
        try:
            with np.errstate(all="ignore"):
                return tuple(spread(e(frame), n).with_type(t) for e, t in compiled)
        except RuntimeSqlError as error:
            raise reported(error, relation, batch, schema) from error

    return evaluate


def compile_expression(
    expr: Expr, schema: Schema, relation: str = "", text: str = ""
) -> Callable[[Batch], Column]:
    """`expr` over batches of `schema`: a column of as many rows."""
    evaluate = compile_expressions([expr], schema, relation, text)
    return lambda batch: evaluate(batch)[0]


def compile_predicate(
    expr: Expr, schema: Schema, relation: str = "", text: str = ""
) -> Callable[[Batch], Valid]:
    """uint8[n]: 1 where `expr` is TRUE (not FALSE, not NULL)."""
    evaluate = compile_expression(expr, schema, relation, text)
    return lambda batch: evaluate(batch).values
