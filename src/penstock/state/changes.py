"""Arrays addressed by the same ids, as a stack of changes: a checkpoint writes only what is new.

    oldest ─►  ids 0 … 9,999,999 │ values        all entries
               ids 17, 4711, …   │ values        those that changed since
    newest ─►  ids 3, 17         │ values        later ones win

`Changes` keeps such a stack for the arrays of one id space (sums, counts, keys of groups). Their
owner notes the ids that it touches; `capture` copies the entries of those, nothing else, into a
new piece. Neighbouring pieces of like size are merged when they are written, from their files and
outside of the step lock, so there are O(log n) of them.

Until the first capture nothing is noted: everything is new. So it is after a renumbering, and
when most entries are noted anyway.

A piece keeps its arrays until they are in a file: what a failed checkpoint did not write, the
next one does.

An array of rows (`n × k`) may get more columns; what was written before is zero there.

Cost: noting O(ids), one byte an entry; capture O(noted); writing O(changes · log n) amortised.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Column
from penstock.data.gather import concat_columns, slice_column
from penstock.data.heap import union
from penstock.data.types import SqlType
from penstock.errors import StateCorrupt
from penstock.state.storage import StateStore, column, file_reference, referenced_files

Ids = npt.NDArray[np.int64]
Types = Mapping[str, SqlType]
#: arrays of one length by name
Arrays = Mapping[str, Array | Column]

#: a piece is merged into the one before if that is less than this many times larger
RATIO = 3


@runtime_checkable
class Owner(Protocol):
    """Whose arrays they are. Names have no dots."""

    def entries(self) -> Arrays:
        """The arrays as they are now, at least as long as `entry_count`."""

    def entry_count(self) -> int:
        """Ids are below it."""

    def load_entries(self, arrays: Arrays, count: int) -> None:
        """Take over `arrays` of exactly `count` entries."""


@dataclass(slots=True)
class Piece:
    """Immutable entries of `ids`, or without them of start, start + 1, …: in memory as `arrays`
    until they are in `file`."""

    start: int
    rows: int
    ids: Ids | None = None
    arrays: Arrays | None = None
    file: str | None = None

    def write(self, store: StateStore) -> dict[str, Any]:
        if self.file is None:
            assert self.arrays is not None
            ids = {} if self.ids is None else {"ids": self.ids}
            self.file = store.put("entries", {**ids, **self.arrays})
            self.ids, self.arrays = None, None
        return {"start": self.start, "rows": self.rows, "at": file_reference(self.file)}

    def loaded(self, store: StateStore, types: Types) -> Piece:
        """The same with its arrays in memory. Raises StateCorrupt."""
        if self.arrays is not None:
            return self
        assert self.file is not None
        raw = store.get(self.file)
        names = [n for n in raw if "." not in n and n != "ids"]
        arrays = {n: column(raw, n, types[n]) if n in types else raw[n] for n in names}
        if any(len(a) != self.rows for a in arrays.values()):
            raise StateCorrupt(f"state file {self.file} is another's", file=self.file)
        return Piece(self.start, self.rows, raw.get("ids"), arrays)


class Changes:
    """See the module; a `Part`. `append_only`: an entry never changes and new ids follow the
    old, so nothing has to be noted."""

    def __init__(self, owner: Owner, *, append_only: bool = False) -> None:
        self.owner = owner
        self._append_only = append_only
        self._pieces: tuple[Piece, ...] = ()
        self._captured = 0
        #: by id, whether it is in `_noted` already; None: all entries are new
        self._is_noted: npt.NDArray[np.bool_] | None = None
        self._noted: list[Ids] = []
        self._lock = threading.Lock()

    def note(self, ids: Ids) -> None:
        """The entries of `ids`, each named once, are about to change or did. Those of new ids
        count as zero until they are noted."""
        if self._is_noted is None or not len(ids):
            return
        if int(ids.max()) >= len(self._is_noted):
            bigger = np.zeros(max(int(ids.max()) + 1, 2 * len(self._is_noted)), np.bool_)
            bigger[: len(self._is_noted)] = self._is_noted
            self._is_noted = bigger
        fresh = ids[~self._is_noted[ids]]
        if len(fresh):
            self._is_noted[fresh] = True
            self._noted.append(fresh)

    def renumbered(self) -> None:
        """Ids mean something else now."""
        self._is_noted = None
        self._noted = []

    def capture(self) -> ChangesPin:
        arrays, count = self.owner.entries(), self.owner.entry_count()
        fresh = (
            self._append(arrays, count) if self._append_only else self._noted_piece(arrays, count)
        )
        with self._lock:
            if fresh is not None:
                self._pieces = (
                    (fresh,) if fresh.start == 0 and fresh.ids is None else (*self._pieces, fresh)
                )
            return ChangesPin(self, self._pieces, _types(arrays), count)

    def _append(self, arrays: Arrays, count: int) -> Piece | None:
        """The entries since the last capture; nobody writes to them, so they are not copied."""
        start, self._captured = self._captured, count
        if start == count:
            return None
        return Piece(
            start, count - start, None, {n: _slice(a, start, count) for n, a in arrays.items()}
        )

    def _noted_piece(self, arrays: Arrays, count: int) -> Piece | None:
        noted, self._noted = self._noted, []
        ids = np.concatenate(noted) if noted else np.zeros(0, np.int64)
        if self._is_noted is None or 2 * len(ids) > count:
            self._is_noted = np.zeros(count, np.bool_)
            return Piece(0, count, None, {n: _copy(a, count) for n, a in arrays.items()})
        if not len(ids):
            return None
        self._is_noted[ids] = False
        # in order of memory, which halves the time; whoever steps waits for this
        ids.sort()
        return Piece(0, len(ids), ids, {n: _take(a, ids) for n, a in arrays.items()})

    def replace(self, old: Sequence[Piece], new: Sequence[Piece]) -> None:
        """`new` says what `old` said, if that is still the bottom of the stack."""
        with self._lock:
            if len(old) <= len(self._pieces) and all(
                a is b for a, b in zip(old, self._pieces, strict=False)
            ):
                self._pieces = (*new, *self._pieces[len(old) :])

    def restore(self, store: StateStore, saved: Any) -> None:
        count = saved["count"]
        pieces = [
            Piece(p["start"], p["rows"], file=referenced_files(p["at"]).pop())
            for p in saved["pieces"]
        ]
        types = _types(self.owner.entries())
        none = {n: _slice(a, 0, 0) for n, a in self.owner.entries().items()}
        whole = pieces[0].loaded(store, types) if pieces else Piece(0, 0, None, none)
        if len(pieces) > 1:
            later = functools.reduce(_merged, (p.loaded(store, types) for p in pieces[1:]))
            whole = _applied(whole, later)
        assert whole.arrays is not None
        if whole.rows < count:
            at = np.full(count, -1)
            at[: whole.rows] = np.arange(whole.rows)
            whole = Piece(0, count, None, {n: _take(a, at) for n, a in whole.arrays.items()})
        assert whole.arrays is not None
        self.owner.load_entries(whole.arrays, count)
        self._pieces = tuple(pieces)
        self._captured, self._noted = count, []
        self._is_noted = np.zeros(count, np.bool_)


@dataclass(frozen=True, slots=True)
class ChangesPin:
    changes: Changes
    pieces: tuple[Piece, ...]
    types: Types
    count: int

    def write(self, store: StateStore) -> Any:
        pieces = list(self.pieces)
        while len(pieces) > 1 and pieces[-2].rows <= RATIO * pieces[-1].rows:
            newer, older = pieces.pop(), pieces.pop()
            pieces.append(_merged(older.loaded(store, self.types), newer.loaded(store, self.types)))
        written = [p.write(store) for p in pieces]
        self.changes.replace(self.pieces, pieces)
        return {"count": self.count, "pieces": written}


def _merged(older: Piece, newer: Piece) -> Piece:
    """One piece that says what both say."""
    assert older.arrays is not None and newer.arrays is not None
    arrays = {n: _concat(a, newer.arrays[n]) for n, a in older.arrays.items()}
    rows = older.rows + newer.rows
    if newer.ids is None:
        assert older.ids is None and newer.start == older.start + older.rows
        return Piece(older.start, rows, None, arrays)
    if older.ids is None:
        assert older.start == 0
        count = max(older.rows, int(newer.ids.max()) + 1)
        at = np.arange(count)
        at[older.rows :] = -1
        at[newer.ids] = older.rows + np.arange(newer.rows)
        return Piece(0, count, None, {n: _take(a, at) for n, a in arrays.items()})
    # the last of each id: the first from behind
    ids, last = np.unique(np.concatenate((older.ids, newer.ids))[::-1], return_index=True)
    at = rows - 1 - last
    return Piece(0, len(ids), ids, {n: _take(a, at) for n, a in arrays.items()})


def _applied(whole: Piece, later: Piece) -> Piece:
    """The same as `_merged`, in place where that can be: a mapped array is not read for it."""
    assert whole.arrays is not None and later.arrays is not None
    if later.ids is None or int(later.ids.max()) >= whole.rows:
        return _merged(whole, later)
    return Piece(
        whole.start,
        whole.rows,
        None,
        {n: _put(a, later.ids, later.arrays[n]) for n, a in whole.arrays.items()},
    )


def _put(array: Array | Column, ids: Ids, new: Array | Column) -> Array | Column:
    if not isinstance(array, Column) or not isinstance(new, Column):
        assert not isinstance(array, Column) and not isinstance(new, Column)
        array, new = _alike(array, new)
        array[ids] = new
        return array
    array.values[ids] = new.values
    valid = array.valid
    if valid is None and new.valid is not None:
        valid = np.ones(len(array), np.uint8)
    if valid is not None:
        valid[ids] = 1 if new.valid is None else new.valid
    return Column(array.type, array.values, valid, union((array.heaps, new.heaps)))


def _types(arrays: Arrays) -> Types:
    return {n: a.type for n, a in arrays.items() if isinstance(a, Column)}


def _slice(array: Array | Column, start: int, stop: int) -> Array | Column:
    return slice_column(array, start, stop) if isinstance(array, Column) else array[start:stop]


def _copy(array: Array | Column, count: int) -> Array | Column:
    if not isinstance(array, Column):
        return array[:count].copy()
    valid = None if array.valid is None else array.valid[:count].copy()
    return Column(array.type, array.values[:count].copy(), valid, array.heaps)


def _take(array: Array | Column, ids: Ids) -> Array | Column:
    """The entries at `ids`; at -1 zeros, as an array grows before anything is noted."""
    values = array.values if isinstance(array, Column) else array
    never = np.flatnonzero(ids < 0)
    if len(never) and not len(values):
        found = np.zeros((len(ids), *values.shape[1:]), values.dtype)
    else:
        found = values.take(ids, axis=0)
        found[never] = 0
    if not isinstance(array, Column):
        return found
    valid = None
    if array.valid is not None:
        valid = array.valid.take(ids) if len(array.valid) else np.zeros(len(ids), np.uint8)
        valid[never] = 0
    return Column(array.type, found, valid, array.heaps)


def _concat(a: Array | Column, b: Array | Column) -> Array | Column:
    if isinstance(a, Column) and isinstance(b, Column):
        return concat_columns((a, b))
    assert not isinstance(a, Column) and not isinstance(b, Column)
    return np.concatenate(_alike(a, b))


def _alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Both with as many columns as the wider one."""
    width = max(a.shape[1:], b.shape[1:])
    return _widened(a, width), _widened(b, width)


def _widened(array: Array, width: tuple[int, ...]) -> Array:
    if array.shape[1:] == width:
        return array
    wider = np.zeros((len(array), *width), array.dtype)
    wider[:, : array.shape[1]] = array
    return wider
