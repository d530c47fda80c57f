"""A spine: the integral of one relation as a stack of runs under merge.

    newest ─►  ▪           a delta becomes a run on top; neighbours of like size are merged, so
               ▪▪          sizes fall geometrically from bottom to top and there are
               ▪▪▪▪▪▪▪▪    O(log n) runs; but for a few of some rows, which lie on top as they
                           came and are sorted together once in a while (`penstock.state.pile`)

Small merges happen at once, in the step; larger ones in a background thread and the largest in
another, so that no step waits for them: until one is done the old runs keep answering, and those
that come on top of them meanwhile are merged among themselves. What is left to merge where no rows
come any more is begun by `tend`, between two steps.

`insert_later` puts rows into a log (`penstock.state.log`) that is sorted into a run in the
background once it is long, or when somebody wants the runs: a spine that is seldom read (the large
side of a join whose other side rests, a view that nobody asks for) pays for appends only. The
longer nobody looks the longer the log may become, as what is sorted together needs no merge, and
where rows only come the more runs of like size are merged at a time, each row then less often.
Who has to wait for a sort that nobody has begun sorts himself (`penstock.data.parallel.Errand`).
While rows only come, keys are looked up in the log as it is. `insert_soon` is for rows that
somebody will look at, but not before the next step: where some go, which a log would only collect,
it inserts in the background.

Invariants: the sum of all runs and the log is the integral; runs are immutable, so a snapshot is
the list of them; look-ups compare the real keys of every hash match.

Invariant of `insert_soon`: while an insertion is under way its thread alone touches the runs.

Cost: insertion O(|delta| log n) amortised; probe O(needles · runs + matches); snapshot O(1), where
a log waits O(log) once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Batch, Column, Weights
from penstock.data.build import empty_batch
from penstock.data.consolidate import consolidate
from penstock.data.deferred import Part, deferred, gathered
from penstock.data.gather import (
    concat,
    concat_columns,
    slice_batch,
    slice_column,
    take,
    take_column,
)
from penstock.data.hash import hash_columns, is_exact, rows_equal
from penstock.data.heap import union
from penstock.data.masks import all_set, positions
from penstock.data.parallel import (
    Errand,
    Gain,
    are_looked_up_in_ranges,
    beside_steps,
    in_ranges,
    side_by_side,
)
from penstock.data.types import NULL, Schema, SqlType
from penstock.state.few import FEW_ROWS
from penstock.state.log import Log, is_plain, packed
from penstock.state.lookup import find_in, of_key, rows_in
from penstock.state.pile import FEW_NEEDLES, Pile
from penstock.state.run import KEY_SEED, Run, build_run, merge_runs, run_from
from penstock.state.snapshot import Snapshot
from penstock.state.storage import StateStore, file_reference, referenced_files

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: a run is merged into its lower neighbour when that is less than this many times larger
RATIO = 3
#: as many runs of like size are merged at a time where nobody looks and rows only come
FAN = 8
#: a run of fewer rows is sorted anew with those that come, not merged with them
SMALL_ROWS = 2048
#: so many runs, of a part of these rows in all, lie on top as they came: sorting them together once
#: in a while takes small steps less than looking into some runs more does
PILED_RUNS, PILED_PART = 32, 8
#: by how many runs the first times of spines with turns next to each other differ (see `stagger`)
_TURNS = 5
#: merges of more rows than this happen in the background
BACKGROUND_ROWS = 32_768
#: runs a spine may have before it waits for a background merge
MAX_RUNS = 24
#: rows of the log that are worth sorting in the background; whoever wants runs sorts fewer
LOG_ROWS = 1 << 15
#: as many times that where nobody looks: a merge of each row less, for two factors of two
MOST_PATIENCE, PATIENT_BYTES = 4, 1 << 24

#: rows of a batch that is copied as a whole sooner than some of them alone
_FEW_ROWS = 64
#: rows that are worth handing to another thread (some 50 µs) to be inserted
SOON_ROWS = 512
#: background merges of more rows than this have a thread of their own
LONG_ROWS = 1 << 20

#: the runs of a spine, how many of them lie on top as they came, and the sum of their weights
Pinned = tuple[tuple[Run, ...], int, int]
_NO_NEEDLES = np.zeros(0, np.int64)
_NO_COLUMN = Column(NULL, np.zeros(0, np.uint8))

_merger = ThreadPoolExecutor(1, thread_name_prefix="merge")
_short_merger = ThreadPoolExecutor(1, thread_name_prefix="short-merge")
#: of its own: a look-up may wait for a sort, and should not wait for a merge before it
_sorter = ThreadPoolExecutor(1, thread_name_prefix="sort")


def rest() -> None:
    """Wait until the threads that sort and merge have done what they were given: for who measures
    what a step costs in all."""
    for thread in (_sorter, _short_merger, _merger):
        thread.submit(int).result()


class Spine:
    """The integral of a relation of `schema`, found by the columns at `key`."""

    #: the column by which a key's rows may lie in order, for the manifest
    ordered_by: int | None = None
    lies_in_order = False

    def __init__(self, schema: Schema, key: Sequence[int]) -> None:
        self.schema = schema
        self.key = tuple(key)
        self._runs: list[Run] = []
        self._merging: list[_Merging] = []
        #: runs on top that are in no order of size, and the rows that came with them
        self._piled = self._piled_rows = 0
        #: the rows of those, if there are some, and whether the schema lets them be put together
        self._pile: Pile | None = None
        self._makes_piles = not any(t.is_view for t in schema.types)
        #: rows (from, to) of the pile that are in no run, until somebody wants runs
        self._unbuilt: list[tuple[int, int]] = []
        #: whether somebody did since the last pile: those that are there already are kept then
        self._wants_runs = False
        #: how many they may become: the first of a series, and the others
        self._first_piled = self._most_piled = PILED_RUNS
        #: those of the last checkpoint, and what it wrote of them; for who writes checkpoints
        self.written_together: tuple[tuple[Run, ...], Run] | None = None
        self._total_weight = 0
        self._log = Log(schema, self.key)
        #: no rows, once a look-up has found them
        self._nothing: Batch | None = None
        self._sorting: Errand[Run] | None = None
        self._being_sorted: Log | None = None
        #: whether there is nothing but the log, whatever its weights
        self._is_held = False
        #: a log is sorted when it is this many times LOG_ROWS long
        self._patience = 1
        #: whether a log became long and nobody looked since
        self._rests = False
        #: whether runs of like size may lie there that nobody has begun to merge
        self._is_uneven = False
        #: whether rows only came, as their weights add up: what cancels out is not to wait for long
        self._grows = True
        #: the insertion that is under way: whoever touches the runs waits for it
        self._inserting: Errand[Any] | None = None
        #: of look-ups, and of gathering what they find
        self._probe_gain, self._take_gain = Gain(), Gain()
        #: whether somebody looked; for the owner, who may set it back
        self.was_read = False
        #: how runs too large for memory are merged (see `penstock.state.spill`)
        self.merge_large: Callable[[Spine, Run, Run], Run | None] | None = None
        #: which rows of a batch nobody will ask for again; merges leave them out, in any thread
        self.is_over: Callable[[Batch], npt.NDArray[np.bool_] | None] | None = None

    def __len__(self) -> int:
        """Rows held, before those of different runs cancel out."""
        # not `_settle`, because any thread may ask
        inserting = self._inserting
        if inserting is not None:
            inserting.result()
        sorting = 0 if self._being_sorted is None else len(self._being_sorted)
        unbuilt = sum(stop - start for start, stop in self._unbuilt)
        return sum(len(r) for r in self._runs) + unbuilt + len(self._log) + sorting

    def insert(self, delta: Batch, run: Run | None = None) -> None:
        """Add `delta` to the integral; `run` is that of `delta`, where there is one already."""
        self._settle()
        self._insert(delta, run)

    def insert_soon(self, delta: Batch, hashes: U64 | None = None) -> None:
        """The same for rows whose keys are looked up after this step. `hashes`: see `Log`."""
        if is_plain(delta):
            self.insert_later(delta, hashes)
            return
        self._settle()
        if len(delta) < SOON_ROWS:
            self._insert(delta, None)
        else:
            self._inserting = Errand(_sorter, self._insert, delta, None)

    def _settle(self) -> None:
        """Wait for the insertion that is under way. Raises what it raised."""
        if self._inserting is not None:
            self._inserting.result()
            self._inserting = None

    def _insert(self, delta: Batch, run: Run | None) -> None:
        if len(delta):
            self._total_weight += int(np.add.reduce(delta.weights))
            self._adopt_merged()
            if self._has_piled(delta, run):
                return
            small = self._unpiled()
            small += self._taken_small(len(delta) + sum(map(len, small)))
            if small:
                run = self.run_of(packed([*small, delta]))
            self._insert_run(self.run_of(delta) if run is None else run)

    def _has_piled(self, delta: Batch, run: Run | None) -> bool:
        """Put few rows on top as they are, unless there are enough of such; whether it did."""
        self._piled_rows += len(delta)
        is_much = self._piled_rows > SMALL_ROWS // PILED_PART
        count = self._piled + len(self._unbuilt)
        if is_much or count >= self._most_piled:
            # what other spines take in is much in the same step, so that turns begin anew
            self._most_piled = self._first_piled if is_much else PILED_RUNS
            return False
        is_few = len(delta) <= FEW_ROWS
        if not count and is_few and self._makes_piles:
            self._pile = Pile(self.schema)
        if self._pile is not None and is_few and not (self._wants_runs and run is not None):
            start, rows = len(self._pile), delta if run is None else run.batch
            if self._pile.add(rows, self._key_hashes(delta) if run is None else run.k):
                self._unbuilt.append((start, len(self._pile)))
                return True
        run = self.run_of(delta) if run is None else run
        if len(run):
            if self._pile is not None and not self._pile.add(run.batch, run.k):
                self._build()
                self._pile = None
            self._runs.append(run)
            self._piled += 1
        return True

    def _key_hashes(self, rows: Batch) -> U64:
        return hash_columns([rows.columns[i] for i in self.key], KEY_SEED, n=len(rows))

    def _build(self) -> None:
        """Have all that lies on top in runs."""
        self._wants_runs = True
        if self._unbuilt:
            assert self._pile is not None
            at = np.concatenate([np.arange(start, stop) for start, stop in self._unbuilt])
            run, self._unbuilt = self.run_of(take(self._pile.batch, at)), []
            if len(run):
                self._runs.append(run)
                self._piled += 1

    def _unpiled(self) -> list[Batch]:
        """The rows that lie on top as they came, which are no runs any more; without a pile these
        are left as runs like any."""
        pile, count = self._pile, self._piled
        self._pile, self._piled, self._piled_rows = None, 0, 0
        self._wants_runs = False
        if pile is None:
            return []
        self._unbuilt = []
        del self._runs[len(self._runs) - count :]
        return [pile.rows()]

    def stagger(self, turn: int) -> None:
        """Of spines that take in rows in the same steps, sort what lies on top in other steps than
        those of another `turn`: a step that did so for all of them would be the slowest."""
        self._first_piled = self._most_piled = PILED_RUNS - _TURNS * turn % PILED_RUNS

    def _taken_small(self, rows: int) -> list[Batch]:
        """The rows of the topmost runs that would be merged with a new one of `rows`, where
        sorting them with it costs less than the merges."""
        taken: list[Batch] = []
        while self._runs and len(self._runs[-1]) <= min(RATIO * rows, SMALL_ROWS):
            if self._is_merging(self._runs[-1]):
                break
            taken.append(self._runs.pop().batch)
            rows += len(taken[-1])
        return taken

    def _insert_run(self, run: Run) -> None:
        if len(run):
            # below those that lie on top as they came
            self._runs.insert(len(self._runs) - self._piled, run)
            self._merge()

    def insert_later(self, delta: Batch, hashes: U64 | None = None) -> None:
        """Add `delta` to the integral, without sorting it yet. `hashes`: see `Log`."""
        if not len(delta):
            return
        # what is deferred would keep runs in memory that are merged long since
        self._log.append(gathered(delta), hashes)
        # a log of twice the size: sorting does not keep up, so this waits for it
        rows = len(self._log)
        self._adopt_sorted(wait=rows >= 2 * LOG_ROWS * self._patience)
        if rows >= LOG_ROWS * self._patience and self._sorting is None:
            self._sort()

    def hold(self, delta: Batch, hashes: U64 | None = None) -> None:
        """Have the rows of `delta`, and no others, to be looked up and forgotten."""
        self._log = Log(self.schema, self.key)
        self._log.append(delta, hashes)
        # nobody will ask for runs, so it does not matter what cancels out
        self._is_held = True

    def flush(self) -> None:
        """Have everything in the runs, for somebody who looks at these."""
        self._note_read()
        self._settle()
        self._adopt_sorted(wait=True)
        if len(self._log):
            self._insert(self._taken_log().rows(), None)
        self._build()

    def _note_read(self) -> None:
        # what waited for more of its size has waited for nothing
        self._is_uneven |= self._rests
        self.was_read, self._patience, self._rests = True, 1, False

    def _sort(self) -> None:
        """Have the log sorted in the background."""
        self._settle()
        log = self._taken_log()
        if self._patience < MOST_PATIENCE and 2 * log.nbytes <= PATIENT_BYTES:
            self._patience *= 2
        weight = log.weight()
        self._total_weight += weight
        self._grows &= weight >= len(log)
        self._rests = self._grows
        # a log is no thing for two threads, and making one batch of it is as long as ten steps
        self._sorting = Errand(_sorter, self._run_of, log.parts())
        self._being_sorted = log

    def _sort_soon(self) -> None:
        """The same of a log that is worth another thread, unless one is being sorted."""
        if self._sorting is None and len(self._log) >= SOON_ROWS:
            self._sort()

    def _run_of(self, parts: list[Batch]) -> Run:
        return self.run_of(parts[0] if len(parts) == 1 else packed(parts))

    def _taken_log(self) -> Log:
        log, self._log = self._log, Log(self.schema, self.key)
        return log

    def _adopt_sorted(self, *, wait: bool) -> None:
        """Take up the run that is being made of a log, when it is done or `wait`."""
        if self._sorting is not None and (wait or self._sorting.done()):
            run = self._sorting.result()
            self._sorting = self._being_sorted = None
            self._settle()
            self._adopt_merged()
            self._insert_run(run)

    def _logs(self) -> list[Log]:
        """What is in no run yet and can be looked into as it is. The rest is in the runs after
        this."""
        self._note_read()
        if self._inserting is None and self._being_sorted is None and not self._log.is_filled:
            return []
        self._settle()
        sorting = self._being_sorted
        if self._is_held:
            pass
        elif not self._log.is_plain:
            self.flush()
        else:
            self._adopt_sorted(wait=sorting is not None and not sorting.is_plain)
        logs = (self._being_sorted, self._log)
        return [log for log in logs if log is not None and len(log)]

    def _all_logs(self) -> list[Log]:
        """What is in no run yet, whatever its weights, for who looks through all that lies under
        a key. The rest is in the runs after this."""
        self._note_read()
        self._settle()
        sorting = self._being_sorted
        # of what came in very large deltas a look takes longer than the rest of the sort
        is_long = sorting is not None and len(sorting) > MOST_PATIENCE * LOG_ROWS
        self._adopt_sorted(wait=is_long)
        self._build()
        return [log for log in (self._being_sorted, self._log) if log is not None and len(log)]

    def probe(
        self,
        keys: Sequence[Column],
        n: int,
        hashes: U64 | None = None,
        most: int | None = None,
        beside: tuple[I64, Batch] | None = None,
    ) -> tuple[I64, Batch]:
        """All rows whose key equals one of the `n` rows of `keys` (NULL equals NULL), whose
        `hashes` are those by `KEY_SEED`, if they are known.

        Returns (needle, rows): row i of `rows` matches row needle[i] of `keys`; its weight is the
        one in its run, so rows of different runs may still cancel out. Raises TooManyMatches
        before it gathers more than some `most` of them. `beside`: (needle, rows) of others that
        come behind those, as they are put together anyway."""
        at, parts = self._matches(keys, n, hashes, most)
        if beside is not None:
            if not parts:
                return beside
            at.append(beside[0])
            parts.append((beside[1], np.arange(len(beside[0]))))
        elif not parts:
            return _NO_NEEDLES, self._no_rows()
        if len(parts) == 1:
            return at[0], self._of_one_part(keys, at[0], *parts[0])
        needle = np.concatenate(at)
        rows = len(needle)
        if not are_looked_up_in_ranges(rows):
            return needle, self._of_parts(keys, needle, parts)
        works = [partial(self._taken, some) for some in _by_size(parts)]
        found = self._take_gain.better(
            rows, lambda: side_by_side(works), lambda: [work() for work in works]
        )
        # equal keys: those of the rows are not looked for in memory, where they lie far apart
        of_key = {
            i: _matched(key, needle, self.schema.types[i])
            for i, key in zip(self.key, keys, strict=True)
        }
        columns = tuple(
            of_key[i] if i in of_key else concat_columns([c[i] for c, _ in found])
            for i in range(len(self.schema))
        )
        weights = [w for _, w in found]
        together = weights[0] if len(weights) == 1 else np.concatenate(weights)
        return needle, Batch(self.schema, columns, together)

    def _of_one_part(self, keys: Sequence[Column], needle: I64, batch: Batch, rows: I64) -> Batch:
        """The same of rows `rows` of one batch, with fewer calls: most small steps find no more."""
        columns = list(batch.columns)
        for i, key in zip(self.key, keys, strict=True):
            columns[i] = _matched(key, needle, self.schema.types[i])
        for i, c in enumerate(batch.columns):
            if i not in self.key:
                columns[i] = take_column(c, rows)
        return Batch(self.schema, tuple(columns), batch.weights.take(rows))

    def _of_parts(self, keys: Sequence[Column], needle: I64, parts: Sequence[Part]) -> Batch:
        """The same of rows of several batches, in one thread: column by column, and nothing is made
        of an array that is not asked for again."""
        groups = [_among(some) for some in _by_size(parts)]
        columns: list[Column] = [_NO_COLUMN] * len(self.schema)
        for i, key in zip(self.key, keys, strict=True):
            columns[i] = _matched(key, needle, self.schema.types[i])
        for i, c in enumerate(columns):
            if c is _NO_COLUMN:
                columns[i] = _taken_column(
                    self.schema.types[i], [b.columns[i] for b, _ in parts], i, groups
                )
        weights = [_taken_array([b.weights for b in some], rows) for some, rows in groups]
        together = weights[0] if len(weights) == 1 else np.concatenate(weights)
        return Batch(self.schema, tuple(columns), together)

    def probe_one(self, keys: Sequence[Column], hashes: U64 | None, most: int) -> Iterator[Batch]:
        """The rows that `probe` finds for the one row of `keys`, no more than `most` at a time.
        They lie together in each run, so that nothing is there of them but what is looked at."""
        logs = self._logs()
        self._build()
        runs = self.sorted_runs()
        needles = hash_columns(keys, KEY_SEED, n=1) if hashes is None else hashes
        if runs:
            low, high, _ = rows_in(runs, needles)
            for run, first, last in zip(runs, low[:, 0].tolist(), high[:, 0].tolist(), strict=True):
                for start in range(first, last, most):
                    stop = min(start + most, last)
                    yield of_key(slice_batch(run.batch, start, stop), self.key, keys)
        for log in logs:
            _, row = log.find(needles)
            for start in range(0, len(row), most):
                yield of_key(take(log.rows(), row[start : start + most]), self.key, keys)

    def _no_rows(self) -> Batch:
        # a column takes a microsecond, and most look-ups of a small step find nothing
        if self._nothing is None:
            self._nothing = empty_batch(self.schema)
        return self._nothing

    def _taken(self, parts: Sequence[Part]) -> tuple[list[Column], Weights]:
        """The rows of `parts`, whose keys are as they are, and their weights."""
        batch, rows = parts[0]
        columns, weights = batch.columns, batch.weights
        if len(parts) > 1:
            columns = tuple(
                c if i in self.key else concat_columns([b.columns[i] for b, _ in parts])
                for i, c in enumerate(columns)
            )
            weights = np.concatenate([b.weights for b, _ in parts])
            start, found = 0, []
            for b, row in parts:
                found.append(row + start)
                start += len(b)
            rows = np.concatenate(found)
        taken = [c if i in self.key else take_column(c, rows) for i, c in enumerate(columns)]
        return taken, weights.take(rows)

    def probe_deferred(self, keys: Sequence[Column], n: int) -> tuple[I64, Batch]:
        """`probe`, where each column of the rows is gathered when it is read."""
        at, parts = self._matches(keys, n, None, None)
        if not parts:
            return np.zeros(0, np.int64), self._no_rows()
        return at[0] if len(at) == 1 else np.concatenate(at), deferred(self.schema, parts)

    def _matches(
        self, keys: Sequence[Column], n: int, hashes: U64 | None, most: int | None
    ) -> tuple[list[I64], list[Part]]:
        """For every batch that has some: (needles, (the batch, the rows that match them))."""
        logs = self._logs()
        if n > FEW_NEEDLES:
            self._build()
        if not logs and not self._runs and self._pile is None:
            return [], []
        needles = hash_columns(keys, KEY_SEED, n=n) if hashes is None else hashes
        if not are_looked_up_in_ranges(n):
            return self._matches_of(keys, logs, needles, 0, most)
        at_once = partial(self._matches_of, keys, logs, needles, 0, most)
        several = partial(self._matches_in_ranges, keys, logs, needles, most)
        return self._probe_gain.better(n, several, at_once)

    def _matches_in_ranges(
        self, keys: Sequence[Column], logs: Sequence[Log], needles: U64, most: int | None
    ) -> tuple[list[I64], list[Part]]:
        for log in logs:
            # its table and its columns are made here, not in several threads
            log.find(needles[:0])
            log.rows()
        work = partial(self._in_range, keys, logs, needles, most)
        found = in_ranges(work, len(needles))
        return [at for some, _ in found for at in some], [p for _, some in found for p in some]

    def _in_range(
        self,
        keys: Sequence[Column],
        logs: Sequence[Log],
        needles: U64,
        most: int | None,
        start: int,
        stop: int,
    ) -> tuple[list[I64], list[Part]]:
        mine = [slice_column(c, start, stop) for c in keys]
        return self._matches_of(mine, logs, needles[start:stop], start, most)

    def _matches_of(
        self,
        keys: Sequence[Column],
        logs: Sequence[Log],
        needles: U64,
        start: int,
        most: int | None,
    ) -> tuple[list[I64], list[Part]]:
        """The same for `needles`, the first of which is needle `start` to the caller."""
        at: list[I64] = []
        parts: list[Part] = []
        runs, pile = self._runs, self._pile
        if pile is not None and len(needles) <= FEW_NEEDLES:
            runs = runs[: len(runs) - self._piled]
        else:
            pile = None
        found = find_in(runs, needles, most) if runs else []
        if pile is not None:
            needle, row = pile.find(needles, most)
            if len(row):
                found.append((pile.batch, needle, row))
        for log in logs:
            needle, row = log.find(needles, most)
            if len(row):
                found.append((log.rows(), needle, row))
        by_hash = is_exact(keys, keys)
        for batch, needle, row in found:
            stored = [batch.columns[i] for i in self.key]
            if not by_hash or stored[0].valid is not None:
                same = rows_equal(keys, needle, stored, row)
                if not all_set(same):
                    kept = positions(same)
                    needle, row = needle[kept], row[kept]
            if len(needle):
                at.append(needle + start if start else needle)
                parts.append((batch, row))
        return at, parts

    def snapshot(self) -> Snapshot:
        """The integral as it is now; later insertions do not change it."""
        self.flush()
        return Snapshot(self.schema, tuple(self._runs), self._total_weight)

    def contents(self) -> Batch:
        """All rows with their weights, negative ones too, which a snapshot does not show."""
        runs = [r.batch for r in self.runs()]
        return consolidate(concat(runs)) if runs else self.snapshot().batch()

    def runs(self) -> tuple[Run, ...]:
        self.flush()
        return tuple(self._runs)

    def sorted_runs(self) -> tuple[Run, ...]:
        """The runs without what still waits to become one."""
        return tuple(self._runs)

    # saving (see `penstock.state.parts`): each run is a file, written once

    def capture(self) -> SpinePin:
        # whoever captures holds up the steps, so no long sort is waited for
        inserting = self._inserting
        if inserting is not None and not len(self._log) and self._sorting is None:
            # `_sorter` does one thing after the other, and who comes next waits for the pin too
            pinned = Errand(_sorter, self._pinned_after, inserting)
            self._inserting = pinned
            return SpinePin(self, pinned, None, None)
        self._settle()
        self._build()
        if len(self._log) and self._sorting is None:
            self._sort()
        weight = self._total_weight + self._log.weight()
        waiting = self._log.copy() if len(self._log) else None
        return SpinePin(self, (tuple(self._runs), self._piled, weight), self._sorting, waiting)

    def _pinned_after(self, inserting: Errand[Any]) -> Pinned:
        inserting.result()
        self._build()
        return tuple(self._runs), self._piled, self._total_weight

    def restore(self, store: StateStore, saved: Any) -> None:
        runs = []
        # an order that this spine does not know (see `penstock.state.banded`)
        is_strange = saved.get("ordered_by") not in (None, self.ordered_by)
        for reference in saved["runs"]:
            (file,) = referenced_files(reference)
            arrays = store.get(file)
            if is_strange:
                runs.append(build_run(run_from(arrays, self.schema).batch, self.key))
            else:
                runs.append(self.mapped(file, arrays))
        self._runs, self._merging, self._total_weight = runs, [], saved["weight"]
        self._pile, self._piled, self._piled_rows, self._unbuilt = None, 0, 0, []
        self._is_uneven = True
        self._log = Log(self.schema, self.key)
        self._sorting = self._being_sorted = None

    def mapped(self, file: str, arrays: Mapping[str, Array]) -> Run:
        """The run in a file, whose arrays were mapped."""
        run = self._read(arrays)
        run.written.file, run.written.is_mapped = file, True
        return run

    def exchange(self, run: Run, equal: Run) -> None:
        """Use `equal` in place of `run`, unless that was merged or is about to be."""
        self._settle()
        if not self._is_merging(run):
            self._runs = [equal if r is run else r for r in self._runs]

    def merged(self, lower: Run, upper: Run) -> Run:
        """The sum of two runs."""
        large = None if self.merge_large is None else self.merge_large(self, lower, upper)
        return self.merged_in_memory(lower, upper) if large is None else large

    def merged_in_memory(self, lower: Run, upper: Run) -> Run:
        run = self.sum_of(lower, upper)
        over = None if self.is_over is None else self.is_over(run.batch)
        return run if over is None or not over.any() else run.only(np.flatnonzero(~over))

    # what a run is sorted by is the subclass's choice (see `penstock.state.ordered`)

    def run_of(self, delta: Batch) -> Run:
        return build_run(delta, self.key)

    def sum_of(self, lower: Run, upper: Run) -> Run:
        return merge_runs(lower, upper, self.key)

    def _read(self, arrays: Mapping[str, Array]) -> Run:
        return run_from(arrays, self.schema)

    # merging

    @property
    def wants_tending(self) -> bool:
        """Whether `tend` may have something to do, though nothing is idle."""
        return self._is_uneven or bool(self._merging)

    def tend(self, *, is_idle: bool = False) -> bool:
        """Between two steps: take up merges that are done, and begin those that no insertion has
        begun. `is_idle`: as if somebody looked, as no more rows seem to come that would be merged
        along. Whether something is under way."""
        if self._inserting is not None and not self._inserting.done():
            return True
        self._settle()
        self._adopt_sorted(wait=False)
        self._adopt_merged()
        if is_idle:
            self._rests = False
        if is_idle or self._is_uneven:
            self._is_uneven = False
            self._merge()
        return bool(self._merging) or self._sorting is not None

    def _merge(self) -> None:
        """Bring the runs back to falling sizes, or begin to."""
        first, waits = 0, False
        while True:
            start, stop = self._unbalanced(first)
            group = tuple(self._runs[start:stop])
            if not group:
                break
            rows = sum(len(r) for r in group)
            if rows <= BACKGROUND_ROWS:
                merged = self._sum(group)
                self._runs[start:stop] = [merged] if len(merged) else []
                first = 0
            else:
                waits |= not self._begin(group, rows)
                first = stop
        if waits and len(self._runs) - self._piled > MAX_RUNS:
            self._adopt_merged(wait=True)

    def _begin(self, group: tuple[Run, ...], rows: int) -> bool:
        """Have a group merged in the background, unless one of its kind is: a long merge does not
        keep the runs that come meanwhile from being merged."""
        executor = _merger if rows > LONG_ROWS else _short_merger
        if any(m.executor is executor for m in self._merging):
            return False
        future = executor.submit(beside_steps, self._sum, group)
        self._merging.append(_Merging(group, executor, future))
        return True

    def _unbalanced(self, first: int) -> tuple[int, int]:
        """Where runs lie, from `first` on, that are not being merged and of which each is no more
        than RATIO times larger than the next: the lowest such that are enough, all together."""
        least = FAN if self._rests else 2
        runs, busy = self._runs, {id(r) for m in self._merging for r in m.group}
        if self._piled:
            runs = runs[: -self._piled]
        for start in range(first, len(runs) - 1):
            stop = start + 1
            if id(runs[start]) in busy:
                continue
            while stop < len(runs) and len(runs[stop - 1]) <= RATIO * len(runs[stop]):
                if id(runs[stop]) in busy:
                    break
                stop += 1
            if stop - start >= least:
                return start, stop
        return 0, 0

    def _sum(self, group: Sequence[Run]) -> Run:
        """One run of several neighbours, each row of them merged O(log |group|) times."""
        if len(group) == 1:
            return group[0]
        middle = len(group) // 2
        return self.merged(self._sum(group[:middle]), self._sum(group[middle:]))

    def merging_runs(self) -> list[Run]:
        """The runs that are being merged in the background."""
        return [r for m in self._merging for r in m.group]

    def await_merge(self) -> None:
        """Wait for one of the merges that are under way."""
        self._settle()
        self._adopt_merged(wait=True)

    def _place_of(self, run: Run) -> int:
        return next(i for i, r in enumerate(self._runs) if r is run)

    def _is_merging(self, run: Run) -> bool:
        return any(r is run for m in self._merging for r in m.group)

    def _adopt_merged(self, *, wait: bool = False) -> None:
        """Take up the merges that are done; `wait`: at least one."""
        if not self._merging:
            return
        if wait:
            wait_for([m.future for m in self._merging], return_when=FIRST_COMPLETED)
        done = [m for m in self._merging if m.future.done()]
        if not done:
            return
        for m in done:
            self._merging.remove(m)
            merged, at = m.future.result(), self._place_of(m.group[0])
            self._runs[at : at + len(m.group)] = [merged] if len(merged) else []
        self._merge()


def _by_size(parts: Sequence[Part]) -> list[list[Part]]:
    """Batches of a few rows together, where they are neighbours: what small steps left on top is
    many of those, and taking rows of each takes as long as taking them of all of one large one."""
    groups: list[list[Part]] = []
    was_small = False
    for part in parts:
        is_small = len(part[0]) <= _FEW_ROWS
        if is_small and was_small:
            groups[-1].append(part)
        else:
            groups.append([part])
        was_small = is_small
    return groups


def _among(parts: Sequence[Part]) -> tuple[list[Batch], I64]:
    """Batches, and where the rows of `parts` are in all of them one after the other."""
    if len(parts) == 1:
        return [parts[0][0]], parts[0][1]
    start, batches, found = 0, [], []
    for batch, rows in parts:
        batches.append(batch)
        found.append(rows + start if start else rows)
        start += batch.weights.shape[0]
    return batches, np.concatenate(found)


def _taken_array(arrays: Sequence[Array], rows: I64) -> Array:
    """`rows` of arrays one after the other."""
    together = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return together.take(rows, axis=0)


def _taken_column(
    type: SqlType,
    columns: Sequence[Column],
    at: int,
    groups: Sequence[tuple[Sequence[Batch], I64]],
) -> Column:
    """The rows of `groups`, one after the other, of the `columns`, which theirs at `at` are."""
    valid = None
    values = [_taken_array([b.columns[at].values for b in some], rows) for some, rows in groups]
    if type.nullable:
        for c in columns:
            if c.valid is not None:
                masks = [
                    _taken_array([_mask(b.columns[at]) for b in some], rows)
                    for some, rows in groups
                ]
                valid = masks[0] if len(masks) == 1 else np.concatenate(masks)
                break
    heaps = union(c.heaps for c in columns) if type.is_view else ()
    return Column(type, values[0] if len(values) == 1 else np.concatenate(values), valid, heaps)


def _mask(column: Column) -> npt.NDArray[np.uint8]:
    return np.ones(len(column), np.uint8) if column.valid is None else column.valid


def _matched(key: Column, needle: I64, type: SqlType) -> Column:
    """The key column, of `type`, of rows that were found by rows `needle` of `key`."""
    taken = take_column(key, needle)
    # where a NULL is found there is one in the type
    valid = taken.valid if type.nullable else None
    return Column(type, taken.values, valid, taken.heaps)


@dataclass(frozen=True, slots=True, eq=False)
class _Merging:
    """Neighbouring runs that are being merged, and what becomes of them."""

    group: tuple[Run, ...]
    executor: ThreadPoolExecutor
    future: Future[Run]


@dataclass(frozen=True, slots=True)
class SpinePin:
    """A spine as it was: runs do not change. `pinned` may wait for an insertion, `sorting` is about
    to be another run, `waiting` are rows that are in none."""

    spine: Spine
    pinned: Pinned | Errand[Pinned]
    sorting: Errand[Run] | None
    waiting: Batch | None

    def write(self, store: StateStore) -> Any:
        pinned = self.pinned
        held, piled, weight = pinned.result() if isinstance(pinned, Errand) else pinned
        runs = [*held]
        if piled > 1:
            runs[-piled:] = [self._together(held[-piled:])]
        if self.sorting is not None:
            runs.append(self.sorting.result())
        if self.waiting is not None:
            runs.append(self.spine.run_of(self.waiting))
        files = [file_reference(run.write(store)) for run in runs if len(run)]
        order = {"ordered_by": self.spine.ordered_by} if self.spine.lies_in_order else {}
        return {"runs": files, "weight": weight, **order}

    def _together(self, runs: tuple[Run, ...]) -> Run:
        """One run, of one file, of those that lie on top: the same as long as they do."""
        known = self.spine.written_together
        if known is None or known[0] != runs:
            known = runs, self.spine.run_of(packed([r.batch for r in runs]))
            self.spine.written_together = known
        return known[1]
