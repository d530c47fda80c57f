"""`a`, `t.a`, `t.a.f` → the column that a name stands for, and the fields of it that follow.

Looked up in this order: parameters of lambdas around, columns of FROM, lateral aliases, columns
of the queries around (nearest first), and last the words `pi` and `unknown`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.data.types import BOOLEAN
from penstock.errors import Span
from penstock.plan.expressions import Expr, Literal
from penstock.sql import ast
from penstock.sql.bind import build, later, nested
from penstock.sql.bind.forms import Aggregated, Outer, Windowed, has
from penstock.sql.bind.report import BindError, unsupported

if TYPE_CHECKING:
    from penstock.sql.bind.expressions import ExpressionBinder


def column(binder: ExpressionBinder, e: ast.ColumnRef) -> Expr:
    head, rest = _head(binder, e)
    found = _variable(binder, head) or _named(binder, head)
    for part in rest:
        found = nested.field(found, part, e.span)
    return found


def _head(
    binder: ExpressionBinder, e: ast.ColumnRef
) -> tuple[ast.ColumnRef, tuple[ast.Identifier, ...]]:
    """The parts that name a column, and the fields of it that follow."""
    first, n = e.parts[0].name, len(e.parts)
    width = 1
    if n > 1 and first not in binder.variables:
        scopes = (binder.scope, *binder.outer)
        is_table = any(first in s.tables for s in scopes)
        is_column = first in binder.aliases or any(
            any(x.name == first for x in s.entries) for s in scopes
        )
        names = [x.name for s in scopes for x in s.star(first)] if is_table else []
        width = 2 if e.parts[1].name in names or not is_column else 1
    if width == n:
        return e, ()
    span = Span(e.span.start, e.parts[width - 1].span.end)
    return replace(e, parts=e.parts[:width], span=span), e.parts[width:]


def _variable(binder: ExpressionBinder, e: ast.ColumnRef) -> Expr | None:
    found = binder.variables.get(e.parts[0].name) if len(e.parts) == 1 else None
    return None if found is None else replace(found, span=e.span)


def _named(binder: ExpressionBinder, e: ast.ColumnRef) -> Expr:
    qualifier = e.parts[0].name if len(e.parts) == 2 else None
    name = e.parts[-1].name
    found = binder.scope.find(qualifier, name, e.span)
    if found is not None:
        return found
    if qualifier is None and name in binder.aliases:
        return _alias(binder, e, name)
    for level, scope in enumerate(binder.outer):
        found = scope.find(qualifier, name, e.span)
        if found is not None:
            for _ in range(level + 1):
                found = Outer(found.type, found, span=e.span)
            return found
    if qualifier is None and name == "pi":
        return build.call("PI", [], e.span)
    if qualifier is None and name == "unknown":  # the third truth value, unless a column
        return Literal(BOOLEAN, None, span=e.span)
    for scope in binder.outer:
        if qualifier in scope.tables and qualifier not in binder.scope.tables:
            raise scope.unknown(qualifier, name, e.span)
    if qualifier is None and name in later.CLOCKS:
        raise unsupported(e.span, name.upper(), later.CLOCKS[name])
    around = [t for scope in binder.outer for t in scope.tables]
    failure = binder.scope.unknown(qualifier, name, e.span, around)
    if qualifier is None and e.parts[0].quoted and "quotes)?" not in str(failure):
        text = name.replace("'", "''")
        raise BindError(e.span, f"{failure}; \" quotes names, text is written '{text}'")
    raise failure


def _alias(binder: ExpressionBinder, e: ast.ColumnRef, name: str) -> Expr:
    """What an item of the same SELECT stands for, where such a thing may stand."""
    found = binder.aliases[name]
    if binder.place is not None and has(found, Aggregated):
        raise BindError(e.span, f"{name} is an aggregate, which cannot be used in {binder.place}")
    if binder.windows is None and has(found, Windowed):
        raise BindError(e.span, f"{name} is a window function, which cannot be used here")
    return replace(found, span=e.span)
