"""What operators may forget, because LATENESS says that nothing more will come of it.

    GROUP BY window_start           groups whose window is behind its waterline
    PARTITION BY window_start       the same of windows and top-k
    ORDER BY ts RANGE 10 PRECEDING  rows whose ts is less than its waterline - 20
    ORDER BY ts … ROWS, LAG, RANK   the same, but for the last ones that later rows look back at
    SESSION                         rows of sessions that end before the waterline of the time
    DISTINCT, EXCEPT, INTERSECT     rows that have a column behind its waterline
    recursive views                 the same
    ON l.day = r.day                rows of both sides, days behind both waterlines
    ASOF l.t >= r.t                 l behind the waterline of r.t; r behind both, but for the last
    ON … AND l.t >= r.t - 10        rows l whose t is less than (waterline of r.t) - 10

All waterlines are of the relations that the operator reads (see `waterlines`). A row of a join that
finds no new partner is not needed to take its pairs back either: that is up to the other side's
rows, which stay as long as there can be a change of this one. Of a semi, anti or outer join it is,
to know who had a partner before, until all that it is the partner of find no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from penstock.plan.expressions import Call, Expr
from penstock.plan.nodes import (
    Aggregate,
    AsofJoin,
    Difference,
    Distinct,
    Expiry,
    Filter,
    Join,
    JoinKind,
    Node,
    ProgramPlan,
    Scan,
    Session,
    TopK,
    Window,
)
from penstock.plan.rewrite import can_fail, conjuncts, expressions, inputs, shifted
from penstock.sql.bind.waterlines import Waterlines, least

#: rows of a table between two looks at what can go: often enough for the state to stay small, and
#: seldom enough to cost nothing
LAG = 1 << 16

_LESS, _MORE = ("<", "<="), (">", ">=")


def find_expiries(program: ProgramPlan, lag: int = LAG) -> tuple[Expiry, ...]:
    """Of the nodes of all views."""
    if not any(t.lateness for t in program.tables) and not any(v.lateness for v in program.views):
        return ()
    known = Waterlines(
        {t.name: t for t in program.tables}, {v.name: v for v in program.all_views}, lag
    )
    found: list[Expiry] = []
    for node, readers in _readers(program):
        if isinstance(node, Scan) and node.relation not in known.recursive:
            continue
        own = {
            (e.input, e.column, e.line, e.shift, e.in_order): e for e in _of(node, readers, known)
        }
        found += filter(_is_of_use, own.values())
    return tuple(found)


def is_forgetful(program: ProgramPlan) -> Callable[[Node], bool]:
    """Whether a node has something to forget, of the views of `program` or of what they become."""
    if not any(t.lateness for t in program.tables) and not any(v.lateness for v in program.views):
        return lambda node: False
    known = Waterlines(
        {t.name: t for t in program.tables}, {v.name: v for v in program.all_views}, LAG
    )
    return lambda node: any(map(_is_of_use, _of(node, [], known)))


def _readers(program: ProgramPlan) -> list[tuple[Node, list[Node | None]]]:
    """Each node with those that read it; None for the view that it is. Equal nodes are one object
    by now (see `share`)."""
    found: dict[int, tuple[Node, list[Node | None]]] = {}
    below: list[tuple[Node, Node | None]] = [(v.query, None) for v in program.all_views]
    while below:
        node, reader = below.pop()
        if id(node) not in found:
            found[id(node)] = node, []
            below += [(i, node) for i in inputs(node)]
        found[id(node)][1].append(reader)
    return list(found.values())


def _of(node: Node, readers: list[Node | None], known: Waterlines) -> Iterator[Expiry]:
    match node:
        case Scan():
            yield from _columns(node, node, range(len(node.schema)), known)
        case Aggregate(input=input, keys=keys):
            yield from _columns(node, input, keys, known)
        case Distinct(input=input):
            yield from _columns(node, input, range(len(node.schema)), known)
        case Difference():
            yield from _columns(node, node, range(len(node.schema)), known)
        case TopK(input=input, partition=partition):
            yield from _columns(node, input, partition, known)
        case Window(input=input, partition=partition):
            yield from _columns(node, input, partition, known)
            yield from _frames(node, known)
            line = known.of(input, node.order[0].column) if node.order else None
            if line is not None:
                yield Expiry(node, 0, node.order[0].column, line, in_order=True)
        case Session(input=input, partition=partition):
            yield from _columns(node, input, partition, known)
            # the rows of a session go together, when it has ended for good
            end = len(node.schema) - 1
            yield from _columns(node, node, (end,), known)
        case AsofJoin(left=left, right=right, times=(a, b)):
            yield from _keys(node, known)
            line, both = known.of(right, b), least(known.of(left, a), known.of(right, b))
            if line is not None:
                yield Expiry(node, 0, a, line)
            if both is not None:
                yield Expiry(node, 1, b, both, in_order=True)
        case Join():
            yield from _keys(node, known)
            conditions = conjuncts(node.residual)
            if node.kind is JoinKind.INNER and len(readers) == 1 and isinstance(readers[0], Filter):
                # pairs that nobody but this filter sees
                conditions += conjuncts(readers[0].predicate)
            found = [e for c in conditions for e in _comparison(node, c, known)]
            for e in found:
                yield from _while_asked(node, e, found, known)


def _columns(
    node: Node, rows: Node, columns: tuple[int, ...] | range, known: Waterlines
) -> Iterator[Expiry]:
    for column in columns:
        line = known.of(rows, column)
        if line is not None:
            yield Expiry(node, 0, column, line)


def _frames(node: Window, known: Waterlines) -> Iterator[Expiry]:
    """Rows that no change is in reach of: RANGE frames see so far, and are seen from as far."""
    reach = 0
    for call in node.calls:
        frame = call.frame
        if frame is None or frame.unit != "RANGE" or frame.start is None or frame.end is None:
            return
        reach = max(reach, abs(frame.start), abs(frame.end))
    if node.order:
        column = node.order[0].column
        line = known.of(node.input, column)
        if line is not None:
            yield Expiry(node, 0, column, line, -2 * reach)


def _keys(node: Join | AsofJoin, known: Waterlines) -> Iterator[Expiry]:
    for a, b in node.keys:
        line = known.of_equal(node, a, b)
        if line is not None:
            yield Expiry(node, 0, a, line)
            yield Expiry(node, 1, b, line)


def _comparison(node: Join, condition: Expr, known: Waterlines) -> Iterator[Expiry]:
    """column + c >= column of the other side + d"""
    if not isinstance(condition, Call) or condition.function.name not in (*_LESS, *_MORE):
        return
    high, low = map(shifted, condition.args)
    if condition.function.name in _LESS:
        high, low = low, high
    if high is None or low is None:
        return
    width = len(node.left.schema)
    side, other = int(high[0] >= width), int(low[0] >= width)
    if side == other:
        return
    rows, start = (node.right, width) if other else (node.left, 0)
    line = known.of(rows, low[0] - start)
    if line is not None:
        column = high[0] - (width if side else 0)
        yield Expiry(node, side, column, line, low[1] - high[1])


def _while_asked(
    node: Join, e: Expiry, others: Sequence[Expiry], known: Waterlines
) -> Iterator[Expiry]:
    """`e`, later where rows of the other side are asked again whether they have a partner: as long
    as one of them that this is of may get another, it must be known to have had one. By when all
    of those are over: l.t <= r.t and r.t <= l.t + 2 end them where r.t + 2 is behind its line."""
    asking = {JoinKind.INNER: (), JoinKind.RIGHT: (0,), JoinKind.FULL: (0, 1)}
    if e.input not in asking.get(node.kind, (1,)):
        yield e
        return
    mine, theirs = inputs(node)[e.input], inputs(node)[1 - e.input]
    for other in others:
        if other.input == e.input or known.of(mine, e.column) != other.line:
            continue
        line = least(e.line, other.line)
        if line is not None and known.of(theirs, other.column) == e.line:
            yield replace(e, line=line, shift=-2 * max(0, -e.shift, -other.shift))


def _is_of_use(e: Expiry) -> bool:
    """Whether a value of the line is one of the column, and none can fail: it is not by LATENESS
    that a pipeline has to compute `t - 1` of a line that no row is on."""
    whole = isinstance(e.node, Window | Session | Scan)
    types = (e.node if whole else inputs(e.node)[e.input]).schema.types
    column = types[e.column].with_nullable(False)
    if e.line.schema.types[0].with_nullable(False) != column:
        return False
    below = [e.line]
    while below:
        node = below.pop()
        if any(map(can_fail, expressions(node))):
            return False
        below += inputs(node)
    return True
