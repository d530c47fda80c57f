"""Well-typed expressions from well-typed parts: every implicit cast is inserted here.

    compare("=", a INTEGER, b BIGINT)   →   Call "="(CAST(a AS BIGINT), b)
    case([(c, 1)], 2.5)                 →   Case … DECIMAL(11, 1)

A string literal 'abc' is CHAR(3) (sql-reference 1.1) but carries no padding: where it meets
another string type it simply takes that type, without a cast that would strip its blanks. Other
text of type CHAR(n) keeps its blanks there too, as `c || ''`.

Nullability: a strict function is nullable iff an argument is; CASE and COALESCE by their
branches. Not here: names (`scope`), syntax (`expressions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from penstock.data.build import column_from_python
from penstock.data.types import (
    BINARIES,
    BOOLEAN,
    FLOATS,
    INTEGERS,
    NULL,
    NUMBERS,
    STRINGS,
    VARCHAR,
    Kind,
    SqlType,
)
from penstock.errors import RuntimeSqlError, Span, UserError
from penstock.functions.casts import cast_kernel
from penstock.functions.coercion import can_cast, common_type, holds
from penstock.functions.registry import resolve
from penstock.plan.expressions import (
    And,
    Call,
    Case,
    Cast,
    Coalesce,
    Expr,
    InList,
    IsNull,
    Literal,
    Not,
    Or,
)
from penstock.plan.rewrite import can_fail
from penstock.sql.bind import literals
from penstock.sql.bind.report import BindError

TRUE = Literal(BOOLEAN.with_nullable(False), True)
FALSE = Literal(BOOLEAN.with_nullable(False), False)


def null(span: Span | None = None) -> Literal:
    return Literal(NULL, None, span=span)


def bare(t: SqlType) -> str:
    """A type's name without its nullability, for messages."""
    return str(t.with_nullable(True))


def coerce(expr: Expr, target: SqlType) -> Expr:
    """`expr` as a value of `target` (its nullability is `expr`'s own). The cast must exist."""
    target = target.with_nullable(expr.type.nullable)
    if expr.type == target:
        return expr
    if isinstance(expr, Literal):
        folded = _retyped(expr, target)
        if folded is not None:
            return folded
    if {expr.type.kind} == {target.kind} == {Kind.VARCHAR} and _fits(expr.type, target):
        return expr
    if isinstance(expr, Literal):
        check_literal(expr, target, expr.span)
    if _meets_text(expr.type, target):
        expr = _with_its_blanks(expr)
        if expr.type.same_as(target):
            return expr
    return Cast(target, expr, span=expr.span)


def _meets_text(source: SqlType, target: SqlType) -> bool:
    """Whether there is CHAR(n) in `source` where `target` has VARCHAR. (A MAP is converted, so that
    what is looked up in it without blanks is found.)"""
    if source.kind is Kind.CHAR:
        return target.kind is Kind.VARCHAR
    if source.kind is Kind.MAP:
        return False
    return source.kind is target.kind and any(map(_meets_text, source.children, target.children))


def _with_its_blanks(expr: Expr) -> Expr:
    """Text of CHAR(n) as VARCHAR where it meets other text, as when the two are compared: only a
    CAST that is written takes its blanks away (sql-reference 1.4)."""
    function = resolve("$VARYING", [expr.type], [None])
    return Call(function.result, function, (expr,), span=expr.span)


def check_literal(literal: Literal, target: SqlType, span: Span | None) -> None:
    """A constant that does not convert is wrong here, not when the first row needs it."""
    kernel = cast_kernel(literal.type, target)
    try:
        kernel([column_from_python(literal.type, [literal.value])], 1)
    except RuntimeSqlError:
        raise BindError(span, f"{literal.value!r} cannot be cast to {bare(target)}") from None


def _fits(source: SqlType, target: SqlType) -> bool:
    if target.precision is None:
        return True
    return source.precision is not None and source.precision <= target.precision


def _retyped(literal: Literal, target: SqlType) -> Literal | None:
    """The literal of type `target` with the same value, where that is exact and obvious."""
    value, kind = literal.value, target.kind
    if value is None:
        return Literal(target.with_nullable(True), None, span=literal.span)
    new: Any = None
    if literal.type.kind in STRINGS:
        new = _from_string(value, literal.type, target)
    elif kind in INTEGERS and literal.type.kind in INTEGERS:
        low, high = integer_range(kind)
        new = value if low <= value <= high else None
    elif kind is Kind.DECIMAL and literal.type.kind in (*INTEGERS, Kind.DECIMAL):
        new = _exact_decimal(Decimal(value), target)
    elif kind is Kind.DOUBLE and isinstance(value, int | Decimal) and literal.type.kind in (
        *INTEGERS, Kind.DECIMAL,
    ):  # fmt: skip
        new = float(value)
    elif kind is Kind.TIMESTAMP and literal.type.kind is Kind.DATE:
        new = literals.timestamp_us(value.isoformat())
    return None if new is None else Literal(target, new, span=literal.span)


def _from_string(value: str, source: SqlType, target: SqlType) -> Any:
    if target.kind is Kind.VARCHAR and (source.kind is Kind.CHAR or _fits(source, target)):
        return value[: target.precision]
    if target.kind is Kind.CHAR and target.precision == len(value):
        return value
    if target.kind in (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ, Kind.UUID):
        try:
            typed = literals.typed(target.kind, value)
        except ValueError:
            return None  # a run-time error, like any failing cast
        return typed and typed.value
    return None


def integer_range(kind: Kind) -> tuple[int, int]:
    """Least and greatest value of an integer kind."""
    bits = 8 * SqlType(kind).width_bytes
    if kind.value.startswith("U"):
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _exact_decimal(value: Decimal, target: SqlType) -> Decimal | None:
    assert target.precision is not None and target.scale is not None
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    shift = target.scale + exponent
    whole = len(digits) + exponent
    if shift < 0 or whole > target.precision - target.scale:
        return None
    return Decimal((sign, (*digits, *(0,) * shift), -target.scale))


def cast(expr: Expr, target: SqlType, span: Span | None, *, safe: bool = False) -> Expr:
    """CAST or SAFE_CAST as written; an error where the matrix has no such cast."""
    if not can_cast(expr.type, target, explicit=True):
        message = f"cannot cast {bare(expr.type)} to {bare(target)}"
        raise BindError(span, message + _instead(expr.type, target))
    loses = expr.type.kind is Kind.VARIANT and target.kind is not Kind.VARIANT
    result = _holding(expr.type, target).with_nullable(expr.type.nullable or safe or loses)
    if isinstance(expr, Literal) and (not safe or target.kind is Kind.VARCHAR):
        folded = _retyped(expr, result)
        if folded is not None and (target.kind is not Kind.CHAR or folded.value is None):
            return replace(folded, span=span)
    # a literal that is cast to CHAR(n) is padded, whatever it meets: no literal any more
    padded = target.kind is Kind.CHAR and isinstance(expr, Literal)
    if not padded and expr.type.same_as(target) and expr.type.nullable == result.nullable:
        return expr
    return Cast(result, expr, safe, span=span)


def _holding(source: SqlType, target: SqlType) -> SqlType:
    """`target` with its fields nullable where a value of `source` may have a NULL for them. (What
    a VARIANT lacks for a NOT NULL field makes the whole NULL.)"""
    if not target.children or source.kind is not target.kind:
        return target
    is_row = target.kind is Kind.ROW
    children = tuple(
        _holding(s, t).with_nullable(t.nullable or (is_row and s.nullable))
        for s, t in zip(source.children, target.children, strict=True)
    )
    return replace(target, children=children)


def _instead(source: SqlType, target: SqlType) -> str:
    """`; write …` for a cast that does not exist, where something else does what was meant."""
    one, other = source.kind, target.kind
    if one in BINARIES and other in INTEGERS:
        return "; write TO_INT(…)"
    if one is Kind.BOOLEAN and other in NUMBERS:
        return "; write IF(…, 1, 0)"
    if one in NUMBERS and other is Kind.BOOLEAN:
        return "; write … <> 0"
    if one in INTEGERS and other is Kind.DATE:
        return "; write TIMESTAMPADD(DAY, …, DATE '1970-01-01')"
    if one is Kind.DATE and other in NUMBERS:
        return "; write TIMESTAMPDIFF(DAY, DATE '1970-01-01', …)"
    if source.children and other in STRINGS:
        return "; write TO_JSON(CAST(… AS VARIANT))"
    return ""


def implicit(expr: Expr, target: SqlType, what: str) -> Expr:
    """`expr` coerced to `target` if the language does that unasked; `what` names the place."""
    if not can_cast(expr.type, target, explicit=False):
        raise BindError(
            expr.span,
            f"{what} must be {bare(target)}, but this is {bare(expr.type)}; "
            f"write CAST(… AS {bare(target)}) if that is meant",
        )
    return coerce(expr, target)


_DISTINCT = "IS [NOT] DISTINCT FROM, or <=>, which take NULL as equal to NULL"
#: the equalities that rows refuse, and what to write instead (sql-reference 2.5)
_EQUALITIES = {
    **dict.fromkeys(("=", "<>", "!="), _DISTINCT),
    "NULLIF": "CASE WHEN … IS NOT DISTINCT FROM … THEN NULL ELSE … END",
    "CASE … WHEN": "CASE WHEN … IS NOT DISTINCT FROM … THEN … END",
    "IN": "… IS NOT DISTINCT FROM … OR …, or a correlated EXISTS",
    "IN (SELECT …)": "EXISTS (SELECT … WHERE … IS NOT DISTINCT FROM …)",
    "USING": "JOIN … ON … IS NOT DISTINCT FROM …",
}


def _check_no_rows(form: str, sides: Iterable[Expr], span: Span | None) -> None:
    if any(e.type.kind is Kind.ROW for e in sides):
        raise BindError(span, f"rows cannot be compared with {form}: write {_EQUALITIES[form]}")


def equals(form: str, a: Expr, b: Expr, span: Span | None) -> Expr:
    """a = b, which `form` of the language stands for."""
    _check_no_rows(form, (a, b), span)
    return call("=", [a, b], span)


def call(name: str, args: Sequence[Expr], span: Span | None) -> Expr:
    """A function or an operator over `args`, resolved by their types."""
    if name in _EQUALITIES:
        _check_no_rows(name, args, span)
    if name == "NULLIF" and len(args) == 2:
        _common(args, span, "the arguments of NULLIF")  # it must exist; neither is cast to it
        args = (args[0], *args)  # the result has the type of the first, as compared or not
    constants = [a.value if isinstance(a, Literal) else None for a in args]
    try:
        function = resolve(name, [a.type for a in args], constants)
    except UserError as e:
        hint = _remedy(name, [a.type.kind for a in args])
        raise BindError(span, e.message.removeprefix("unary") + hint) from None
    cast_args = tuple(coerce(a, t) for a, t in zip(args, function.arg_types, strict=True))
    return Call(function.result, function, cast_args, span=span)


def _remedy(name: str, kinds: Sequence[Kind]) -> str:
    """What is written here where other dialects have this operator for these types."""
    days = (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ)
    if name in ("+", "-") and len(kinds) == 2 and kinds[0] in days and kinds[1] in INTEGERS:
        return f"; write … {name} INTERVAL '1' DAY"
    if name == "||" and [*kinds] == [Kind.ARRAY, Kind.ARRAY]:
        return "; write ARRAY_CONCAT(…, …)"
    return ""


def unify(exprs: Sequence[Expr], span: Span | None, what: str) -> tuple[list[Expr], SqlType]:
    """All `exprs` in their common type."""
    common = _common(exprs, span, what)
    return [coerce(e, common) for e in exprs], common


def _common(exprs: Sequence[Expr], span: Span | None, what: str) -> SqlType:
    common = common_type([e.type for e in exprs])
    if common is None:
        listed = ", ".join(dict.fromkeys(bare(e.type) for e in exprs))
        raise BindError(span, f"{what} have no common type: {listed}")
    return common


def condition(expr: Expr, where: str) -> Expr:
    """`expr`, which must be a BOOLEAN (or NULL)."""
    if expr.type.kind is Kind.NULL:
        return coerce(expr, BOOLEAN)
    if expr.type.kind is not Kind.BOOLEAN:
        raise BindError(expr.span, f"{where} must be BOOLEAN, not {bare(expr.type)}")
    return expr


def _boolean(args: Sequence[Expr]) -> SqlType:
    return BOOLEAN.with_nullable(any(a.type.nullable for a in args))


def and_(args: Sequence[Expr], span: Span | None = None) -> Expr:
    flat: list[Expr] = []
    for a in args:
        flat.extend(a.args if isinstance(a, And) else (a,))
    return flat[0] if len(flat) == 1 else And(_boolean(flat), tuple(flat), span=span)


def or_(args: Sequence[Expr], span: Span | None = None) -> Expr:
    flat: list[Expr] = []
    for a in args:
        flat.extend(a.args if isinstance(a, Or) else (a,))
    return flat[0] if len(flat) == 1 else Or(_boolean(flat), tuple(flat), span=span)


def not_(operand: Expr, span: Span | None = None) -> Expr:
    return Not(operand.type, operand, span=span)


def is_null(operand: Expr, span: Span | None, *, negated: bool = False) -> Expr:
    return IsNull(BOOLEAN.with_nullable(False), operand, negated, span=span)


def is_truth(operand: Expr, value: bool, span: Span | None, *, negated: bool = False) -> Expr:
    """operand IS [NOT] TRUE / FALSE, never NULL."""
    claim = operand if value else not_(operand, span)
    if operand.type.nullable:
        claim = Coalesce(BOOLEAN.with_nullable(False), (claim, FALSE), span=span)
    return not_(claim, span) if negated else claim


def case(
    branches: Sequence[tuple[Expr, Expr]],
    otherwise: Expr | None,
    span: Span | None,
    name: str = "CASE",
) -> Expr:
    """Searched CASE; without ELSE it is NULL."""
    values = [v for _, v in branches] + [otherwise if otherwise is not None else null(span)]
    unified, common = unify(values, span, f"the results of {name}")
    conditions = [c for c, _ in branches]
    pairs = tuple(zip(conditions, unified[:-1], strict=True))
    return Case(common, pairs, unified[-1], span=span)


def only_where(keep: Expr, args: Sequence[Expr]) -> tuple[Expr, ...]:
    """The arguments of an aggregate with FILTER: what can fail is computed in kept rows only."""
    return tuple(case([(keep, a)], None, a.span) if can_fail(a) else a for a in args)


def coalesce(args: Sequence[Expr], span: Span | None, name: str = "COALESCE") -> Expr:
    """The first non-NULL argument; NULL only if all may be."""
    unified, common = unify(args, span, f"the arguments of {name}")
    if len(unified) == 1:
        return unified[0]
    nullable = all(a.type.nullable for a in args)
    return Coalesce(common.with_nullable(nullable), tuple(unified), span=span)


def in_list(operand: Expr, items: Sequence[Expr], negated: bool, span: Span | None) -> Expr:
    """operand [NOT] IN (items), which is `=` with each: one lookup if the items are constants of a
    type that changes neither side, else equalities."""
    sides = [operand, *items]
    common = _common(sides, span, "the operands of IN")
    _check_no_rows("IN", sides, span)
    is_kept = operand.type.kind in (common.kind, Kind.NULL) or operand.type.kind is not Kind.CHAR
    is_kept = is_kept and all(holds(common, e.type) for e in sides)
    if is_kept and common.kind not in FLOATS and common.kind is not Kind.NULL:
        first, *others = (coerce(e, common) for e in sides)
        if all(isinstance(e, Literal) for e in others):
            result = BOOLEAN.with_nullable(common.nullable)
            return InList(result, first, tuple(others), negated, span=span)
    test = or_([call("=", [operand, item], span) for item in items], span)
    return not_(test, span) if negated else test


def string_of(expr: Expr) -> Expr:
    """A CHAR literal as VARCHAR: what an expression over literals results in."""
    if isinstance(expr, Literal) and expr.type.kind is Kind.CHAR and expr.value is not None:
        return coerce(expr, VARCHAR)
    return expr
