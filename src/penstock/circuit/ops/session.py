"""SESSION windows: the rows of a key, split where nothing happened for a while.

    times of a key    10:00 10:04 10:13 │ 10:32 10:36          gap 10 min
    sessions          10:00 ─────────── 10:23   10:32 ─── 10:46
    10:13 goes        10:00 10:04 │ …                          ends 10:14: its rows look different
    10:02 comes       within one                               nothing but the row itself is told

Sessions are kept beside the rows, so a change that moves no end of one reads none of its rows.
After a delta, sessions are chains of `anchors`: times that came, the ends that sessions had, and
the neighbours of times that went. Between two that follow each other there is an old stretch
without a hole, or nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.circuit.dense import Ids, Sweep
from penstock.circuit.expiry import Expiry
from penstock.circuit.nearest import nearest
from penstock.circuit.node import Node
from penstock.circuit.ordering import RowOrder
from penstock.circuit.segments import Changes
from penstock.circuit.spec import Order
from penstock.data.batch import Batch, Column
from penstock.data.consolidate import added_up, consolidate
from penstock.data.gather import concat, filter_batch, take_column
from penstock.data.masks import positions
from penstock.data.order import sorted_by_words
from penstock.data.types import TIMESTAMP, Field, Schema
from penstock.errors import RuntimeSqlError
from penstock.state.ordered import Fresh, OrderedSpine
from penstock.state.parts import Part
from penstock.state.ranges import TOP, U64, Places, between, rows_between

#: of what sessions begin and end with
TIME = TIMESTAMP.with_nullable(False)
_SIGN = np.uint64(1 << 63)
#: the last microsecond of 9999
_LAST = 253_402_300_799_999_999
#: no distance of two times is longer
_LONGEST = 1 << 62


class Session(Node):
    """The input's rows, each with the first time of its session and the end: the last time and the
    gap. Times, in µs, are never NULL.

    Reference:   the times of each key in order; a session goes on as long as the next time is less
                 than the gap away.
    Incremental: the sessions that hold or are near to times that come or go, before and after: the
                 rows of those that differ, and the delta's rows in the others.
    State: the rows by key in order of time; the sessions by key in order of their first time.
    Cost:  O(log n) a row of the delta, however many there are at its time; the rows of each session
           that begins or ends elsewhere, as they all look different.
    """

    def __init__(
        self,
        source: Node,
        partition: tuple[int, ...],
        time: int,
        gap: int,
        schema: Schema,
        told: Callable[[RuntimeSqlError, Batch], Exception] | None = None,
    ) -> None:
        super().__init__(schema, (source,))
        self._partition, self._time, self._told = partition, time, told
        self._meaning: tuple[Any, ...] = partition, time, gap
        self._gap = min(gap, _LONGEST)
        fields = source.schema.fields
        timed = Field(fields[time].name, TIME)
        self._kept = Schema((*fields[:time], timed, *fields[time + 1 :]))
        self._rows, self._order = self._empty(), RowOrder(len(fields), (Order(time),))
        key, width = tuple(range(len(partition))), len(partition)
        bounds = (Field("$first", TIME), Field("$end", TIME))
        whole = Schema((*(self._kept.fields[p] for p in partition), *bounds))
        self._sessions = OrderedSpine(whole, key, ((width, False, True),))
        self._session_order = RowOrder(len(whole), (Order(width),))
        #: by columns of the partition, and by the end of a session, which has this number
        self._end = len(fields) + 1
        self.expiry = Expiry()
        self._rows.is_over = lambda rows: self.expiry.mask({p: rows.columns[p] for p in partition})
        self._sessions.is_over = lambda rows: self.expiry.mask(
            dict(zip(partition, rows.columns, strict=False))
        )
        self._sweep, self._count = Sweep(), 0

    def _empty(self) -> OrderedSpine:
        order = ((self._time, False, True),)
        return OrderedSpine(self._kept, self._partition, order, told_apart=True)

    def step(self) -> Batch | None:
        felt = self._felt()
        if felt is None:
            return None
        now = self._moved(felt)
        into_old, into_new = felt.touched.holding(felt.times), now.found.holding(felt.times)
        stays = np.ones(len(now.found.at) + 1, bool)
        stays[now.begun] = stays[-1] = False
        moves = np.zeros(len(felt.touched.at) + 1, bool)
        moves[now.ended] = True
        less = Batch(felt.was.schema, felt.was.columns, -felt.was.weights)
        place, shown = added_up(
            np.concatenate((felt.now_at, felt.was_at)), concat((felt.now, less))
        )
        place = felt.time_of[place]
        calm, moved = stays[into_new[place]], moves[into_old[place]]
        of_old, of_new = into_old[place[moved]], into_new[place[calm]]
        parts = [
            self._told_of(filter_batch(shown, calm), now.found, of_new, 1),
            self._told_of(filter_batch(shown, moved), felt.touched, of_old, 1),
            self._all_of(felt.touched, now.ended, felt.changes, -1),
            self._all_of(now.found, now.begun, felt.changes, 1),
        ]
        return consolidate(concat(parts))

    def _felt(self) -> _Felt | None:
        """Where the delta is felt; nothing is changed yet."""
        delta = self.inputs[0].delta
        assert delta is not None
        self._forget()
        bare = self._bare(delta)
        fresh = self._rows.fresh(bare)
        rows = Changes.of(fresh, self._partition)
        if not len(rows.at):
            return None
        keys = rows.keys_at(rows.key)
        at, old = between(self._rows, keys, rows.at, rows.at)
        among, new = between(fresh, keys, rows.at, rows.at)
        was_at, was = added_up(at, old)
        now_at, now = added_up(np.concatenate((at, among)), concat((old, new)))
        owed = _owed(now) - _owed(was)
        (was_at, was), (now_at, now) = there(was_at, was), there(now_at, now)
        changes, time_of = rows.by_first_word()
        times = Times(changes.key, _value(changes.at.c))
        before, after = np.zeros(len(times.at), bool), np.zeros(len(times.at), bool)
        before[time_of[was_at]] = True
        after[time_of[now_at]] = True
        # others may have been there all the time, or stay
        come = self._nobody_at(changes, positions(after & ~before))
        touched, held = self._touched(changes, times, come)
        return _Felt(
            bare, fresh, changes, times, time_of, was_at, was, now_at, now, owed, come,
            positions(before & ~after), touched, held,
        )  # fmt: skip

    def _moved(self, felt: _Felt) -> _Moved:
        """Take the delta in: the sessions that there are now instead of those that it touched."""
        self._rows.insert(felt.delta, felt.fresh.run)
        self._count += len(felt.delta)
        changes, times = felt.changes, felt.times
        gone = self._nobody_at(changes, felt.left)
        beside = self._beside(changes, times, gone, felt.held)
        more = times.take(felt.come), *beside
        found = Stretches.of_chains(felt.touched, times.take(gone), more, self._gap)
        ended, begun = felt.touched.differing(found)
        self._check_ends(found, begun, changes)
        self._keep(changes, felt.touched.take(ended), found.take(begun))
        return _Moved(found, ended, begun)

    def parameters(self) -> tuple[Any, ...]:
        return self._meaning

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._rows, "sessions": self._sessions}

    def state_rows(self) -> int:
        return len(self._rows) + len(self._sessions)

    # what there is

    def _bare(self, rows: Batch) -> Batch:
        """`rows` with a time that is never NULL."""
        time = rows.columns[self._time]
        assert time.valid is None or time.valid.all(), "a row without a time"
        columns = list(rows.columns)
        columns[self._time] = Column(TIME, time.values)
        return Batch(self._kept, tuple(columns), rows.weights, rows.consolidated)

    def _nobody_at(self, changes: Changes, which: Ids) -> Ids:
        """Those times at `which` that no row has as of now."""
        if not len(which):
            return which
        keys = tuple(take_column(k, which) for k in changes.keys_at(changes.key))
        low, high = _all_at(changes.at.c[which])
        some = positions(rows_between(self._rows, keys, low, high))
        if not len(some):
            return which
        # what is counted may have been taken back since
        keys = tuple(take_column(k, some) for k in keys)
        before = Places(low.c[some] - np.uint64(1), high.d[some])
        row, rows = nearest(self._rows, self._order, keys, before, ahead=True, are_many_gone=True)
        found = np.append(_code(rows.columns[self._time].values), np.uint64(0))[row]
        nobody = np.ones(len(which), bool)
        nobody[some] = (row < 0) | (found != low.c[some])
        return which[nobody]

    def _touched(self, changes: Changes, times: Times, come: Ids) -> tuple[Stretches, Stretches]:
        """(the sessions that times are in or near to; for each time the one that it is in, or less
        than the gap behind: an empty one where there is none)."""
        keys, c = changes.keys_at(changes.key), changes.at.c
        at, rows = self._nearest(keys, c, ahead=False)
        held = self._read(times.key, at, rows)
        is_near = (at >= 0) & (times.at < held.last + self._gap)
        keys = tuple(take_column(k, come) for k in keys)
        at, rows = self._nearest(keys, c[come], ahead=True)
        later = self._read(times.key[come], at, rows)
        ahead = positions((at >= 0) & (later.at - times.at[come] < self._gap))
        near = held.take(positions(is_near)).joined(later.take(ahead))
        return near.distinct(), held

    def _nearest(self, keys: tuple[Column, ...], c: U64, *, ahead: bool) -> tuple[Ids, Batch]:
        at = Places(c, np.full(len(c), TOP))
        return nearest(self._sessions, self._session_order, keys, at, ahead=ahead)

    def _read(self, key: Ids, at: Ids, rows: Batch) -> Stretches:
        """The sessions in rows `at`, those of -1 empty and before all times."""
        first, end = (np.append(c.values, -_LONGEST)[at] for c in rows.columns[-2:])
        return Stretches(key, first, end - self._gap)

    def _beside(
        self, changes: Changes, times: Times, gone: Ids, held: Stretches
    ) -> tuple[Times, Times]:
        """The times next to those at `gone`, which are gone, in what was their session."""
        keys = tuple(take_column(k, gone) for k in changes.keys_at(changes.key))
        found = []
        for ahead, at in zip((False, True), _all_at(changes.at.c[gone]), strict=True):
            row, rows = nearest(self._rows, self._order, keys, at, ahead=ahead)
            there = positions(row >= 0)
            time = rows.columns[self._time].values[row[there]]
            mine = held.take(gone[there])
            inside = (time >= mine.at) & (time <= mine.last)
            found.append(Times(times.key[gone[there[inside]]], time[inside]))
        return found[0], found[1]

    def _keep(self, changes: Changes, ended: Stretches, begun: Stretches) -> None:
        both = ended.joined(begun)
        bounds = (Column(TIME, both.at), Column(TIME, both.last + self._gap))
        weights = np.ones(len(both.at), np.int64)
        weights[: len(ended.at)] = -1
        columns = (*changes.keys_at(both.key), *bounds)
        self._sessions.insert(Batch(self._sessions.schema, columns, weights))

    def _check_ends(self, found: Stretches, begun: Ids, changes: Changes) -> None:
        late = positions(found.last[begun] > _LAST - self._gap)
        if not len(late):
            return
        error = RuntimeSqlError("the end of a session is outside the years 1 to 9999", row=0)
        if self._told is None:
            raise error
        one = found.take(begun[late[:1]])
        _, rows = between(self._rows, changes.keys_at(one.key), *places_of(one.last, one.last))
        raise self._told(error, rows) from error

    # what is told

    def _all_of(self, sessions: Stretches, which: Ids, changes: Changes, sign: int) -> Batch:
        """The rows there are now in the times of `sessions` at `which`, as of those."""
        mine = sessions.take(which)
        found = between(self._rows, changes.keys_at(mine.key), *places_of(mine.at, mine.last))
        at, rows = there(*added_up(*found))
        return self._told_of(rows, mine, at, sign)

    def _told_of(self, rows: Batch, sessions: Stretches, at: Ids, sign: int) -> Batch:
        """Row i as one of session at[i]."""
        bounds = (Column(TIME, sessions.at[at]), Column(TIME, sessions.last[at] + self._gap))
        columns = zip((*rows.columns, *bounds), self.schema.types, strict=True)
        typed = tuple(c.with_type(t) for c, t in columns)
        return Batch(self.schema, typed, sign * rows.weights)

    # what nothing will ask for again

    def _forget(self) -> None:
        """Take out the sessions that have ended for good, with their rows, if they may be many."""
        if not self.expiry.is_known or not self._sweep.is_due(self._count):
            return
        sessions = self._sessions.snapshot().batch()
        over = self.expiry.mask({self._end: sessions.columns[-1]})
        if over is None or not over.any():
            self._sweep.is_worth_it(self._count, self._count)
            return
        gone = filter_batch(sessions, over)
        first, end = (c.values for c in gone.columns[-2:])
        low, high = places_of(first, end - self._gap)
        _, rows = there(*added_up(*between(self._rows, gone.columns[:-2], low, high)))
        total = len(self._rows)
        if self._sweep.is_worth_it(total - len(rows), total):
            self._rows.insert(Batch(rows.schema, rows.columns, -rows.weights))
            self._sessions.insert(Batch(gone.schema, gone.columns, -gone.weights))
            total -= len(rows)
        self._count = total


@dataclass(frozen=True, slots=True)
class _Felt:
    """What a `delta`, in order `fresh`, changes: at which `times` of keys, and of which of them its
    row i is, time_of[i]; which rows was_at[i] there were, and now_at[i] there will be; how much
    more often rows are `owed`; the times that `come`, and those that rows left, some or all; the
    sessions that are `touched`, and the one that each time was in, or behind (`held`)."""

    delta: Batch
    fresh: Fresh
    changes: Changes
    times: Times
    time_of: Ids
    was_at: Ids
    was: Batch
    now_at: Ids
    now: Batch
    owed: int
    come: Ids
    left: Ids
    touched: Stretches
    held: Stretches


@dataclass(frozen=True, slots=True)
class _Moved:
    """The sessions there are instead of those that were touched; which of these are no more, and
    which of them are new."""

    found: Stretches
    ended: Ids
    begun: Ids


@dataclass(frozen=True, slots=True)
class Times:
    """Times of keys, which are numbered: int64[n] each."""

    key: Ids
    at: Ids

    def take(self, at: Ids) -> Times:
        return Times(self.key[at], self.at[at])


@dataclass(frozen=True, slots=True)
class Stretches(Times):
    """Times `at` to `last` of a key each, both included; those of one key are apart."""

    last: Ids

    def take(self, at: Ids) -> Stretches:
        return Stretches(self.key[at], self.at[at], self.last[at])

    def joined(self, other: Stretches) -> Stretches:
        both = zip((self.key, self.at, self.last), (other.key, other.at, other.last), strict=True)
        return Stretches(*(np.concatenate(pair) for pair in both))

    def distinct(self) -> Stretches:
        """Each once, in order."""
        order, _ = _in_order(self)
        found = self.take(order)
        again = (found.key[1:] == found.key[:-1]) & (found.at[1:] == found.at[:-1])
        return found.take(positions(np.append(True, ~again)[: len(order)]))

    def holding(self, times: Times) -> Ids:
        """For each time the number of the stretch (of these, in order) that it is in, else -1."""
        order, kind = _in_order(self, times)
        known = np.cumsum(kind == 0) - 1
        asked = kind == 1
        found = np.empty(len(times.at), np.int64)
        found[order[asked] - len(self.at)] = known[asked]
        return self._inside(times, found)

    def _inside(self, times: Times, at: Ids) -> Ids:
        """at[i] where time i is in the stretch of that number, -1 elsewhere."""
        if not len(self.at):
            return np.full(len(at), -1)
        is_in = (at >= 0) & (self.key[at] == times.key) & (times.at <= self.last[at])
        return np.where(is_in, at, -1)

    def differing(self, other: Stretches) -> tuple[Ids, Ids]:
        """Which of these are not in `other`, and which of `other` not in these; both in order."""
        order, kind = _in_order(self, other)
        n = len(self.at)
        both = self.joined(other).take(order)
        pair = positions(
            (kind[:-1] == 0) & (kind[1:] == 1) & (both.key[1:] == both.key[:-1])
            & (both.at[1:] == both.at[:-1]) & (both.last[1:] == both.last[:-1])
        )  # fmt: skip
        mine, theirs = np.ones(n, bool), np.ones(len(other.at), bool)
        mine[order[pair]] = False
        theirs[order[pair + 1] - n] = False
        return positions(mine), positions(theirs)

    @staticmethod
    def of_chains(old: Stretches, gone: Times, more: tuple[Times, ...], gap: int) -> Stretches:
        """What becomes of `old` stretches without holes when times are `gone`. The anchors are
        their ends, if those are still there, and `more`: what came, what is beside what is gone."""
        anchors = _joined((Times(old.key, old.at), Times(old.key, old.last), *more))
        order, kind = _in_order(old, gone, anchors)
        all_ = _joined((old, gone, anchors)).take(order)
        in_old, lost = np.cumsum(kind == 0) - 1, np.cumsum(kind == 1)
        again = np.append(False, (all_.key[1:] == all_.key[:-1]) & (all_.at[1:] == all_.at[:-1]))
        # behind an equal one that is gone, or an anchor
        drops = again & np.append(False, kind[:-1] > 0)
        kept = positions((kind == 2) & ~drops[: len(kind)])
        all_, lost = all_.take(kept), lost[kept]
        mine = old._inside(all_, in_old[kept])
        whole = (mine[1:] >= 0) & (mine[1:] == mine[:-1]) & (lost[1:] == lost[:-1])
        goes_on = (all_.key[1:] == all_.key[:-1]) & (whole | (np.diff(all_.at) < gap))
        first = positions(np.append(True, ~goes_on)[: len(kept)])
        last = np.append(first[1:], len(kept))[: len(first)] - 1
        return Stretches(all_.key[first], all_.at[first], all_.at[last])


def _joined(parts: tuple[Times, ...]) -> Times:
    return Times(np.concatenate([p.key for p in parts]), np.concatenate([p.at for p in parts]))


def _in_order(*parts: Times) -> tuple[Ids, Ids]:
    """(positions of all of `parts` by key and time, those of earlier parts first; their parts)."""
    both = _joined(parts)
    kind = np.repeat(np.arange(len(parts)), [len(p.at) for p in parts])
    order = sorted_by_words((both.key.view(np.uint64), _code(both.at), kind.view(np.uint64)))
    return order, kind[order]


def there(place: Ids, rows: Batch) -> tuple[Ids, Batch]:
    """Rows of places, in normal form, without those that are owed."""
    positive = rows.weights > 0
    if positive.all():
        return place, rows
    return place[positive], filter_batch(rows, positive)


def _owed(rows: Batch) -> int:
    """How often rows, in normal form, are there less than zero times."""
    return -int(np.minimum(rows.weights, 0).sum())


def places_of(first: Ids, last: Ids) -> tuple[Places, Places]:
    """(the first place of a time, the last of another)."""
    return _all_at(_code(first))[0], _all_at(_code(last))[1]


def _all_at(c: U64) -> tuple[Places, Places]:
    """The first and the last place of each code of a time."""
    return Places(c, np.zeros_like(c)), Places(c, np.full_like(c, TOP))


def _code(time: Ids) -> U64:
    """Times as places have them."""
    return time.view(np.uint64) ^ _SIGN


def _value(c: U64) -> Ids:
    return (c ^ _SIGN).view(np.int64)
