"""Index arithmetic on the children of nested values: what array and map functions share.

    ragged(starts, lengths)      [10, 20], [2, 3]  ──►  10 11 20 21 22
    joined(…)                    several pieces a row, one after the other
    kept(exploded, mask)         the children where mask is set, with the offsets they then have
    groups(exploded)             equal children of one value: order, group starts

`aligned` writes out the one-row columns of constants, so that everything below it has n rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.gather import concat_columns, spread, take_column
from penstock.data.hash import rows_equal
from penstock.data.nested import Exploded, Offsets
from penstock.data.order import sort_indices, sort_within
from penstock.data.types import Kind, SqlType

_INT64 = SqlType(Kind.INT64, False)


def aligned(args: Sequence[Column]) -> list[Column]:
    """All columns with as many rows as the longest."""
    rows = max(len(a) for a in args)
    return [spread(a, rows) for a in args]


def offsets_of(lengths: Offsets) -> Offsets:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))


def ragged(starts: Offsets, lengths: Offsets) -> Offsets:
    """starts[i], starts[i] + 1, … (lengths[i] of them), for every i."""
    before = offsets_of(lengths)
    return np.repeat(starts - before[:-1], lengths) + np.arange(int(before[-1]))


def joined(pieces: Sequence[tuple[Column, Offsets, Offsets]]) -> tuple[Offsets, Column]:
    """Row i is the rows starts[i] … of the first piece's column, then those of the second, …:
    the offsets and children of the arrays so made."""
    base = np.cumsum([0, *(len(c) for c, _, _ in pieces)])
    starts = np.stack([s + b for (_, s, _), b in zip(pieces, base, strict=False)], axis=1)
    lengths = np.stack([n for _, _, n in pieces], axis=1)
    children = concat_columns([c for c, _, _ in pieces])
    picked = take_column(children, ragged(starts.reshape(-1), lengths.reshape(-1)))
    return offsets_of(lengths.sum(axis=1)), picked


def kept(exploded: Exploded, mask: npt.NDArray[np.bool_]) -> Exploded:
    """Only the children where `mask` is set."""
    counts = offsets_of(mask.astype(np.int64))
    at = np.flatnonzero(mask)
    columns = tuple(take_column(c, at) for c in exploded.columns)
    return Exploded(counts[exploded.offsets], columns)


def matches(exploded: Exploded, wanted: Column) -> npt.NDArray[np.bool_]:
    """Where a child of value i equals row i of `wanted`; NULL equals nothing."""
    child, rows = exploded.columns[0], exploded.rows
    same = rows_equal([child], np.arange(len(rows)), [wanted], rows).view(np.bool_)
    return same if child.valid is None else same & (child.valid == 1)


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Children in order of (value, child): `order` are their positions, `owner` the values they
    belong to, `is_first` where a group of equal ones begins, `group` its number."""

    order: Offsets
    owner: Offsets
    is_first: npt.NDArray[np.bool_]

    @property
    def group(self) -> Offsets:
        return np.cumsum(self.is_first) - 1


def groups(owner: Offsets, child: Column, *, descending: bool = False) -> Groups:
    """Equal children of one value, NULL equal to NULL and first (last where `descending`)."""
    order = _ordered(owner, child, descending=descending)
    owners, sorted_child = owner[order], take_column(child, order)
    first = np.ones(len(order), np.bool_)
    if len(order) > 1:
        here = np.arange(len(order) - 1)
        same = rows_equal([sorted_child], here, [sorted_child], here + 1).view(np.bool_)
        first[1:] = ~same | (owners[1:] != owners[:-1])
    return Groups(order, owners, first)


def _ordered(owner: Offsets, child: Column, *, descending: bool) -> Offsets:
    if not descending and len(owner) and (owner[1:] >= owner[:-1]).all():
        counts = np.bincount(owner, minlength=int(owner[-1]) + 1)
        return sort_within(child, offsets_of(counts))
    return sort_indices(
        [Column(_INT64, owner), child], [(False, True), (descending, not descending)]
    )
