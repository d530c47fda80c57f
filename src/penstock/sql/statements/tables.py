"""CREATE TABLE: columns, PRIMARY KEY, DEFAULT, LATENESS, properties (sql-reference 6.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from penstock.data.types import Field, Kind, Schema, has_kind
from penstock.plan.expressions import Cast, Expr, Literal
from penstock.plan.nodes import (
    Lateness,
    TablePlan,
)
from penstock.sql import ast
from penstock.sql.bind import build, waterlines
from penstock.sql.bind.constants import check_row
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.lateness import lateness
from penstock.sql.bind.report import BindError, Poisoned, did_you_mean
from penstock.sql.bind.scope import Scope
from penstock.sql.bind.types import bind_type
from penstock.sql.connectors import Owner
from penstock.sql.statements import properties
from penstock.sql.statements.declared import Declared
from penstock.sql.statements.foreign_keys import check_foreign_keys

_PROPERTIES = (
    "materialized", "append_only", "connectors", "expected_size", "skip_unused_columns",
)  # fmt: skip

_INTERVALS = (Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG)


def create_table(declared: Declared, t: ast.CreateTable) -> None:
    fields: list[Field] = []
    for c in t.columns:
        with declared.report.attempt(c.span):
            fields.append(_column(declared, c, fields))
    if len(fields) != len(t.columns):
        raise Poisoned
    schema = Schema(tuple(fields))
    key = _primary_key(declared, t, schema)
    defaults = tuple(
        None if c.default is None else _default(declared, c, f.type)
        for c, f in zip(t.columns, fields, strict=True)
    )
    given = properties.read(declared, t.properties, _PROPERTIES, f"table {t.name.name}")
    if key and given.get("append_only", {}).get("value", "false").lower() == "true":
        raise BindError(
            next(p.key.span for p in t.properties if p.key.value == "append_only"),
            f"table {t.name.name} has a PRIMARY KEY, so rows are replaced by others of their key; "
            "an append_only table has none",
        )
    flag = given.get("materialized", {}).get("value", "false")
    name = t.name.name
    declared.tables[name] = TablePlan(
        name,
        schema,
        key,
        flag.lower() == "true",
        name != name.lower(),
        defaults,
        given,
        *_lines(declared, t, schema),
    )
    released = waterlines.released_rows(declared.tables[name])
    declared.tables[name] = replace(declared.tables[name], released=released)
    check_foreign_keys(declared, t, declared.tables[name])
    declared.relations[name] = schema
    declared.columns[name] = t.columns
    properties.connectors(declared, t.properties, Owner(name, True, bool(key)), declared.inputs)


def _column(declared: Declared, c: ast.ColumnDef, before: Sequence[Field]) -> Field:
    if any(f.name == c.name.name for f in before):
        raise BindError(c.name.span, f"there are two columns {c.name.name}")
    type = bind_type(c.type, declared.types)
    if has_kind(type, *_INTERVALS):
        raise BindError(c.type.span, "an INTERVAL cannot be stored in a table")
    if c.primary_key is not None and type.nullable:
        raise BindError(c.span, f"column {c.name.name} of a PRIMARY KEY must be NOT NULL")
    return Field(c.name.name, type)


def _lines(declared: Declared, t: ast.CreateTable, schema: Schema) -> tuple[Lateness, Lateness]:
    """LATENESS and WATERMARK of the columns."""
    found: tuple[list[tuple[int, int | float, str]], ...] = ([], [])
    for i, c in enumerate(t.columns):
        for e, what, into in zip(
            (c.lateness, c.watermark), ("LATENESS", "WATERMARK"), found, strict=True
        ):
            if e is not None:
                with declared.report.attempt(e.span):
                    behind = lateness(e, schema.types[i], what)
                    into.append((i, behind, declared.text[e.span.start : e.span.end]))
    return tuple(found[0]), tuple(found[1])


def _primary_key(declared: Declared, t: ast.CreateTable, schema: Schema) -> tuple[int, ...]:
    keys: list[tuple[list[ast.Identifier], ast.PrimaryKey]] = [
        ([c.name], c.primary_key) for c in t.columns if c.primary_key is not None
    ]
    keys += [(list(k.columns), k) for k in t.primary_keys]
    if len(keys) > 1:
        raise BindError(
            keys[1][1].span,
            f"table {t.name.name} has two PRIMARY KEYs; a key of several columns is one: "
            "PRIMARY KEY (…, …)",
        )
    if not keys:
        return ()
    key = []
    for column in keys[0][0]:
        if column.name not in schema.names:
            hint = did_you_mean(column.name, schema.names)
            raise BindError(column.span, f"the table has no column {column.name}{hint}")
        i = schema.index(column.name)
        if schema.types[i].nullable:
            raise BindError(column.span, f"column {column.name} of a PRIMARY KEY must be NOT NULL")
        if i in key:
            raise BindError(column.span, f"the PRIMARY KEY names column {column.name} twice")
        key.append(i)
    return tuple(key)


def _default(declared: Declared, c: ast.ColumnDef, type: Any) -> Expr:
    assert c.default is not None
    bound = ExpressionBinder(
        Scope(), aggregates="DEFAULT", functions=declared.functions, types=declared.types
    ).bind(c.default)
    value = build.implicit(bound, type, f"the DEFAULT of {c.name.name}")
    if bound.type.kind is Kind.NULL and not type.nullable:
        raise BindError(c.default.span, f"column {c.name.name} is NOT NULL, its DEFAULT NULL")
    if isinstance(value, Cast) and isinstance(value.operand, Literal) and not value.safe:
        build.check_literal(value.operand, value.type, c.default.span)
    check_row([value])
    return replace(value, span=c.default.span)
