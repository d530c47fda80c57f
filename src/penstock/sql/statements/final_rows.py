"""LATENESS of views and emit_final: what needs the whole program (sql-reference 4.2-4.4)."""

from __future__ import annotations

from dataclasses import replace

from penstock.plan.nodes import (
    ViewPlan,
)
from penstock.sql import ast
from penstock.sql.bind import waterlines
from penstock.sql.bind.lateness import lateness
from penstock.sql.bind.report import BindError, Poisoned, did_you_mean
from penstock.sql.passes import optimise
from penstock.sql.statements.declared import Declared


def late_view(declared: Declared, s: ast.Lateness) -> None:
    name = s.view.name
    view = declared.views.get(name)
    if view is None:
        if declared.relations.get(name, 0) is None:
            raise Poisoned
        raise BindError(s.view.span, f"there is no view {name}{did_you_mean(name, declared.views)}")
    column = s.column[0]
    if len(s.column) > 1:
        raise BindError(s.column[1].span, "LATENESS is for columns, not for fields of them")
    if column.name not in view.schema.names:
        hint = did_you_mean(column.name, view.schema.names)
        raise BindError(column.span, f"view {name} has no column {column.name}{hint}")
    at = view.schema.index(column.name)
    if any(i == at for i, _, _ in view.lateness):
        raise BindError(s.span, f"a second LATENESS of column {column.name} of view {name}")
    behind = lateness(s.expr, view.schema.types[at])
    text = declared.text[s.expr.span.start : s.expr.span.end]
    declared.views[name] = replace(view, lateness=(*view.lateness, (at, behind, text)))


def find_waterlines(declared: Declared) -> None:
    """The rows of emit_final, once all relations and their LATENESS are known."""
    plan = optimise(declared.plan())
    known = waterlines.Waterlines(declared.tables, {v.name: v for v in plan.views})
    for name, given in declared.final.items():
        with declared.report.attempt(given.span):
            view = declared.views[name]
            column = _column_of(view, given)
            line = known.of_view(view, column)
            if line is None:
                raise BindError(
                    given.value.span,
                    f"column {view.schema.names[column]} of view {name} has no waterline: "
                    "emit_final needs one that grows with a column that has LATENESS",
                )
            declared.views[name] = replace(view, emitted=waterlines.final_rows(view, column, line))


def _column_of(view: ViewPlan, given: ast.Property) -> int:
    """The column that emit_final names, or numbers from 0."""
    value, names = given.value.value, view.schema.names
    if value in names:
        return view.schema.index(value)
    if value.isascii() and value.isdigit() and int(value) < len(names):
        return int(value)
    raise BindError(
        given.value.span, f"view {view.name} has no column {value}{did_you_mean(value, names)}"
    )
