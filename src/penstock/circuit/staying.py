"""Peers that stay as they are when rows come to them or go.

    MAX(x)    5 5 5 5 │ 9 …     a 3 comes to the fives: nobody's value is another but its own
    RANK()    1 1 1 1 │ 5 …     one comes to the ones: it is 1, and those behind are 6 …

Rows that the order does not tell apart have one value, so that of any of them says what a row that
comes has; and, of a call that looks no further than that, whether the others keep theirs. Of a row
that goes and has the MAX itself it has to be asked whether another has it.

    may_stay   whether that can be told of a call at all
    stays      whether rows that come and go leave a value as it is

Not here: how peers are gone on from (`penstock.circuit.ops.running_window`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from penstock.circuit.spec import WindowSpec
from penstock.data.batch import Batch, Column
from penstock.data.gather import concat_columns
from penstock.data.hash import rows_equal
from penstock.data.order import sort_indices
from penstock.data.types import Schema

_RANKS = ("RANK", "DENSE_RANK")
EXTREMES = ("MIN", "MAX")
#: what most rows leave as it is for their peers
STAYING = (*_RANKS, *EXTREMES)
#: what a NULL leaves as it is
_OF_VALUES = ("COUNT", "SUM", "AVG", "FIRST_VALUE")


def may_stay(call: WindowSpec, rows: Schema) -> bool:
    """Whether peers may keep their values of `call`, one that asks for peers and goes on from row
    to row, when a row comes to them."""
    if call.kind in STAYING:
        return True
    return call.kind in _OF_VALUES and bool(call.args) and rows.types[call.args[0]].nullable


def stays(
    call: WindowSpec, rows: Batch, values: Column
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(bool[n]: whether row i, which comes or (of negative weight) goes, leaves the value of its
    peers, which is values[i], as it is, of which some are left; whether it does if there is another
    with that value among what they see)."""
    n = len(rows)
    asks = np.zeros(n, bool)
    if call.kind in _RANKS:
        return np.ones(n, bool), asks
    column = rows.columns[call.args[0]]
    is_null = np.zeros(n, bool) if column.valid is None else column.valid == 0
    if call.kind not in EXTREMES:
        return is_null, asks
    both = concat_columns((column.with_type(values.type), values))
    rank = np.empty(len(both), np.int64)
    rank[sort_indices((both,), ((False, True),))] = np.arange(len(both))
    each = np.arange(n)
    mine, theirs = rank[:n], rank[n:]
    is_worse = mine < theirs if call.kind == "MAX" else mine > theirs
    is_equal = rows_equal((both,), each, (both,), n + each) != 0
    known = np.ones(n, bool) if values.valid is None else values.valid != 0
    found: npt.NDArray[np.bool_] = is_null | (
        known & ((is_worse & ~is_equal) | (is_equal & (rows.weights > 0)))
    )
    return found, known & is_equal & (rows.weights < 0)
