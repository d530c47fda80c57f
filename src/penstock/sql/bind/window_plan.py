"""Windowed placeholders of one SELECT → nodes that compute them, and columns in their place.

    SELECT x, RANK() OVER w, LAG(x) OVER w, SUM(x) OVER (PARTITION BY p) …

      Join inner on p <=> p          SUM of the whole partition is its aggregate
        Window … LAG                 what a change reaches differs: RANK the rows behind it,
          Window … RANK              LAG its neighbour, so they are nodes of their own
            Project [x, p, o]        ties are broken by all columns: only those that are used

Where several nodes tell copies of a row apart, the first of them numbers those (COPY), so that the
others have them in the same order.

Not here: the calls themselves (`windows`), frames that are joins (`far_frames`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from penstock.data.types import BIGINT, Field, Schema
from penstock.functions.aggregates import resolve_aggregate
from penstock.plan.expressions import Expr, InputRef, Literal
from penstock.plan.nodes import (
    AggCall,
    Aggregate,
    Join,
    JoinKind,
    Project,
    SortKey,
    Window,
    WindowCall,
)
from penstock.sql.bind import build
from penstock.sql.bind.far_frames import is_far, join_frames
from penstock.sql.bind.forms import Windowed, descend, has
from penstock.sql.bind.frame import Frame

_EVERYTHING = "everything"
_COUNT = BIGINT.with_nullable(False)


def place_windows(frame: Frame, exprs: Sequence[Expr]) -> list[Expr]:
    """Add the columns of the window functions in `exprs` to `frame`; `exprs` over it."""
    found: dict[Windowed, None] = {}
    for e in exprs:
        _collect(e, found)
    if not found:
        return list(exprs)
    moves = _narrow(frame, [*exprs, *(x for call in found for x in _read_by(call))])
    calls = [_moved(call, moves) for call in found]
    read = [x for call in calls for x in _read_by(call)]
    at = frame.add(read, "$w")
    # what a window is over and an item computes as well is computed once
    computed = {x: i for x, i in zip(read, at, strict=True) if not isinstance(x, Literal)}
    columns = iter(at)
    positions = [[next(columns) for _ in _read_by(call)] for call in calls]
    places: dict[Windowed, int] = {}
    groups = _groups(calls)
    numbering = _numbering(calls, groups)
    for group in sorted(groups, key=lambda group: group not in numbering):
        reads = [positions[i] for i in group]
        start = frame.width
        if _is_whole(calls[group[0]]):
            start += _join_aggregates(frame, [calls[i] for i in group], reads)
        elif is_far(calls[group[0]]):
            start += join_frames(frame, [calls[i] for i in group], reads)
        else:
            _window(frame, [calls[i] for i in group], reads, numbers=group in numbering)
            start += group in numbering
        for offset, i in enumerate(group):
            places[calls[i]] = start + offset

    def rule(x: Expr) -> Expr | None:
        if isinstance(x, Windowed):
            return replace(frame.column(places[_moved(x, moves)]), span=x.span)
        if isinstance(x, InputRef):
            return replace(x, index=moves[x.index])
        found = None if has(x, Windowed) else computed.get(_remapped(x, moves))
        return None if found is None else replace(frame.column(found), span=x.span)

    return [descend(e, rule) for e in exprs]


def _collect(e: Expr, into: dict[Windowed, None]) -> None:
    def note(x: Expr) -> Expr | None:
        if isinstance(x, Windowed):
            into.setdefault(x)
            return x
        return None

    descend(e, note)


def _read_by(call: Windowed) -> tuple[Expr, ...]:
    return (*call.args, *call.partition, *(key for key, _, _ in call.order))


def _narrow(frame: Frame, exprs: Iterable[Expr]) -> dict[int, int]:
    """Keep the columns that `exprs` read; where they are now."""
    used = sorted({c for e in exprs for c in _read_outside(e)})
    kept: tuple[Expr, ...] = tuple(frame.column(c) for c in used)
    fields = tuple(frame.node.schema.fields[c] for c in used)
    if not used:  # ROW_NUMBER() OVER () numbers rows of something
        kept, fields = (build.TRUE,), (Field("$row", build.TRUE.type),)
    frame.node = Project(Schema(fields), frame.node, kept)
    return {c: i for i, c in enumerate(used)}


def _read_outside(e: Expr) -> set[int]:
    """The columns that `e` reads outside of window functions, in its sub-queries as well."""
    found: set[int] = set()

    def note(x: Expr) -> Expr | None:
        if isinstance(x, InputRef):
            found.add(x.index)
        return x if isinstance(x, InputRef | Windowed) else None

    descend(e, note)
    return found


def _remapped(e: Expr, moves: dict[int, int]) -> Expr:
    def rule(x: Expr) -> Expr | None:
        return replace(x, index=moves[x.index]) if isinstance(x, InputRef) else None

    return descend(e, rule)


def _moved(call: Windowed, moves: dict[int, int]) -> Windowed:
    moved = _remapped(call, moves)
    assert isinstance(moved, Windowed)
    return moved


def _groups(calls: Sequence[Windowed]) -> list[list[int]]:
    """Calls that one node computes: over the same rows, in the same order, reaching alike."""
    groups: dict[object, list[int]] = {}
    for i, call in enumerate(calls):
        order = () if _is_whole(call) else call.order
        groups.setdefault((call.partition, order, _reach(call)), []).append(i)
    return list(groups.values())


def _numbering(calls: Sequence[Windowed], groups: Sequence[list[int]]) -> list[list[int]]:
    """The groups that number the copies of a row, of those over the same order that tell them
    apart: the rank that a filter may bound is not among them."""
    by_order: dict[object, list[list[int]]] = {}
    for group in groups:
        first = calls[group[0]]
        if not (_is_whole(first) or is_far(first)) and any(
            _call(calls[i], []).by_row for i in group
        ):
            by_order.setdefault((first.partition, first.order), []).append(group)
    ranks = [i for i, call in enumerate(calls) if call.kind in ("ROW_NUMBER", "RANK", "DENSE_RANK")]
    return [
        min(of_order, key=lambda group: any(i in ranks for i in group))
        for of_order in by_order.values()
        if len(of_order) > 1
    ]


def _reach(call: Windowed) -> str:
    if _is_whole(call):
        return _EVERYTHING
    if call.kind in ("LAG", "LEAD"):
        # values before the row, or behind it: each goes on from one end
        return f"{call.kind} IGNORE NULLS" if call.ignore_nulls else "ROWS"
    frame = call.frame
    if frame is None:
        return "back"
    if is_far(call):
        return f"{frame.start} to {frame.end}"
    if frame.start is not None and frame.end is not None:
        return frame.unit
    if frame.start is frame.end is None:
        # what all rows see is the first row's, or the last one's
        if call.ignore_nulls:
            return f"{call.kind} IGNORE NULLS"
        return "back" if call.kind == "FIRST_VALUE" else "ahead"
    # up to the row, and from the row on: each goes on from one end of the partition
    if frame.start is None:
        return "back" if frame.end == 0 else f"{frame.unit} back to {frame.end}"
    return "ahead" if frame.start == 0 else f"{frame.unit} ahead from {frame.start}"


def _is_whole(call: Windowed) -> bool:
    """Whether it is an aggregate of the whole partition."""
    is_open = call.frame is not None and call.frame.start is call.frame.end is None
    return is_open and call.kind not in ("FIRST_VALUE", "LAST_VALUE")


def _window(
    frame: Frame, calls: Sequence[Windowed], reads: Sequence[list[int]], *, numbers: bool
) -> None:
    first, columns = calls[0], reads[0]
    split = len(first.args) + len(first.partition)
    order = zip(columns[split:], first.order, strict=True)
    fields = tuple(Field(f"$window{i}", call.type) for i, call in enumerate(calls))
    copy = (WindowCall("COPY", (), _COUNT),) if numbers else ()
    fields = (*(Field("$copy", c.result) for c in copy), *fields)
    frame.node = Window(
        Schema((*frame.node.schema.fields, *fields)),
        frame.node,
        tuple(columns[len(first.args) : split]),
        tuple(SortKey(c, down, nulls_first) for c, (_, down, nulls_first) in order),
        (*copy, *(_call(call, at) for call, at in zip(calls, reads, strict=True))),
        span=first.span,
    )


def _call(call: Windowed, reads: list[int]) -> WindowCall:
    args = tuple(reads[: len(call.args)])
    return WindowCall(call.kind, args, call.type, call.frame, call.offset, call.ignore_nulls)


def _join_aggregates(frame: Frame, calls: Sequence[Windowed], reads: Sequence[list[int]]) -> int:
    """Every row beside the aggregates of its partition; how many columns come before those."""
    first = calls[0]
    keys = reads[0][len(first.args) : len(first.args) + len(first.partition)]
    node = frame.node
    aggregates = tuple(
        AggCall(
            replace(resolve_aggregate(c.kind, [a.type for a in c.args]), result=c.type),
            tuple(at[: len(c.args)]),
        )
        for c, at in zip(calls, reads, strict=True)
    )
    fields = [node.schema.fields[k] for k in keys]
    fields += [Field(f"$window{i}", c.type) for i, c in enumerate(calls)]
    grouped = Aggregate(Schema(tuple(fields)), node, tuple(keys), aggregates, span=first.span)
    pairs = tuple((k, i) for i, k in enumerate(keys))
    schema = Schema((*node.schema.fields, *fields))
    safe = (True,) * len(pairs)
    frame.node = Join(schema, JoinKind.INNER, node, grouped, pairs, safe, span=first.span)
    return len(keys)
