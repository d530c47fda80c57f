"""Window functions that are others, looked up elsewhere or computed once more over their results.

    SUM … ROWS  BETWEEN UNBOUNDED PRECEDING AND 5 FOLLOWING    the running SUM of the 5th next row
    SUM … RANGE BETWEEN UNBOUNDED PRECEDING AND 5 PRECEDING    that of the last row that is 5 before
    FIRST_VALUE(x) IGNORE NULLS of the whole partition         the LAST_VALUE of FIRST_VALUE so far
    RANK(), ROW_NUMBER() in one order                          one after the other

A running total costs what it changes, and so does looking it up: no partition is read for a row.
Calls that a row more leaves as they are for its peers (`penstock.circuit.staying`) are an operator
of their own beside others that tell peers apart, as these are all looked at by what computes both.

Not here: the operators (`penstock.circuit.ops`: `running_window`, `window`, `far_end`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from penstock.circuit.expiry import Expiry
from penstock.circuit.node import Node
from penstock.circuit.ops.far_end import FarEnd
from penstock.circuit.ops.frame_totals import FrameTotals, are_looked_up
from penstock.circuit.ops.map import Map
from penstock.circuit.ops.running_window import RunningWindow, is_running
from penstock.circuit.ops.window import Window
from penstock.circuit.recalled import up_to_here
from penstock.circuit.running import asks_for_peers
from penstock.circuit.spec import Frame, Order, Told, WindowSpec
from penstock.circuit.staying import STAYING
from penstock.data.batch import Batch
from penstock.data.types import BIGINT, Field, Schema
from penstock.errors import RuntimeSqlError

_COPY = WindowSpec("COPY", (), BIGINT.with_nullable(False))
_TOTALS = ("COUNT", "SUM", "AVG", "MIN", "MAX")


def window_operators(
    source: Node,
    partition: tuple[int, ...],
    order: tuple[Order, ...],
    calls: tuple[WindowSpec, ...],
    schema: Schema,
    told: Told | None,
) -> tuple[Node, ...]:
    """The operators that compute `calls` over `source`, each from the ones before it."""
    if is_running(calls, order):
        apart = _among_peers(calls, order)
        if apart is not None:
            return _one_by_one(source, partition, order, calls, schema, told, apart)
        return (RunningWindow(source, partition, order, calls, schema, told),)
    if are_whole_edges(calls):
        return _whole_edges(source, partition, order, calls, schema)
    frame = shared_frame(calls, order)
    if frame is None:
        if are_looked_up(calls, order, source.schema):
            return (FrameTotals(source, partition, order, calls, schema, told),)
        return (Window(source, partition, order, calls, schema, told),)
    inner, kept = running_totals(calls, source.schema)
    skipped = len(inner) - len(calls)
    totals = RunningWindow(source, partition, order, inner, kept, _told_later(told, skipped))
    shown = far_ends(calls, kept)
    if frame.unit == "ROWS":
        fields = schema.fields[len(source.schema) :]
        with_totals = Schema((*kept.fields, *fields))
        found = Window(totals, partition, order, shown, with_totals, told)
        return totals, found, _without(found, len(source.schema), schema)
    (key,) = order
    if frame.end is None:
        key = replace(key, descending=not key.descending, nulls_first=not key.nulls_first)
    shift = frame.end if frame.start is None else -frame.start
    assert shift is not None
    return totals, FarEnd(source, totals, partition, key, shift, shown, schema, told)


def _among_peers(calls: Sequence[WindowSpec], order: Sequence[Order]) -> list[int] | None:
    """Those of `calls` that mostly stay as they are for peers, where all others tell peers apart;
    None if there are not both, or it is of no use, as one changes for all peers with each."""
    peers = [i for i, c in enumerate(calls) if asks_for_peers(c)]
    if not order or not 0 < len(peers) < len(calls):
        return None
    return peers if all(calls[i].kind in STAYING for i in peers) else None


def _one_by_one(
    source: Node,
    partition: tuple[int, ...],
    order: tuple[Order, ...],
    calls: tuple[WindowSpec, ...],
    schema: Schema,
    told: Told | None,
    first: Sequence[int],
) -> tuple[Node, ...]:
    """The calls of the numbers `first`, then the others over the rows with those, which are alike
    for peers and so leave them in the same order."""
    width = len(source.schema)
    others = [i for i in range(len(calls)) if i not in first]
    numbers, fields, nodes = [*first, *others], source.schema.fields, [source]
    for some in (first, others):
        fields = (*fields, *(schema.fields[width + i] for i in some))
        mine = tuple(calls[i] for i in some)
        tell = _told_of(told, some)
        nodes.append(RunningWindow(nodes[-1], partition, order, mine, Schema(fields), tell))
    if numbers != sorted(numbers):
        at = [width + numbers.index(i) for i in range(len(calls))]
        nodes.append(_picked(nodes[-1], (*range(width), *at), schema))
    return tuple(nodes[1:])


def _told_of(told: Told | None, some: Sequence[int]) -> Told | None:
    """`told` of calls that are those of the numbers `some`."""
    if told is None:
        return None

    def tell(error: RuntimeSqlError, call: int, rows: Batch) -> Exception:
        return told(error, some[call], rows)

    return tell


def _whole_edges(
    source: Node,
    partition: tuple[int, ...],
    order: tuple[Order, ...],
    calls: tuple[WindowSpec, ...],
    schema: Schema,
) -> tuple[Node, ...]:
    width = len(source.schema)
    kept = Schema((*source.schema.fields, *(Field(f"$edge{i}", c.result) for i, c in _each(calls))))
    first = RunningWindow(source, partition, order, tuple(map(so_far, calls)), kept)
    shown = tuple(in_all_rows(c, width + i) for i, c in _each(calls))
    fields = schema.fields[width:]
    last = RunningWindow(first, partition, order, shown, Schema((*kept.fields, *fields)))
    return first, last, _without(last, width, schema)


def _each(calls: tuple[WindowSpec, ...]) -> Iterator[tuple[int, WindowSpec]]:
    return iter(enumerate(calls))


def _without(found: Node, width: int, schema: Schema) -> Map:
    """The rows without what is between the first `width` columns and the calls."""
    skipped = len(found.schema) - len(schema)
    kept = tuple(i for i in range(len(found.schema)) if not width <= i < width + skipped)
    return _picked(found, kept, schema)


def _picked(found: Node, kept: tuple[int, ...], schema: Schema) -> Map:
    """The rows with the columns `kept`."""

    def pick(rows: Batch) -> Batch:
        return rows.select(kept, schema)

    return Map(found, pick, schema, ("columns", kept))


def _told_later(told: Told | None, skipped: int) -> Told | None:
    """`told` of calls that come behind `skipped` others."""
    if told is None:
        return None

    def tell(error: RuntimeSqlError, call: int, rows: Batch) -> Exception:
        return told(error, call - skipped, rows)

    return tell


def expiries_of(nodes: Sequence[Node], column: int) -> Iterator[tuple[Expiry, int]]:
    """What each of a window's operators forgets by a column of the rows (or, where there is one
    operator, of what it emits), and by which of its own columns."""
    for node in nodes:
        if isinstance(node, Window):
            yield node.expiry, column
        elif isinstance(node, RunningWindow):
            yield node.expiry, node.kept_column(column)
        elif isinstance(node, FarEnd):
            yield from node.expiries_by(column)


def passed_of(nodes: Sequence[Node], column: int) -> Iterator[tuple[Expiry, int, int]]:
    """The same of rows behind the line of `column`, the first of the order, but for those nearest
    to it; with how far from the line."""
    for node in nodes:
        if isinstance(node, FarEnd):
            yield from node.passed_by(column)
        elif isinstance(node, Window | RunningWindow):
            if node.passed is None:
                return  # and what it emits may change behind the line
            yield node.passed.expiry, column, 0


def shared_frame(calls: Sequence[WindowSpec], order: Sequence[Order]) -> Frame | None:
    """The frame of `calls` where that is one for all, open at one end and ending elsewhere than
    with the row at the other; None if they are not totals over such a frame."""
    frame = calls[0].frame
    if frame is None or any(c.frame != frame or c.kind not in _TOTALS for c in calls):
        return None
    bound = frame.end if frame.start is None else frame.start
    is_open = frame.start is None or frame.end is None
    if not is_open or not bound or (frame.unit == "RANGE" and len(order) != 1):
        return None
    return frame


def running_totals(
    calls: Sequence[WindowSpec], rows: Schema
) -> tuple[tuple[WindowSpec, ...], Schema]:
    """The totals up to each row (or from it on) that `calls` look up, and the rows with them. Rows
    of frames that count rows come with the number of their copy, which keeps them in order."""
    by_row = calls[0].frame is not None and calls[0].frame.unit == "ROWS"
    inner = (*((_COPY,) if by_row else ()), *map(up_to_here, calls))
    fields = (Field(f"${c.kind.lower()}{i}", c.result) for i, c in enumerate(inner))
    return inner, Schema((*rows.fields, *fields))


def far_ends(calls: Sequence[WindowSpec], totals: Schema) -> tuple[WindowSpec, ...]:
    """What shows `calls`, over rows with their totals."""
    first = len(totals) - len(calls)
    return tuple(replace(c, kind="FAR END", args=(first + i,)) for i, c in enumerate(calls))


def are_whole_edges(calls: Sequence[WindowSpec]) -> bool:
    """Whether all are the first or last value there is, of those that are not NULL, in the whole
    partition."""
    return len({c.kind for c in calls}) == 1 and all(
        c.kind in ("FIRST_VALUE", "LAST_VALUE")
        and c.ignore_nulls
        and c.frame is not None
        and c.frame.start is c.frame.end is None
        for c in calls
    )


def so_far(call: WindowSpec) -> WindowSpec:
    """One of those up to each row, or from it on: in the last row, or the first, it is the whole
    partition's."""
    ends = (None, 0) if call.kind == "FIRST_VALUE" else (0, None)
    return replace(call, frame=Frame("ROWS", *ends))


def in_all_rows(call: WindowSpec, column: int) -> WindowSpec:
    """What shows it in every row, from `column`."""
    kind = "LAST_VALUE" if call.kind == "FIRST_VALUE" else "FIRST_VALUE"
    return replace(call, kind=kind, args=(column,), ignore_nulls=False)
