"""FROM t, UNNEST(t.a) [WITH ORDINALITY] [AS u(x, i)]: rows from the elements of collections.

    Unnest ─ Project [t's columns, a] ─ Scan t      scope: t's columns, then u.x, u.i

The operand is an expression over what stands left of it in FROM. Columns: the element (named by
the alias), key and value of a map, or the fields where elements are rows; then the ordinality.
Source: sql-reference 5.4.
"""

from __future__ import annotations

from penstock.data.types import BIGINT, INTEGER, Field, Kind, Schema, SqlType
from penstock.plan.expressions import InputRef, Literal
from penstock.plan.nodes import Node, Project, Unnest, Values
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.catalog import Catalog
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.report import BindError, unsupported
from penstock.sql.bind.scope import Scope
from penstock.sql.passes.join_keys import references

#: one row for a query without FROM
ONE_ROW = Values(
    Schema((Field("$one", INTEGER.with_nullable(False)),)),
    ((Literal(INTEGER.with_nullable(False), 0),),),
)


def bind_unnest(ref: ast.Unnest, left: Node, scope: Scope, catalog: Catalog) -> tuple[Node, Scope]:
    """The rows of `left` with the elements of the operand, which is over `scope`."""
    if len(ref.operands) != 1:
        raise unsupported(ref.span, "UNNEST of several collections")
    operand = ExpressionBinder(scope, aggregates="UNNEST", catalog=catalog).bind(ref.operands[0])
    if operand.type.kind not in (Kind.ARRAY, Kind.MAP):
        raise BindError(
            ref.operands[0].span, f"UNNEST takes an ARRAY or a MAP, not {build.bare(operand.type)}"
        )
    if operand.type.children[0].kind is Kind.NULL:
        raise BindError(ref.operands[0].span, "UNNEST of elements without a type; cast the array")
    fields = _columns(ref, operand.type)
    width = len(left.schema)
    column, source = width, left
    if isinstance(operand, InputRef):
        column = operand.index
    else:
        computed = Schema((*left.schema.fields, Field("$unnest", operand.type)))
        source = Project(computed, left, (*references(left.schema), operand))
    schema = Schema((*left.schema.fields, *fields))
    node = Unnest(schema, source, column, tuple(range(width)), ref.with_ordinality, span=ref.span)
    name = None if ref.alias is None else ref.alias.name.name
    own = Scope.of_table(name, Schema(tuple(fields)))
    return node, scope.joined(own, width, ref.span)


def _columns(ref: ast.Unnest, collection: SqlType) -> list[Field]:
    """The columns that UNNEST adds, named by its alias as far as that goes."""
    children = collection.children
    single = "expr$0" if ref.alias is None else ref.alias.name.name
    if collection.kind is Kind.MAP:
        fields = [Field("key", children[0]), Field("value", children[1])]
    elif children[0].kind is Kind.ROW:
        pairs = zip(children[0].names, children[0].children, strict=True)
        fields = [Field(n, t.with_nullable(True)) for n, t in pairs]
    else:
        fields = [Field(single, children[0])]
    if ref.with_ordinality:
        fields.append(Field("ordinality", BIGINT.with_nullable(False)))
    if ref.alias is None or not ref.alias.columns:
        return fields
    names = [c.name for c in ref.alias.columns]
    if len(names) != len(fields):
        raise BindError(
            ref.alias.columns[0].span,
            f"{ref.alias.name.name} names {len(names)} columns, but UNNEST has {len(fields)}",
        )
    return [Field(n, f.type) for n, f in zip(names, fields, strict=True)]
