"""Totals over frames that are bounded at both ends and may be wide.

    SUM(x) OVER (… ROWS BETWEEN 10000 PRECEDING AND CURRENT ROW), a row comes last

    rows         5  7 │ 3 ░░░░░░░░░░░░░░░░░░░░░░ 4 │ 8        8 is all that feels the change
    read              │ 3                          │ 8        and what its frame begins with
    not read               one total, as if of one row        (`penstock.circuit.totals`)

Read are the rows that feel a change, and those that the frames of the first to the last of them
begin and end with: about as many. What lies between is one total, or one least value
(`penstock.circuit.extremes`). Where frames of RANGE begin or end among many more, as at very many
rows of one time, each frame is a total of its own.

    times     3 ░░░░░░  4 ░░░░░░░  5 ░░░░     a row comes at 3: MAX up to 1 before is what it was
    MAX       9 = 9     9 = 9      7          at 3 and at 4, so that only the row itself is new

Of very many rows of few times (`_Times`) it is asked for each time what its rows have before and
after, and they are read where that is not the same.

Where that is not worth it, everything is read (`window`): rows in reach of a change are few, or a
row is there less than zero times, so that a difference of totals is not the total of what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids
from penstock.circuit.float_frames import FloatSums, floats_of
from penstock.circuit.frames import frame_totals
from penstock.circuit.moments import wide_values
from penstock.circuit.node import Node
from penstock.circuit.ops.window import Found, Window, _Rows, _Within, reach_of
from penstock.circuit.ordering import Settled
from penstock.circuit.segments import Changes, Segments
from penstock.circuit.spec import Frame, Order, Told, WindowSpec
from penstock.circuit.totals import SummedSpine, Sums, Totals
from penstock.circuit.wide import add_wide
from penstock.circuit.windows import exact_sums, extreme, float_sums, with_nulls
from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch
from penstock.data.consolidate import added_up, consolidate
from penstock.data.gather import concat, concat_columns, filter_batch, take_column
from penstock.data.hash import rows_equal
from penstock.data.masks import positions
from penstock.data.types import FLOATS, Schema
from penstock.errors import RuntimeSqlError
from penstock.state.ordered import Fresh, OrderedSpine
from penstock.state.ranges import TOP, Places, between, moved, rows_between, search, spans
from penstock.state.tied import copies_of, words_between

#: rows in reach of changes that are read sooner than a total is looked up, by how many of them
#: feel the changes
FEW, TIMES = 4096, 4
#: rows that feel a change, for each of their times, before it is asked what these have
MANY = 64
#: rows that are read in the time that it takes to look up the frame of one
_ALONE = 8
#: rows that frames of ROWS reach at least, to be looked up
WIDE = 512
EXTREMES = frozenset(("MIN", "MAX"))
#: places that tell how many rows there are at all of them
_SAMPLE = 64
#: farther than any row
_FAR = 1 << 60
#: parts of partitions: whose, from where, up to where
_Range = tuple[Ids, Places, Places]
_SIDES: tuple[Literal["left"], Literal["right"]] = "left", "right"


class FrameTotals(Window):
    """The input's rows with one more column for each call: totals and extremes over bounded frames.

    Reference:   as of `penstock.circuit.ops.window`.
    Incremental: rows that feel the delta, with the totals of their frames before it and after it.
    State: the input by partition, in order; how many rows are owed.
    Cost:  O(log n) a change and the rows that feel one; where `window` costs less, that. All rows
           in whose frames a change is feel it: their total is another, and their MAX may be. Where
           these are many more than their times, O(log n) a time and the rows whose values change:
           all of a time whose COUNT, SUM or AVG is another, or whose MAX is; of a NULL that comes,
           a row in place of another or one below the MAX it is only that row.
    """

    scalars = (*Window.scalars, "owed")

    #: it looks at what is owed, and at totals
    takes_whole = False

    def __init__(
        self,
        source: Node,
        partition: tuple[int, ...],
        order: tuple[Order, ...],
        calls: tuple[WindowSpec, ...],
        schema: Schema,
        told: Told | None = None,
    ) -> None:
        # what is added up or counted, each column once
        added = [c for c in calls if c.args and c.kind not in EXTREMES]
        self._summed = tuple(sorted({(c.args[0], c.kind != "COUNT") for c in added}))
        self._extremes = tuple(
            sorted({(c.args[0], c.kind == "MAX") for c in calls if c.kind in EXTREMES})
        )
        super().__init__(source, partition, order, calls, schema, told)
        #: how often rows are there less than zero times
        self.owed = 0
        frames = [c.frame for c in calls if c.frame is not None]
        ends = {e for f in frames for e in (f.start, f.end) if e is not None}
        #: where the rows begin that are read, counted from those that feel a change
        self._ends = sorted({0, *ends})

    def _spine(self, schema: Schema) -> OrderedSpine:
        directions = self._order.directions
        return SummedSpine(schema, self._partition, directions, self._summed, self._extremes)

    def _change(
        self, delta: Batch, fresh: Fresh, changes: Changes, found: Found | None = None
    ) -> Batch:
        felt, wide = (None, found) if self.owed else self._felt(changes, fresh)
        if isinstance(felt, _Times):
            if not self._owes(fresh):
                return self._change_of_times(felt, delta, fresh)
            felt = None
        if felt is not None:
            at, old = between(self._rows, felt.keys, felt.low, felt.high)
            among, new = between(fresh, felt.keys, felt.low, felt.high)
            after = self._order.settled(np.concatenate((at, among)), concat((old, new)))
            if not len(after.owed[0]):
                before = self._looked_up(felt, self._order.settled(at, old))
                self._rows.insert(delta, fresh.run)
                come = self._looked_up(felt, after)
                gone = Batch(before.schema, before.columns, -before.weights)
                return consolidate(concat((gone, come)))
        return super()._change(delta, fresh, changes, wide)

    def _note(self, found: Settled, was: npt.NDArray[np.bool_]) -> None:
        at, owed = found.owed
        self.owed -= int(np.where(was[at], -owed, owed).sum())

    # which rows feel a change

    def _felt(
        self, changes: Changes, fresh: Fresh
    ) -> tuple[Segments | _Times | None, Found | None]:
        """(where, or None if all in reach of it is to be read; that, where it was looked for)."""
        assert isinstance(self._rows, SummedSpine)
        reach = self._reach
        wide: Found | None = None
        if isinstance(reach, _Within):
            segments = reach.segments(self._rows, self._order, changes)
            assert segments.felt is not None
            wide = segments, spans(self._rows, segments.keys, segments.low, segments.high)
            rows = sum(int((last - first).sum()) for _, first, last in wide[1])
            if rows < FEW:
                return None, wide
            felt = reach.felt(changes)
            mine = self._rows_in(felt)
            if (times := self._times_in(changes, felt, mine, fresh)) is not None:
                return times, wide
            if rows < TIMES * mine:
                return None, wide
        totals = self._totals(changes.keys, int(changes.key[-1]) + 1)
        if totals.is_unsure:
            return None, wide
        return (self._rows_that_feel(changes, totals) if wide is None else felt), wide

    def _times_in(self, changes: Changes, felt: Segments, rows: int, fresh: Fresh) -> _Times | None:
        """The times that feel a change, about as many `rows`; None where these are not many more
        than those, or keys may be others than their hashes."""
        most = rows // MANY
        if not most or self._totals(changes.keys, int(changes.key[-1]) + 1).is_unsure:
            return None
        assert isinstance(self._reach, _Within)
        in_second = self._reach.in_second
        both = self._rows, fresh
        found = words_between(both, felt.keys, felt.low, felt.high, most, in_second=in_second)
        if found is None or len(found[0]) > most:
            return None
        of, word = found
        if not in_second:
            return _Times(felt.keys, of, word, word, np.zeros(len(of), bool))
        group = felt.low.c[of]
        (key,) = self._order.order
        return _Times(felt.keys, of, word, group, group != np.uint64(key.nulls_first))

    def _owes(self, fresh: Fresh) -> bool:
        """Whether more is taken back of a row than there is."""
        less = positions(fresh.run.batch.weights < 0)
        gone = fresh.run.only(less)
        return bool((copies_of(self._rows, gone) + gone.batch.weights < 0).any())

    def _rows_in(self, felt: Segments) -> int:
        """About how many rows there are: searches in long partitions cost as much as rows do, so
        that some of many segments have to tell."""
        n = len(felt.low)
        at = np.arange(0, n, max(1, n // _SAMPLE))
        keys = tuple(take_column(k, at) for k in felt.keys)
        rows = rows_between(self._rows, keys, felt.low.take(at), felt.high.take(at))
        return int(rows.sum()) * n // max(1, len(at))

    def _totals(self, keys: tuple[Column, ...], n: int) -> Totals:
        assert isinstance(self._rows, SummedSpine)
        return self._rows.totals(keys, n)

    def _rows_that_feel(self, changes: Changes, totals: Totals) -> Segments | None:
        """Of frames that count rows. None if it is not worth it."""
        back, ahead = max(0, -self._ends[0]), max(0, self._ends[-1])
        key, at = changes.key, changes.at
        below = totals.rank(key, at, behind=False)
        up_to = totals.rank(key, at, behind=True)
        apart = np.ones(len(key), bool)
        apart[1:] = (key[1:] != key[:-1]) | (below[1:] - up_to[:-1] > back + ahead)
        first = positions(apart)
        last = np.append(first[1:], len(apart)) - 1
        low, high, key = at.take(first), at.take(last), key[first]
        if ahead:
            low = totals.place_of(key, np.maximum(below[first] - ahead, -1))
        if back:
            high = totals.place_of(key, up_to[last] + back - 1)
        felt = Segments.joined(changes, key, low, high)
        rows = int(rows_between(self._rows, felt.keys, felt.low, felt.high).sum())
        wide = rows + len(felt.low) * (back + ahead)
        return None if wide < TIMES * rows else felt

    # their values

    def _looked_up(self, felt: Segments, found: Settled) -> Batch:
        """The rows found where changes are felt, with the calls' values as of now."""
        if not len(found.place):
            return empty_batch(self.schema)
        which, of = np.unique(found.place, return_inverse=True)
        keys, n = tuple(take_column(k, which) for k in felt.keys), len(which)
        totals = self._totals(keys, n)
        c, d = self._rows.words(found.rows)
        first, last = (np.searchsorted(of, np.arange(n), side) for side in _SIDES)
        low, high = Places(c[first], d[first]), Places(c[last - 1], d[last - 1])
        if isinstance(self._reach, _Within) and not self._reach.in_second:
            low.d[:], high.d[:] = 0, TOP
        parts = self._parts(totals, low, high, np.bincount(of, found.rows.weights).astype(np.int64))
        if isinstance(self._reach, _Within):
            mine = tuple(take_column(k, parts.of) for k in keys)
            beside = int(rows_between(self._rows, mine, parts.low, parts.high).sum())
            if beside > TIMES * _ALONE * len(found.rows):
                return self._each_looked_up(found.rows, of, totals)
        at, more = between(
            self._rows, tuple(take_column(k, parts.of) for k in keys), parts.low, parts.high
        )
        place = np.concatenate((of, parts.of[at]))
        whole = self._order.settled(place, concat((found.rows, more)))
        line = _Line.of(self._rows, whole, parts, totals, by_row=self._by_row)
        is_below = line.places.is_below(low.take(line.place))
        is_felt = ~(is_below | high.take(line.place).is_below(line.places))
        shown = positions(is_felt[line.own])
        values = [
            self._extreme(c, line, whole.rows, shown, totals)
            if c.kind in EXTREMES
            else self._total(i, line, whole.rows, shown)
            for i, c in enumerate(self._calls)
        ]
        row = line.row[shown]
        columns = [take_column(c, row) for c in whole.rows.columns] + values
        typed = (c.with_type(t) for c, t in zip(columns, self.schema.types, strict=True))
        weights = np.ones(len(row), np.int64) if self._by_row else whole.rows.weights[row]
        return Batch(self.schema, tuple(typed), weights)

    def _change_of_times(self, times: _Times, delta: Batch, fresh: Fresh) -> Batch:
        """Take in `delta`, which `times` feel; what it changes."""
        keys = tuple(take_column(k, times.of) for k in times.keys)
        assert isinstance(self._reach, _Within)
        low, high = times.places(in_second=self._reach.in_second)
        then, was = self._values_of_times(times, low, high)
        self._rows.insert(delta, fresh.run)
        now, values = self._values_of_times(times, low, high)
        same = (then >= 0) & (now >= 0)
        at = positions(same)
        same[at] = rows_equal(was, then[at], values, now[at]) != 0
        # where nothing changes but what comes and goes
        mine, own = between(fresh, keys, low, high)
        stays = same[mine]
        parts = [self._beside(filter_batch(own, stays), values, now[mine[stays]], 1)]
        other = positions(~same)
        if len(other):
            chosen = tuple(take_column(k, other) for k in keys)
            place, rows = between(self._rows, chosen, low.take(other), high.take(other))
            place = other[place]
            changed = filter_batch(own, ~stays)
            less = Batch(changed.schema, changed.columns, -changed.weights)
            before = added_up(np.concatenate((place, mine[~stays])), concat((rows, less)))
            place, rows = added_up(place, rows)
            parts.append(self._beside(before[1], was, then[before[0]], -1))
            parts.append(self._beside(rows, values, now[place], 1))
        return consolidate(concat(parts))

    def _values_of_times(
        self, times: _Times, low: Places, high: Places
    ) -> tuple[Ids, tuple[Column, ...]]:
        """(the position of each time's values, -1 without rows; the calls' values as of now)."""
        totals = self._totals(times.keys, int(times.of[-1]) + 1)
        there = positions(totals.between(times.of, low, high).rows)
        at = np.full(len(times.of), -1)
        at[there] = np.arange(len(there))

        def rows_of(which: int) -> Batch:
            one = there[which : which + 1]
            key = tuple(take_column(k, times.of[one]) for k in times.keys)
            found = between(self._rows, key, low.take(one), high.take(one))
            return self._order.settled(*found).rows

        of, places, is_null = times.of[there], low.take(there), times.is_null[there]
        return at, self._values_at(of, places, is_null, totals, lambda i: (rows_of(i), 0))

    def _beside(self, rows: Batch, values: Sequence[Column], at: Ids, sign: int) -> Batch:
        """`rows`, `sign` times as often, with the values `at`."""
        columns = (*rows.columns, *(take_column(v, at) for v in values))
        typed = (c.with_type(t) for c, t in zip(columns, self.schema.types, strict=True))
        return Batch(self.schema, tuple(typed), sign * rows.weights)

    def _each_looked_up(self, rows: Batch, of: Ids, totals: Totals) -> Batch:
        """`rows`, each of partition of[i], with the calls' values as of now."""
        valid = rows.columns[self._order.order[0].column].valid
        is_null = np.zeros(len(rows), bool) if valid is None else valid == 0
        places = Places(*self._rows.words(rows))
        values = self._values_at(of, places, is_null, totals, lambda i: (rows, i))
        return self._beside(rows, values, np.arange(len(rows)), 1)

    def _values_at(
        self, of: Ids, places: Places, is_null: npt.NDArray[np.bool_], totals: Totals,
        row_of: Callable[[int], tuple[Batch, int]],
    ) -> tuple[Column, ...]:  # fmt: skip
        """The calls' values as of now of rows at `places` of partitions `of`, of which some have no
        order value. `row_of`: where the row at one of the places is, of which is told what does
        not fit."""
        values: list[Column] = []
        for i, call in enumerate(self._calls):
            assert call.frame is not None
            low, high = self._frame_places(call.frame, places, is_null)
            if call.kind in EXTREMES:
                which = self._extremes.index((call.args[0], call.kind == "MAX"))
                values.append(with_nulls(totals.extreme(of, low, high, which), call))
                continue
            sums = totals.between(of, low, high)
            counts, each = sums.rows, np.arange(len(of))
            if call.args:
                which = self._summed.index((call.args[0], call.kind != "COUNT"))
                counts = sums.counts[which]
            if call.kind == "COUNT":
                values.append(Column(call.result, counts))
                continue
            floats = sums.floats[which]
            if floats is not None:
                values.append(float_sums(call, each, each + 1, floats, counts))
                continue
            try:
                values.append(exact_sums(call, sums.sums[which], counts))
            except RuntimeSqlError as error:
                if self._told is None or error.row is None:
                    raise
                rows, error.row = row_of(error.row)
                raise self._told(error, i, rows) from error
        return tuple(values)

    def _frame_places(
        self, frame: Frame, places: Places, is_null: npt.NDArray[np.bool_]
    ) -> tuple[Places, Places]:
        """Where the frame of a row at each place begins and ends; of nothing the end is before the
        begin."""
        assert frame.start is not None and frame.end is not None
        assert isinstance(self._reach, _Within)
        c, number = places.c, places.d if self._reach.in_second else places.c
        begin, is_beyond = moved(number, frame.start)
        stop, is_before = moved(number, frame.end)
        # NULLs see each other, and nothing else has their first word
        begin, stop = np.where(is_null, np.uint64(0), begin), np.where(is_null, TOP, stop)
        if self._reach.in_second:
            low, high = Places(c.copy(), begin), Places(c.copy(), stop)
        else:
            low, high = Places(begin, np.zeros_like(begin)), Places(stop, np.full_like(stop, TOP))
        nothing = (is_beyond & (frame.start > 0)) | (is_before & (frame.end < 0))
        nothing &= ~is_null
        low.c[nothing] = low.d[nothing] = TOP
        high.c[nothing] = high.d[nothing] = 0
        return low, high

    def _parts(self, totals: Totals, low: Places, high: Places, rows: Ids) -> _Parts:
        """What is read, and what is not, for frames of rows from `low` to `high`, so many."""
        n = len(low)
        of, none = np.arange(n), np.zeros(0, np.int64)
        # a frame of the row itself reads nothing besides
        read: list[_Range] = [(none, low.take(none), high.take(none))]
        skipped: list[_Range] = []
        begin = totals.rank(of, low, behind=False) if self._by_row else rows
        end, has_end = Places(np.zeros(n, np.uint64), np.zeros(n, np.uint64)), np.zeros(n, bool)
        for by in self._ends:
            if not by:
                first, last, there = low, high, np.ones(n, bool)
            else:
                first, last = self._moved(totals, low, high, begin, rows, by)
                if by < 0:  # what is felt is there already
                    meets = ~last.is_below(low)
                    there = ~(meets & (low.c == 0) & (low.d == 0))
                    last = _chosen(meets, _previous(low), last)
                else:
                    meets = has_end & ~end.is_below(first)
                    there = ~(meets & (end.c == TOP) & (end.d == TOP))
                    first = _chosen(meets, _next(end), first)
            if by < 0:
                meets = has_end & ~end.is_below(first)
                first = _chosen(meets, _next(end), first)
            there &= ~last.is_below(first)
            at = positions(there & has_end & _next(end).is_below(first))
            skipped.append((at, _next(end).take(at), _previous(first).take(at)))
            if by:
                at = positions(there)
                read.append((at, first.take(at), last.take(at)))
            end, has_end = _chosen(there, last, end), has_end | there
        return _Parts(*_joined(read), *_joined(skipped))

    def _moved(
        self, totals: Totals, low: Places, high: Places, begin: Ids, rows: Ids, by: int
    ) -> tuple[Places, Places]:
        """Where frames of all rows from `low` to `high` begin or end."""
        if self._by_row:
            by = max(-_FAR, min(_FAR, by))
            of = np.arange(len(low))
            first, last = begin + by, begin + rows - 1 + by
            first = np.where(last < 0, -1, np.maximum(first, 0))
            ends = totals.place_of(np.concatenate((of, of)), np.concatenate((first, last)))
            return ends.take(of), ends.take(of + len(of))
        assert isinstance(self._reach, _Within)
        if self._reach.in_second:
            return Places(low.c, moved(low.d, by)[0]), Places(high.c, moved(high.d, by)[0])
        return Places(moved(low.c, by)[0], low.d), Places(moved(high.c, by)[0], high.d)

    def _frames(self, frame: Frame, line: _Line, rows: Batch, shown: Ids) -> tuple[Ids, Ids]:
        """(lo, hi) of the elements `shown`, in the line."""
        assert frame.start is not None and frame.end is not None
        at = line.own[shown]
        first, stop = line.first[line.place[at]], line.stop[line.place[at]]
        if self._by_row:
            start, end = (max(-_FAR, min(_FAR, b)) for b in (frame.start, frame.end))
            here = line.before[at]
            lo = np.clip(np.searchsorted(line.before, here + start, "left"), first, stop)
            hi = np.clip(np.searchsorted(line.before, here + end, "right"), first, stop)
            return lo, np.maximum(lo, hi)
        assert isinstance(self._reach, _Within)
        places = line.places.take(at)
        code = places.d if self._reach.in_second else places.c
        low, is_beyond = moved(code, frame.start)
        high, is_before = moved(code, frame.end)
        lo, hi = np.empty(len(at), np.int64), np.empty(len(at), np.int64)
        c, d = line.places.c, line.places.d
        if self._reach.in_second:
            search(c, d, first, stop, places.c, low, False, lo)
            search(c, d, first, stop, places.c, high, True, hi)
        else:
            search(c, d, first, stop, low, np.zeros_like(low), False, lo)
            search(c, d, first, stop, high, np.full_like(high, TOP), True, hi)
        lo = np.where(is_beyond & (frame.start > 0), stop, lo)
        hi = np.where(is_before & (frame.end < 0), first, hi)
        valid = rows.columns[self._order.order[0].column].valid
        if valid is not None:
            # NULLs see each other, and there is nothing else in their line
            is_null = valid[line.row[shown]] == 0
            lo, hi = np.where(is_null, first, lo), np.where(is_null, stop, hi)
        return lo, np.maximum(lo, hi)

    def _extreme(
        self, call: WindowSpec, line: _Line, rows: Batch, shown: Ids, totals: Totals
    ) -> Column:
        assert call.frame is not None
        lo, hi = self._frames(call.frame, line, rows, shown)
        (argument,), n = call.args, len(line.own)
        which = self._extremes.index((argument, call.kind == "MAX"))
        parts = totals.extreme(line.skipped_of, line.skipped_low, line.skipped_high, which)
        values = concat_columns((take_column(rows.columns[argument], line.row), parts))
        source = np.empty(len(line.rows), np.int64)
        source[line.own], source[line.skipped] = np.arange(n), n + np.arange(len(parts))
        return extreme(call, take_column(values, source), lo, hi)

    def _total(self, i: int, line: _Line, rows: Batch, shown: Ids) -> Column:
        call = self._calls[i]
        assert call.frame is not None
        lo, hi = self._frames(call.frame, line, rows, shown)
        counted = line.rows
        if call.args:
            (argument,) = call.args
            which = self._summed.index((argument, call.kind != "COUNT"))
            column = take_column(rows.columns[argument], line.row)
            counted = np.zeros(len(line.rows), np.int64)
            counted[line.own] = line.rows[line.own]
            if column.valid is not None:
                counted[line.own] *= column.valid
            weights = counted[line.own]
            counted[line.skipped] = line.sums.counts[which]
        if call.kind == "COUNT":
            before = np.concatenate((np.zeros(1, np.int64), np.cumsum(counted)))
            return Column(call.result, before[hi] - before[lo])
        if column.type.kind in FLOATS:
            values = floats_of(column)
            elements = FloatSums.of(len(line.rows), line.own, weights, values)
            floats = line.sums.floats[which]
            if floats is not None:
                elements = elements.plus(line.skipped, floats)
            return float_sums(call, lo, hi, elements, counted)
        parts = np.zeros((len(line.rows), 3), np.uint64)
        values = np.ascontiguousarray(wide_values(column))
        add_wide(line.own, weights, values, parts, np.zeros(0, np.int64))
        parts[line.skipped] = line.sums.sums[which]
        sums, counts = np.empty((len(lo), 3), np.uint64), np.empty(len(lo), np.int64)
        frame_totals(lo, hi, parts, counted, sums, counts)
        try:
            return exact_sums(call, sums, counts)
        except RuntimeSqlError as error:
            if self._told is None or error.row is None:
                raise
            error.row = int(line.row[shown[error.row]])
            raise self._told(error, i, rows) from error


@dataclass(frozen=True, slots=True)
class _Times:
    """Values of the order that rows have in common: the `word` of each, in partition `of` of
    `keys`, which ascend; `group`: the first word of its places; whether they are NULL."""

    keys: tuple[Column, ...]
    of: Ids
    word: npt.NDArray[np.uint64]
    group: npt.NDArray[np.uint64]
    is_null: npt.NDArray[np.bool_]

    def places(self, *, in_second: bool) -> tuple[Places, Places]:
        """Where the rows of each begin and end."""
        if in_second:
            return Places(self.group, self.word), Places(self.group, self.word)
        first = np.zeros_like(self.word)
        return Places(self.word, first), Places(self.word, first | TOP)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is read besides the rows that feel changes, and what is not: places of partition `of`
    (`skipped_of`), a part each."""

    of: Ids
    low: Places
    high: Places
    skipped_of: Ids
    skipped_low: Places
    skipped_high: Places


@dataclass(frozen=True, slots=True)
class _Line:
    """Rows that were read and parts that were not, in order, an element each (rows: or one a copy).

    `own`: the elements that are rows, `row`: which; `skipped`: those that are parts, with `sums`,
    of partition `skipped_of` from `skipped_low` to `skipped_high`.
    `rows`: how many rows an element is, `before`: those of the elements before it. `first`, `stop`:
    where the elements of a place are."""

    own: Ids
    row: Ids
    skipped: Ids
    skipped_of: Ids
    skipped_low: Places
    skipped_high: Places
    sums: Sums
    places: Places
    place: Ids
    rows: Ids
    before: Ids
    first: Ids
    stop: Ids

    @staticmethod
    def of(
        spine: OrderedSpine, found: Settled, parts: _Parts, totals: Totals, *, by_row: bool
    ) -> _Line:
        weights = found.rows.weights
        row = np.repeat(np.arange(len(weights)), weights) if by_row else np.arange(len(weights))
        c, d = spine.words(found.rows)
        c, d, place = c[row], d[row], found.place[row]
        low = parts.skipped_low
        order = np.lexsort((low.d, low.c, parts.skipped_of))
        of, low, high = parts.skipped_of[order], low.take(order), parts.skipped_high.take(order)
        behind = np.empty(len(of), np.int64)
        first, stop = (np.searchsorted(place, of, side) for side in _SIDES)
        search(c, d, first, stop, low.c, low.d, False, behind)
        own = np.arange(len(row)) + np.searchsorted(behind, np.arange(len(row)), "right")
        skipped = behind + np.arange(len(of))
        sums = totals.between(of, low, high)

        def both(mine: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> npt.NDArray[Any]:
            out = np.empty(len(own) + len(skipped), mine.dtype)
            out[own], out[skipped] = mine, theirs
            return out

        rows = both(np.ones(len(row), np.int64) if by_row else weights, sums.rows)
        places, whose = Places(both(c, low.c), both(d, low.d)), both(place, of)
        numbers = np.arange(int(whose[-1]) + 1)
        ends = (np.searchsorted(whose, numbers, side) for side in _SIDES)
        before = np.cumsum(rows) - rows
        parted = skipped, of, low, high, sums
        return _Line(own, row, *parted, places, whose, rows, before, *ends)


def _chosen(which: npt.NDArray[np.bool_], a: Places, b: Places) -> Places:
    return Places(np.where(which, a.c, b.c), np.where(which, a.d, b.d))


def _next(at: Places) -> Places:
    d = at.d + np.uint64(1)
    return Places(at.c + (d == 0).astype(np.uint64), d)


def _previous(at: Places) -> Places:
    return Places(at.c - (at.d == 0).astype(np.uint64), at.d - np.uint64(1))


def _joined(parts: list[_Range]) -> _Range:
    of, low_c, low_d, high_c, high_d = (
        np.concatenate(x)
        for x in zip(*((of, a.c, a.d, b.c, b.d) for of, a, b in parts), strict=True)
    )
    return of, Places(low_c, low_d), Places(high_c, high_d)


def are_looked_up(calls: Sequence[WindowSpec], order: tuple[Order, ...], rows: Schema) -> bool:
    """Whether `FrameTotals` computes these calls, and may be worth it."""
    for call in calls:
        if call.frame is None or not call.frame.is_bounded or len(call.args) > 1:
            return False
        if call.kind not in EXTREMES | {"COUNT", "SUM", "AVG"}:
            return False
    reach = reach_of(tuple(calls), order, rows)
    if isinstance(reach, _Within):
        return len(order) == 1 and reach.is_wide
    return isinstance(reach, _Rows) and reach.rows >= WIDE
