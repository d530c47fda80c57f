"""Joins: pairs of rows, and rows that lack a partner.

With A, B the integrals before the step and dA, dB the deltas:

    pairs      d(A ⋈ B) = dA ⋈ B + A ⋈ dB + dA ⋈ dB
    presence   d(A where has(B)) = dA where has(B + dB)  +  A · (has(B + dB) - has(B))

`has` says of a left row whether it matches any right row: by the number of rows of its key when
the keys alone decide, otherwise by the number of rows that pass the residual.

    inner   pairs                      semi   presence
    left    pairs + absence of A       anti   absence
    full    pairs + absence of A and of B (mirrored), padded with NULLs

Cost: proportional to the rows that match the deltas. A change of presence of a key reads the
rows of that key on the other side; with a residual it also counts their matches anew. Where a
condition bounds a column of either side by one of the other (`penstock.circuit.band`) and a key has
many rows, only those within the bounds are looked at; where it says that two columns differ, the
ends of a key decide (`penstock.circuit.ends`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.arrange import Arrange, distinct_keys
from penstock.circuit.band import Band
from penstock.circuit.ends import Ends
from penstock.circuit.node import Node
from penstock.data.batch import Batch, Column, Weights
from penstock.data.build import null_column
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, filter_batch, slice_column, take
from penstock.data.kernel import kernel
from penstock.data.masks import positions
from penstock.data.types import Schema
from penstock.state.banded import BandedSpine
from penstock.state.lookup import TooManyMatches
from penstock.state.ordered import OrderedSpine
from penstock.state.spine import Spine

Residual = Callable[[Batch], np.ndarray]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: rows of one batch of an output that comes in several
MOST_ROWS = 1 << 20
#: rows of the keys of a step, in all and for each row of it, that are looked at sooner than they
#: are put in order, where a condition bounds them
FEW_ROWS, FEW_EACH = 1 << 12, 32

_PAIRS = frozenset(("inner", "left", "right", "full"))
_KEEPS_LEFT = frozenset(("left", "full", "semi", "anti"))
_KEEPS_RIGHT = frozenset(("right", "full"))


def _few(n: int) -> int:
    """Rows of the keys of `n` rows that are looked at sooner than they are put in order."""
    return FEW_ROWS + FEW_EACH * n


class Join(Node):
    """Equi-join of two arrangements: inner, left, right, full, semi or anti.

    Reference:   every pair of rows with equal keys that passes the residual, weights multiplied;
                 left, right, full: also the rows without a partner, padded with NULLs; semi and
                 anti: the left rows with and without a partner.
    Incremental: the product rule for pairs, changes of presence for the rest (module docstring).
    State: none of its own; the two arrangements, shared with other joins. Of the right rows of a
           semi or anti join without a residual there are only counts.
    Cost:  O(matches of the deltas) probes and gathers; where both sides retract, their pairs are
           consolidated. With a `band` matches are the rows in it, O(log n) each row of the deltas,
           once some key has had so many rows that its arrangement was sorted by it.

    `meaning` is a value that says what the residual is (see `penstock.data.identity`); without it
    the residual is known by the node's name.
    """

    def __init__(
        self,
        left: Arrange,
        right: Arrange,
        kind: str,
        residual: Residual | None,
        schema: Schema,
        meaning: Any = None,
        band: Band | None = None,
    ) -> None:
        assert kind in _PAIRS | _KEEPS_LEFT, f"no such join: {kind}"
        super().__init__(schema, (left, right))
        self._left, self._right = left, right
        self._kind = kind
        self._residual = residual
        self._meaning = meaning
        #: where the partners of a row lie, as the residual implies, or whoever reads the pairs
        self._band = band
        #: whether it is semi or anti, and the right side has one row a key, as the residual's one
        #: bound compares it
        self.has_one_partner = False
        #: of a semi or anti join, if all its residual says is that two values differ
        self.ends: Ends | None = None
        #: whether its reader takes the output batch by batch (see `penstock.circuit.more`)
        self.is_summed = False
        self._pair_schema = Schema(left.schema.fields + right.schema.fields)
        #: which rows of either side cannot find a partner any more
        self.expiries = left.expiry(), right.expiry()
        left.keep_rows()
        if residual is not None or kind in _PAIRS:
            right.keep_rows()
        if residual is None:
            if kind in _KEEPS_LEFT:
                right.count_keys()
            if kind in _KEEPS_RIGHT:
                left.count_keys()

    def step(self) -> Batch | None:
        batches = self._batches()
        first = next(batches, None)
        second = next(batches, None)
        if second is not None:
            self.more = self._later(chain((second,), batches))
        return first

    def _batches(self) -> Iterator[Batch]:
        """All that comes out, in one batch unless it `is_summed` and is much."""
        parts: list[Batch] = []
        rows, is_one = 0, True
        for part in self._parts():
            if self.is_summed and rows and rows + len(part) > MOST_ROWS:
                yield concat(parts)
                parts, rows, is_one = [], 0, False
            if len(part):
                parts.append(part)
                rows += len(part)
        if not parts:
            return
        together = concat(parts)
        # where both sides retract, the products cancel each other out: -old +new on either side
        # are eight pairs of which two remain, and a chain of joins would multiply them
        cancels = len(parts) > 1 and self._left.delta is not None and self._right.delta is not None
        is_to_shrink = is_one and cancels and together.weights.min() < 0
        yield consolidate(together) if is_to_shrink else together

    def _later(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self.rows_out += len(batch)
            yield batch

    def _parts(self) -> Iterator[Batch]:
        if self._kind in _PAIRS:
            for p in self._pairs():
                yield self._typed(p.columns, p.weights)
        if self._kind in _KEEPS_LEFT:
            yield from map(self._left_row, self._changes_of_presence(left_is_own=True))
        if self._kind in _KEEPS_RIGHT:
            yield from map(self._right_row, self._changes_of_presence(left_is_own=False))

    # Pairs

    def _pairs(self) -> Iterator[Batch]:
        left, right = self._left, self._right
        if left.delta is not None:
            for spine in (right.spine, right.pending):
                if spine is not None:
                    rows = left.delta
                    for at, found in self._partners(spine, left, rows, left.hashes(), of_left=True):
                        if len(at):
                            yield self._passing(_each(rows, at), found)
        if right.delta is not None:
            rows = right.delta
            for at, found in self._partners(left.spine, right, rows, right.hashes(), of_left=False):
                if len(at):
                    yield self._passing(found, _each(rows, at))

    def _partners(
        self, spine: Spine, side: Arrange, rows: Batch, hashes: U64 | None, *, of_left: bool
    ) -> Iterable[tuple[I64, Batch]]:
        """What a probe of the other side finds for `rows` of `side` (`of_left`: which stand on the
        left); where that is too much at once, piece by piece."""
        if self.ends is not None or self._band is not None:
            return self._partners_in_order(spine, side, rows, hashes, of_left=of_left)
        keys, n = side.keys_of(rows), len(rows)
        # of what a condition is asked about, most may be dropped
        most = MOST_ROWS if self.is_summed or self._residual is not None else None
        try:
            return (spine.probe(keys, n, hashes, most),)
        except TooManyMatches:
            return self._in_pieces(spine, keys, n, hashes, most)

    def _partners_in_order(
        self, spine: Spine, side: Arrange, rows: Batch, hashes: U64 | None, *, of_left: bool
    ) -> Iterator[tuple[I64, Batch]]:
        """The same where partners are looked for by more than the key."""
        keys, n = side.keys_of(rows), len(rows)
        if self.ends is not None:
            yield spine.probe(keys, n, hashes, self._most(n))
            return
        assert self._band is not None and isinstance(spine, OrderedSpine)
        if isinstance(spine, BandedSpine) and not spine.lies_in_order:
            try:
                yield spine.probe(keys, n, hashes, _few(n))
                return
            except TooManyMatches:
                spine.lie_in_order()
        yield from self._band.near(
            spine, keys, rows, of_left=of_left, most=MOST_ROWS, cuts_one=self.is_summed
        )

    def _in_pieces(
        self, spine: Spine, keys: Sequence[Column], n: int, hashes: U64 | None, most: int | None
    ) -> Iterator[tuple[I64, Batch]]:
        """The same of what is too much for one look-up."""
        left = [(0, 1)] if n == 1 else [(n // 2, n), (0, n // 2)]
        while left:
            start, stop = left.pop()
            is_all = stop - start == n
            mine = keys if is_all else [slice_column(k, start, stop) for k in keys]
            known = hashes if is_all or hashes is None else hashes[start:stop]
            try:
                at, found = spine.probe(mine, stop - start, known, most)
            except TooManyMatches:
                if stop - start == 1:
                    for found in spine.probe_one(mine, known, MOST_ROWS):
                        yield np.full(len(found), start), found
                    continue
                middle = (start + stop) // 2
                left += [(middle, stop), (start, middle)]
            else:
                yield (at if is_all else at + start), found

    def _passing(self, left: Batch, right: Batch) -> Batch:
        """Row i of `left` beside row i of `right`, where the residual holds."""
        pairs = self._beside(left, right)
        if self._residual is None or not len(pairs):
            return pairs
        return filter_batch(pairs, self._residual(pairs))

    def _beside(self, left: Batch, right: Batch) -> Batch:
        weights = left.weights * right.weights
        return Batch(self._pair_schema, left.columns + right.columns, weights)

    # Presence

    def _changes_of_presence(self, *, left_is_own: bool) -> Iterator[Batch]:
        """Rows of one side that came to have (semi) or to lack (anti, outer) a partner."""
        own, other = (self._left, self._right) if left_is_own else (self._right, self._left)
        wants = self._kind == "semi"
        if own.unmatched is not None and not wants:
            yield own.unmatched
        if self._residual is None:
            changes = self._by_key(own, other)
        else:
            changes = self._by_row(own, other, left_is_own)
        for rows, before, after in changes:
            weights = rows.weights * ((after == wants).astype(np.int64) - (before == wants))
            at = positions(weights)
            yield Batch(rows.schema, take(rows, at).columns, weights[at])
        if own.delta is not None:
            present = self._present(own, other, left_is_own)
            yield filter_batch(own.delta, (present == wants).astype(np.uint8))

    def _present(self, own: Arrange, other: Arrange, left_is_own: bool) -> np.ndarray:
        """bool per row of own's delta: whether it has a partner after this step."""
        assert own.delta is not None
        if self._residual is None:
            assert other.counts is not None
            return other.counts.present(own.keys_of(own.delta), len(own.delta))
        if not self._lie_in_order():
            try:
                matches = self._matches(own, own.delta, other.spine, left_is_own)
                return (matches + self._matches(own, own.delta, other.pending, left_is_own)) > 0
            except TooManyMatches:
                self._put_in_order()
        assert self.ends is not None and isinstance(other.spine, BandedSpine)
        keys, n = own.keys_of(own.delta), len(own.delta)
        ends = self.ends.of(other.spine, other.delta, keys, n)
        return self.ends.holds(own.delta, np.arange(n), ends, self._passes)

    def _by_key(
        self, own: Arrange, other: Arrange
    ) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
        """Old rows of `own` whose key came or went in `other`: (rows, before, after)."""
        assert other.counts is not None
        flips = other.counts.flips
        if flips is not None:
            at, rows = own.spine.probe(flips.keys, len(flips.sign))
            after = flips.sign[at] > 0
            yield rows, ~after, after

    def _by_row(
        self, own: Arrange, other: Arrange, left_is_own: bool
    ) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
        """Old rows of `own` whose number of matches changed: (rows, before, after)."""
        if other.delta is None:
            return
        found = None
        if not self._lie_in_order():
            try:
                found = self._recounted(own, other, other.delta, left_is_own)
            except TooManyMatches:
                self._put_in_order()
        if found is not None:
            yield found
        elif self.ends is not None:
            mine, theirs = own.spine, other.spine
            assert isinstance(mine, BandedSpine) and isinstance(theirs, BandedSpine)
            keys, n = distinct_keys(other.keys_of(other.delta), len(other.delta))
            yield from self.ends.changes(mine, theirs, other.delta, keys, n, self._passes)

    def _recounted(
        self, own: Arrange, other: Arrange, delta: Batch, left_is_own: bool
    ) -> tuple[Batch, np.ndarray, np.ndarray]:
        rows = self._in_reach(own, other, delta, left_is_own)
        change = self._matches(own, rows, other.pending, left_is_own)
        changed = positions(change)
        rows = take(rows, changed)
        before = self._matches(own, rows, other.spine, left_is_own)
        return rows, before > 0, before + change[changed] > 0

    def _lie_in_order(self) -> bool:
        """Whether keys have had so many rows that partners are asked of their ends."""
        spines = self._left.spine, self._right.spine
        return self.ends is not None and all(
            isinstance(s, BandedSpine) and s.lies_in_order for s in spines
        )

    def _put_in_order(self) -> None:
        for side in (self._left, self._right):
            assert isinstance(side.spine, BandedSpine)
            side.spine.lie_in_order()

    def _passes(self, left: Batch, right: Batch) -> np.ndarray:
        assert self._residual is not None
        return self._residual(self._beside(left, right))

    def _in_reach(self, own: Arrange, other: Arrange, delta: Batch, left_is_own: bool) -> Batch:
        """The old rows of `own` that may match a row of the other side's `delta`."""
        keys, count = distinct_keys(other.keys_of(delta), len(delta))
        if self._band is None:
            return own.spine.probe(keys, count, None, self._most(len(delta)))[1]
        spine = own.spine
        assert isinstance(spine, BandedSpine)
        if not spine.lies_in_order:
            try:
                return spine.probe(keys, count, None, _few(len(delta)))[1]
            except TooManyMatches:
                spine.lie_in_order()
        if self.has_one_partner:
            # who is beyond what the key had and what it has there has a partner as before
            keys_of_best = other.keys_of(delta)
            return self._band.between_best(spine, keys_of_best, delta, of_left=not left_is_own)
        return self._band.in_reach(spine, other.keys_of(delta), delta, of_left=not left_is_own)

    def _most(self, n: int) -> int | None:
        """How many rows a probe for `n` rows may find before `ends` are asked."""
        return None if self.ends is None else _few(n)

    def _matches(
        self, own: Arrange, rows: Batch, spine: Spine | None, left_is_own: bool
    ) -> Weights:
        """For each row, the total weight in `spine` of the rows that match it. `left_is_own`:
        whether `rows` stand on the left; a relation joined with itself is one arrangement."""
        matches = np.zeros(len(rows), dtype=np.int64)
        if spine is None or not len(rows):
            return matches
        assert self._residual is not None
        for at, found in self._partners(spine, own, rows, None, of_left=left_is_own):
            if len(at):
                mine = take(rows, at)
                left, right = (mine, found) if left_is_own else (found, mine)
                passing = self._residual(self._beside(left, right)).astype(bool)
                np.add.at(matches, at[passing], found.weights[passing])
        return matches

    # Output rows

    def _left_row(self, rows: Batch) -> Batch:
        padding = self.schema.types[len(rows.columns) :]
        nulls = tuple(null_column(t, len(rows)) for t in padding)
        return self._typed(rows.columns + nulls, rows.weights)

    def _right_row(self, rows: Batch) -> Batch:
        padding = self.schema.types[: len(self._left.schema)]
        nulls = tuple(null_column(t, len(rows)) for t in padding)
        return self._typed(nulls + rows.columns, rows.weights)

    def _typed(self, columns: tuple[Column, ...], weights: Weights) -> Batch:
        typed = [c.with_type(t) for c, t in zip(columns, self.schema.types, strict=True)]
        return Batch(self.schema, tuple(typed), weights)

    def parameters(self) -> tuple[Any, ...]:
        residual = self.name if self._meaning is None else self._meaning
        return self._kind, self.schema.types, None if self._residual is None else residual

    def is_due(self) -> bool:
        # rows with a NULL key never reach an arrangement's delta, yet outer joins emit them
        return any(a.inputs[0].delta is not None for a in (self._left, self._right))


def _each(rows: Batch, at: npt.NDArray[np.int64]) -> Batch:
    """Rows `at`: often each once, where every one has one partner, and then nothing is copied."""
    if len(at) == len(rows) and _is_range(at):
        return rows
    return take(rows, at)


@kernel("boolean(int64[::1])")
def _is_range(at: Any) -> bool:
    """Whether `at` is 0, 1, 2, …"""
    n = 0
    while n < at.shape[0] and at[n] == n:
        n += 1
    return bool(n == at.shape[0])
