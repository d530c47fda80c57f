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
Not here: kernels (`penstock.functions`), the operators that call this (`program`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from penstock.compile.failures import located, reported
from penstock.compile.frame import (
    Evaluator,
    Frame,
    Rows,
    Valid,
    both,
    heaps_of,
    masked,
    scatter,
    spread,
)
from penstock.compile.fusions import fused
from penstock.compile.lambdas import is_constant, lambda_call, variable
from penstock.data.batch import Array, Batch, Column
from penstock.data.build import column_from_python, empty_column
from penstock.data.types import BOOLEAN, Schema
from penstock.errors import RuntimeSqlError
from penstock.functions.casts import cast_kernel
from penstock.functions.comparison import compare_kernel
from penstock.functions.definition import Kernel
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

_ONE, _ZERO = np.ones(1, dtype=np.uint8), np.zeros(1, dtype=np.uint8)


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
            return _column(expr.index)
        if isinstance(expr, LambdaVar):
            return variable(expr)
        if isinstance(expr, Literal):
            return _constant(column_from_python(expr.type, [expr.value]))
        evaluate = self._node(expr)
        if is_constant(expr):
            try:
                with np.errstate(all="ignore"):
                    return _constant(evaluate(Frame((), 1)))
            except RuntimeSqlError:
                return evaluate
        slot = self.slots.get(expr)
        return evaluate if slot is None else _shared(evaluate, slot)

    def _node(self, expr: Expr) -> Evaluator:
        match expr:
            case Call():
                f = expr.function
                kernel, operands = fused(expr)
                args = [self.compile(a) for a in operands]
                kernel = located(kernel, expr, self.text) if f.can_fail else kernel
                return _strict(kernel, args, expr) if f.strict else _lenient(kernel, args, expr)
            case Cast():
                kernel = cast_kernel(expr.operand.type, expr.type, expr.safe)
                kernel = located(kernel, expr, self.text)
                return _strict(kernel, [self.compile(expr.operand)], expr)
            case And():
                return self._connective(expr, expr.args, conjunction=True)
            case Or():
                return self._connective(expr, expr.args, conjunction=False)
            case Not():
                return _not(self.compile(expr.operand), expr)
            case IsNull():
                return _is_null(self.compile(expr.operand), expr.negated)
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
        combine = _and if conjunction else _or
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
                    other = _reached(operand, frame, ~decided, needed, not conjunction)
                value, known = combine(value, known, other.values, other.valid)
            return masked(type, Column(type, value), known)

        return evaluate

    def _in_list(self, expr: InList) -> Evaluator:
        operand = self.compile(expr.operand)
        items = [self.compile(i) for i in expr.items]
        equal = compare_kernel("=", expr.operand.type, expr.operand.type)
        type, negated = expr.type, expr.negated

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
            answer = ~found if negated else found
            return masked(type, Column(type, answer.view(np.uint8)), known)

        return evaluate

    def _case(self, expr: Case) -> Evaluator:
        tests = [self.compile(c) for c, _ in expr.branches]
        results = [self.compile(r) for _, r in expr.branches]
        otherwise = self.compile(expr.otherwise)
        if not any(can_fail(e) or is_costly(e) for e in children(expr)[1:]):
            return _select(tests, results, otherwise, expr)
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
                    hit = _on_rows(test, frame, left, needs).values.view(np.bool_)
                    hit = np.broadcast_to(hit, len(left))
                rows, left = left[hit], left[~hit]
                if len(rows):
                    pieces.append((rows, _on_rows(result, frame, rows, wants)))
            if len(left):
                pieces.append((left, _on_rows(otherwise, frame, left, last_refs)))
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
                        _on_rows(operand, frame, rows, needed)
                except RuntimeSqlError:
                    if len(rows) == 1:
                        failing[rows] = 1
                    else:
                        left += np.array_split(rows, 2)
            return Column(_NEVER_NULL, failing)

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
                column = _on_rows(part, frame, left, needs)
                pieces.append((left, column))
                if column.valid is None:
                    break
                left = left[np.broadcast_to(column.valid == 0, len(left))]
            return scatter(type, frame.n, pieces)

        return evaluate


# nodes ---------------------------------------------------------------------------------------


def _column(index: int) -> Evaluator:
    def evaluate(frame: Frame) -> Column:
        column = frame.columns[index]
        assert column is not None
        return column

    return evaluate


def _constant(column: Column) -> Evaluator:
    return lambda frame: column


def _shared(evaluate: Evaluator, slot: int) -> Evaluator:
    def lookup(frame: Frame) -> Column:
        column = frame.shared.get(slot)
        if column is None:
            column = frame.shared[slot] = evaluate(frame)
        return column

    return lookup


def _strict(kernel: Kernel, args: Sequence[Evaluator], expr: Expr) -> Evaluator:
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


def _lenient(kernel: Kernel, args: Sequence[Evaluator], expr: Expr) -> Evaluator:
    type = expr.type

    def evaluate(frame: Frame) -> Column:
        out = kernel([a(frame) for a in args], frame.n)
        return masked(type, out, out.valid)

    return evaluate


def _not(operand: Evaluator, expr: Expr) -> Evaluator:
    type = expr.type

    def evaluate(frame: Frame) -> Column:
        column = operand(frame)
        return masked(type, Column(type, column.values ^ 1), column.valid)

    return evaluate


_NEVER_NULL = BOOLEAN.with_nullable(False)


def _is_null(operand: Evaluator, negated: bool) -> Evaluator:
    def evaluate(frame: Frame) -> Column:
        valid = operand(frame).valid
        if valid is None:
            return Column(_NEVER_NULL, _ONE if negated else _ZERO)
        return Column(_NEVER_NULL, valid if negated else valid ^ 1)

    return evaluate


def _and(a: Array, ka: Valid | None, b: Array, kb: Valid | None) -> tuple[Array, Valid | None]:
    """Values are 0 under NULL, so `x & 1` means TRUE and `k & ~x` means FALSE."""
    if ka is None and kb is None:
        return a & b, None
    p: Array = _ONE if ka is None else ka
    q: Array = _ONE if kb is None else kb
    known: Array = (p & q) | (p & (a ^ 1)) | (q & (b ^ 1))
    return a & b, known


def _or(a: Array, ka: Valid | None, b: Array, kb: Valid | None) -> tuple[Array, Valid | None]:
    if ka is None and kb is None:
        return a | b, None
    p: Array = _ONE if ka is None else ka
    q: Array = _ONE if kb is None else kb
    known: Array = (p & q) | a | b
    return a | b, known


def _select(
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


def _on_rows(evaluate: Evaluator, frame: Frame, rows: Rows, needed: frozenset[int]) -> Column:
    """`evaluate` over `rows` of the frame; a failing row is reported by its place in the frame."""
    if len(rows) == frame.n:
        return evaluate(frame)
    try:
        return evaluate(frame.subset(rows, needed))
    except RuntimeSqlError as error:
        if error.row is not None:
            error.row = int(rows[error.row])
        raise


def _reached(
    operand: Evaluator, frame: Frame, open_: Array, needed: frozenset[int], filler: bool
) -> Column:
    """`operand` where `open_`; elsewhere the value that leaves the decided result as it is."""
    rows = np.flatnonzero(np.broadcast_to(open_, frame.n))
    if len(rows) == frame.n:
        return operand(frame)
    values = np.full(frame.n, filler, dtype=np.uint8)
    if not len(rows):
        return Column(BOOLEAN, values)
    column = _on_rows(operand, frame, rows, needed)
    values[rows] = column.values
    if column.valid is None:
        return Column(BOOLEAN, values)
    valid = np.ones(frame.n, dtype=np.uint8)
    valid[rows] = column.valid
    return Column(BOOLEAN, values, valid)


# doors ---------------------------------------------------------------------------------------


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
