"""A target compared with its view: what is missing, extra or different, exactly.

    view at step S ──spell──► words ┐ +1
                                    ├─► hash-partitioned, on disk when large ─► Σ weights ≠ 0
    target at step S ─────────────► ┘ -1

    left over   weight > 0: missing in the target     weight < 0: extra in the target
    with a key  a key on both sides: different, one row with two spellings

Equal rows cancel, so what is left over is the difference of two multisets; a hash only decides
which partition a row goes to, rows are compared as they are.

Memory is bounded: rows beyond `ROWS_IN_MEMORY` go to files, and partitions are settled one after
the other. Counts are exact; rows are shown up to a bound.

Cost: O(rows of both sides), one sort by hash a partition.

Not here: how a target is read (`penstock.io.contents`), which step it is compared at
(`reset_desk`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.data.arrow import WEIGHT, column_from_arrow, to_arrow
from penstock.data.batch import Batch, Column
from penstock.data.build import batch_to_rows
from penstock.data.consolidate import consolidate, group_rows
from penstock.data.gather import concat, take
from penstock.data.hash import hash_columns
from penstock.data.types import Schema
from penstock.io.contents import Contents
from penstock.io.scratch import Scratch
from penstock.pipeline.digest import batch_digest

PARTITION_BITS = 7
ROWS_IN_MEMORY = 500_000

Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Side:
    """One side's figures: rows with their multiplicity, and the digest of its words."""

    rows: int = 0
    digest: int = 0

    def add(self, words: Batch) -> None:
        self.rows += int(words.weights.sum())
        self.digest = (self.digest + batch_digest(words)) % 2**64

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "digest": f"{self.digest:016x}"}


@dataclass(slots=True)
class Difference:
    """What a comparison found. The counts are of rows (of keys for `different`); each list holds
    at most as many as were asked for."""

    view: Side = field(default_factory=Side)
    target: Side = field(default_factory=Side)
    missing: int = 0
    extra: int = 0
    different: int = 0
    missing_rows: list[dict[str, Any]] = field(default_factory=list)
    extra_rows: list[dict[str, Any]] = field(default_factory=list)
    different_rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        return not (self.missing or self.extra or self.different)

    def to_json(self) -> dict[str, Any]:
        return {
            "equal": self.is_equal,
            "view": self.view.to_json(),
            "target": self.target.to_json(),
            "missing": self.missing,
            "extra": self.extra,
            "different": self.different,
            "missing_rows": self.missing_rows,
            "extra_rows": self.extra_rows,
            "different_rows": self.different_rows,
        }


def compare(contents: Contents, view: Iterable[Batch], max_shown: int) -> Difference:
    """Compare what a target holds with `view`, whose batches have positive weights. At most
    `max_shown` rows of each kind are listed."""
    found = Difference()
    key = contents.key or tuple(range(len(contents.schema.fields)))
    with Partitions(contents.schema, key) as parts:
        for words in contents.rows:
            found.target.add(words)
            parts.add(words, -1)
        for rows in view:
            words = contents.spell(rows)
            found.view.add(words)
            parts.add(words, 1)
        for pieces in parts:
            left = consolidate(concat(pieces))
            if len(left):
                _settle(found, left, contents.key, max_shown)
    return found


def _settle(found: Difference, left: Batch, key: tuple[int, ...], max_shown: int) -> None:
    """Add what is left over of one partition. All rows of a key are in one partition."""
    missing, extra = left.weights > 0, left.weights < 0
    if key:
        order, starts, both = _keys_on_both_sides([left.columns[i] for i in key], missing)
        found.different += int(both.sum())
        for group in np.flatnonzero(both)[: max(0, max_shown - len(found.different_rows))]:
            end = starts[group + 1] if group + 1 < len(starts) else len(order)
            rows = take(left, order[starts[group] : end])
            found.different_rows.append(
                {
                    "view": _shown(take(rows, np.flatnonzero(rows.weights > 0)), 1)[0],
                    "target": _shown(take(rows, np.flatnonzero(rows.weights < 0)), 1)[0],
                }
            )
        in_both = np.empty(len(left), np.bool_)
        in_both[order] = np.repeat(both, np.diff(np.append(starts, len(order))))
        missing, extra = missing & ~in_both, extra & ~in_both
    found.missing += int(left.weights[missing].sum())
    found.extra -= int(left.weights[extra].sum())
    for mask, shown in ((missing, found.missing_rows), (extra, found.extra_rows)):
        more = np.flatnonzero(mask)[: max(0, max_shown - len(shown))]
        shown.extend(_shown(take(left, more), len(more)))


def _keys_on_both_sides(
    key: list[Column], missing: Mask
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Mask]:
    """(order, starts, both): rows grouped by key as in `group_rows`, and per group whether the
    view and the target have a row of it."""
    order, starts = group_rows(key, hash_columns(key))
    sides = missing[order]
    both = np.logical_or.reduceat(sides, starts) & ~np.logical_and.reduceat(sides, starts)
    return order, starts, both


def _shown(rows: Batch, count: int) -> list[dict[str, Any]]:
    names = rows.schema.names
    shown = []
    for row, weight in batch_to_rows(take(rows, np.arange(count))):
        words = dict(zip(names, row, strict=True))
        shown.append(words if abs(weight) == 1 else {**words, "__copies": abs(weight)})
    return shown


class Partitions:
    """Rows by the hash of their key, in memory or in files. A context manager; iterate it once,
    after the last `add`."""

    def __init__(self, schema: Schema, key: tuple[int, ...]) -> None:
        self._schema, self._key = schema, key
        self._kept: list[list[Batch]] = [[] for _ in range(1 << PARTITION_BITS)]
        self._rows = 0
        self._folder: Scratch | None = None
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def __enter__(self) -> Partitions:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            writer.close()
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, rows: Batch, sign: int) -> None:
        """Add `rows` with weights times `sign`; rows that cancel within a piece go at once."""
        rows = consolidate(rows)
        hashes = hash_columns([rows.columns[i] for i in self._key], n=len(rows))
        number = (hashes >> np.uint64(64 - PARTITION_BITS)).astype(np.int64)
        order = np.argsort(number, kind="stable")
        edges = np.searchsorted(number[order], np.arange((1 << PARTITION_BITS) + 1))
        signed = Batch(rows.schema, rows.columns, rows.weights * sign)
        for p in range(1 << PARTITION_BITS):
            if edges[p] < edges[p + 1]:
                self._kept[p].append(take(signed, order[edges[p] : edges[p + 1]]))
        self._rows += len(rows)
        if self._rows > ROWS_IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = Scratch("penstock-audit-")
        for p, kept in enumerate(self._kept):
            if kept:
                record = to_arrow(concat(kept), weights=True)
                if p not in self._writers:
                    path = self._folder.path / f"{p}.arrows"
                    self._writers[p] = pa.ipc.new_stream(str(path), record.schema)
                self._writers[p].write_batch(record)
        self._kept = [[] for _ in self._kept]
        self._rows = 0

    def __iter__(self) -> Iterator[list[Batch]]:
        for p, kept in enumerate(self._kept):
            pieces = [*self._read(p), *kept]
            self._kept[p] = []
            if pieces:
                yield pieces

    def _read(self, partition: int) -> list[Batch]:
        writer = self._writers.pop(partition, None)
        if writer is None or self._folder is None:
            return []
        writer.close()
        path = self._folder.path / f"{partition}.arrows"
        with pa.ipc.open_stream(str(path)) as reader:
            table = reader.read_all()
        path.unlink()
        weights = table.column(WEIGHT).to_numpy()
        columns = tuple(
            column_from_arrow(f.type, table.column(i)) for i, f in enumerate(self._schema.fields)
        )
        return [Batch(self._schema, columns, weights)]
