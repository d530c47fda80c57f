"""A delta told as changes of keys, for targets that upsert and delete by key.

    k │ v │ weight            upserts  k │ v        deletes  k
    ──┼───┼───────                     ──┼──                 ──
    1 │ a │   -1       ──►             1 │ b                 2
    1 │ b │   +1
    2 │ c │   -1

A key that is both deleted and inserted is an update: only its new row is written.

Cost: O(n log n) for one consolidation of the keys; nothing is done row by row in Python.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.data.arrow import to_arrow
from penstock.data.batch import Batch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, take
from penstock.data.order import order_codes
from penstock.io.contracts import SinkRejected

#: outweighs every deletion of a key, so that the sign of a sum tells who was there
_PRESENT = np.int64(2**40)


def keyed_changes(batch: Batch, key: tuple[int, ...], index: str) -> tuple[Batch, Batch]:
    """(rows to upsert, keys to delete) of a consolidated delta.

    The first has the schema of `batch`, the second only the columns of `key`; no key occurs twice
    or in both. Raises SinkRejected if two rows of the new state share a key or a key is NULL:
    then `index` (named in the message) is not unique in the view.
    """
    positive = np.flatnonzero(batch.weights > 0)
    upserts = take(batch, positive)
    inserted = upserts.select(key)
    check_keys(inserted, index)
    negative = np.flatnonzero(batch.weights < 0)
    if len(negative) == 0:
        return upserts, take(batch, negative).select(key)
    deleted = take(batch, negative).select(key)
    here = Batch(inserted.schema, inserted.columns, np.full(len(inserted), _PRESENT))
    keys = consolidate(concat([here, deleted]))
    return upserts, take(keys, np.flatnonzero(keys.weights < 0))


def logged_changes(batch: Batch, key: tuple[int, ...], index: str) -> list[tuple[str, Batch]]:
    """A consolidated delta as rows of a log, in order: ("d", rows), ("u", rows), ("i", rows), with
    positive weights. Without a key there are no updates; with one an update is only its new row.

    Raises SinkRejected as `keyed_changes` does."""
    gone = take(batch, np.flatnonzero(batch.weights < 0))
    gone = Batch(gone.schema, gone.columns, -gone.weights)
    come = take(batch, np.flatnonzero(batch.weights > 0))
    if not key:
        return [("d", gone), ("i", come)]
    check_keys(come.select(key), index)
    before, after = _keys(gone, key), _keys(come, key)
    is_new = np.zeros(len(come), bool)
    is_new[_without(after, before)] = True
    return [
        ("d", take(gone, _without(before, after))),
        ("u", take(come, np.flatnonzero(~is_new))),
        ("i", take(come, np.flatnonzero(is_new))),
    ]


def _keys(rows: Batch, key: tuple[int, ...]) -> pa.Table:
    """The keys as Arrow columns `0`, `1`, …, and the position of each as column `row`."""
    keys = pa.table(to_arrow(rows.select(key)).columns, names=[str(i) for i in range(len(key))])
    return keys.append_column("row", pa.array(np.arange(len(rows))))


def _without(left: pa.Table, right: pa.Table) -> npt.NDArray[np.int64]:
    """Positions of the keys of `left` that are not in `right`, in order."""
    names = left.column_names[:-1]
    found = left.join(right.select(names), names, join_type="left anti")
    rows: npt.NDArray[np.int64] = np.sort(found.column("row").to_numpy())
    return rows


def check_keys(keys: Batch, index: str) -> None:
    """Raise SinkRejected if a key is NULL or occurs twice in `keys` (weights positive)."""
    for field, column in zip(keys.schema.fields, keys.columns, strict=True):
        if column.valid is not None and not column.valid.all():
            raise SinkRejected(
                f"column '{field.name}' of index '{index}' is NULL in a row of the view: a key "
                "must be NOT NULL; filter such rows in the view or give them a value (COALESCE)"
            )
    distinct = consolidate(keys)
    if len(distinct) and int(distinct.weights.max()) > 1:
        raise SinkRejected(
            f"index '{index}' is not unique in the view: {int((distinct.weights > 1).sum())} "
            "keys belong to several rows; add columns to the index, or aggregate in the view"
        )


def by_key(batch: Batch, key: tuple[int, ...]) -> Batch:
    """The rows sorted by the first column of `key` (long texts by how they begin; as they are
    without a key): a tree of keys takes neighbours in half the time."""
    if not key:
        return batch
    return take(batch, np.argsort(order_codes(batch.columns[key[0]])))


def copies(batch: Batch) -> Batch:
    """`batch` (weights positive) with every row repeated as often as its weight, weights 1."""
    if bool((batch.weights == 1).all()):
        return batch
    rows = take(batch, np.repeat(np.arange(len(batch)), batch.weights))
    return Batch(rows.schema, rows.columns, np.ones(len(rows), np.int64))
