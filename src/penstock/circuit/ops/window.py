"""Window functions: every row with what it sees of its partition, kept up to date around changes.

    delta ──► segments: which part of which partition can look different now
                ├─► rows of the segments before ──► values ──► -
                └─► rows of the segments after  ──► values ──► +        the rest cancels out

How far a change is felt depends on the functions (`_Reach`):

    RANGE BETWEEN 5 PRECEDING AND 2 FOLLOWING      order values  x - 2 … x + 5
    ROWS BETWEEN 5 PRECEDING …, LAG(v, 5)          5 rows behind it
    LAG(v, 5) IGNORE NULLS                         5 rows with a v behind it
    anything else                                  the partition

What goes on from row to row, like a rank or a running total, is not here but in `running_window`.

A segment reaches far enough beyond that for the values of the rows that feel a change to be right.
Those nearer to its ends may be wrong, but they are wrong alike before and after, and cancel out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from penstock.circuit.before_after import Both
from penstock.circuit.dense import Ids
from penstock.circuit.expiry import Expiry
from penstock.circuit.node import Node
from penstock.circuit.ordering import RowOrder, Settled
from penstock.circuit.passed import Passed
from penstock.circuit.segments import Changes, Segments, number_few
from penstock.circuit.spec import Order, Told, WindowSpec
from penstock.circuit.windows import BY_ROW, Elements, evaluate, has_copies
from penstock.data.batch import Batch, Column
from penstock.data.consolidate import added_up, consolidate
from penstock.data.gather import concat, take, take_column
from penstock.data.hash import hash_columns, rows_equal
from penstock.data.hash import is_exact as are_hashes
from penstock.data.masks import all_set, positions
from penstock.data.types import FLOATS, Schema, SqlType
from penstock.errors import RuntimeSqlError
from penstock.state.log import is_plain
from penstock.state.lookup import TooManyMatches
from penstock.state.ordered import Fresh, OrderedSpine, is_exact
from penstock.state.parts import Part
from penstock.state.ranges import (
    TOP,
    Places,
    Span,
    beside,
    between,
    counted,
    distances,
    rows_of_spans,
)
from penstock.state.run import KEY_SEED

#: segments, and where their rows are (see `penstock.state.ranges.spans`)
Found = tuple[Segments, Sequence[Span]]

#: rows read beyond those wanted, for the ones that later runs took back
_SLACK = 8
_NONE_OWED = (np.zeros(0, np.int64),) * 2
#: rows of a change that are put in order as they were and as they are at once
_FEW_COME = 16
#: rows of partitions that are read sooner than one looks how far a change is felt
FEW_ROWS = 256


class Window(Node):
    """The input's rows with one more column for each call.

    Reference:   sort each partition by the order, then by all columns; every copy of a row is a
                 row where functions count rows; evaluate the calls.
    Incremental: evaluate them over the segments of the order around the delta, on the rows before
                 and on those after, and emit the difference. Short partitions are one segment.
    State: the input by partition, in order.
    Cost:  O(log n + rows that feel a change); all rows of a touched partition if a function has no
           bounded frame. SQL has none of those that goes there (`Circuit.window`).
    """

    #: whether a few rows of partitions of few rows may be taken in without their places
    takes_whole: ClassVar[bool] = True

    def __init__(
        self,
        source: Node,
        partition: tuple[int, ...],
        order: tuple[Order, ...],
        calls: tuple[WindowSpec, ...],
        schema: Schema,
        told: Told | None = None,
    ) -> None:
        super().__init__(schema, (source,))
        self._told = told
        self._partition = partition
        self._calls = calls
        self._order = RowOrder(len(source.schema), order)
        self._by_row = any(
            c.kind in BY_ROW or (c.frame is not None and c.frame.unit == "ROWS") for c in calls
        )
        self._reach = reach_of(calls, order, source.schema)
        self._sees_rows = isinstance(self._reach, _Rows) and self._reach.rows > 0
        self._rows = self._spine(source.schema)
        #: which rows are in reach of no change any more, by column
        self.expiry = Expiry()
        self._rows.is_over = lambda rows: self.expiry.mask(dict(enumerate(rows.columns)))
        #: which rows are too many rows away from all that may change, by the first column of the
        #: order; None if rows see others however far away
        self.passed: Passed | None = None
        if isinstance(self._reach, _Rows):
            reach, values = self._reach.rows, self._reach.values
            self.passed = Passed(self._rows, partition, self._order, reach, reach, values)

    def _spine(self, schema: Schema) -> OrderedSpine:
        # who counts rows does not ask how far apart their values are
        packed = isinstance(self._reach, _Rows)
        return OrderedSpine(schema, self._partition, self._order.directions, packed=packed)

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        if self.passed is not None:
            self.passed.forget()
            self.passed.note(len(delta))
        is_few = self.takes_whole and len(delta) <= _FEW_COME and self._sees_rows
        if is_few:
            change = self._change_of_whole(delta)
            if change is not None:
                return change
        fresh = self._rows.fresh(delta)
        changes = Changes.of(fresh, self._partition, are_among_many=is_few)
        if not len(changes.at):
            return None
        return self._change(delta, fresh, changes)

    def _change(
        self, delta: Batch, fresh: Fresh, changes: Changes, found: Found | None = None
    ) -> Batch:
        """Take in `delta`, whose rows are in `fresh` and lie where the `changes` are; what it
        changes. `found`: all in reach of that, if it was looked for already."""
        if found is None:
            segments = self._reach.segments(self._rows, self._order, changes)
        else:
            segments = found[0]
        if segments.whole is not None:
            at, old = segments.whole
            among, new = changes.of_row, fresh.run.batch
        else:
            if found is None:
                at, old = between(self._rows, segments.keys, segments.low, segments.high)
            else:
                at, old = rows_of_spans(self._rows, segments.keys, found[1])
            among, new = between(fresh, segments.keys, segments.low, segments.high)
        self._rows.insert(delta, fresh.run)
        now_at, now = np.concatenate((at, among)), concat((old, new))
        if len(now) > FEW_ROWS and not is_plain(delta):
            # what comes in place of rows that go is no tie of theirs to be sorted
            now_at, now = added_up(now_at, now)
        # before and after at once: a small step pays for the calls, not for the rows
        places = np.concatenate((at, now_at + len(segments.low)))
        settled = self._order.settled(places, concat((old, now)))
        self._note(settled, places < len(segments.low))
        return consolidate(self._evaluate(segments, settled))

    def _change_of_whole(self, delta: Batch) -> Batch | None:
        """Take in few rows, if their partitions have few: what that changes, put in order once, and
        nothing gathered but that. None where they have more, and nothing is taken in."""
        assert isinstance(self._reach, _Rows)
        columns = tuple([delta.columns[p] for p in self._partition])
        n = len(delta)
        hashes, of_row, count = None, np.zeros(n, np.int64), 1
        if columns:
            hashes = hash_columns(columns, KEY_SEED, n=n)
            if n > 1:
                first = np.empty(n, np.int64)
                count = number_few(hashes, of_row, first)
                if not are_hashes(columns, columns) and not all_set(
                    rows_equal(columns, first[of_row], columns, np.arange(n))
                ):
                    return None  # keys of one hash
                first = first[:count]
                columns = tuple([take_column(c, first) for c in columns])
                hashes = hashes[first]
        most = FEW_ROWS + 2 * (self._reach.rows + _SLACK) * n
        try:
            places, rows = self._rows.probe(columns, count, hashes, most, (of_row, delta))
        except TooManyMatches:
            return None
        self._rows.insert(delta)
        known = len(places) - n
        order = self._order.order
        both = Both.of(self._order, places, rows, known, count)
        if self._by_row and has_copies(both.weights):
            # of rows that are there more than once each copy has its values
            counted = Batch(rows.schema, take(rows, both.row).columns, both.weights)
            settled = Settled(counted, both.place, both.peer, _NONE_OWED)
            ends = Places(np.zeros(count, np.uint64), np.zeros(count, np.uint64))
            return consolidate(self._evaluate(Segments(columns, ends, ends), settled))
        elements = Elements.at(rows, both.row, both.place, both.peer, both.weights, order)
        values = [self._value(i, elements) for i in range(len(self._calls))]
        at, weights = both.difference(values)
        row = both.row[at]
        own, called = (
            [take_column(c, row) for c in rows.columns],
            [take_column(v, at) for v in values],
        )
        typed = [c.with_type(t) for c, t in zip((*own, *called), self.schema.types, strict=True)]
        return Batch(self.schema, tuple(typed), weights, True)

    def _note(self, found: Settled, was: npt.NDArray[np.bool_]) -> None:
        """These are all rows in reach; of what was settled, some `was` there before the change."""

    def parameters(self) -> tuple[Any, ...]:
        # sums of floats were not exact once: what was emitted is not what would be taken back
        arguments = [(c.kind, t) for c in self._calls for t in self._types(c)]
        is_exact = any(k in ("SUM", "AVG") and t.kind in FLOATS for k, t in arguments)
        return self._partition, self._order.order, self._calls, *(("exact",) if is_exact else ())

    def _types(self, call: WindowSpec) -> list[SqlType]:
        return [self._rows.schema.types[a] for a in call.args]

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._rows}

    def state_rows(self) -> int:
        return len(self._rows)

    def _value(self, call: int, elements: Elements) -> Column:
        try:
            return evaluate(self._calls[call], elements)
        except RuntimeSqlError as error:
            if self._told is None or error.row is None:
                raise
            error.row = int(elements.row[error.row])
            raise self._told(error, call, elements.rows) from error

    def _evaluate(self, segments: Segments, found: Settled) -> Batch:
        """The difference of the rows that may feel the changes, with the calls' values. Those of
        segment i are in place i as they were, and in place i + number of segments as they are."""
        n = len(segments.low)
        elements = Elements.of(found, self._order.order, by_row=self._by_row)
        values = [self._value(i, elements) for i in range(len(self._calls))]
        row = elements.row
        weights = np.where(elements.place < n, -elements.weights, elements.weights)
        if segments.felt is not None:
            low, high = segments.felt
            at, of = Places(*self._rows.words(found.rows)), found.place % n
            outside = at.is_below(low.take(of)) | high.take(of).is_below(at)
            kept = positions(~outside[row])
            row, weights = row[kept], weights[kept]
            values = [take_column(v, kept) for v in values]
        own = found.rows.columns
        if segments.felt is not None or not elements.are_rows:
            own = tuple(take_column(c, row) for c in own)
        columns = (*own, *values)
        typed = (c.with_type(t) for c, t in zip(columns, self.schema.types, strict=True))
        return Batch(self.schema, tuple(typed), weights)


class _Reach(Protocol):
    def segments(self, spine: OrderedSpine, order: RowOrder, changes: Changes) -> Segments:
        """What to evaluate anew after `changes` of the rows in `spine`."""


class _Everywhere:
    """A change is felt in the whole partition; `behind`: only from its peers on, which have the
    same first word, and the same second one if that is the first order column's as well
    (`in_second`)."""

    def __init__(self, *, behind: bool, in_second: bool) -> None:
        self._behind, self._in_second = behind, in_second

    def segments(self, spine: OrderedSpine, order: RowOrder, changes: Changes) -> Segments:
        n = max(1, len(changes.keys[0]) if changes.keys else 1)
        low, high = np.zeros(n, np.uint64), np.full(n, TOP)
        start, end = Places(low, low), Places(high, high)
        if not self._behind:
            return Segments(changes.keys, start, end)
        first = positions(np.append(True, np.diff(changes.key) != 0))
        peers = Places(changes.at.c[first], changes.at.d[first] if self._in_second else low)
        return Segments(changes.keys, start, end, (peers, end))


class _Within:
    """A change is felt `ahead` further in the order and `back` before, in units of the order
    column; `in_second`: its number is a place's second word, the first says whether it is NULL;
    `halved`: its number and that share the first word, which then counts in steps of two units."""

    def __init__(self, back: int, ahead: int, *, in_second: bool, halved: bool) -> None:
        self._back, self._ahead = back, ahead
        self.in_second, self._halved = in_second, halved

    def segments(self, spine: OrderedSpine, order: RowOrder, changes: Changes) -> Segments:
        # what is felt by halves goes up to three units too far, and must see from there
        at, reach = changes.at, self._back + self._ahead + 3 * self._halved
        felt = self._around(at, self._ahead, self._back)
        return Segments.joined(changes, changes.key, *self._around(at, reach, reach), felt)

    @property
    def is_wide(self) -> bool:
        """Whether there may be other rows in reach than peers, as numbers tell."""
        return self._back + self._ahead > 0 and not self._halved

    def felt(self, changes: Changes) -> Segments:
        """Where changes are felt, and no more."""
        low, high = self._around(changes.at, self._ahead, self._back)
        return Segments.joined(changes, changes.key, low, high)

    def _around(self, at: Places, before: int, behind: int) -> tuple[Places, Places]:
        """The first and last place not further from `at` than that."""
        if self._halved:
            before, behind = before // 2 + 1, behind // 2 + 1
        number = at.d if self.in_second else at.c
        before_, behind_ = (np.uint64(min(n, int(TOP))) for n in (before, behind))
        low = np.where(number >= before_, number - before_, np.uint64(0))
        high = np.where(number <= TOP - behind_, number + behind_, TOP)
        if self.in_second:
            return Places(at.c, low), Places(at.c, high)
        return Places(low, np.zeros_like(low)), Places(high, np.full_like(high, TOP))


class _Rows:
    """A change is felt by rows up to `reach` rows away, and they see as far. `values`: columns of
    which as many values count instead of rows."""

    def __init__(self, reach: int, values: tuple[int, ...] = ()) -> None:
        self.rows = self._reach = reach
        self.values = values

    def segments(self, spine: OrderedSpine, order: RowOrder, changes: Changes) -> Segments:
        if not self._reach:
            return Segments.joined(changes, changes.key, changes.at, changes.at)
        n = len(changes.keys[0]) if changes.keys else 1
        most = FEW_ROWS + 2 * (self._reach + _SLACK) * len(changes.at)
        found = None
        if not changes.are_among_many:
            with suppress(TooManyMatches):
                found = spine.probe(changes.keys, n, changes.hashes, most)
        if found is not None:
            ends = Places(np.zeros(n, np.uint64), np.full(n, TOP))
            return Segments(changes.keys, ends, ends, whole=found)
        # changes with fewer rows between them than they reach have one segment
        apart = np.ones(len(changes.key), bool)
        gaps = distances(spine, changes.keys_at(changes.key), changes.at)
        apart[1:] = (changes.key[1:] != changes.key[:-1]) | (gaps[1:] > self._reach)
        first = positions(apart)
        last = np.append(first[1:], len(apart)) - 1
        key = changes.key[first]
        keys = changes.keys_at(key)
        low = self._edge(spine, order, keys, changes.at.take(first), ahead=False)
        high = self._edge(spine, order, keys, changes.at.take(last), ahead=True)
        return Segments.joined(changes, key, low, high)

    def _edge(
        self,
        spine: OrderedSpine,
        order: RowOrder,
        keys: tuple[Column, ...],
        at: Places,
        *,
        ahead: bool,
    ) -> Places:
        """The place `reach` rows ahead of (or before) each of `at`, the end if there are fewer."""
        end = TOP if ahead else np.uint64(0)
        edge = Places(np.full(len(at), end), np.full(len(at), end))
        if not self.values:
            found = counted(spine, keys, at, self._reach, ahead=ahead)
            if found is not None:
                # rows next to a place lie far apart in memory, in each of the columns
                place, there = found
                return Places(np.where(there, place.c, end), np.where(there, place.d, end))
        left = np.arange(len(at))
        width = self._reach + _SLACK
        while len(left):
            mine = tuple(take_column(k, left) for k in keys)
            needle, rows, complete = beside(spine, mine, at.take(left), width, ahead=ahead)
            settled = order.settled(needle, rows)
            row = self._furthest(settled, len(left), ahead=ahead)
            enough = positions(row >= 0)
            c, d = spine.words(settled.rows)
            edge.c[left[enough]], edge.d[left[enough]] = c[row[enough]], d[row[enough]]
            left = left[positions((row < 0) & ~complete)]
            width *= 8
        return edge

    def _furthest(self, found: Settled, places: int, *, ahead: bool) -> Ids:
        """Of each place the row that is as far away as a change is felt, -1 if none is."""
        rows = np.zeros((max(1, len(self.values)), places), np.int64)
        for i, column in enumerate(self.values or (None,)):
            counted = np.arange(len(found.place))
            valid = None if column is None else found.rows.columns[column].valid
            if valid is not None:
                counted = positions(valid)
            count = np.bincount(found.place[counted], minlength=places)
            at = np.cumsum(count) - (count if ahead else 0)
            at += self._reach - 1 if ahead else -self._reach
            is_there = count >= self._reach
            rows[i] = np.where(is_there, np.append(counted, 0)[np.where(is_there, at, -1)], -1)
        furthest: Ids = rows.max(axis=0) if ahead else rows.min(axis=0)
        furthest[(rows < 0).any(axis=0)] = -1
        return furthest


def reach_of(calls: tuple[WindowSpec, ...], order: tuple[Order, ...], schema: Schema) -> _Reach:
    """How far the furthest of `calls` sees and is felt."""
    # the number of a copy depends on its row alone
    kinds = {reach_kind(c) for c in calls if c.kind != "COPY"} or {"ROWS"}
    looks_back = bool(order) and all(map(_looks_back, calls))
    first = schema.types[order[0].column] if order else None
    # a column that may be NULL has a word for that before its own, unless it shares one
    in_second = first is not None and first.nullable and is_exact(first)
    everywhere = _Everywhere(behind=looks_back, in_second=in_second)
    if len(kinds) != 1:
        return everywhere
    (kind,) = kinds
    if kind in ("ROWS", "VALUES"):
        back = ahead = 0
        for call in calls:
            if call.frame is None:
                back = max(back, call.offset if call.kind == "LAG" else 0)
                ahead = max(ahead, call.offset if call.kind == "LEAD" else 0)
            else:
                ends = (call.frame.start or 0, call.frame.end or 0)
                back, ahead = max(back, -min(ends)), max(ahead, *ends)
        return _Rows(back + ahead, tuple(c.args[0] for c in calls if c.ignore_nulls))
    if kind == "RANGE":
        frames = [c.frame for c in calls if c.frame is not None]
        bounds = [b for f in frames for b in (f.start or 0, f.end or 0)]
        halved = first is not None and first.nullable and not in_second
        back, ahead = max(0, -min(bounds)), max(0, *bounds)
        return _Within(back, ahead, in_second=in_second, halved=halved)
    return everywhere


def _looks_back(call: WindowSpec) -> bool:
    """Whether a row sees nothing behind its peers."""
    if call.kind in ("ROW_NUMBER", "RANK", "DENSE_RANK", "LAG"):
        return True
    if call.kind == "FIRST_VALUE" and not call.ignore_nulls:
        return True
    end = None if call.frame is None else call.frame.end
    return call.kind not in ("LEAD", "LAST_VALUE") and end is not None and end <= 0


def reach_kind(call: WindowSpec) -> str:
    """ "ROWS", "RANGE" or (of one argument) "VALUES" if a change is felt within bounds of that
    unit, else "ALL"."""
    if call.kind == "FAR END":
        return "ROWS"
    if call.kind in ("LAG", "LEAD"):
        return "VALUES" if call.ignore_nulls else "ROWS"
    frame = call.frame
    if call.kind in ("FIRST_VALUE", "LAST_VALUE") or frame is None or not frame.is_bounded:
        return "ALL"
    return frame.unit
