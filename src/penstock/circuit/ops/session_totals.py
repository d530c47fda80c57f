"""What each session comes to: COUNT, SUM, AVG, MIN and MAX of its rows, a row for each session.

    GROUP BY k, window_start, window_end

    times of a key    10:00 10:04 10:13            10:00 │ 10:23 │ COUNT 3
    10:20 comes       10:00 10:04 10:13 10:20      10:00 │ 10:30 │ COUNT 4        two rows change

A session that ends elsewhere is another window for all of its rows (`session`), but only two rows
of this. Its rows lie together, in order of time, so what they come to is a difference of totals
(`penstock.circuit.totals`) and none of them is read.

Where totals cannot tell, the rows of the sessions that a change touches are read: while a row is
there less than zero times, or keys share a hash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from penstock.circuit.dense import Ids, add_totals
from penstock.circuit.float_frames import FloatSums, floats_of
from penstock.circuit.moments import wide_values
from penstock.circuit.node import Node
from penstock.circuit.ops.accumulate import too_large
from penstock.circuit.ops.session import TIME, Session, Stretches, places_of, there
from penstock.circuit.segments import Changes
from penstock.circuit.spec import Told, WindowSpec
from penstock.circuit.totals import SummedSpine, Sums
from penstock.circuit.wide import add_wide
from penstock.circuit.windows import exact_sums, extreme, float_sums
from penstock.data.batch import Batch, Column
from penstock.data.consolidate import added_up, consolidate
from penstock.data.gather import concat, take
from penstock.data.types import FLOATS, Schema
from penstock.errors import RuntimeSqlError
from penstock.state.ranges import between

_EXTREMES = frozenset(("MIN", "MAX"))
#: what it computes
KINDS = frozenset(("COUNT", "SUM", "AVG")) | _EXTREMES


class SessionTotals(Session):
    """A row for each session: `shown` of its key, first time and end, then its `calls`.

    Reference:   the rows of `Session`, grouped by their key, window_start and window_end.
    Incremental: what the sessions that hold or are near to times that come or go came to, and what
                 those that are there instead come to.
    State: that of `Session`; how many rows are owed.
    Cost:  O(log n) a row of the delta, however many there are at its time.
    """

    scalars: ClassVar[tuple[str, ...]] = (*Session.scalars, "owed")

    def __init__(
        self,
        source: Node,
        partition: tuple[int, ...],
        time: int,
        gap: int,
        end: int,
        shown: tuple[int, ...],
        calls: tuple[WindowSpec, ...],
        schema: Schema,
        told: Told | None = None,
        told_row: Callable[[RuntimeSqlError, Batch], Exception] | None = None,
    ) -> None:
        """`end`: by which number `expiry` knows the ends of sessions. `shown`: which of the
        columns (partition…, first time, end) come first in `schema`; calls' arguments are columns
        of `source`. `told`: of a call that fails; `told_row`: of a row whose session ends too
        late."""
        self._summed = tuple(
            sorted({(c.args[0], c.kind != "COUNT") for c in calls if c.args and not _is_edge(c)})
        )
        self._extremes = tuple(sorted({(c.args[0], c.kind == "MAX") for c in calls if _is_edge(c)}))
        super().__init__(source, partition, time, gap, schema, told_row)
        self._end, self._shown, self._calls, self._told_call = end, shown, calls, told
        self._meaning = partition, time, gap, shown, calls
        #: how often rows are there less than zero times
        self.owed = 0

    def _empty(self) -> SummedSpine:
        order = ((self._time, False, True),)
        return SummedSpine(
            self._kept, self._partition, order, self._summed, self._extremes, told_apart=True
        )

    def step(self) -> Batch | None:
        felt = self._felt()
        if felt is None:
            return None
        before = self._totals(felt.touched, felt.changes)
        self.owed += felt.owed
        now = self._moved(felt)
        after = self._totals(now.found, felt.changes)
        gone = Batch(before.schema, before.columns, -before.weights)
        return consolidate(concat((gone, after)))

    def _totals(self, sessions: Stretches, changes: Changes) -> Batch:
        """A row for each of `sessions`, as of now."""
        sums, edges = self._looked_up(sessions, changes) or self._read_through(sessions, changes)
        bounds = Column(TIME, sessions.at), Column(TIME, sessions.last + self._gap)
        whole = (*changes.keys_at(sessions.key), *bounds)
        keys = tuple(whole[i] for i in self._shown)
        fields = self.schema.fields[: len(keys)]
        values = []
        for i, call in enumerate(self._calls):
            try:
                values.append(self._value(call, sums, edges))
            except RuntimeSqlError as error:
                assert error.row is not None
                wrong = too_large(call.kind, call.result, error.row)
                if self._told_call is None:
                    raise wrong from error
                groups = Batch(Schema(fields), keys, np.ones(len(sessions.at), np.int64))
                raise self._told_call(wrong, i, groups) from error
        columns = zip((*keys, *values), self.schema.types, strict=True)
        typed = tuple(c.with_type(t) for c, t in columns)
        return Batch(self.schema, typed, np.ones(len(sessions.at), np.int64))

    def _looked_up(self, sessions: Stretches, changes: Changes) -> tuple[Sums, list[Column]] | None:
        """(the sums, and each of the extremes), or None where totals cannot tell."""
        if self.owed:
            return None
        assert isinstance(self._rows, SummedSpine)
        which, of = np.unique(sessions.key, return_inverse=True)
        totals = self._rows.totals(changes.keys_at(which), len(which))
        if totals.is_unsure:
            return None
        low, high = places_of(sessions.at, sessions.last)
        edges = [totals.extreme(of, low, high, i) for i in range(len(self._extremes))]
        return totals.between(of, low, high), edges

    def _read_through(self, sessions: Stretches, changes: Changes) -> tuple[Sums, list[Column]]:
        """The same of the rows themselves."""
        n, keys = len(sessions.at), changes.keys_at(sessions.key)
        low, high = places_of(sessions.at, sessions.last)
        at, rows = there(*added_up(*between(self._rows, keys, low, high)))
        order = np.argsort(at, kind="stable")
        at, rows = at[order], take(rows, order)
        count = np.zeros(n, np.int64)
        add_totals(at, rows.weights, count)
        counts, sums, floats = [], [], []
        for argument, is_total in self._summed:
            column, total, known = rows.columns[argument], np.zeros((n, 3), np.uint64), None
            valid = column.valid
            counted = rows.weights if valid is None else rows.weights * valid
            of_each = np.zeros(n, np.int64)
            add_totals(at, counted, of_each)
            if is_total and column.type.kind in FLOATS:
                known = FloatSums.of(n, at, counted, floats_of(column))
            elif is_total:
                wide = np.ascontiguousarray(wide_values(column))
                add_wide(at, counted, wide, total, np.zeros(0, np.int64))
            counts.append(of_each)
            sums.append(total)
            floats.append(known)
        lo, hi = (np.searchsorted(at, np.arange(n), side) for side in ("left", "right"))
        edges = []
        for argument, is_most in self._extremes:
            column = rows.columns[argument]
            call = WindowSpec("MAX" if is_most else "MIN", (), column.type.with_nullable(True))
            edges.append(extreme(call, column, lo, hi))
        return Sums(count, tuple(counts), tuple(sums), tuple(floats)), edges

    def _value(self, call: WindowSpec, sums: Sums, edges: Sequence[Column]) -> Column:
        n = len(sums.rows)
        if not call.args:
            return Column(call.result, sums.rows)
        (argument,) = call.args
        if _is_edge(call):
            return edges[self._extremes.index((argument, call.kind == "MAX"))]
        which = self._summed.index((argument, call.kind != "COUNT"))
        counts = sums.counts[which]
        if call.kind == "COUNT":
            return Column(call.result, counts)
        floats = sums.floats[which]
        if floats is not None:
            each: Ids = np.arange(n)
            return float_sums(call, each, each + 1, floats, counts)
        if self._kept.types[argument].kind in FLOATS:  # no rows
            return Column(call.result, np.zeros(n, call.result.dtype))
        return exact_sums(call, sums.sums[which], counts)


def _is_edge(call: WindowSpec) -> bool:
    return call.kind in _EXTREMES
