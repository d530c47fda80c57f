"""A spine that finds the first rows of a key in an order, without reading the others.

    within a run, rows of one key lie together and in order:

        k (key's hash) │ c, d (codes of the first two order columns) │ r (row's hash)

    prefixes(keys, width): the first `width` rows of the key in every run, cut where the first
    row left out anywhere begins; or the last, cut where the last row left out ends:

        run 1   2 5 9 │ 11 …         bound = min(11, 7): 2 3 5 6 are all there is below 7
        run 2   3 6   │ 7 …

Codes are weak (two different rows may share one), so rows come in code order at best; the reader
sorts what it gets exactly. A key whose rows share few codes is read as a whole in the end.

Who does not ask what the words are, only that they are in order, has them `packed`: the first 128
bits of the order, and of strings those behind what most have in common (`penstock.state.words`);
who asks what the first column is has its word apart (`first_apart`).
All runs are sorted anew once as many strings have come without that as are there with it: O(log n)
amortised, as that is another time as many.

Who asks for one row among any number that share the first word has them `told_apart`: the second
one is the hash of the row. Of packed words the bits behind those of the order are that of some
columns (`told_by`), if they are enough. Words `tell_order` if rows that share both are equal in all
of it: it has no more than 128 bits, strings among them that are short (kept count of as they come).

Rows that wait in the log to be sorted are looked up by their key and compared with that end.

Cost: a prefix O(runs · (log n + width) + rows of the key in the log); insertion and merging as for
any spine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Batch, Column, value
from penstock.data.build import empty_batch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, concat_columns, take, take_column
from penstock.data.hash import hash_columns, rows_equal
from penstock.data.hash import is_exact as keys_are_hashes
from penstock.data.kernel import kernel
from penstock.data.masks import all_set, positions
from penstock.data.order import FEW_ROWS, sorted_by_words, value_codes
from penstock.data.types import BIGINT, Kind, Schema, SqlType
from penstock.state.few import FEW_ROWS as FEW_IN_RUN
from penstock.state.few import few
from penstock.state.log import Log
from penstock.state.lookup import rows_in
from penstock.state.merging import pick, pick_array
from penstock.state.run import (
    KEY_SEED,
    ROW_SEED,
    Run,
    _expand,
    _index_of,
    added_up_in_order,
    run_from,
)
from penstock.state.sorting import sort_by_values
from penstock.state.spine import Spine, SpinePin
from penstock.state.storage import StateStore
from penstock.state.words import (
    Direction,
    are_short,
    packed_words,
    parts_of,
    prefix_of,
    without,
)

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
#: rows of a log that are looked at, for each row it has, before it is sorted: it takes about as
#: long, but beside the steps
_WORTH_SORTING = 16
#: of no runs
_NOTHING = (np.empty((0, 0), np.int64),) * 2 + (np.empty(0, np.int64),)
#: strings without the prefix that are few, however few have it
_FEW_OTHERS = 256
#: how the words of a run are made: in two words as ever; packed; one of them of the whole row;
#: packed, and told apart
_PLAIN, _PACKED, _TOLD_APART, _TOLD_BY = b"\0", b"\1", b"\2", b"\3"
#: bits of a hash that tell rows apart, but for few
_TELLING_BITS = 32
_NONE, _TOP = np.uint64(0), np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@value
class OrderedRun(Run):
    """A run sorted by (k, c, d, r). `made`: how c and d are made of a row, as bytes."""

    c: U64
    d: U64
    made: bytes = _PLAIN

    def part(self, start: int, stop: int) -> OrderedRun:
        run, at = Run.part(self, start, stop), slice(start, stop)
        words = self.c[at], self.d[at]
        return OrderedRun(run.k, run.r, run.batch, run.table, run.shift, *words, self.made)

    def only(self, at: I64) -> OrderedRun:
        run = Run.only(self, at)
        words = self.c[at], self.d[at]
        return OrderedRun(run.k, run.r, run.batch, run.table, run.shift, *words, self.made)

    def arrays(self) -> dict[str, Array | Column]:
        made = {} if self.made == _PLAIN else {"made": np.frombuffer(self.made, np.uint8)}
        # `super()` does not work in a dataclass with slots
        return {**Run.arrays(self), "c": self.c, "d": self.d, **made}


@dataclass(frozen=True, slots=True, eq=False)
class Fresh:
    """One delta as a spine would have it, to be looked into like one; behind runs of the spine."""

    schema: Schema
    key: tuple[int, ...]
    run: OrderedRun
    before: tuple[OrderedRun, ...] = ()

    def runs(self) -> tuple[OrderedRun, ...]:
        return (*self.before, self.run) if len(self.run) else self.before


@dataclass(frozen=True, slots=True)
class OrderedPin:
    """An ordered spine as it was, and how its words were `made` then."""

    pin: SpinePin
    made: bytes
    are_short: bool

    def write(self, store: StateStore) -> Any:
        made = {} if self.made == _PLAIN else {"made": self.made.hex()}
        short = {"short": True} if self.are_short else {}
        return {**self.pin.write(store), **made, **short}


class OrderedSpine(Spine):
    """The integral of a relation, found by the columns at `key` and ordered by `order`."""

    def __init__(
        self,
        schema: Schema,
        key: Sequence[int],
        order: Sequence[Direction],
        *,
        packed: bool = False,
        first_apart: bool = False,
        told_apart: bool = False,
        told_by: Sequence[int] = (),
        like: OrderedSpine | None = None,
    ) -> None:
        """`packed`, `told_apart`, `told_by`: see the module; `like`: with the words of another
        spine of this order, which has all rows that come to this one, or what they are parts of, or
        is to have them."""
        super().__init__(schema, key)
        self.order = tuple(order)
        assert not (packed and told_apart), "these are two ways to make the words of a row"
        self._is_packed, self._tells_apart, self._like = packed, told_apart, like
        # rows of one key have those columns in common
        counted = [o for o in order if o[0] not in self.key] if packed else list(order)
        types = [schema.types[i] for i, _, _ in counted]
        directions = [o[1:] for o in counted]
        self._parts = parts_of(types, directions, first_apart=first_apart) if packed else ()
        self._leading = tuple(counted[: len(self._parts)]) if packed else _leading(types, counted)
        #: how many bits of both words are of the order
        self.order_bits = 128
        self._told_by: tuple[int, ...] = ()
        if told_by and self._parts and len(self._parts) == len(counted):
            last = self._parts[-1]
            bits = last.at + last.flagged + last.bits
            if bits <= 128 - _TELLING_BITS:
                self.order_bits, self._told_by = bits, tuple(told_by)
        #: what most strings that the words end with begin with, once there are some
        self._prefix: bytes | None = None
        #: how many came that do not, since that was seen to
        self._others = 0
        leading = [schema.types[i] for i, _, _ in self._leading]
        self._has_prefix = packed and bool(leading) and leading[-1].is_view
        #: whether both words have all of the order but for a string at its end, of which there is
        #: room for so many bytes
        self._ends_in_words, self._string_room = False, -1
        if self._parts and len(self._parts) == len(counted):
            last = self._parts[-1]
            if self._has_prefix:
                # two bits are whether it comes before the prefix, with it or behind
                self._string_room = (126 - last.at - last.flagged) // 8
            self._ends_in_words = last.at + last.flagged + last.bits <= 128 or self._has_prefix
        #: whether all strings there have been fit that
        self._are_short = self._string_room >= 0
        #: how often the words of all rows have become others
        self.rewordings = 0
        #: rows of the log that were looked at since it was last worth sorting
        self._looked_through = 0

    def insert(self, delta: Batch, run: Run | None = None) -> None:
        if run is None:  # a run has words already, which the rows of it fit
            self._admit(delta)
        super().insert(delta, run)

    def insert_soon(self, delta: Batch, hashes: U64 | None = None) -> None:
        self._admit(delta)
        super().insert_soon(delta, hashes)

    def insert_later(self, delta: Batch, hashes: U64 | None = None) -> None:
        self._admit(delta)
        super().insert_later(delta, hashes)

    @property
    def tells_order(self) -> bool:
        """Whether rows of one key and place are equal in all columns of the order."""
        return self._ends_in_words and (self._are_short or not self._has_prefix)

    def _admit(self, rows: Batch) -> None:
        """Have words that `rows` fit, which are about to come."""
        if self._like is not None:
            # of parts of rows that it has already the columns are others
            if self._leading == self._like._leading:
                self._like._admit(rows)
        elif self._has_prefix:
            strings = self._strings(rows)
            self._are_short = self._are_short and are_short(strings, self._string_room)
            if self._prefix is None:
                self._prefix = prefix_of(strings)  # all there is has a NULL there
                return
            others = without(strings, self._prefix)
            self._others += len(others)
            if len(others) and self._others > max(_FEW_OTHERS, len(self) // 2):
                self._others = 0
                self._reword(prefix_of(strings, others))

    def _strings(self, rows: Batch) -> Column:
        """The column of `rows` that the words end with."""
        return rows.columns[self._leading[-1][0]]

    def reword(self) -> None:
        """Sort all runs by the words that the spine which this is `like` has now."""
        self._reword(None)

    def _reword(self, prefix: bytes | None) -> None:
        """Sort all runs by the words of strings most of which begin with `prefix`."""
        self.flush()
        while self._merging:
            self._adopt_merged(wait=True)
        self._prefix = prefix
        self.rewordings += 1
        for i, run in enumerate(self._runs):
            self._runs[i] = self.run_of(run.batch)

    @property
    def _made(self) -> bytes:
        """How the words of runs are made now."""
        if self._like is not None:
            return self._like._made
        if self._told_by:
            return _TOLD_BY
        if self._is_packed:
            return _PACKED + (self._prefix or b"")
        return _TOLD_APART if self._tells_apart else _PLAIN

    def capture(self) -> OrderedPin:  # type: ignore[override]
        return OrderedPin(super().capture(), self._made, self._has_prefix and self._are_short)

    def restore(self, store: StateStore, saved: Any) -> None:
        super().restore(store, saved)
        runs = [run for run in self._runs if isinstance(run, OrderedRun)]
        self._prefix, self._others = None, 0
        self._are_short = self._string_room >= 0 and (saved.get("short", False) or not runs)
        if not (self._is_packed or self._tells_apart) or not runs:
            return
        longest = max(runs, key=len)
        if self._is_packed and longest.made[:1] == _PACKED:
            self._prefix = longest.made[1:]
        elif self._has_prefix:
            self._prefix = prefix_of(self._strings(longest.batch))
        made = self._made
        # words that others keep are those of then
        self.rewordings += saved.get("made") != made.hex()
        for i, run in enumerate(self._runs):
            # of an older version, or while the words became others
            if not isinstance(run, OrderedRun) or run.made != made:
                self._runs[i] = self.run_of(run.batch)

    def fresh(self, delta: Batch) -> Fresh:
        """`delta` as this spine would have it; its run is what `insert` takes."""
        self._admit(delta)
        return Fresh(self.schema, self.key, self.run_of(delta))

    def prefixes(
        self, keys: Sequence[Column], n: int, width: int, *, from_end: bool = False
    ) -> tuple[I64, Batch, npt.NDArray[np.bool_]]:
        """For each of the `n` rows of `keys` all rows before some point of the order, or behind one
        (`from_end`).

        Returns (needle, rows, complete) with `needle` and `rows` as of `probe`, in no particular
        order; `complete[i]` says that these are all rows of key i. A larger `width` reaches
        further, and in the end everything."""
        logs = self._all_logs()
        needles = hash_columns(keys, KEY_SEED, n=n)
        # words are turned around there, so that what is left out is always the larger
        turn = _TOP if from_end else _NONE
        bound_c, bound_d = np.full(n, _TOP), np.full(n, _TOP)
        complete = np.ones(n, bool)
        parts: list[tuple[OrderedRun, I64, I64]] = []
        lows, highs, rows_found = rows_in(self._runs, needles) if self._runs else _NOTHING
        for j in rows_found.nonzero()[0].tolist():
            run, low, high = self._runs[j], lows[j], highs[j]
            assert isinstance(run, OrderedRun)
            if from_end:
                start, end = np.maximum(low, high - width), high
                cut, left_out = positions(start > low), start - 1
            else:
                start, end = low, np.minimum(high, low + width)
                cut, left_out = positions(end < high), end
            total = int((end - start).sum())
            needle, row = np.empty(total, np.int64), np.empty(total, np.int64)
            _expand(start, end, needle, row)
            if len(cut):
                complete[cut] = False
                at = left_out[cut]
                _lower(bound_c, bound_d, cut, run.c[at] ^ turn, run.d[at] ^ turn)
            parts.append((run, needle, row))
        at_needle: list[I64] = []
        found: list[Batch] = []
        for run, needle, row in parts:
            below = _is_below(
                run.c[row] ^ turn, run.d[row] ^ turn, bound_c[needle], bound_d[needle]
            )
            before = complete[needle] | below
            stored = [run.batch.columns[i] for i in self.key]
            if not keys_are_hashes(keys, stored):
                before &= rows_equal(keys, needle, stored, row) != 0
            kept = positions(before)
            at_needle.append(needle[kept])
            found.append(take(run.batch, row[kept]))
        for log in logs:
            needle, row = self._waiting(log, keys, needles)
            if len(needle):
                c, d = self.words_at(log.rows(), row)
                below = _is_below(c ^ turn, d ^ turn, bound_c[needle], bound_d[needle])
                kept = positions(complete[needle] | below)
                at_needle.append(needle[kept])
                found.append(take(log.rows(), row[kept]))
        if not found:
            return np.zeros(0, np.int64), empty_batch(self.schema), complete
        return np.concatenate(at_needle), concat(found), complete

    def _waiting(self, log: Log, keys: Sequence[Column], needles: U64) -> tuple[I64, I64]:
        """(needle, row) of the rows of a log that have one of the keys. No step sorts a log for the
        few that lie before the end of a prefix."""
        needle, row = log.find(needles)
        self._looked_through += len(row)
        if self._looked_through > _WORTH_SORTING * len(log) and log is self._log:
            self._looked_through = 0
            self._sort_soon()
        if not len(row):
            return needle, row
        rows = log.rows()
        stored = [rows.columns[i] for i in self.key]
        if not keys_are_hashes(keys, stored):
            kept = positions(rows_equal(keys, needle, stored, row))
            needle, row = needle[kept], row[kept]
        return needle, row

    def between(self, low: tuple[int, int], high: tuple[int, int]) -> Batch:
        """All rows whose two words of the order are in low .. high, of a spine without a key;
        rows of different runs may still cancel out. Cost: O(runs · log n + rows)."""
        assert not self.key, "words of different keys are not comparable"
        self.flush()
        found = [empty_batch(self.schema)]
        for run in self._runs:
            assert isinstance(run, OrderedRun)
            start, stop = _of_words(run, low, "left"), _of_words(run, high, "right")
            if stop > start:
                found.append(take(run.batch, np.arange(start, stop)))
        return consolidate(concat(found))

    def run_of(self, delta: Batch) -> OrderedRun:
        run = self._run_of_rows(delta)
        if run is None:
            # words are the same of different rows: from here on these are told apart by themselves
            run = self._run_of_rows(consolidate(delta))
            assert run is not None
        return run

    def _run_of_rows(self, rows: Batch) -> OrderedRun | None:
        """The run of `rows`; None where its words do not tell which are equal, of rows that are not
        consolidated."""
        n = len(rows)
        k = hash_columns([rows.columns[i] for i in self.key], KEY_SEED, n=n)
        r = hash_columns(rows.columns, ROW_SEED, n=n)
        c, d = self.words(rows, r)
        if 0 < n <= FEW_IN_RUN:
            made = few((k, c, d, r), rows.weights)
            if made is not None:
                batch = Batch(rows.schema, made.columns(rows.columns), made.weights, True)
                k, c, d, r = made.words
                index = made.table, made.shift
                return OrderedRun(k, r, batch, *index, c, d, self._made, told=made.where)
        order, k, tied = _sorted_by(k, c, d, r)
        c, d, r, weights = c[order], d[order], r[order], rows.weights[order]
        if not rows.consolidated and (tied or not all_set(weights)):
            added = added_up_in_order((k, c, d, r), rows.columns, order, weights)
            if added is None:
                return None
            kept, weights = added
            if len(kept) < n:
                order, k, c, d, r = order[kept], k[kept], c[kept], d[kept], r[kept]
        columns = tuple(take_column(x, order) for x in rows.columns)
        return _ordered(k, c, d, r, Batch(rows.schema, columns, weights, True), self._made)

    def words(self, rows: Batch, hashes: U64 | None = None) -> tuple[U64, U64]:
        """The two words by which rows of one key are ordered. `hashes`: those of the rows, where
        they are known."""
        c, d = self._words_of([rows.columns[i] for i, _, _ in self._leading], len(rows))
        if self._tells_apart:
            d = hash_columns(rows.columns, ROW_SEED, n=len(rows)) if hashes is None else hashes
        if self._told_by:
            hashes = hash_columns([rows.columns[i] for i in self._told_by], ROW_SEED, n=len(rows))
            at = self.order_bits
            if at >= 64:
                d |= hashes >> np.uint64(at - 64)
            else:
                c |= hashes >> np.uint64(at)
                d |= hashes << np.uint64(64 - at)
        return c, d

    def words_at(self, rows: Batch, at: I64) -> tuple[U64, U64]:
        """The same of the rows `at`."""
        if self._tells_apart or self._told_by:
            return self.words(take(rows, at))
        columns = [take_column(rows.columns[i], at) for i, _, _ in self._leading]
        return self._words_of(columns, len(at))

    def words_of(self, columns: Sequence[Column]) -> tuple[U64, U64]:
        """The same of values of the first columns of the order, which are all that it takes."""
        assert not (self._tells_apart or self._told_by), "it takes the whole row"
        return self._words_of(columns, len(columns[0]))

    def _words_of(self, columns: Sequence[Column], n: int) -> tuple[U64, U64]:
        if self._is_packed:
            own = self if self._like is None else self._like
            return packed_words(columns, self._parts, own._prefix or b"", n)
        types = [self.schema.types[i] for i, _, _ in self._leading]
        return _words(columns, types, self._leading)

    def _read(self, arrays: Mapping[str, Array]) -> OrderedRun:
        run = run_from(arrays, self.schema)
        made = arrays["made"].tobytes() if "made" in arrays else _PLAIN
        words = arrays["c"], arrays["d"]
        return OrderedRun(run.k, run.r, run.batch, run.table, run.shift, *words, made)

    def sum_of(self, lower: Run, upper: Run) -> OrderedRun:
        assert isinstance(lower, OrderedRun) and isinstance(upper, OrderedRun)
        n = len(lower) + len(upper)
        source, twins = np.empty(n, np.int64), np.empty(n, np.uint8)
        _interleave(
            lower.k, lower.c, lower.d, lower.r, upper.k, upper.c, upper.d, upper.r, source, twins
        )
        weights = pick_array(lower.batch.weights, upper.batch.weights, source)
        second = positions(twins)
        if len(second):
            first = second - 1
            columns = tuple(
                concat_columns((x, y))
                for x, y in zip(lower.batch.columns, upper.batch.columns, strict=True)
            )
            same = rows_equal(columns, source[first], columns, source[second])
            if not same.all() or (np.diff(second) == 1).any():
                # hashes of different rows collided: start over from the rows themselves
                both = np.concatenate((lower.batch.weights, upper.batch.weights))
                return self.run_of(Batch(self.schema, columns, both))
            weights[first] += weights[second]
            weights[second] = 0
            kept = positions(weights)
            source, weights = source[kept], weights[kept]
        picked = tuple(
            pick(x, y, source)
            for x, y in zip(lower.batch.columns, upper.batch.columns, strict=True)
        )
        k, c, d, r = (
            pick_array(x, y, source)
            for x, y in (
                (lower.k, upper.k),
                (lower.c, upper.c),
                (lower.d, upper.d),
                (lower.r, upper.r),
            )
        )
        return _ordered(k, c, d, r, Batch(self.schema, picked, weights, True), lower.made)


def _of_words(run: OrderedRun, words: tuple[int, int], side: Literal["left", "right"]) -> int:
    """Where the words would go, of rows with one key, before or behind those that have them."""
    first, second = np.uint64(words[0]), np.uint64(words[1])
    start = int(np.searchsorted(run.c, first, "left"))
    stop = int(np.searchsorted(run.c, first, "right"))
    return start + int(np.searchsorted(run.d[start:stop], second, side))


def _sorted_by(k: U64, c: U64, d: U64, r: U64) -> tuple[I64, U64, bool]:
    """Positions in order of (k, c, d, r), the `k` there, and whether rows may be equal in all. Most
    are told apart by k and c alone, or by k and d where c is whether a value is NULL, and none or
    all are."""
    if len(k) < FEW_ROWS:
        order = sorted_by_words((k, c, d, r))
        return order, k[order], len(k) > 1
    if (c == c[0]).all():
        c, d = d, c
    order, k, c, ties = sort_by_values(k, c)
    if ties:
        tied = (k[1:] == k[:-1]) & (c[1:] == c[:-1])
        at = positions(np.append(tied, False) | np.append(False, tied))
        rows = order[at]
        group = np.cumsum(np.append(True, ~tied))[at]
        order[at] = rows[sorted_by_words((group.view(np.uint64), d[rows], r[rows]))]
    return order, k, ties > 0


def _ordered(k: U64, c: U64, d: U64, r: U64, batch: Batch, made: bytes) -> OrderedRun:
    return OrderedRun(k, r, batch, *_index_of(k), c, d, made)


def _leading(types: Sequence[SqlType], order: Sequence[Direction]) -> tuple[Direction, ...]:
    """The columns of `order` that two words may be made of."""
    words = 0
    for i, type in enumerate(types):
        words += 2 if type.nullable and is_exact(type) else 1
        if words >= 2 or not is_exact(type):
            return tuple(order[: i + 1])
    return tuple(order)


def _words(
    columns: Sequence[Column], types: Sequence[SqlType], order: Sequence[Direction]
) -> tuple[U64, U64]:
    """uint64[n] twice: two words a row whose order never contradicts `order`.

    They depend on the row's values and the declared types alone, so equal rows have equal words
    in every batch. A column's word may be followed by the next column's only if it is exact."""
    n = len(columns[0]) if columns else 0
    words: list[U64] = []
    for column, (_, descending, nulls_first), type in zip(columns, order, types, strict=False):
        code, is_exact = _value_word(column)
        code = ~code if descending else code
        if not type.nullable:
            words.append(code)
        else:
            valid = column.valid
            if valid is None and is_exact:
                words += [np.full(n, int(nulls_first), np.uint64), code]
                break
            is_null = np.zeros(n, bool) if valid is None else valid == 0
            if is_exact:
                words.append((is_null ^ nulls_first).astype(np.uint64))
                words.append(np.where(is_null, np.uint64(0), code))
            else:
                shifted = (code >> np.uint64(1)) | np.uint64(int(nulls_first) << 63)
                words.append(np.where(is_null, np.uint64(0) if nulls_first else _TOP, shifted))
        if not is_exact or len(words) >= 2:
            break
    while len(words) < 2:
        words.append(np.zeros(n, np.uint64))
    return np.ascontiguousarray(words[0]), np.ascontiguousarray(words[1])


def _value_word(column: Column) -> tuple[U64, bool]:
    """A code of the values (NULLs aside) and whether it tells all values apart."""
    kind = column.type.kind
    if kind is Kind.DECIMAL:
        # the high word alone would tell few decimals apart: saturate to 64 bits instead
        low = np.ascontiguousarray(column.values[:, 0]).view(np.int64)
        high = np.ascontiguousarray(column.values[:, 1]).view(np.int64)
        extreme = np.where(high < 0, np.iinfo(np.int64).min, np.iinfo(np.int64).max)
        column = Column(BIGINT, np.where(high == low >> 63, low, extreme))
    return value_codes(column)[0], kind is not Kind.DECIMAL and is_exact(column.type)


def is_exact(type: SqlType) -> bool:
    """Whether a word tells all values of `type` apart."""
    return not (type.is_wide or type.kind is Kind.DECIMAL)


def _lower(bound_c: U64, bound_d: U64, at: I64, c: U64, d: U64) -> None:
    """Lower the bounds at `at` to (c, d) where those are smaller."""
    old_c, old_d = bound_c[at], bound_d[at]
    smaller = (c < old_c) | ((c == old_c) & (d < old_d))
    bound_c[at] = np.where(smaller, c, old_c)
    bound_d[at] = np.where(smaller, d, old_d)


def _is_below(c: U64, d: U64, bound_c: U64, bound_d: U64) -> npt.NDArray[np.bool_]:
    below: npt.NDArray[np.bool_] = (c < bound_c) | ((c == bound_c) & (d < bound_d))
    return below


@kernel(
    "void(uint64[::1], uint64[::1], uint64[::1], uint64[::1], uint64[::1], uint64[::1], "
    "uint64[::1], uint64[::1], int64[::1], uint8[::1])"
)
def _interleave(
    ka: Any, ca: Any, da: Any, ra: Any, kb: Any, cb: Any, db: Any, rb: Any, source: Any, twins: Any
) -> None:
    """Merge two sorted runs: source[i] is a row of a, or len(a) + a row of b; twins[i] is 1 where
    row i has the same words as the row before it."""
    na, nb = ka.shape[0], kb.shape[0]
    i, j = 0, 0
    k0, c0, d0, r0 = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
    for at in range(na + nb):
        if j >= nb:
            from_a = True
        elif i >= na:
            from_a = False
        elif ka[i] != kb[j]:
            from_a = ka[i] < kb[j]
        elif ca[i] != cb[j]:
            from_a = ca[i] < cb[j]
        elif da[i] != db[j]:
            from_a = da[i] < db[j]
        else:
            from_a = ra[i] <= rb[j]
        if from_a:
            k, c, d, r = ka[i], ca[i], da[i], ra[i]
            source[at] = i
            i += 1
        else:
            k, c, d, r = kb[j], cb[j], db[j], rb[j]
            source[at] = na + j
            j += 1
        twins[at] = 1 if at > 0 and k == k0 and c == c0 and d == d0 and r == r0 else 0
        k0, c0, d0, r0 = k, c, d, r
