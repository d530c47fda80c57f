"""FROM t, UNNEST(t.a) [WITH ORDINALITY] [AS u(x, i)]: rows from the elements of collections.

    Unnest ─ Project [t's columns, a] ─ Scan t      scope: t's columns, then u.x, u.i

The operand is an expression over what stands left of it in FROM. Columns: the element (named by
the alias), key and value of a map, or the fields where elements are rows; then the ordinality.
Several operands are read side by side, the shorter ones padded with NULL, as the standard says.
Source: sql-reference 5.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.data.types import BIGINT, INTEGER, Field, Kind, Schema, SqlType
from penstock.functions.rows import field_access
from penstock.plan.expressions import Call, Expr, InputRef, Literal
from penstock.plan.nodes import Node, Project, Unnest, Values
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.catalog import Catalog
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.frame import Frame
from penstock.sql.bind.report import BindError
from penstock.sql.bind.scope import Scope
from penstock.sql.passes.join_keys import references

#: one row for a query without FROM
ONE_ROW = Values(
    Schema((Field("$one", INTEGER.with_nullable(False)),)),
    ((Literal(INTEGER.with_nullable(False), 0),),),
)


def bind_unnest(ref: ast.Unnest, left: Node, scope: Scope, catalog: Catalog) -> tuple[Node, Scope]:
    """The rows of `left` with the elements of the operands, which are over `scope`."""
    binder = ExpressionBinder(scope, aggregates="UNNEST", catalog=catalog)
    operands = [_collection(binder.bind(e), e) for e in ref.operands]
    operand = operands[0] if len(operands) == 1 else build.call("$ZIP", operands, ref.span)
    width = len(left.schema)
    column, source = width, left
    if isinstance(operand, InputRef):
        column = operand.index
    else:
        frame = Frame(left, scope)
        operand = frame.value(operand)  # its sub-queries are joined to what is left of it
        computed = Schema((*left.schema.fields, Field("$unnest", operand.type)))
        own = references(frame.node.schema)[:width]
        source = Project(computed, frame.node, (*own, operand))
    elements = _elements([operand.type])
    numbers = [Field("ordinality", BIGINT.with_nullable(False))] if ref.with_ordinality else []
    node: Node = Unnest(
        Schema((*left.schema.fields, *elements, *numbers)),
        source, column, tuple(range(width)), ref.with_ordinality, span=ref.span,
    )  # fmt: skip
    fields = _named(ref, [*_elements([o.type for o in operands]), *numbers])
    if len(operands) > 1:
        node = _spread(node, width, Schema((*left.schema.fields, *fields)))
    node = replace(node, schema=Schema((*left.schema.fields, *fields)))
    name = None if ref.alias is None else ref.alias.name.name
    found = Scope.of_table(name, Schema(tuple(fields)))
    return node, scope.joined(found, width, ref.span)


def _collection(operand: Expr, syntax: ast.Expr) -> Expr:
    if operand.type.kind not in (Kind.ARRAY, Kind.MAP):
        raise BindError(
            syntax.span, f"UNNEST takes an ARRAY or a MAP, not {build.bare(operand.type)}"
        )
    if operand.type.children[0].kind is Kind.NULL:
        raise BindError(syntax.span, "UNNEST of elements without a type; cast the array")
    return operand


def _elements(collections: Sequence[SqlType]) -> list[Field]:
    """The columns of the collections' elements; where there are several, any may be padded."""
    fields: list[Field] = []
    for t in collections:
        children = t.children
        if t.kind is Kind.MAP:
            fields += [Field("key", children[0]), Field("value", children[1])]
        elif children[0].kind is Kind.ROW:
            pairs = zip(children[0].names, children[0].children, strict=True)
            fields += [Field(n, x.with_nullable(True)) for n, x in pairs]
        else:
            fields.append(Field(f"EXPR${len(fields)}", children[0]))
    if len(collections) > 1:
        fields = [Field(f.name, f.type.with_nullable(True)) for f in fields]
    return fields


def _spread(node: Node, width: int, schema: Schema) -> Node:
    """The zipped columns behind the first `width`, with the fields of rows as columns."""
    exprs: list[Expr] = []
    for i, e in enumerate(references(node.schema)):
        names = e.type.names if i >= width and e.type.kind is Kind.ROW else ()
        fields = [field_access(e.type, n) for n in range(len(names))]
        exprs += [Call(f.result, f, (e,)) for f in fields] or [e]
    return Project(schema, node, tuple(exprs))


def _named(ref: ast.Unnest, fields: list[Field]) -> list[Field]:
    """`fields` as the alias names them: one name is that of a single element, too."""
    if ref.alias is None:
        return fields
    names = [c.name for c in ref.alias.columns]
    if not names:
        is_single = len(fields) - ref.with_ordinality == 1 and fields[0].name == "EXPR$0"
        return [Field(ref.alias.name.name, fields[0].type), *fields[1:]] if is_single else fields
    if len(names) != len(fields):
        raise BindError(
            ref.alias.columns[0].span,
            f"{ref.alias.name.name} names {len(names)} columns, but UNNEST has {len(fields)}",
        )
    return [Field(n, f.type) for n, f in zip(names, fields, strict=True)]
