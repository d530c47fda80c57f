"""The columns of a view have names of their own.

    SELECT a.*, b.* …  over a (k, x), b (k, y)     k, x, k0, y
    SELECT a.k, b.k …                              k, k0
    SELECT 1 AS n, 2 AS n …                        an error: both names were chosen

Names are made as Calcite makes them: the first of the name with 0, 1, … that is free.
"""

from __future__ import annotations

from collections import Counter

from penstock.data.types import Field, Schema
from penstock.plan.nodes import Node, Project
from penstock.sql import ast
from penstock.sql.bind.report import BindError
from penstock.sql.passes.join_keys import references


def distinct_names(node: Node, view: ast.CreateView) -> Node:
    """The query of `view` with its columns renamed where two have one name. Raises BindError where
    the text asks for that."""
    names = node.schema.names
    if len(set(names)) == len(names):
        return node
    twice = [name for name, n in Counter(_chosen(view.query)).items() if n > 1]
    if twice:
        raise BindError(
            view.name.span,
            f"view {view.name.name} has two columns {twice[0]}; give one an alias with AS",
        )
    fields: dict[str, Field] = {}
    for f in node.schema.fields:
        name, n = f.name, 0
        while name in fields:
            name, n = f"{f.name}{n}", n + 1
        fields[name] = Field(name, f.type)
    return Project(Schema(tuple(fields.values())), node, references(node.schema))


def _chosen(query: ast.QueryBody) -> list[str]:
    """The aliases in the first SELECT, and the columns that it lists more than once."""
    while not isinstance(query, ast.Select):
        match query:
            case ast.Query(body=body) | ast.SetOperation(left=body):
                query = body
            case _:
                return []
    plain = Counter(i.expr for i in query.items if i.alias is None)
    again = [e.parts[-1].name for e in plain.elements() if isinstance(e, ast.ColumnRef)
             and plain[e] > 1]  # fmt: skip
    return [i.alias.name for i in query.items if i.alias is not None] + again
