"""ARRAY_AGG under retractions: all values of a group, in order.

    rows (value, keys …) of a group  ──►  sorted by the keys, then by the value  ──►  one array

Reference:   the values of the group, each as often as it is there, in the order of the keys.
Incremental: the arrays of touched groups are made anew from their rows.
State: every row of every group, in a spine by the group's serial; rows of groups that were dropped
go with the next merges.
Cost:  O(|delta|), and all rows of a touched group twice: an array is one value, emitted anew.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, Serials
from penstock.circuit.ops.accumulate import Accumulator, GroupedRows, the_array
from penstock.circuit.ordering import RowOrder
from penstock.circuit.spec import AggregateSpec, Order
from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, take_column
from penstock.data.nested import implode
from penstock.data.types import BIGINT, Field, Schema
from penstock.state.changes import Arrays
from penstock.state.parts import Part
from penstock.state.spine import Spine

_GROUP = BIGINT.with_nullable(False)


class Collect(Accumulator):
    """ARRAY_AGG of the first argument, ordered by the others in the directions of `spec.order`;
    NULL for a group without rows."""

    def __init__(self, spec: AggregateSpec) -> None:
        self._result = spec.result
        fields = tuple(Field(f"value {i}", t) for i, t in enumerate(spec.arg_types))
        schema = Schema((Field("group", _GROUP), *fields))
        keys = tuple(Order(2 + i, *direction) for i, direction in enumerate(spec.order))
        self._order = RowOrder(len(schema), keys)
        self._rows = Spine(schema, (0,))
        #: what groups are called among the rows
        self._serials = Serials()

    def reserve(self, groups: int) -> None:
        self._serials.reserve(groups)

    def arrays(self) -> Arrays:
        return {"serial": self._serials.array()}

    def load(self, arrays: Arrays) -> None:
        self._serials.load(the_array(arrays["serial"]))

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._rows}

    @property
    def can_move(self) -> bool:
        return True

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        # not a snapshot, which would leave out what is owed
        kept = [empty_batch(self._rows.schema), *(r.batch for r in self._rows.runs())]
        serials = consolidate(concat(kept)).columns[0].values
        live = serials[~self._serials.of_dropped()(serials)]
        used = np.zeros(groups, np.bool_)
        used[self._serials.ids_of(live)] = True
        return used

    def move(self, old: Ids, new: Ids) -> None:
        self._serials.move(old)
        dropped = self._serials.of_dropped()
        self._rows.is_over = lambda rows: dropped(rows.columns[0].values)

    def add(self, rows: GroupedRows) -> None:
        at = np.flatnonzero(rows.weights)
        schema = self._rows.schema
        values = (
            take_column(c, at).with_type(t)
            for c, t in zip(rows.args, schema.types[1:], strict=True)
        )
        columns = (Column(_GROUP, self._serials.of(rows.groups[at])), *values)
        self._rows.insert(Batch(schema, columns, rows.weights[at]))

    def read(self, groups: Ids) -> Column:
        names = Column(_GROUP, self._serials.of(groups))
        places, rows = self._rows.probe((names,), len(groups))
        found = self._order.settled(places, rows)
        copies = np.repeat(np.arange(len(found.place)), found.rows.weights)
        counts = np.bincount(found.place[copies], minlength=len(groups))
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        valid = (counts > 0).astype(np.uint8)
        elements = take_column(found.rows.columns[1], copies).with_type(self._result.children[0])
        return implode(self._result, offsets, (elements,), None if valid.all() else valid)

    def state_rows(self) -> int:
        return len(self._rows)
