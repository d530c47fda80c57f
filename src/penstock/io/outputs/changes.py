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

from penstock.data.batch import Batch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, take
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


def copies(batch: Batch) -> Batch:
    """`batch` (weights positive) with every row repeated as often as its weight, weights 1."""
    if bool((batch.weights == 1).all()):
        return batch
    rows = take(batch, np.repeat(np.arange(len(batch)), batch.weights))
    return Batch(rows.schema, rows.columns, np.ones(len(rows), np.int64))
