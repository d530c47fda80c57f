"""An expression of a plan as SQL-like text, over the columns of its input.

    Call("+", InputRef(0), Literal(1))   over (price, qty)   ──►   price + 1

Parentheses stand only where the dialect's precedence needs them, so the text of an operator tree
means the tree. Columns whose name is empty or occurs twice are written `$position`. Casts that the
binder inserted look like casts that were written.

Not here: the text as the user wrote it (`penstock.sql.diagnostics.source_text`).
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from penstock.data.types import Kind, SqlType
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

#: how tight each operator binds (SQL reference 7.2); the loosest are 10
_POWER = {
    **dict.fromkeys(("*", "/", "%", "||"), 70),
    **dict.fromkeys(("+", "-"), 60),
    **dict.fromkeys(("LIKE", "ILIKE", "RLIKE"), 50),
    **dict.fromkeys(("<", ">", "=", "<=", ">=", "<>", "<=>"), 40),
}
_IS_FORMS = {"IS_DISTINCT": "IS DISTINCT FROM", "IS_NOT_DISTINCT": "IS NOT DISTINCT FROM"}
_SIGNS = {"UNARY-": "-", "UNARY+": "+"}
_INDEXES = {"[]": "[{}]", "[SAFE_OFFSET]": "[SAFE_OFFSET({})]"}
_INDEX = 90
_ATOM, _SIGN, _PREDICATE, _IS, _NOT, _AND, _OR = 100, 80, 50, 30, 25, 20, 10


def column_names(names: Sequence[str]) -> list[str]:
    """How the columns of a relation are written: their names where these are unique."""
    count = Counter(names)
    return [n if n and count[n] == 1 else f"${i}" for i, n in enumerate(names)]


def format_expression(expr: Expr, names: Sequence[str] = ()) -> str:
    """`expr` as text. `names`: of the input's columns; without them a reference's own name."""
    return _format(expr, column_names(names))[0]


def _format(expr: Expr, names: Sequence[str]) -> tuple[str, int]:
    """The text of an expression and how tight its outermost operator binds."""
    match expr:
        case InputRef(index=i, name=name):
            return (names[i] if i < len(names) else name or f"${i}"), _ATOM
        case Literal(value=value, type=type_):
            text = literal(value, type_)
            return text, _SIGN if text.startswith("-") else _ATOM
        case Cast(operand=operand, type=type_, safe=safe):
            inner = _format(operand, names)[0]
            word = "SAFE_CAST" if safe else "CAST"
            return f"{word}({inner} AS {type_.with_nullable(True)})", _ATOM
        case Call():
            return _call(expr, names)
        case And(args=args):
            return " AND ".join(_within(a, _AND + 1, names) for a in args), _AND
        case Or(args=args):
            return " OR ".join(_within(a, _OR + 1, names) for a in args), _OR
        case Not(operand=operand):
            return f"NOT {_within(operand, _NOT, names)}", _NOT
        case IsNull(operand=operand, negated=negated):
            return f"{_within(operand, _IS, names)} IS {'NOT ' * negated}NULL", _IS
        case Case():
            return _case(expr, names), _ATOM
        case Coalesce(args=args):
            return f"COALESCE({_listed(args, names)})", _ATOM
        case InList(operand=operand, items=items, negated=negated):
            left = _within(operand, _PREDICATE, names)
            return f"{left} {'NOT ' * negated}IN ({_listed(items, names)})", _PREDICATE
        case Fails(args=args):
            return f"FAILS({_listed(args, names)})", _ATOM
        case LambdaVar(name=name):
            return name, _ATOM
        case LambdaCall(function=function, operand=operand, body=body, params=params):
            head = params[0] if len(params) == 1 else f"({', '.join(params)})"
            inner = f"{head} -> {_format(body, names)[0]}"
            return f"{function.name}({_format(operand, names)[0]}, {inner})", _ATOM
        case _:
            raise AssertionError(f"no text for {type(expr).__name__}")


def _within(expr: Expr, power: int, names: Sequence[str]) -> str:
    """`expr` as an operand of something that binds with `power`."""
    text, own = _format(expr, names)
    return text if own >= power else f"({text})"


def _listed(exprs: Sequence[Expr], names: Sequence[str]) -> str:
    return ", ".join(_format(e, names)[0] for e in exprs)


def _call(call: Call, names: Sequence[str]) -> tuple[str, int]:
    name, args = call.function.name.upper(), call.args
    if name in _SIGNS and len(args) == 1:
        operand = _within(args[0], _SIGN, names)
        sign = _SIGNS[name]
        # two signs in a row would begin a comment
        return (f"{sign}({operand})" if operand[0] in "+-" else f"{sign}{operand}"), _SIGN
    if len(args) == 2 and name in _POWER:
        power = _POWER[name]
        left, right = _within(args[0], power, names), _within(args[1], power + 1, names)
        return f"{left} {name} {right}", power
    if len(args) == 2 and name in _IS_FORMS:
        left, right = _within(args[0], _IS, names), _within(args[1], _IS + 1, names)
        return f"{left} {_IS_FORMS[name]} {right}", _IS
    if name.startswith("."):
        return f"{_within(args[0], _ATOM, names)}{call.function.name}", _ATOM
    if name in _INDEXES:
        inner = _INDEXES[name].format(_format(args[1], names)[0])
        return f"{_within(args[0], _ATOM, names)}{inner}", _INDEX
    if name in ("ARRAY", "MAP"):
        return f"{name}[{_listed(args, names)}]", _ATOM
    return f"{name}({_listed(args, names)})", _ATOM


def _case(case: Case, names: Sequence[str]) -> str:
    branches = "".join(
        f" WHEN {_format(c, names)[0]} THEN {_format(r, names)[0]}" for c, r in case.branches
    )
    return f"CASE{branches} ELSE {_format(case.otherwise, names)[0]} END"


def literal(value: Any, type_: SqlType) -> str:
    """A literal of `type_`; see `plan.expressions.Literal` for the Python values."""
    if value is None:
        return "NULL"
    match type_.kind:
        case Kind.BOOLEAN:
            return "TRUE" if value else "FALSE"
        case Kind.DOUBLE | Kind.REAL:
            return _float(float(value), type_)
        case Kind.DATE:
            return f"DATE '{value}'"
        case Kind.TIME:
            return f"TIME '{_time(value)}'"
        case Kind.TIMESTAMP | Kind.TIMESTAMP_TZ:
            return _timestamp(value, type_)
        case Kind.INTERVAL_LONG:
            return f"INTERVAL '{value}' MONTH"
        case Kind.INTERVAL_SHORT:
            seconds = Decimal(value).scaleb(-6).normalize()
            return f"INTERVAL '{seconds:f}' SECOND"
        case Kind.UUID:
            return f"UUID '{value}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bytes):
        return f"x'{value.hex().upper()}'"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _float(value: float, type_: SqlType) -> str:
    text = repr(value)
    if not text.lstrip("-")[0].isdigit():
        return f"CAST('{text}' AS {type_.with_nullable(True)})"
    return text if "e" in text else f"{text}e0"


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return text + (f".{rest:09}".rstrip("0") if rest else "")


def _timestamp(microseconds: int, type_: SqlType) -> str:
    """As written in SQL; a time beyond Python's calendar as a number of microseconds."""
    zone = " WITH TIME ZONE" if type_.kind is Kind.TIMESTAMP_TZ else ""
    try:
        at = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=microseconds)
    except OverflowError:
        return f"TIMESTAMP{zone} 'epoch {microseconds:+} us'"
    return f"TIMESTAMP{zone} '{at}{'+00:00' if zone else ''}'"
