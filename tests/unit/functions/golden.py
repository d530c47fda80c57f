"""Golden files: a function's reference as lines that are evaluated (`golden/*.txt`).

    SUBSTRING('Thomas' FROM 2 FOR 3)     => 'hom'
    1 + 2                                => 3 : INTEGER NOT NULL     with the result's type
    SIN(1)                               => ~0.8414709848            to nine digits
    1/0                                  => fails: by zero           when a row is computed
    -CAST(1 AS INT UNSIGNED)             => refused: unary           when the program is compiled

Values are spelled as SQL would: 'text', x'0abc', 2020-01-31, TRUE, NULL; [1, NULL], {'k': 1} and
(1, 'x') for arrays, maps and rows; a VARIANT is its JSON text. A line that begins with #
is prose; an expression may go on over several lines until `=>`.

Each line is evaluated as a constant, with every literal turned into a column, and with each
literal alone as a column beside the others as constants. Where the outermost call is strict, each
of its literal arguments is replaced by NULL, and the result must be NULL. Rows with a NULL in each
place stand in one batch, too: `beside` says whether each has the answer that it has alone.
"""

from __future__ import annotations

import datetime
import math
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from penstock.compile.expressions import compile_expression
from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows, column_to_python
from penstock.data.types import Field, Kind, Schema
from penstock.errors import RuntimeSqlError, SqlError, UserError
from penstock.plan.expressions import Call, Expr, InputRef, Literal
from penstock.plan.rewrite import parts, with_parts
from penstock.sql import ast
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.report import BindError
from penstock.sql.bind.scope import Scope
from penstock.sql.parser import parse_program
from tests.unit.functions.plain_text import print_time, print_timestamp

FILES = sorted((Path(__file__).parent / "golden").glob("*.txt"))
_FAILS, _REFUSED = "fails:", "refused:"


@dataclass(frozen=True)
class Line:
    """One claim: `where` is file:line, `expected` what stands behind the arrow."""

    where: str
    text: str
    expected: str


def lines(file: Path) -> Iterator[Line]:
    text, start = "", 0
    for number, row in enumerate(file.read_text().splitlines(), 1):
        if row.startswith("#") or not row.strip():
            assert not text, f"{file.name}:{start}: no => after {text!r}"
            continue
        start = start if text else number
        text += row.rstrip() + "\n"
        if " => " in text:
            expression, _, expected = text.strip().rpartition(" => ")
            yield Line(f"{file.name}:{start}", expression.strip(), expected.strip())
            text = ""
    assert not text, f"{file.name}:{start}: no => after {text!r}"


def bound(text: str) -> Expr:
    """The typed expression. Raises SqlError, BindError."""
    (view,) = parse_program(f"CREATE VIEW v AS SELECT {text} AS x;")
    assert isinstance(view, ast.CreateView)
    select = view.query.body
    assert isinstance(select, ast.Select)
    expr = select.items[0].expr
    assert expr is not None
    return ExpressionBinder(Scope(), aggregates="a golden file").bind(expr)


_PRINTERS: dict[Kind, Callable[[Any], str]] = {
    Kind.TIME: print_time,
    Kind.TIMESTAMP: print_timestamp,
    Kind.TIMESTAMP_TZ: lambda v: f"{print_timestamp(v)}+00:00",
}


def spelled(value: Any, kind: Kind) -> str:
    """The value as golden files write it."""
    if value is None:
        return "NULL"
    if kind in _PRINTERS:
        return _PRINTERS[kind](value)
    if kind is Kind.VARIANT:
        return str(value)
    match value:
        case list():
            return f"[{', '.join(spelled(v, Kind.NULL) for v in value)}]"
        case tuple():
            return f"({', '.join(spelled(v, Kind.NULL) for v in value)})"
        case dict():
            pairs = [f"{spelled(k, Kind.NULL)}: {spelled(v, Kind.NULL)}" for k, v in value.items()]
            return "{" + ", ".join(pairs) + "}"
        case bool():
            return "TRUE" if value else "FALSE"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case bytes():
            return f"x'{value.hex()}'"
        case Decimal():
            return format(value, "f")
        case datetime.date() | uuid.UUID():
            return str(value)
    return str(value)


def literals_of(expr: Expr) -> Iterator[Literal]:
    if isinstance(expr, Literal):
        yield expr
    for part in parts(expr):
        yield from literals_of(part)


def lifted(expr: Expr, chosen: set[int]) -> tuple[Expr, list[Literal]]:
    """`expr` with the literals of these places as columns, and what the columns hold."""
    columns: list[Literal] = []
    place = -1

    def walk(e: Expr) -> Expr:
        nonlocal place
        if isinstance(e, Literal):
            place += 1
            if place not in chosen:
                return e
            columns.append(e)
            return InputRef(e.type, len(columns) - 1)
        operands = parts(e)
        return with_parts(e, [walk(p) for p in operands]) if operands else e

    return walk(expr), columns


def batch_of(columns: list[Literal]) -> Batch:
    """Three equal rows."""
    fields = tuple(Field(f"c{i}", c.type) for i, c in enumerate(columns))
    return batch_from_rows(Schema(fields), [tuple(c.value for c in columns)] * 3)


def value_of(expr: Expr, columns: list[Literal]) -> str:
    batch = batch_of(columns)
    values = column_to_python(compile_expression(expr, batch.schema)(batch))
    spellings = {spelled(v, expr.type.kind) for v in values}
    assert len(spellings) == 1, f"equal rows, different values: {spellings}"
    return spellings.pop()


def evaluations(expr: Expr) -> Iterator[tuple[str, Expr, list[Literal]]]:
    """(how, expression, columns) for every mixture of constants and columns worth a test."""
    n = len(list(literals_of(expr)))
    yield "as a constant", expr, []
    if n:
        yield "as columns", *lifted(expr, set(range(n)))
    if n > 1:
        for i in range(n):
            yield f"with literal {i + 1} as a column", *lifted(expr, {i})


def with_nulls(expr: Expr) -> Iterator[tuple[str, Expr]]:
    """A strict call with each of its literal arguments NULL in turn."""
    if not isinstance(expr, Call) or not expr.function.strict:
        return
    for i, arg in enumerate(expr.args):
        if not isinstance(arg, Literal):
            continue
        null = Literal(arg.type.with_nullable(True), None)
        yield f"argument {i + 1}", replace(expr, args=(*expr.args[:i], null, *expr.args[i + 1 :]))


def _nullable(expr: Expr) -> Expr:
    """`expr` as it is over columns that may be NULL."""
    operands = parts(expr)
    whole = with_parts(expr, [_nullable(p) for p in operands]) if operands else expr
    return replace(whole, type=whole.type.with_nullable(True))


def beside(expr: Expr) -> tuple[list[str], list[str]]:
    """The answers of rows with NULL in each place, in all and in none: of each row alone, and of
    those of them that have an answer in one batch."""
    count = len(list(literals_of(expr)))
    over, columns = lifted(_nullable(expr), set(range(count)))
    table = Schema(tuple(Field(f"c{i}", c.type) for i, c in enumerate(columns)))
    evaluate = compile_expression(over, table)
    full = tuple(c.value for c in columns)
    rows = [full, *((*full[:i], None, *full[i + 1 :]) for i in range(count)), (None,) * count, full]

    def answers(some: list[tuple[Any, ...]]) -> list[str]:
        values = column_to_python(evaluate(batch_from_rows(table, some)))
        return [spelled(v, over.type.kind) for v in values]

    alone, right = [], []
    for r in rows:
        try:
            alone += answers([r])
            right.append(r)
        except RuntimeSqlError:
            continue  # a row that fails says so in its own line
    return alone, answers(right) if right else []


def agrees(got: str, wanted: str) -> bool:
    """Whether a spelled value is the expected one."""
    if wanted.startswith("~"):
        return math.isclose(float(got), float(wanted[1:]), rel_tol=1e-9, abs_tol=1e-12)
    return got == wanted


def complaint(line: Line) -> str | None:
    """What is wrong with this line, None if it is true."""
    wanted, _, type_ = line.expected.partition(" : ")
    try:
        expr = bound(line.text)
    except (SqlError, UserError, BindError) as e:
        told = str(e)
        if wanted.startswith(_REFUSED) and wanted.removeprefix(_REFUSED).strip() in told:
            return None
        return f"refused: {told}"
    if wanted.startswith(_REFUSED):
        return f"is not refused, but has type {expr.type}"
    if type_ and str(expr.type) != type_:
        return f"has type {expr.type}"
    for how, e, columns in evaluations(expr):
        try:
            got = value_of(e, columns)
        except RuntimeSqlError as error:
            got = f"{_FAILS} {error.message}"
            if wanted.startswith(_FAILS) and wanted.removeprefix(_FAILS).strip() in got:
                continue
        if not agrees(got, wanted):
            return f"{how}: {got}"
        if got == "NULL" and not expr.type.nullable:
            return f"is NULL, but has type {expr.type}"
    if not wanted.startswith(_FAILS):
        for which, e in with_nulls(expr):
            got = value_of(*lifted(e, set(range(len(list(literals_of(e)))))))
            if got != "NULL":
                return f"{which} NULL: {got}"
    return None
