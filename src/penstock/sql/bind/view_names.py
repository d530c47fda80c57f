"""The columns of a view have names of their own.

    SELECT a.*, b.* …  over a (k, x), b (k, y)     k, x, k0, y
    SELECT a.k, b.k …                              k, k0
    SELECT k, a.k …                                an error: one column twice
    SELECT a.*, 2 AS k …                           an error: the name was chosen

What the text asks for twice is refused (sql-reference 5.1), wherever it stands in the list: an
alias that is there already, and a column listed again, `*` included. Columns of different tables
that happen to share a name are told apart, since published programs have them (TPC-DS 39 and 64);
names are made as Calcite makes them: the first of the name with 0, 1, … that is free.

Queries inside others may have two columns of a name, as long as nobody asks for it.
"""

from __future__ import annotations

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
    items = _first_list(view.query)
    for name in dict.fromkeys(n for i, n in enumerate(names) if n in names[:i]):
        _refuse_chosen(view.name.name, name, items)
    fields: dict[str, Field] = {}
    for f in node.schema.fields:
        name, n = f.name, 0
        while name in fields:
            name, n = f"{f.name}{n}", n + 1
        fields[name] = Field(name, f.type)
    return Project(Schema(tuple(fields.values())), node, references(node.schema))


def _refuse_chosen(view: str, name: str, items: tuple[ast.SelectItem, ...]) -> None:
    """Raises BindError if `items`, of which several are called `name`, say so themselves."""
    seen: list[tuple[str, ...]] = []
    is_starred = False
    for item in items:
        path = _path(item, name)
        if path is None:
            continue
        # an alias (of no path) is a new column; else the shorter path is the end of the longer
        again = any(_ends(path, p) or _ends(p, path) for p in seen)
        is_starred |= isinstance(item.expr, ast.Star)
        if again:
            way = "leave it out of * with EXCLUDE, or " if is_starred else ""
            raise BindError(
                item.span, f"view {view} has two columns {name}; {way}give one an alias with AS"
            )
        seen.append(path)


def _path(item: ast.SelectItem, name: str) -> tuple[str, ...] | None:
    """How `item` spells the column `name`, if it may be that; () for an alias."""
    if item.alias is not None:
        return () if item.alias.name == name else None
    match item.expr:
        case ast.ColumnRef(parts=parts) if parts[-1].name == name:
            return tuple(p.name for p in parts)
        case ast.Star(qualifier=qualifier, exclude=gone) if name not in {x.name for x in gone}:
            return (*(q.name for q in qualifier), name)
    return None


def _ends(path: tuple[str, ...], end: tuple[str, ...]) -> bool:
    return not end or path[-len(end) :] == end


def _first_list(query: ast.QueryBody) -> tuple[ast.SelectItem, ...]:
    """The list that names the columns: that of the first SELECT."""
    while not isinstance(query, ast.Select):
        match query:
            case ast.Query(body=body) | ast.SetOperation(left=body):
                query = body
            case _:
                return ()
    return query.items
