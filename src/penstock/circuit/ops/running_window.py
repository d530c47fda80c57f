"""Window functions that go on from row to row: ranks, running totals, FIRST_VALUE, LAG of values.

    rows kept   a 1   b 3   c 4   d 7 │ e 9 …     each with its values (here a running total)
    change              +x
    read              b 3 │ c   d                 the value before the change, and the rows behind
    values                x 5   c 6   d 9         until they come to what they were: nothing behind
                                                  that row can look different

A stretch begins at a change and is read in pieces: a few rows first, up to eight times as many each
time that the values at its end are not what they were. Stretches that meet become one.

    RANK  1 1 1 … 1 │ 900     a row comes to many peers, which stay as they are: it has their value,
            +1      │ 901     and the stretch begins behind them, from another number of rows

Many peers that stay are not read (`penstock.circuit.staying`): their rows keep what was known with
the last of them when they were, and how many more they are since is kept beside, once for all.

LAST_VALUE, LEAD … IGNORE NULLS and frames from the row to the end of the partition are the same in
the opposite order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids
from penstock.circuit.expiry import Expiry
from penstock.circuit.nearest import nearest
from penstock.circuit.node import Node
from penstock.circuit.ordering import RowOrder, Settled
from penstock.circuit.passed import Passed
from penstock.circuit.running import (
    asks_for_peers,
    continue_from,
    fields_of,
    goes_on,
    mirrored,
)
from penstock.circuit.segments import Changes
from penstock.circuit.spec import Order, Told, WindowSpec
from penstock.circuit.staying import EXTREMES, may_stay, stays
from penstock.circuit.stretches import NOT_YET, Piece, Stretches
from penstock.circuit.totals import SummedSpine
from penstock.circuit.windows import BY_ROW, Elements
from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, filter_batch, take, take_column
from penstock.data.hash import rows_equal
from penstock.data.masks import positions
from penstock.data.types import BIGINT, FLOATS, Field, Schema
from penstock.errors import RuntimeSqlError
from penstock.state.ordered import Fresh, OrderedSpine, is_exact
from penstock.state.parts import Part
from penstock.state.ranges import TOP, Places, ahead_of, between, distances, rows_between
from penstock.state.tied import copies_of_rows, nth_of

#: rows read behind a change at first, and how many times as many each time after
_FIRST, _MORE = 16, 8
#: how many times as many peers as rows wanted are not read for the sake of these
_MANY = 8
_ONE = np.uint64(1)
#: looks for one of many peers that does not change itself
_TRIES = 4
_COPY = Field("$copy", BIGINT.with_nullable(False))


class RunningWindow(Node):
    """The input's rows with one more column for each call, of calls that go on from row to row.

    Reference:   as of `penstock.circuit.ops.window`.
    Incremental: from each change on, going on from the values before it, until they are what they
                 were; the difference.
    State: the rows by partition, in order, with their values and what those go on from; of RANK by
           how many rows peers are more than these say.
    Cost:  O(log n + rows whose values change), and up to eight times as many are looked at. Rows
           that share the words of the order with a changed one (`penstock.state.words`) are looked
           at with it, as are its peers for functions that ask for these. Many peers beside it are
           not: any of them is gone on from, and they are read where their values may change, as
           those of a SUM do with each peer, or of MAX where one goes that alone has it. Where all
           calls ask for peers, that is, and places tell these: by an order of at most 128 bits, of
           short strings at most (`OrderedSpine.tells_order`); those of others are looked at.
    """

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
        self._parameters = partition, order, calls
        self._told, self._partition = told, partition
        rows, width = source.schema, len(source.schema)
        row_order, forward = RowOrder(width, order), calls
        if not goes_on(calls, order):
            row_order, forward = row_order.reversed(), mirrored(calls)
        assert goes_on(forward, order), "not calls that go on from row to row (see `is_running`)"
        self._calls, self._order = forward, row_order
        self._by_row = any(
            c.kind in BY_ROW or (c.frame is not None and c.frame.unit == "ROWS") for c in calls
        )
        copies = (_COPY,) if self._by_row else ()
        #: where the values of each call are in a row that is kept, and what it goes on from
        self._states: list[range] = []
        fields = list(copies)
        for i, call in enumerate(forward):
            types = (schema.types[width + i], *fields_of(call, rows.types))
            start = width + len(fields)
            self._states.append(range(start, start + len(types)))
            fields += [Field(f"${i}.{j}", t) for j, t in enumerate(types)]
        self._kept = Schema((*rows.fields, *fields))
        self._shown: tuple[int, ...] = (*range(width), *(s.start for s in self._states))
        hidden = set(range(width, width + len(fields))) - set(self._shown)
        if any(c.kind in ("COPY", "COPIES LEFT") for c in forward):
            hidden -= {width} if copies else set()
        #: whether rows that are kept differ in what is shown
        self._shows_all = not hidden
        # by the values too, so that what a row was meets where that is taken back
        self._kept_order = row_order.then(range(width, len(self._kept)))
        # peers must share their words: those are of the order alone then
        by_peers = bool(order) and any(map(asks_for_peers, forward))
        counted = row_order.directions[: len(order)] if by_peers else row_order.directions
        # where all have the same values, any of them is as good to go on from
        are_alike = by_peers and all(map(asks_for_peers, forward))
        told_by = range(width) if are_alike else ()
        extremes = tuple(
            sorted({(c.args[0], c.kind == "MAX") for c in forward if c.kind in EXTREMES})
        )
        if are_alike and extremes:
            self._rows: OrderedSpine = SummedSpine(
                self._kept, partition, counted, (), extremes, packed=True, told_by=told_by
            )
        else:
            self._rows = OrderedSpine(self._kept, partition, counted, packed=True, told_by=told_by)
        #: sorts what comes, and stays empty
        self._came = OrderedSpine(
            rows, partition, counted, packed=True, told_by=told_by, like=self._rows
        )
        #: of the words of a place, what its group has in common
        bits = min(64, self._rows.order_bits), max(0, self._rows.order_bits - 64)
        if not order and any(map(asks_for_peers, forward)):
            bits = 64, 0  # without an order all are peers
        self._common = tuple(TOP << np.uint64(64 - b) if b else np.uint64(0) for b in bits)
        #: whether many peers may stay as they are when rows come to them, if places tell them
        self._may_stay = are_alike and all(may_stay(c, rows) for c in forward)
        self._are_alike = are_alike
        #: of ranks, where the number of rows up to the last peer is
        self._numbers = [
            s[1] for c, s in zip(forward, self._states, strict=True) if c.kind == "RANK"
        ]
        #: groups, as often as they are more rows than theirs say
        self._group = (*partition, *(o.column for o in order))
        self._more = OrderedSpine(
            Schema(tuple(rows.fields[i] for i in self._group)),
            range(len(partition)),
            [(len(partition) + i, *o[1:]) for i, o in enumerate(counted[: len(order)])],
            packed=True,
            like=self._rows,
        )
        #: how often the words of rows had become others when those of groups were made
        self._rewordings = -1
        #: rows that no change comes to any more, nor from, by column that is kept
        self.expiry = Expiry()
        self._rows.is_over = lambda rows: self.expiry.mask(dict(enumerate(rows.columns)))
        #: which rows come before all that may change, but for the last of each partition that
        #: others go on from, by the first column of the order; None if changes may come before
        self.passed: Passed | None = None
        if row_order.order and _ends_in_changes(row_order.order[0], rows):
            self.passed = Passed(self._rows, partition, self._kept_order, 0, 1)

    def kept_column(self, shown: int) -> int:
        """Where a column of what is emitted is in the rows that are kept."""
        return self._shown[shown]

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        if self.passed is not None:
            self.passed.forget()
        fresh = self._came.fresh(delta)
        changes = Changes.of(fresh, self._partition)
        if not len(changes.at):
            return None
        if self._numbers and self._rewordings != self._rows.rewordings:
            self._more.reword()
            self._rewordings = self._rows.rewordings
        aside = self._set_aside(changes, fresh)
        stretches, pieces = self._begun(changes, aside)
        while True:
            todo = positions(stretches.piece == NOT_YET)
            if not len(todo):
                break
            stretches = self._evaluated(stretches, todo, fresh, pieces)
        final = np.zeros(sum(len(p.is_same) for p in pieces), bool)
        final[stretches.final] = True
        pieces = [p.only(final) for p in pieces]
        gone = concat([p.old for p in pieces])
        come = concat([p.new for p in pieces])
        is_owed = (gone.weights < 0).any() or (come.weights < 0).any()
        change = self._difference(gone, come)
        # what other stretches came to is in those
        beside = None if aside is None else aside.only(stretches.aside[stretches.aside >= 0])
        if beside is not None:
            change = consolidate(concat((change, beside.rows)))
        if self._numbers:
            self._keep_numbers(pieces, beside)
        self._rows.insert(change)
        if self.passed is not None:
            self.passed.note(len(change))
        if is_owed:
            # rows that are owed are kept, for those that pay, and not shown
            change = self._difference(*(filter_batch(b, b.weights > 0) for b in (gone, come)))
            if beside is not None:
                change = consolidate(concat((change, beside.rows)))
        columns = (change.columns[i] for i in self._shown)
        typed = tuple(c.with_type(t) for c, t in zip(columns, self.schema.types, strict=True))
        return consolidate(Batch(self.schema, typed, change.weights, self._shows_all))

    def parameters(self) -> tuple[Any, ...]:
        return self._parameters

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._rows, **({"more": self._more} if self._numbers else {})}

    def state_rows(self) -> int:
        return len(self._rows)

    def _difference(self, gone: Batch, come: Batch) -> Batch:
        return consolidate(concat((Batch(gone.schema, gone.columns, -gone.weights), come)))

    # places: rows of one group are looked at together, as peers share their values

    def _first_of(self, at: Places) -> Places:
        """Where the group of each place begins."""
        c, d = self._common
        return Places(at.c & c, at.d & d)

    def _last_of(self, at: Places) -> Places:
        c, d = self._common
        return Places(at.c | ~c, at.d | ~d)

    def _begun(self, changes: Changes, aside: _Aside | None) -> tuple[Stretches, list[Piece]]:
        """A stretch for every change that is not within a few rows of the one before, or that is to
        peers set aside; the pieces there are already, of those behind which nothing changes."""
        low, last = self._first_of(changes.at), self._last_of(changes.at)
        gaps = distances(self._rows, changes.keys_at(changes.key), low)
        before, after = np.arange(len(low) - 1), np.arange(1, len(low))
        same = ~last.take(before).is_below(low.take(after))
        apart = np.ones(len(low), bool)
        apart[1:] = (changes.key[1:] != changes.key[:-1]) | (~same & (gaps[1:] > _FIRST))
        if aside is not None:
            apart[aside.begin] = True
            apart[aside.end[aside.end < len(apart)]] = True
        first = positions(apart)
        low, last = low.take(first), last.take(np.append(first[1:], len(apart)) - 1)
        key = changes.key[first]
        keys = changes.keys_at(key)
        width, piece = np.full(len(key), _FIRST), np.full(len(key), NOT_YET)
        row, seeds = self._before(keys, low)
        there = positions(row >= 0)
        mine = tuple(take_column(k, there) for k in keys)
        seeds = self._with_numbers(mine, seeds, row[there])
        at, was, number = low.take(np.arange(len(low))), row.copy(), np.full(len(key), -1)
        pieces: list[Piece] = []
        if aside is not None:
            peers = np.searchsorted(first, aside.begin)
            behind = _behind(last.take(peers))
            at.c[peers], at.d[peers] = behind.c, behind.d
            each = np.arange(len(peers))
            number[peers] = each
            row[peers], was[peers] = len(seeds) + each, len(seeds) + len(peers) + each
            seeds = concat((seeds, aside.now, aside.was))
            alike = peers[aside.are_same]
            piece[alike] = np.arange(len(alike))
            nothing, nowhere = empty_batch(self._kept), np.zeros(0, np.int64)
            pieces.append(Piece(nothing, nowhere, nothing, nowhere, np.ones(len(alike), bool)))
        begun = Stretches(key, keys, low, at, last, width, piece, row, was, seeds, number)
        return begun, pieces

    def _before(self, keys: tuple[Column, ...], low: Places) -> tuple[Ids, Batch]:
        """For row i of `keys` what is gone on from at low[i], where a group begins: (position or
        -1, rows)."""
        row, parts = np.full(len(low), -1), [empty_batch(self._kept)]
        left = np.arange(len(low))
        if self._are_alike and self._rows.tells_order:
            # any of many peers, which may share their place
            left = positions((low.c != 0) | (low.d != 0))
            mine = tuple(take_column(k, left) for k in keys)
            last = Places(low.c[left] - (low.d[left] == 0), low.d[left] - _ONE)
            first = np.zeros(len(left), np.uint64)
            found, rows = nth_of(self._rows, mine, Places(first, first), last, 0)
            # only rows tell what cancels out: those on the way are read
            there = positions(found >= 0)
            place = self._last_of(Places(*self._rows.words_at(rows, found[there])))
            mine = tuple(take_column(k, left[there]) for k in keys)
            on_the_way = between(self._rows, mine, _behind(place), last.take(there))
            hidden = self._kept_order.settled(*on_the_way).place
            found[there[hidden]] = -1
            row[left] = found
            parts.append(rows)
            left = left[found < 0]
        mine, count = tuple(take_column(k, left) for k in keys), len(parts[-1])
        found, rows = nearest(
            self._rows, self._kept_order, mine, low.take(left), ahead=False, are_many_gone=True
        )
        row[left] = np.where(found < 0, -1, count + found)
        return row, concat([*parts, rows])

    def _set_aside(self, changes: Changes, fresh: Fresh) -> _Aside | None:
        """Many peers to which rows come, or from which some go, and which all the same stay."""
        forgets = self.expiry.is_known or (self.passed is not None and self.passed.expiry.is_known)
        # what is kept beside of peers would stay when they are forgotten
        if not self._may_stay or not self._rows.tells_order or (self._numbers and forgets):
            return None
        low, high = self._first_of(changes.at), self._last_of(changes.at)
        is_new = np.ones(len(low), bool)
        is_new[1:] = (
            (changes.key[1:] != changes.key[:-1])
            | (low.c[1:] != low.c[:-1]) | (low.d[1:] != low.d[:-1])
        )  # fmt: skip
        begin = positions(is_new)
        end = np.append(begin[1:], len(low))
        low, high = low.take(begin), high.take(begin)
        # there are places before them and behind
        inside = ((low.c != 0) | (low.d != 0)) & ((high.c != TOP) | (high.d != TOP))
        which = positions(inside)
        keys = changes.keys_at(changes.key[begin[which]])
        rows = rows_between(self._rows, keys, low.take(which), high.take(which))
        which = which[rows > _MANY * _FIRST]
        if not len(which):
            return None
        keys = changes.keys_at(changes.key[begin[which]])
        low, high = low.take(which), high.take(which)
        of, new = between(fresh, keys, low, high)
        found, models = self._some_that_stay(keys, low, high, of, new)
        stay = found >= 0
        if not stay.any():
            return None
        # of those without a row that stays any will do
        values = (
            take_column(c, np.maximum(found, 0)[of]) for c in models.columns[len(new.schema) :]
        )
        come = Batch(self._kept, (*new.columns, *values), new.weights)
        # of what is owed nobody knows the values
        stay[of[copies_of_rows(self._rows, come) + new.weights < 0]] = False
        stay[of[copies_of_rows(self._rows, self._owed(new)) < 0]] = False
        for call, state in zip(self._calls, self._states, strict=True):
            of_each = come.columns[state[0]]
            remain, asks = stays(call, new, of_each)
            stay[of[~(remain | asks)]] = False
            asked = np.unique(of[asks & ~remain & stay[of]])
            if len(asked):
                mine = take(models, found[asked]).columns[state[0]]
                keeps = self._has_another(call, keys, low, high, asked, mine, come)
                stay[asked[~keeps]] = False
        kept = positions(stay)
        if not len(kept):
            return None
        which, models = which[kept], take(models, found[kept])
        of = np.where(stay, np.cumsum(stay) - 1, -1)[of]
        theirs = positions(of >= 0)
        of, come = of[theirs], take(come, theirs)
        more, each = np.zeros(len(which), np.int64), np.arange(len(which))
        np.add.at(more, of, come.weights)
        was = self._with_numbers(changes.keys_at(changes.key[begin[which]]), models, each)
        same = positions(more == 0) if self._numbers else each
        now = self._added(was, each, more)
        return _Aside(begin[which], end[which], of, come, was, now, more, same)

    def _some_that_stay(
        self, keys: tuple[Column, ...], low: Places, high: Places, of: Ids, changed: Batch
    ) -> tuple[Ids, Batch]:
        """For row i of `keys` one of the rows from low[i] to high[i] that is there and is not among
        those `changed`, each of row of[i]: (position or -1, rows)."""
        found, parts, count = np.full(len(low), -1), [empty_batch(self._kept)], 0
        left = np.arange(len(low))
        for nth in range(_TRIES):
            mine = tuple(take_column(k, left) for k in keys)
            at, rows = nth_of(self._rows, mine, low.take(left), high.take(left), nth)
            here = np.full(len(low), -1)
            here[left] = at
            asked = positions(here[of] >= 0)
            same = rows_equal(changed.columns, asked, rows.columns[: len(changed.schema)],
                              here[of[asked]]) != 0  # fmt: skip
            here[of[asked[same]]] = -1
            stay = positions(here[left] >= 0)
            found[left[stay]] = count + here[left[stay]]
            parts.append(rows)
            count += len(rows)
            left = left[(at >= 0) & (here[left] < 0)]
            if not len(left):
                break
        return found, concat(parts)

    def _has_another(
        self, call: WindowSpec, keys: tuple[Column, ...], low: Places, high: Places, asked: Ids,
        best: Column, come: Batch,
    ) -> npt.NDArray[np.bool_]:  # fmt: skip
        """Whether the MIN or MAX `best` of peers, those `asked` of from low[i] to high[i] of row i
        of `keys`, is that of other rows than those that go with `come`."""
        assert isinstance(self._rows, SummedSpine)
        mine = tuple(take_column(k, asked) for k in keys)
        low, high, n = low.take(asked), high.take(asked), len(asked)
        # before them, where it needs no looking for
        row, seeds = self._before(mine, low)
        value = self._states[self._calls.index(call)][0]
        each, there = np.arange(n), positions(row >= 0)
        keeps = np.zeros(n, np.bool_)
        keeps[there] = rows_equal((best,), there, (seeds.columns[value],), row[there]) != 0
        totals = self._rows.totals(mine, n, (self._rows.run_of(come),))
        which = self._rows.extremes.index((call.args[0], call.kind == "MAX"))
        found = totals.extreme(each, low, high, which)
        keeps |= rows_equal((best,), each, (found,), each) != 0
        return keeps if not totals.is_unsure else np.zeros(n, np.bool_)

    # how many more peers there are than their rows say

    def _with_numbers(self, keys: tuple[Column, ...], rows: Batch, at: Ids) -> Batch:
        """`rows`, those `at` with the number of rows up to their last peer as of now; row at[i] is
        of partition i of `keys`."""
        if not self._numbers or not len(self._more) or not len(at):
            return rows
        groups = self._first_of(Places(*self._rows.words_at(rows, at)))
        which, found = between(self._more, keys, groups, groups)
        theirs = [rows.columns[i] for i in self._group]
        same = rows_equal(theirs, at[which], found.columns, np.arange(len(found))) != 0
        more = np.zeros(len(at), np.int64)
        np.add.at(more, which[same], found.weights[same])
        return self._added(rows, at, more)

    def _added(self, rows: Batch, at: Ids, more: Ids) -> Batch:
        """`rows`, those `at` with so many more rows up to their last peer."""
        columns = list(rows.columns)
        for i in self._numbers:
            numbers = columns[i].values.copy()
            numbers[at] += more
            columns[i] = Column(columns[i].type, numbers)
        return Batch(rows.schema, tuple(columns), rows.weights)

    def _keep_numbers(self, pieces: Sequence[Piece], aside: _Aside | None) -> None:
        """Note what is known besides the rows, and no more what was of those that were read."""
        parts = [p.more[1] for p in pieces if p.more is not None]
        parts = [Batch(p.schema, p.columns, -p.weights) for p in parts]
        if aside is not None:
            groups = aside.was.select(self._group, self._more.schema)
            parts.append(Batch(groups.schema, groups.columns, aside.more))
        change = consolidate(concat([empty_batch(self._more.schema), *parts]))
        if len(change):
            self._more.insert(change)

    # evaluation

    def _evaluated(self, s: Stretches, todo: Ids, fresh: Fresh, pieces: list[Piece]) -> Stretches:
        """The stretches after those at `todo` were evaluated; what came out goes to `pieces`."""
        keys = tuple(take_column(k, todo) for k in s.keys)
        low, width = s.at.take(todo), s.width[todo]
        last = s.last.take(todo)
        end = ahead_of(self._rows, keys, last, width)
        high = self._short_of_many(keys, low, last, width, end)
        # of the rows found, too: those of the last place of all are the end
        is_end = (high.c == TOP) & (high.d == TOP)
        # up to where the next one begins
        meets = np.zeros(len(todo), bool)
        has_next = positions(np.append(s.key[1:] == s.key[:-1], False)[todo])
        if len(has_next):
            following = s.low.take(todo[has_next] + 1)
            met = positions(~high.take(has_next).is_below(following))
            at, stop = has_next[met], following.take(met)
            meets[at] = True
            borrow = stop.d == 0
            high.c[at], high.d[at] = stop.c - borrow.astype(np.uint64), stop.d - np.uint64(1)
        seeds = s.was[todo], s.seed[todo], s.seeds
        piece, ends = self._piece(keys, low, high, fresh, *seeds)
        piece.start = sum(len(p.is_same) for p in pieces)
        pieces.append(piece)
        s.piece[todo] = piece.start + np.arange(len(todo))
        left = positions(~piece.is_same & (meets | ~is_end))
        if len(left):
            s.width[todo[left[~meets[left]]]] *= _MORE
            at, rows = _rows_at(ends.rows, np.concatenate((ends.now[left], ends.was[left])))
            now, was = at[: len(left)], at[len(left) :]
            s.go_on(todo[left], _behind(high.take(left)), now, was, rows)
        return s.joined(todo[left[meets[left]]])

    def _short_of_many(
        self, keys: tuple[Column, ...], low: Places, last: Places, width: Ids, end: Places
    ) -> Places:
        """Up to where to read so as to come to `end`: not as far where that is among many peers,
        which may all stay as they are, unless it begins with these or changes are behind them."""
        high, first = self._last_of(end), self._first_of(end)
        is_ahead = last.is_below(first) & low.is_below(first)
        at = positions(is_ahead & ~((end.c == TOP) & (end.d == TOP)))
        if not len(at):
            return high
        keys = tuple(take_column(k, at) for k in keys)
        rows = rows_between(self._rows, keys, first.take(at), high.take(at))
        cut = at[rows > _MANY * width[at]]
        borrow = first.d[cut] == 0
        high.c[cut], high.d[cut] = first.c[cut] - borrow.astype(np.uint64), first.d[cut] - _ONE
        return high

    def _piece(
        self, keys: tuple[Column, ...], low: Places, high: Places, fresh: Fresh,
        was: Ids, seed: Ids, seeds: Batch,
    ) -> tuple[Piece, _Ends]:  # fmt: skip
        """All from `low` to `high`, as it was and as it is now."""
        width = len(fresh.schema)
        at, kept = between(self._rows, keys, low, high)
        among, new = between(fresh, keys, low, high)
        before = self._kept_order.settled(at, kept)
        rows = kept.select(tuple(range(width)), new.schema)
        both, place = concat((rows, new)), np.concatenate((at, among))
        after = self._order.settled(place, both)
        elements = Elements.of(after, self._order.order, by_row=self._by_row)
        known = take_all(seeds, seed)
        values = self._values(elements, known, seed >= 0)
        now = self._kept_rows(elements, values)
        more = None
        if self._numbers and len(self._more):
            more = between(self._more, keys, low, high)
        ends = self._ends(keys, before, (elements.place, now), was, seed, seeds)
        old, old_at = self._with_owed(before, at, kept)
        now, now_at = self._with_owed(replace(after, rows=now, place=elements.place), place, both)
        return Piece(old, old_at, now, now_at, self._is_same(ends), more=more), ends

    def _values(
        self, e: Elements, seed: tuple[Column, ...], there: npt.NDArray[np.bool_]
    ) -> list[Column]:
        found: list[Column] = []
        for i, (call, state) in enumerate(zip(self._calls, self._states, strict=True)):
            try:
                found += continue_from(call, e, [seed[j] for j in state], there)
            except RuntimeSqlError as error:
                if self._told is None or error.row is None:
                    raise
                error.row = int(e.row[error.row])
                raise self._told(error, i, e.rows) from error
        return found

    def _kept_rows(self, e: Elements, values: list[Column]) -> Batch:
        columns = [take_column(c, e.row) for c in e.rows.columns]
        if self._by_row:
            copy = np.arange(len(e)) - np.searchsorted(e.row, e.row)
            columns.append(Column(_COPY.type, copy))
        columns += values
        typed = (c.with_type(t) for c, t in zip(columns, self._kept.types, strict=True))
        return Batch(self._kept, tuple(typed), e.weights)

    def _ends(
        self, keys: tuple[Column, ...], before: Settled, after: tuple[Ids, Batch], was: Ids,
        seed: Ids, seeds: Batch,
    ) -> _Ends:  # fmt: skip
        """What a row behind each piece goes on from: the last row of it, or the seed."""
        place, now = after
        offset = len(before.rows) + len(now)
        was = np.where(was < 0, -1, was + offset)
        to_be = np.where(seed < 0, -1, seed + offset)
        last = _last_of_places(before.place)
        was[before.place[last]] = last
        mine = tuple(take_column(k, before.place[last]) for k in keys)
        were = self._with_numbers(mine, before.rows, last)
        last = _last_of_places(place)
        to_be[place[last]] = len(before.rows) + last
        return _Ends((were, now, seeds), was, to_be)

    def _is_same(self, ends: _Ends) -> npt.NDArray[np.bool_]:
        """Whether what a row behind each piece goes on from is what it was."""
        same: npt.NDArray[np.bool_] = ends.was == ends.now
        compared = positions((ends.was >= 0) & (ends.now >= 0) & ~same)
        if len(compared):
            both = np.concatenate((ends.was[compared], ends.now[compared]))
            at, rows = _rows_at(ends.rows, both)
            states = [rows.columns[c] for s in self._states for c in s]
            was, now = at[: len(compared)], at[len(compared) :]
            same[compared] = rows_equal(states, was, states, now) != 0
        return same

    def _with_owed(self, found: Settled, at: Ids, rows: Batch) -> tuple[Batch, Ids]:
        """What was found and what is owed, each with its place."""
        which, totals = found.owed
        if not len(which):
            return found.rows, found.place
        owed = self._owed(take(rows, which))
        batch = Batch(owed.schema, owed.columns, totals)
        return concat((found.rows, batch)), np.concatenate((found.place, at[which]))

    def _owed(self, rows: Batch) -> Batch:
        """`rows` as they are kept while they are owed, with no values."""
        nothing = take_all(empty_batch(self._kept), np.full(len(rows), -1))
        columns = [
            rows.columns[i] if i < len(self.inputs[0].schema)
            else Column(t, nothing[i].values, nothing[i].valid if t.nullable else None)
            for i, t in enumerate(self._kept.types)
        ]  # fmt: skip
        return Batch(self._kept, tuple(columns), rows.weights)


@dataclass(frozen=True, slots=True)
class _Aside:
    """Peers that stay as they are: the changes from begin[i] up to end[i] are to them. `rows` that
    come and go, as kept, with of[i]: to which; one row of each that stays, with what is gone on
    from as it `was` and as it is `now`; how many `more` they are; those behind which nothing
    changes (`are_same`)."""

    begin: Ids
    end: Ids
    of: Ids
    rows: Batch
    was: Batch
    now: Batch
    more: Ids
    are_same: Ids

    def only(self, at: Ids) -> _Aside:
        """Those at `at`; of which nothing is said of what is behind them."""
        renumbered = np.full(len(self.begin), -1)
        renumbered[at] = np.arange(len(at))
        of = renumbered[self.of]
        kept = positions(of >= 0)
        return _Aside(
            self.begin[at], self.end[at], of[kept], take(self.rows, kept), take(self.was, at),
            take(self.now, at), self.more[at], np.zeros(0, np.int64),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Ends:
    """The row behind which each piece goes on, before and `now`: its number in `rows`, one after
    the other, or -1."""

    rows: tuple[Batch, ...]
    was: Ids
    now: Ids


def _rows_at(parts: Sequence[Batch], at: Ids) -> tuple[Ids, Batch]:
    """The rows `at` of several batches one after the other: (position or -1, those rows)."""
    found, position, before, count = [], np.full(len(at), -1), 0, 0
    for part in parts:
        mine = positions((at >= before) & (at < before + len(part)))
        found.append(take(part, at[mine] - before))
        position[mine] = count + np.arange(len(mine))
        before, count = before + len(part), count + len(mine)
    return position, concat(found)


def _behind(at: Places) -> Places:
    """The place behind each of `at`, none of which is the last of all."""
    d = at.d + np.uint64(1)
    return Places(at.c + (d == 0).astype(np.uint64), d)


def is_running(calls: tuple[WindowSpec, ...], order: tuple[Order, ...]) -> bool:
    """Whether `RunningWindow` computes these calls."""
    return goes_on(calls, order) or goes_on(mirrored(calls), order)


def take_all(rows: Batch, at: Ids) -> tuple[Column, ...]:
    """Rows `at`, NULL (zeros) for -1."""
    return tuple(take_column(c, at, null_at_minus_one=True) for c in rows.columns)


def _ends_in_changes(first: Order, rows: Schema) -> bool:
    """Whether what is behind a line of the order's first column precedes all that is not: NULLs
    and infinities are never behind one."""
    type = rows.types[first.column]
    if first.descending or not is_exact(type) or type.kind in FLOATS:
        return False
    return not (type.nullable and first.nulls_first)


def _last_of_places(place: Ids) -> Ids:
    """The last entry of each place, of ascending ones."""
    return positions(np.append(np.diff(place) != 0, True)[: len(place)])
