"""Where the rows of the first ranks end, of partitions whose peers are too many to be read.

    run 1   3 3 3 3 3 3 3 3 │ 5 5 5 5 5 …       RANK <= 3         ends with 3
    run 2   3 3 3 3         │ 5 5 …             DENSE_RANK <= 2   ends with 5

All rows up to that place are shown, and no others: a row that comes changes what is shown by itself
and, where the end moves, by the rows between what it was and what it is. Rows are walked through
until their ranks are known, of DENSE_RANK one of each place.

Not here: what is shown (`penstock.circuit.ops.topk`).

Cost: O(runs · log n) a place, O(limit) rows of RANK, and those that cancel out on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.spec import Order
from penstock.data.batch import Column
from penstock.data.hash import hash_columns
from penstock.data.kernel import kernel
from penstock.data.pointers import load_u64
from penstock.data.types import Kind, Schema
from penstock.state.lookup import rows_in
from penstock.state.ordered import OrderedRun, OrderedSpine, is_exact
from penstock.state.ranges import TOP, Places
from penstock.state.run import KEY_SEED

#: digits of a DECIMAL that one word tells apart
_WORD_DIGITS = 18


def telling_words(order: Sequence[Order], rows: Schema) -> Places | None:
    """Which bits of a place of `rows` say what `order` does, all that it does: an entry; None if
    rows that it tells apart may share their place."""
    types = [rows.types[o.column] for o in order]
    exact = [is_exact(t) for t in types]
    if len(types) == 1 and not types[0].nullable:
        is_short = types[0].kind is Kind.DECIMAL and (types[0].precision or 0) <= _WORD_DIGITS
        second = np.uint64(0)
        exact = [exact[0] or is_short]
    elif len(types) == 1 or (len(types) == 2 and not any(t.nullable for t in types)):
        second = TOP
    else:
        return None
    return Places(np.array([TOP]), np.array([second])) if all(exact) else None


def ends_of_ranks(
    spine: OrderedSpine, keys: Sequence[Column], n: int, limit: int, telling: Places, *, dense: bool
) -> tuple[Places, npt.NDArray[np.bool_]]:
    """For each of the `n` rows of `keys`, none of which shares its hash with another, the last
    place of the rows whose RANK (or DENSE_RANK) is at most `limit`; whether there may be others.
    The last place of all where there are none. Rows that are owed do not count."""
    runs = spine.runs()
    place, full = Places(np.full(n, TOP), np.full(n, TOP)), np.zeros(n, np.bool_)
    if not runs:
        return place, full
    edge, end, _ = rows_in(runs, hash_columns(keys, KEY_SEED, n=n))
    told = []
    for run in runs:
        assert isinstance(run, OrderedRun)
        arrays = (run.c, run.d, run.r, run.batch.weights)
        told.append([a.__array_interface__["data"][0] for a in arrays])
    addresses = np.array(told, np.uint64)
    _ends(addresses, edge, end, limit, telling.c[0], telling.d[0], dense, place.c, place.d, full)
    return place, full


@kernel(
    "void(uint64[:, ::1], int64[:, ::1], int64[:, ::1], int64, uint64, uint64, boolean, "
    "uint64[::1], uint64[::1], boolean[::1])"
)
def _ends(
    told: Any, edge: Any, end: Any, limit: Any, mask_c: Any, mask_d: Any, dense: Any, out_c: Any,
    out_d: Any, full: Any,
) -> None:  # fmt: skip
    """What `ends_of_ranks` says: run j, whose words, hashes and weights are at the addresses
    told[j], has the rows of partition i from edge[j, i] to end[j, i]; `edge` is scratch."""
    word = np.uint64(8)
    runs = told.shape[0]
    for i in range(edge.shape[1]):
        seen = np.int64(0)
        while seen < limit:
            # the next place of any run
            c, d, is_any = np.uint64(0), np.uint64(0), False
            for j in range(runs):
                if edge[j, i] < end[j, i]:
                    shift = word * np.uint64(edge[j, i])
                    x = load_u64(told[j, 0] + shift) & mask_c
                    y = load_u64(told[j, 1] + shift) & mask_d
                    if not is_any or x < c or (x == c and y < d):
                        c, d, is_any = x, y, True
            if not is_any:
                break
            # its rows, each from all runs, until there are enough
            count, is_over = np.int64(0), False
            while not is_over and seen + count < limit and not (dense and count > 0):
                v, w, r, is_any = np.uint64(0), np.uint64(0), np.uint64(0), False
                for j in range(runs):
                    if edge[j, i] < end[j, i]:
                        shift = word * np.uint64(edge[j, i])
                        x, y = load_u64(told[j, 0] + shift), load_u64(told[j, 1] + shift)
                        if (x & mask_c) == c and (y & mask_d) == d:
                            z = load_u64(told[j, 2] + shift)
                            is_next = x < v or (x == v and (y < w or (y == w and z < r)))
                            if is_next or not is_any:
                                v, w, r, is_any = x, y, z, True
                total = np.int64(0)
                for j in range(runs if is_any else 0):
                    while edge[j, i] < end[j, i]:
                        shift = word * np.uint64(edge[j, i])
                        if load_u64(told[j, 0] + shift) != v or load_u64(told[j, 1] + shift) != w:
                            break
                        if load_u64(told[j, 2] + shift) != r:
                            break
                        total += np.int64(load_u64(told[j, 3] + shift))
                        edge[j, i] += 1
                count += max(total, np.int64(0))
                is_over = not is_any
            if count > 0:
                seen += 1 if dense else count
                out_c[i], out_d[i] = c | ~mask_c, d | ~mask_d
            if seen >= limit:
                break
            # behind the place: steps of twice the size, then halves of the last
            for j in range(runs):
                a, b, step = edge[j, i], end[j, i], 1
                while a + step <= b:
                    m = a + step - 1
                    shift = word * np.uint64(m)
                    x = load_u64(told[j, 0] + shift) & mask_c
                    y = load_u64(told[j, 1] + shift) & mask_d
                    if x < c or (x == c and y <= d):
                        a, step = m + 1, 2 * step
                    else:
                        b = m
                while a < b:
                    m = (a + b) >> 1
                    shift = word * np.uint64(m)
                    x = load_u64(told[j, 0] + shift) & mask_c
                    y = load_u64(told[j, 1] + shift) & mask_d
                    if x < c or (x == c and y <= d):
                        a = m + 1
                    else:
                        b = m
                edge[j, i] = a
        full[i] = seen >= limit
        if not full[i]:
            out_c[i], out_d[i] = ~np.uint64(0), ~np.uint64(0)
