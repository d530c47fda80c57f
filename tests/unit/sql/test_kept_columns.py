"""What operators remember is what somebody reads: of plans of real programs, column by column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from penstock.plan.nodes import (
    Aggregate,
    AsofJoin,
    Difference,
    Distinct,
    Filter,
    Frontier,
    Hop,
    Join,
    Line,
    Node,
    ProgramPlan,
    Project,
    Scan,
    Session,
    TopK,
    UnionAll,
    Unnest,
    Window,
)
from penstock.plan.rewrite import columns_of, inputs
from penstock.sql.program import compile_program

PROGRAMS = Path(__file__).parent / "programs"
REMEMBERING = (Join, AsofJoin, Aggregate, Distinct, TopK, Window, Session, Difference)
TABLES = "CREATE TABLE a (k INT, x INT, y INT, s VARCHAR); CREATE TABLE b (k INT, z INT, u INT);"


def _needs(node: Node, want: set[int]) -> Iterator[tuple[Node, Iterable[int]]]:
    """(input, its columns that `node` reads) where the columns `want` are read of `node`."""
    mine = set[int]()
    match node:
        case Project(input=source, exprs=exprs):
            yield source, (c for i in want for c in columns_of(exprs[i]))
        case Filter(input=source, predicate=predicate):
            yield source, want | columns_of(predicate)
        case Join(left=left, right=right, keys=keys, residual=residual):
            width = len(left.schema)
            mine = want | (columns_of(residual) if residual is not None else set())
            yield left, {c for c in mine if c < width} | {a for a, _ in keys}
            yield right, {c - width for c in mine if c >= width} | {b for _, b in keys}
        case Aggregate(input=source, keys=keys, calls=calls):
            read = (
                c for i, call in enumerate(calls) if len(keys) + i in want for c in call.columns
            )
            yield source, {*keys, *read}
        case Unnest(input=source, column=column, keep=keep):
            yield source, {column, *(keep[i] for i in want if i < len(keep))}
        case Hop(input=source, column=column):
            yield source, {column, *(c for c in want if c < len(source.schema))}
        case Frontier(input=source, bound=bound, column=column):
            yield source, {column, *want}
            yield bound, {0}
        case UnionAll(inputs=several):
            yield from ((one, want) for one in several)
        case Session(input=source, partition=partition, time=time):
            yield source, {time, *partition, *(c for c in want if c < len(source.schema))}
        case Window(input=source, partition=partition, order=order, calls=calls):
            width = len(source.schema)
            asked = [c for i, c in enumerate(calls) if width + i in want]
            mine = {c for c in want if c < width}
            if any(c.by_row for c in asked):  # ties are broken by all columns
                mine = set(range(width))
            elif asked:
                mine |= {
                    *partition,
                    *(k.column for k in order),
                    *(x for c in asked for x in c.args),
                }
            yield source, mine
        case Line():
            return
        case _:
            yield from ((one, range(len(one.schema))) for one in inputs(node))


def _in_order(root: Node, seen: dict[int, Node]) -> None:
    if id(root) not in seen:
        for below in inputs(root):
            _in_order(below, seen)
        seen[id(root)] = root


def unread(plan: ProgramPlan) -> list[tuple[str, str]]:
    """(operator, column) of what operators are given to remember and nobody reads."""
    wanted: dict[int, set[int]] = {}
    of_views = {v.name: set[int]() for v in plan.views if v.kind == "local"}
    nodes: dict[int, Node] = {}
    for view in reversed(plan.all_views):
        seen: dict[int, Node] = {}
        _in_order(view.query, seen)
        nodes |= seen
        columns = of_views.get(view.name, range(len(view.schema)))
        wanted.setdefault(id(view.query), set()).update(columns)
        for node in reversed(seen.values()):
            want = wanted.setdefault(id(node), set())
            if isinstance(node, Scan) and node.relation in of_views:
                of_views[node.relation] |= want
            for below, some in _needs(node, want):
                wanted.setdefault(id(below), set()).update(some)
    return [
        (type(node).__name__, below.schema.names[c])
        for node in nodes.values()
        if isinstance(node, REMEMBERING)
        for below in inputs(node)
        for c in range(len(below.schema))
        if c not in wanted[id(below)]
    ]


@pytest.mark.parametrize("name", ["tpch", "nexmark"])
def test_no_operator_of_a_benchmark_remembers_a_column_that_nobody_reads(name: str) -> None:
    plan = compile_program((PROGRAMS / f"{name}.sql").read_text())
    assert unread(plan) == []


def test_what_other_views_do_not_read_of_a_local_view_is_not_remembered() -> None:
    plan = compile_program(
        TABLES + "CREATE LOCAL VIEW w AS SELECT a.*, z, u FROM a JOIN b ON a.k = b.k;"
        "CREATE LOCAL VIEW n AS SELECT x, COUNT(*) AS c, SUM(z) AS t, MAX(s) AS m FROM w "
        "GROUP BY x;"
        "CREATE VIEW v AS SELECT x, t FROM n; CREATE VIEW q AS SELECT u FROM w WHERE z > 1;"
    )
    assert unread(plan) == []
    widths = {v.name: v.schema.names for v in plan.views}
    assert widths == {"w": ("x", "z", "u"), "n": ("x", "t"), "v": ("x", "t"), "q": ("u",)}


def test_local_views_that_read_themselves_or_have_lateness_or_no_reader_keep_their_columns() -> (
    None
):
    plan = compile_program(
        "CREATE TABLE e (a INT NOT NULL, b INT NOT NULL, ts TIMESTAMP);"
        "DECLARE RECURSIVE VIEW r (a INT NOT NULL, b INT NOT NULL);"
        "CREATE LOCAL VIEW r AS SELECT a, b FROM e "
        "UNION SELECT r.a, e.b FROM r JOIN e ON r.b = e.a;"
        "CREATE LOCAL VIEW l AS SELECT a, b, ts FROM e; LATENESS l.ts INTERVAL 1 DAY;"
        "CREATE LOCAL VIEW alone AS SELECT a, b FROM e;"
        "CREATE VIEW v AS SELECT r.a FROM r JOIN l ON r.a = l.a;"
    )
    widths = {v.name: len(v.schema) for v in plan.views}
    assert widths == {"r": 2, "l": 3, "alone": 2, "v": 1}


def test_the_grouping_sets_of_a_rollup_read_one_join() -> None:
    plan = compile_program(
        TABLES + "CREATE VIEW v AS SELECT x, y, s, SUM(z) AS n FROM a JOIN b ON a.k = b.k "
        "GROUP BY ROLLUP (x, y, s);"
    )
    nodes: dict[int, Node] = {}
    _in_order(plan.views[0].query, nodes)
    assert sum(isinstance(n, Join) for n in nodes.values()) == 1
    assert sum(isinstance(n, Aggregate) for n in nodes.values()) == 4
    assert unread(plan) == []
