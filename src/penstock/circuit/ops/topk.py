"""The first rows of every partition in an order.

    delta ──► partitions ──► rows that may get in ──► with the rows held, sorted ──► cut ──► held
      └──► all rows, sorted beside the steps ──► too few left? read back ─┘

A partition *holds* its first rows, up to the limit. Once it is full, rows behind the last one held
change nothing, and most rows of a stream that only grows are that: one comparison each. All rows
are kept in a log that is sorted behind the scenes, and read only when so many of the rows held go
away that fewer are left than are shown. Of a partition with many more rows some in reserve are read
with them, which makes that seldom: they are held behind those that are shown until they are needed.

    RANK() <= 3     1 1 1 1 1 1 1 … 1 │ 90001 …      any number of peers on the first place

Peers of the last rank are all held. Where they are very many nothing of that is read: all rows up
to the place where the last rank ends (`penstock.circuit.ranked`) are shown, and only that is asked
for anew.

A retraction before its insertion leaves a negative total; a partition with one among its first
rows is in debt, and is read back at every change until that is settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import (
    Ids,
    Sweep,
    Touched,
    grown,
    moved,
    renumbered,
)
from penstock.circuit.expiry import Expiry, Mask
from penstock.circuit.first_rows import (
    ALL,
    FULL,
    RANKS,
    STALE,
    first_rows,
    limits,
    not_behind,
    remember,
)
from penstock.circuit.node import Node
from penstock.circuit.ordering import RowOrder
from penstock.circuit.ranked import ends_of_ranks, telling_words
from penstock.circuit.spec import Order
from penstock.circuit.totals import SummedSpine
from penstock.data.batch import Batch, Column
from penstock.data.consolidate import added_up, consolidate
from penstock.data.gather import concat, filter_batch, take, take_column
from penstock.data.masks import all_set, any_set, positions
from penstock.data.types import Schema
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.ordered import OrderedSpine
from penstock.state.parts import Part
from penstock.state.ranges import TOP, Places, between
from penstock.state.spine import Spine
from penstock.state.tied import copies_of

Words = npt.NDArray[np.uint64]

#: rows that are gathered along with those that are held
_FEW_CAME = 64
_NO_LIMIT = np.iinfo(np.int64).max
#: rows that a partition holds of ranks before these are not read, and for each that is wanted
MANY_PEERS, _TIMES = 256, 4
#: rows read back beyond those wanted, for the ones that later runs took back
_SLACK = 8
#: as many rows as are shown are held in reserve, but no more than these
_MOST_RESERVE = 1024


class TopK(Node):
    """Rows offset .. offset+limit of each partition; copies of a row count as rows. With `ranks`
    RANK or DENSE_RANK all rows of a rank up to the limit.

    Reference:   sort each partition by the order, then by all columns, repeat every row as often
                 as its weight says, cut.
    Incremental: sort the delta's rows that are not behind the last row held together with those;
                 emit the difference of what the partition shows. `numbered`: each copy of a row
                 with its ROW_NUMBER behind its columns, in a schema that has it.
    State: the input by partition, in order; the first offset+limit rows by partition and, where
           such rows went, up to as many in reserve; and the place of the last of them.
    Cost:  O(|delta|), besides O(offset + limit) for partitions whose first rows change and O(log n)
           more where more of them went than there were in reserve; all rows of those without a
           limit, or when nearly all rows are equal in the first two columns of the order. Of ranks
           with very many peers O(limit · log n) a partition, and the rows that come to be shown or
           are no more, as all peers are that a row before them pushes behind the limit; those that
           are held where the order is by strings, or more than two words.
    """

    def __init__(
        self,
        source: Node,
        partition: tuple[int, ...],
        order: tuple[Order, ...],
        limit: int | None,
        offset: int,
        ranks: str = "ROW_NUMBER",
        numbered: Schema | None = None,
    ) -> None:
        super().__init__(numbered or source.schema, (source,))
        assert not (offset or numbered) or (ranks == "ROW_NUMBER" and not (offset and numbered))
        kept = source.schema
        types = kept.types
        self._is_numbered = numbered is not None
        self._partition = partition
        self._order = RowOrder(len(kept), order)
        self._first = offset
        self._end = _NO_LIMIT if limit is None else min(offset + limit, _NO_LIMIT)
        self._ranks = ranks
        #: peers may be any number, so that ranks are read back when one of the rows held goes
        self._reserve = min(self._end, _MOST_RESERVE) if ranks == "ROW_NUMBER" else 0
        # peers of the last row held get in: its place must not tell them apart
        self._is_coarse = ranks != "ROW_NUMBER" and (
            not order or (len(order) == 1 and not types[order[0].column].nullable)
        )
        directions = self._order.directions
        #: which bits of a place say what rank it has, where rows of one place are peers
        self._telling: Places | None = None
        if ranks == "ROW_NUMBER":
            self._rows = OrderedSpine(kept, partition, directions, packed=True)
        else:
            # peers must share their words
            self._rows = SummedSpine(kept, partition, directions, ())
            if self._end < _NO_LIMIT:
                self._telling = telling_words(order, kept)
        #: how often what the bounds are made of had changed when they were known
        self._rewordings = 0
        self._held = Spine(kept, partition)
        self._table = GroupTable(tuple(types[p] for p in partition)) if partition else None
        self._state = np.zeros(16, dtype=np.uint8)
        self._bound = np.zeros((16, 2), dtype=np.uint64)
        self._size = np.zeros(16, dtype=np.int64)
        self._touched = Touched()
        self._sweep = Sweep()
        self._changes = Changes(self)
        #: which partitions get no more rows, by column
        self.expiry = Expiry()
        self._rows.is_over = self._held.is_over = self._is_over

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        ids, hashes = self._ids(delta)
        self._rows.insert_later(delta)
        if self._rewordings != self._rows.rewordings:
            self._forget_bounds()
        words = self._rows.words(delta)
        near = np.empty(len(ids), np.int64)
        near = near[: not_behind(ids, self._state, self._bound, *words, near)]
        if not len(near):
            return None
        came = delta
        if len(near) < len(delta):
            came, ids = take(delta, near), ids[near]
            hashes = None if hashes is None else hashes[near]
            words = words[0][near], words[1][near]
        peers: list[Batch] = []
        if self._telling is not None and (few := self._among_peers(came, ids, peers)) is not None:
            if not len(few):
                (change_of_all,) = peers
                self._held.insert(change_of_all)
                return change_of_all
            came, ids, words = take(came, few), ids[few], (words[0][few], words[1][few])
        touched, slots = self._touched.find(ids, len(self._state))
        self._changes.note(touched)
        places, rows, known = self._held_and(touched, slots, came, hashes)
        most, reads, has_more = self._limits(touched, places, rows, known)
        now = self._with_held(touched, places, rows, known, words, has_more, most, reads)
        is_settled = now.state < STALE
        if len(reads):
            is_settled[reads] = (now.state[reads] & STALE) == 0
        self._settle(touched, now, is_settled)
        change = [now.change(is_settled), *peers]
        shown = [self._shown(now, is_settled, change[0]), *peers]
        if not all_set(is_settled):
            left = positions(~is_settled)
            # what those held goes, and what is read back comes; much of it is the same
            then = [now.before(~is_settled), *self._read_back(touched[left])]
            there = np.ones(len(touched), np.bool_)
            each = [r.change(there) for r in then]
            change.append(consolidate(concat(each)))
            shown.append(
                consolidate(
                    concat([self._shown(r, there, c) for r, c in zip(then, each, strict=True)])
                )
            )
        self._held.insert(_together(change))
        return _together(shown)

    def parameters(self) -> tuple[Any, ...]:
        numbers = ("numbered",) if self._is_numbered else ()
        return self._partition, self._order.order, self._first, self._end, self._ranks, *numbers

    def parts(self) -> Mapping[str, Part]:
        known = {} if self._table is None else {"partitions": self._table}
        return {"rows": self._rows, "held": self._held, "entries": self._changes, **known}

    def entries(self) -> Arrays:
        return {"state": self._state, "bound": self._bound, "size": self._size}

    def entry_count(self) -> int:
        return 1 if self._table is None else len(self._table)

    def load_entries(self, arrays: Arrays, count: int) -> None:
        state, bound, size = (arrays[name] for name in ("state", "bound", "size"))
        assert isinstance(state, np.ndarray) and isinstance(bound, np.ndarray)
        assert isinstance(size, np.ndarray)
        self._state, self._bound, self._size = state, bound, size

    def state_rows(self) -> int:
        return len(self._rows) + len(self._held)

    # partitions

    def _ids(self, delta: Batch) -> tuple[Ids, Words | None]:
        """The partition of every row, and its hash, if there are some."""
        if self._table is None:
            return np.zeros(len(delta), dtype=np.int64), None
        if self._sweep.is_due(len(self._table)):
            self._forget(self._table)
        ids, hashes = self._table.hashed(
            tuple(delta.columns[p] for p in self._partition), len(delta)
        )
        self._state = grown(self._state, len(self._table))
        self._bound = grown(self._bound, len(self._table))
        self._size = grown(self._size, len(self._table))
        return ids, hashes

    def _forget(self, table: GroupTable) -> None:
        """Drop the partitions that have no rows or are over, if they are many."""
        n = len(table)
        if self._sweep.can_wait(n, partial(self._are_in_use, table)):
            return
        in_use = (self._size[:n] > 0) | (self._state[:n] != ALL)
        over = self.expiry.mask(dict(zip(self._partition, table.keys(), strict=True)))
        kept = positions(in_use if over is None else in_use & ~over)
        if self._sweep.is_worth_it(len(kept), n):
            self._table, ids = renumbered(table, kept)
            self._state = moved(self._state, kept, ids)
            self._bound = moved(self._bound, kept, ids)
            self._size = moved(self._size, kept, ids)
            self._changes.renumbered()

    def _are_in_use(self, table: GroupTable, ids: Ids) -> npt.NDArray[np.bool_]:
        in_use: npt.NDArray[np.bool_] = (self._size[ids] > 0) | (self._state[ids] != ALL)
        over = self.expiry.mask(dict(zip(self._partition, table.take(ids), strict=True)))
        return in_use if over is None else in_use & ~over

    def _forget_bounds(self) -> None:
        """Have every full partition read back when it is touched: its bound is in other words."""
        full = positions(self._state == FULL)
        self._state[full] = STALE
        self._changes.note(full)
        self._rewordings = self._rows.rewordings

    def _keys(self, ids: Ids) -> tuple[Column, ...]:
        return () if self._table is None else self._table.take(ids)

    def _settle(self, ids: Ids, now: _Cut, at: npt.NDArray[np.bool_]) -> None:
        """Remember what the partitions `ids` hold now, where `at` says so."""
        if all_set(at):
            remember(ids, now.state, now.bound, now.size, self._state, self._bound, self._size)
            return
        self._state[ids[at]] = now.state[at]
        self._bound[ids[at]] = now.bound[at]
        self._size[ids[at]] = now.size[at]

    def _is_over(self, rows: Batch) -> Mask | None:
        return self.expiry.mask(dict(enumerate(rows.columns)))

    # very many peers

    def _among_peers(self, came: Batch, ids: Ids, into: list[Batch]) -> Ids | None:
        """Put what those rows of `came` change `into` a list that come to partitions `ids` which
        hold very many; the others. None if that is all."""
        assert self._telling is not None and isinstance(self._rows, SummedSpine)
        many = (self._size[ids] > max(MANY_PEERS, _TIMES * self._end)) & (self._state[ids] < STALE)
        if not any_set(many):
            return None
        touched = np.unique(ids[many])
        n, keys = len(touched), self._keys(touched)
        if self._rows.totals(keys, n).is_unsure:
            return None
        run = self._rows.run_of(take(came, positions(many)))
        rows = run.batch
        of = np.zeros(len(rows), np.int64)
        if self._table is not None:
            own = tuple(rows.columns[p] for p in self._partition)
            of = np.searchsorted(touched, self._table.lookup_or_insert(own, len(rows)))
        now = copies_of(self._rows, run)
        is_dense = self._ranks == "DENSE_RANK"
        end, full = ends_of_ranks(self._rows, keys, n, self._end, self._telling, dense=is_dense)
        bound, was_full = self._bound[touched], self._state[touched] == FULL
        before = Places(*(np.where(was_full, bound[:, i], TOP) for i in (0, 1)))
        grows, shrinks = before.is_below(end), end.is_below(before)
        nearer, farther = (
            Places(np.where(which, before.c, end.c), np.where(which, before.d, end.d))
            for which in (grows, ~grows)
        )
        place = Places(run.c, run.d)
        inside, beyond = (~p.take(of).is_below(place) for p in (nearer, farther))
        # of rows that come to be shown, or are no more, all are read
        moved = positions(grows | shrinks)
        first, last = _next(nearer.take(moved)), farther.take(moved)
        at, between_them = between(
            self._rows, tuple(take_column(k, moved) for k in keys), first, last
        )
        at = moved[at]
        lost = positions(shrinks[of] & beyond & ~inside)
        less = take(rows, lost)
        at = np.concatenate((at, of[lost]))
        less = Batch(less.schema, less.columns, -less.weights)
        at, between_them = added_up(at, concat((between_them, less)))
        if (now < 0).any() or (between_them.weights < 0).any():
            return None  # what is owed is looked at
        size = (now > 0).astype(np.int64) - (now > rows.weights)
        self._size[touched] += np.bincount(of[inside], size[inside], n).astype(np.int64)
        signs = np.where(grows, 1, -1)[at]
        self._size[touched] += np.bincount(at, signs, n).astype(np.int64)
        self._state[touched] = np.where(full, FULL, ALL)
        self._bound[touched] = np.column_stack((end.c, end.d))
        self._changes.note(touched)
        # no row is among both
        turned = signs * between_them.weights
        moves = Batch(rows.schema, between_them.columns, turned, True)
        into.append(_together([filter_batch(rows, inside), moves]))
        return positions(~many)

    # rows

    def _held_and(
        self, ids: Ids, slots: Ids, came: Batch, hashes: Words | None
    ) -> tuple[Ids, Batch, int]:
        """(place of each row, rows, how many of them): what partitions `ids` hold, and behind that
        what `came`, of the places `slots` and with the partitions' `hashes`."""
        keys = self._keys(ids)
        if len(came) <= _FEW_CAME:
            known = hashes if len(came) == 1 else None
            places, rows = self._held.probe(keys, len(ids), known, beside=(slots, came))
            return places, rows, len(places) - len(slots)
        at, held = self._held.probe(keys, len(ids))
        return np.concatenate((at, slots)), concat((held, came)), len(at)

    def _limits(
        self, ids: Ids, places: Ids, rows: Batch, known: int
    ) -> tuple[Ids, Ids, npt.NDArray[np.bool_]]:
        """(how many rows each place may hold, the places to be read back, which may have more rows
        than they hold): partitions `ids` have the first `known` of `rows`, each of its place, and
        get the others."""
        n = len(ids)
        if self._ranks != "ROW_NUMBER":
            before = self._state[ids]
            return np.full(n, self._end), positions(before >= STALE), before == FULL
        # what is in reserve stays, and does not grow: most rows would come to lie before its end
        most, reads, has_more = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.bool_)
        count = limits(
            ids, self._state, places, rows.weights, known, self._end, most, reads, has_more
        )
        return most, reads[:count], has_more

    def _with_held(
        self,
        ids: Ids,
        places: Ids,
        rows: Batch,
        known: int,
        words: tuple[Words, Words],
        has_more: npt.NDArray[np.bool_],
        most: Ids,
        reads: Ids,
    ) -> _Cut:
        """The first rows of partitions `ids`, of `rows` by their places, of which they had the
        first `known` and get the others, which have these `words`; of the places that `reads` names
        of all their rows."""
        weights = None
        is_prefix = np.zeros(len(ids), np.bool_)
        if len(reads):
            needle, found, complete = self._rows.prefixes(
                self._keys(ids[reads]), len(reads), self._width
            )
            is_prefix[reads], has_more[reads] = True, ~complete
            most[reads] = self._most(needle, complete)
            # what they held says how they change, and what came is among all rows
            so_far = len(places)
            places, rows = np.concatenate((places, reads[needle])), concat((rows, found))
            weights = rows.weights.copy()
            weights[:so_far][is_prefix[places[:so_far]]] = 0
        return self._cut(places, rows, has_more, is_prefix, most, known, weights, words)

    @property
    def _width(self) -> int:
        """Rows that are read back at first."""
        return min(self._end, 2**40) + self._reserve + _SLACK

    def _most(self, needle: Ids, complete: npt.NDArray[np.bool_]) -> Ids:
        """How many rows to hold of partitions that were read, entry i being of partition needle[i],
        and these being all of those that are `complete`."""
        found = np.bincount(needle, minlength=len(complete))
        # of few rows nearly all would be held
        is_long = ~complete | (found > self._width)
        return np.where(is_long, min(self._end + self._reserve, _NO_LIMIT), self._end)

    def _cut(
        self, places: Ids, rows: Batch, has_more: npt.NDArray[np.bool_],
        is_prefix: npt.NDArray[np.bool_], most: Ids, held: int, weights: Ids | None = None,
        words: tuple[Words, Words] | None = None,
    ) -> _Cut:  # fmt: skip
        """The first of `rows` of each place, as many as it may hold at `most`. `has_more`: there
        may be others, all behind the last of the first `held` of `rows`, or (`is_prefix`) behind
        all. `weights`: theirs now, where they differ from those that the rows held had. `words`:
        those of the rows behind these, if they are known."""
        count = len(most)
        ranks, peers, same = self._order.sort(places, rows)
        state, last, size = (
            np.empty(count, np.uint8),
            np.empty(count, np.int64),
            np.empty(count, np.int64),
        )
        first, place, was, now = np.empty((4, len(ranks)), np.int64)
        n = first_rows(
            ranks, places, rows.weights, rows.weights if weights is None else weights, same, peers,
            held, has_more, is_prefix, self._end, most, RANKS[self._ranks], last, state, size,
            first, place, was, now,
        )  # fmt: skip
        bound = self._bounds(rows, last, held, words)
        return _Cut(
            rows, first[:n], place[:n], was[:n], now[:n], state, bound, size,
            has_reserve=int(most.max()) > self._end,
        )  # fmt: skip

    def _bounds(
        self, rows: Batch, last: Ids, first: int, words: tuple[Words, Words] | None
    ) -> npt.NDArray[np.uint64]:
        """The words of row last[i], 0 where that is negative. `words`: those of rows from `first`
        on."""
        if words is not None and len(last) == 1 and first <= last[0] < first + len(words[0]):
            # mostly one row came, and is the last one
            at, bound = last[0] - first, np.empty((1, 2), np.uint64)
            bound[0, 0], bound[0, 1] = words[0][at], TOP if self._is_coarse else words[1][at]
            return bound
        bound = np.zeros((len(last), 2), dtype=np.uint64)
        there = last >= 0
        if all_set(there):
            c, d = self._rows.words_at(rows, last)
            bound[:, 0], bound[:, 1] = c, TOP if self._is_coarse else d
        elif any_set(there):
            c, d = self._rows.words_at(rows, last[there])
            bound[there, 0], bound[there, 1] = c, TOP if self._is_coarse else d
        return bound

    def _read_back(self, ids: Ids) -> list[_Cut]:
        """The first rows of partitions `ids` from all their rows; their places mean nothing."""
        parts: list[_Cut] = []
        width = self._width
        left = np.arange(len(ids))
        while len(left):
            keys = self._keys(ids[left])
            places, rows, complete = self._rows.prefixes(keys, len(left), width)
            is_prefix = np.ones(len(left), np.bool_)
            most = self._most(places, complete)
            now = self._cut(places, rows, ~complete, is_prefix, most, 0)
            is_settled = (now.state & STALE) == 0
            self._settle(ids[left], now, is_settled)
            parts.append(now.of(is_settled))
            left = left[~is_settled]
            width *= 8
        return parts

    def _shown(self, cut: _Cut, chosen: npt.NDArray[np.bool_], change: Batch) -> Batch:
        """The change of the rows shown of the places that are `chosen`, of whose rows held it is
        `change`."""
        if not (self._first or self._is_numbered or cut.has_reserve):
            return change
        first, place, was, now = cut.first, cut.place, cut.was, cut.now
        from_was, from_now = _starts(place, was), _starts(place, now)
        if cut.has_reserve:
            was, now = _before(from_was, was, self._end), _before(from_now, now, self._end)
        moved = chosen[place] & ((from_was != from_now) | (was != now))
        at = positions(moved)
        first, was, now = first[at], was[at], now[at]
        from_was, from_now = from_was[at], from_now[at]
        if not self._is_numbered:
            weights = _behind(from_now, now, self._first) - _behind(from_was, was, self._first)
            at = positions(weights)
            rows = take(cut.rows, first[at])
            return Batch(self.schema, rows.columns, weights[at], True)
        both, copies = np.concatenate((first, first)), np.concatenate((was, now))
        numbers = np.concatenate((from_was, from_now)) + 1
        signs = np.repeat(np.array([-1, 1]), len(first))
        # each copy has a number of its own
        each = np.repeat(np.arange(len(both)), copies)
        numbers = numbers[each] + np.arange(len(each)) - (np.cumsum(copies) - copies)[each]
        columns = take(cut.rows, both[each]).columns
        rows = Batch(
            self.schema,
            (*columns, Column(self.schema.types[-1], numbers)),
            signs[each],
        )
        if len(copies) and int(copies.max()) > 1:
            return consolidate(rows)  # of several copies some may have kept their numbers
        return Batch(rows.schema, rows.columns, rows.weights, True)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Different rows by place and in order: row first[i] of `rows` is in place[i] was[i] times
    before and now[i] times after; of `change` and `before` only the number counts. And by place
    its state, the words of its last row and the number of rows; and whether some may be held that
    are not shown."""

    rows: Batch
    first: Ids
    place: Ids
    was: Ids
    now: Ids
    state: npt.NDArray[np.uint8]
    bound: npt.NDArray[np.uint64]
    size: Ids
    has_reserve: bool

    def change(self, chosen: npt.NDArray[np.bool_]) -> Batch:
        """The change of the rows of the places that are chosen."""
        change = self.now - self.was
        if not all_set(chosen):
            change = np.where(chosen[self.place], change, 0)
        at = positions(change)
        rows = self.rows
        if len(at) == len(rows):
            # each of them, mostly the last one held and the one before it now: nothing is gathered
            weights = np.empty(len(at), np.int64)
            weights[self.first] = change
            return Batch(rows.schema, rows.columns, weights, True)
        rows = take(rows, self.first[at])
        return Batch(rows.schema, rows.columns, change[at], True)

    def before(self, chosen: npt.NDArray[np.bool_]) -> _Cut:
        """The same, where nothing is left after, of the places that are chosen."""
        return self._only(chosen, self.was, np.zeros_like(self.now))

    def of(self, chosen: npt.NDArray[np.bool_]) -> _Cut:
        """The same of the places that are chosen."""
        return self._only(chosen, self.was, self.now)

    def _only(self, chosen: npt.NDArray[np.bool_], was: Ids, now: Ids) -> _Cut:
        at = positions(chosen[self.place])
        return _Cut(
            self.rows, self.first[at], self.place[at], was[at], now[at], self.state, self.bound,
            self.size, self.has_reserve,
        )  # fmt: skip


def _starts(place: Ids, copies: Ids) -> Ids:
    """How many copies of its place come before each entry; places are together."""
    before = np.cumsum(copies) - copies
    is_first = np.append(True, place[1:] != place[:-1])[: len(place)]
    starts: Ids = before - before[is_first][np.cumsum(is_first) - 1]
    return starts


def _before(start: Ids, copies: Ids, end: int) -> Ids:
    """How many of `copies` from `start` on lie before `end`."""
    before: Ids = np.minimum(start + copies, end) - np.minimum(start, end)
    return before


def _behind(start: Ids, copies: Ids, first: int) -> Ids:
    """How many of `copies` from `start` on lie behind the first `first`."""
    behind: Ids = np.maximum(start + copies, first) - np.maximum(start, first)
    return behind


def _next(at: Places) -> Places:
    """The next place behind each, none of which is the last of all."""
    return Places(at.c + (at.d == TOP), at.d + np.uint64(1))


def _together(parts: list[Batch]) -> Batch:
    """Batches of which no two have a row in common."""
    filled = [p for p in parts if len(p)] or parts[:1]
    if len(filled) == 1:
        return filled[0]
    rows = concat(filled)
    return Batch(rows.schema, rows.columns, rows.weights, all(p.consolidated for p in filled))
