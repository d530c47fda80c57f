"""Which columns of tables views read; the others are named in a warning (sql-reference 6.6).

Looked for in the optimised plan, where a Project stands over every Scan that is read in part.
No warning about the key, columns with LATENESS or WATERMARK (they are read on the way in), tables
that are materialized on purpose (queries read them), tables that no view reads at all, and the one
that NOW() reads.
"""

from __future__ import annotations

from penstock.plan.nodes import CLOCK, Filter, Node, ProgramPlan, Project, Scan, TablePlan
from penstock.plan.rewrite import columns_of, inputs

#: the type of the warning, as FELDERA_IGNORE_WARNING_UNUSED_COLUMN spells it
UNUSED = "Unused column"


def used_columns(program: ProgramPlan) -> dict[str, set[int]]:
    """Per relation the columns that some view reads (exact for plans with pruned columns)."""
    read: dict[str, set[int]] = {}
    seen: set[int] = set()
    for view in program.views:
        _visit(view.query, None, read, seen)
    return read


def unused_columns(program: ProgramPlan) -> list[tuple[str, str]]:
    """(table, column) of what deserves a warning, in order of declaration."""
    read = used_columns(program)
    return [
        (table.name, table.schema.names[i])
        for table in program.tables
        if table.name in read and not table.materialized and table.name != CLOCK
        for i in range(len(table.schema))
        if i not in read[table.name] and i not in _read_on_the_way_in(table)
    ]


def unskippable(program: ProgramPlan) -> list[tuple[str, str]]:
    """(table, column) of what skip_unused_columns lets a connector leave out, without a value to
    put in its place: NOT NULL and without a DEFAULT (sql-reference 6.2)."""
    read = used_columns(program)
    return [
        (table.name, f.name)
        for table in program.tables
        if _is_on(table, "skip_unused_columns") and not table.materialized
        for i, f in enumerate(table.schema.fields)
        if i not in read.get(table.name, ()) and i not in _read_on_the_way_in(table)
        and not f.type.nullable and not (table.defaults and table.defaults[i])
    ]  # fmt: skip


def _is_on(table: TablePlan, key: str) -> bool:
    given = table.properties.get(key)
    return given is not None and given["value"].lower() == "true"


def _read_on_the_way_in(table: TablePlan) -> set[int]:
    return {*table.key, *(column for column, _, _ in (*table.lateness, *table.watermarks))}


def _visit(node: Node, wanted: set[int] | None, read: dict[str, set[int]], seen: set[int]) -> None:
    """Note what is read of the Scans below `node`, of which `wanted` (None: all) is."""
    match node:
        case Scan(relation=name):
            columns = range(len(node.schema)) if wanted is None else wanted
            read.setdefault(name, set()).update(columns)
        case Filter(input=source, predicate=predicate):
            mine = None if wanted is None else wanted | columns_of(predicate)
            _visit(source, mine, read, seen)
        case _ if id(node) not in seen:
            seen.add(id(node))  # what is shared is read in the same way by all
            below: set[int] | None = None
            if isinstance(node, Project):
                below = {c for e in node.exprs for c in columns_of(e)}
            for child in inputs(node):
                _visit(child, below, read, seen)
