"""Runs beyond a budget of memory live in mapped files.

    resident (in memory)         over budget: the largest are written …
    ▪ ▪▪ ▪▪▪▪ ▪▪▪▪▪▪▪▪▪▪▪▪  ──►  ▪ ▪▪ ▪▪▪▪ ░░░░░░░░░░░░    … and mapped in place of what they were

    two runs whose merge would be large are merged piece by piece, straight into a file

A mapped run answers like any other; the system keeps its hot pages and drops the others. Runs are
written in a thread of their own, while the resident ones keep answering; only when memory is at
twice the budget does the step wait, for that thread or for a merge, whose runs cannot go before.
A run that a checkpoint has written already is just mapped, and one that was spilled is not written
again by the next checkpoint. Files that no checkpoint ever named are removed when their last run is
gone; a run in a snapshot counts.

Not counted: arrays by group, which have a choice of their own (`penstock.state.backing`), and the
deltas of a step.

Cost: writing a run once, at the speed of the disk; a cold look-up is a page fault a column.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from penstock.data.batch import Array
from penstock.errors import StateCorrupt
from penstock.state.freed import give_back
from penstock.state.run import Run
from penstock.state.spine import Spine
from penstock.state.storage import StateStore, one_by_one, plain

log = logging.getLogger(__name__)

#: the most rows of a piece when two runs are merged into a file, and the least: what is in memory
#: of a merge is a few times a piece
PIECE_ROWS, MIN_PIECE_ROWS = 1 << 20, 1 << 14
#: smaller runs are not worth a file
MIN_RUN_BYTES = 1 << 16

#: arrays of a run that have no entry a row
_OF_ALL = ("table", "shift", "made")

_writer = ThreadPoolExecutor(1, thread_name_prefix="spill")


class Spill:
    """Keeps the runs of `spines` within `budget` bytes of memory, the others in `store`."""

    def __init__(self, store: StateStore, budget: int, spines: Sequence[Spine]) -> None:
        self.store = store
        self.budget = budget
        self._spines = tuple(spines)
        self._writing: Future[list[tuple[Spine, Run, Run]]] | None = None
        #: files whose last run is gone, and whether a manifest may name them
        self._left: deque[tuple[str, list[bool]]] = deque()
        for spine in self._spines:
            spine.merge_large = self.merge

    def resident_bytes(self) -> int:
        return sum(r.resident_bytes for s in self._spines for r in s.sorted_runs())

    def tend(self) -> None:
        """To be called between two steps. Raises OSError if the disk fails."""
        if self._writing is not None and self._writing.done():
            self._adopt()
        if self._left:
            self._clean()
        while (resident := self.resident_bytes()) > self.budget:
            if self._writing is None:
                chosen = self._choose(resident - self.budget // 2)
                if chosen:
                    self._writing = _writer.submit(self._write, chosen)
            if resident <= 2 * self.budget:
                break
            if self._writing is not None:
                self._adopt()
            elif not self._await_merge():
                break

    def merge(self, spine: Spine, lower: Run, upper: Run) -> Run | None:
        """The two runs as one in a file, None if they are small enough for memory."""
        bytes = lower.nbytes + upper.nbytes
        if bytes < MIN_RUN_BYTES or 8 * bytes < self.budget:
            return None
        room, rows = _room(lower, upper), len(lower) + len(upper)
        # pieces of an eighth of the budget
        piece = min(PIECE_ROWS, max(MIN_PIECE_ROWS, self.budget * rows // (8 * bytes)))
        return self._put(spine, room, _pieces(spine, lower, upper, piece))

    def _await_merge(self) -> bool:
        """Wait for a merge, as what is merged is in memory until then; whether there was one."""
        merging = [(sum(r.resident_bytes for r in s.merging_runs()), s) for s in self._spines]
        bytes, spine = max(merging, key=lambda pair: pair[0], default=(0, None))
        if spine is None or not bytes:
            return False
        spine.await_merge()
        return True

    def _choose(self, bytes: int) -> list[tuple[Spine, Run]]:
        """The largest resident runs, enough to free `bytes`, but those that are being merged: they
        would stay in memory for whoever merges."""
        found = []
        for spine in self._spines:
            busy = {id(r) for r in spine.merging_runs()}
            for run in spine.sorted_runs():
                if run.resident_bytes >= MIN_RUN_BYTES and id(run) not in busy:
                    found.append((spine, run))
        found.sort(key=lambda pair: -pair[1].resident_bytes)
        sizes = np.cumsum([r.resident_bytes for _, r in found])
        return found[: int(np.searchsorted(sizes, bytes)) + 1]

    def _write(self, chosen: list[tuple[Spine, Run]]) -> list[tuple[Spine, Run, Run]]:
        return [(s, r, self._mapped(s, r)) for s, r in chosen]

    def _mapped(self, spine: Spine, run: Run) -> Run:
        file = run.written.file
        if file is not None:
            try:
                mapped = spine.mapped(file, self.store.get(file))
                mapped.written.claim = run.written.claim
                return mapped
            except StateCorrupt:
                log.warning("spill_again file=%s", file)  # gone or damaged; the run is here
        mapped = self._put(spine, {}, one_by_one(run.arrays()))
        # the claim first: whoever sees the file, for a manifest, then finds its claim
        run.written.claim = mapped.written.claim
        run.written.file = mapped.written.file
        return mapped

    def _put(self, spine: Spine, room: dict[str, Array], pieces: Iterator[dict[str, Array]]) -> Run:
        file, arrays = self.store.put_mapped("run", room, pieces)
        run = spine.mapped(file, arrays)
        claim = run.written.claim
        weakref.finalize(claim, self._left.append, (file, claim.is_named)).atexit = False
        return run

    def _clean(self) -> None:
        """Remove the files that nobody needs."""
        left = [self._left.popleft() for _ in range(len(self._left))]
        unnamed = {file for file, is_named in left if not is_named[0]}
        if unnamed:
            self.store.remove(unnamed)

    def _adopt(self) -> None:
        """Have the spines use what was written, once it is."""
        assert self._writing is not None
        written, self._writing = self._writing.result(), None
        for spine, resident, mapped in written:
            spine.exchange(resident, mapped)
        written.clear()
        # by the thread that writes: it takes milliseconds
        _writer.submit(give_back)


def _room(lower: Run, upper: Run) -> dict[str, Array]:
    """What the merged run may need, as `StateStore.put_pieces` wants it."""
    rows = len(lower) + len(upper)
    parts = [*lower.arrays().items(), *upper.arrays().items()]
    room: dict[str, Array] = {}
    for name, array in parts:
        if name in _OF_ALL:
            continue
        values = array if isinstance(array, np.ndarray) else array.values
        room[name] = _of_shape(values, rows)
        if not isinstance(array, np.ndarray) and array.valid is not None:
            room[f"{name}.valid"] = _of_shape(array.valid, rows)
    return room


def _of_shape(array: Array, rows: int) -> Array:
    return np.broadcast_to(np.zeros(1, array.dtype), (rows, *array.shape[1:]))


def _pieces(spine: Spine, lower: Run, upper: Run, piece_rows: int) -> Iterator[dict[str, Array]]:
    """The arrays of the merged run, a range of hashes at a time, then its index.

    All rows of one key are in one piece, whatever their number."""
    rows = len(lower) + len(upper)
    has_nulls = [c for c in _room(lower, upper) if c.endswith(".valid")]
    bits = max(1, rows.bit_length() - 3)
    counts = np.zeros(1 << bits, np.int64)
    pieces = -(-rows // piece_rows)
    cuts = np.array([(i << 64) // pieces for i in range(1, pieces)], np.uint64)
    edges = [[0, *np.searchsorted(r.k, cuts).tolist(), len(r)] for r in (lower, upper)]
    heaps: set[int] = set()
    of_all: dict[str, Array] = {}
    for i in range(pieces):
        a, b = (r.part(e[i], e[i + 1]) for r, e in zip((lower, upper), edges, strict=True))
        merged = spine.merged_in_memory(a, b)
        arrays = dict(plain(merged.arrays(), heaps))
        of_all = {name: arrays.pop(name) for name in _OF_ALL if name in arrays}
        for name in has_nulls:
            arrays.setdefault(name, np.ones(len(merged), np.uint8))
        buckets = (merged.k >> np.uint64(64 - bits)).astype(np.int64)
        if len(buckets):
            first = int(buckets[0])
            found = np.bincount(buckets - first)
            counts[first : first + len(found)] += found
        yield arrays
    table = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=table[1:])
    yield {**of_all, "table": table, "shift": np.array([64 - bits])}
