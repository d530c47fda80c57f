"""Rows on one side of a value that moves: `ts >= NOW() - INTERVAL '1' DAY`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from penstock.circuit.node import Node
from penstock.data.batch import Batch, Column
from penstock.data.gather import concat, filter_batch, take
from penstock.data.masks import positions
from penstock.data.types import Field, Schema
from penstock.state.ordered import OrderedSpine
from penstock.state.parts import Part
from penstock.state.spine import Spine

Predicate = Callable[[Batch], np.ndarray]
_TOP = 2**64 - 1


class Frontier(Node):
    """The rows whose `column` compares with the one value of `bound` as `op` says.

    Reference:   filter(A, column op v), v the row of `bound`; nothing while there is none. With
                 `marks` all of A, with `column op v` as one column more: NULL where there is none,
                 or no value.
    Incremental: rows of the delta are compared with the new v; of the others only those between
                 the old v and the new one are looked at, as no other changes sides (or its mark).
    State: the rows ordered by `column`. If v only ever `rises`, only the rows that can still
           change sides: behind the frontier a row is in (<, <=) or out (>, >=) for good.
    Cost:  O(|delta| + rows between the old and the new v), logarithmic in the state.
    """

    def __init__(
        self,
        source: Node,
        bound: Node,
        column: int,
        op: str,
        rises: bool,
        predicate: Predicate,
        marks: Field | None = None,
    ) -> None:
        """`predicate` is over the source's columns followed by the bound's one."""
        assert not (marks and rises), "all rows can change their marks"
        fields = (*source.schema.fields, *((marks,) if marks else ()))
        super().__init__(Schema(fields), (source, bound))
        self._marks = marks
        self._column = column
        self._op = op
        self._rises = rises
        self._predicate = predicate
        self._source = source.schema
        kept = list(self._source.fields)
        key = kept[column]
        # rows without a value are never in, so they are not kept
        kept[column] = Field(key.name, key.type.with_nullable(False))
        self._kept_schema = Schema(tuple(kept))
        self._both = Schema((*self._source.fields, *bound.schema.fields))
        packed = kept[column].type.is_wide
        order = [(column, False, True)]
        self._rows = OrderedSpine(self._kept_schema, (), order, packed=packed)
        self._bound = Spine(bound.schema, ())

    def step(self) -> Batch | None:
        rows, moved = (n.delta for n in self.inputs)
        before = after = self._value()
        if moved is not None:
            self._bound.insert(moved)
            after = self._value()
        parts: list[Batch] = []
        if moved is not None:
            parts.append(self._crossing(before, after))
        if rows is not None:
            is_in = self._is_in(rows, after)
            if self._marks is None:
                parts.append(filter_batch(rows, is_in))
            else:
                parts.append(self._marked(rows, is_in, after))
            self._rows.insert(self._kept(rows, is_in))
        return concat(parts)

    def _value(self) -> Batch:
        """The bound as a batch of at most one row."""
        return self._bound.snapshot().batch()

    def _crossing(self, before: Batch, after: Batch) -> Batch:
        """Rows that the frontier passes; they come in (+) or go out (-)."""
        if len(before) and len(after):
            codes = [self._word(b.columns[0]) for b in (before, after)]
            near = self._rows.between(min(codes), max(codes))
        else:
            near = self._rows.between((0, 0), (_TOP, _TOP))
        typed = Batch(self._source, _retyped(near, self._source), near.weights)
        was, now = self._is_in(typed, before), self._is_in(typed, after)
        if self._marks is not None:
            moved = positions(was != now) if len(before) == len(after) else np.arange(len(near))
            rows = take(typed, moved)
            gone = Batch(self._source, rows.columns, -rows.weights)
            marked = self._marked(gone, was[moved], before), self._marked(rows, now[moved], after)
            return concat(marked)
        change = now.astype(np.int64) - was
        at = np.flatnonzero(change)
        crossed = take(typed, at)
        if self._rises and self._op != "=" and len(before):
            settled = take(near, at)
            self._rows.insert(Batch(self._kept_schema, settled.columns, -settled.weights))
        return Batch(self.schema, crossed.columns, crossed.weights * change[at])

    def _word(self, value: Column) -> tuple[int, int]:
        """Where the one value of the bound stands in the order of the kept rows."""
        column = value.with_type(value.type.with_nullable(False))
        if value.valid is not None:
            column = Column(column.type, column.values, None, column.heaps)
        # only the ordering column is looked at
        columns = (column,) * len(self._kept_schema)
        c, d = self._rows.words(Batch(self._kept_schema, columns, np.ones(1, np.int64)))
        return int(c[0]), int(d[0])

    def _is_in(self, rows: Batch, value: Batch) -> np.ndarray:
        if not len(value) or not len(rows):
            return np.zeros(len(rows), np.bool_)
        one = take(value, np.zeros(len(rows), np.int64))
        pairs = Batch(self._both, rows.columns + one.columns, rows.weights)
        return self._predicate(pairs).astype(np.bool_)

    def _marked(self, rows: Batch, is_in: np.ndarray, value: Batch) -> Batch:
        """All of `rows`, with whether they are in."""
        assert self._marks is not None
        valid = rows.columns[self._column].valid
        known = np.ones(len(rows), np.uint8) if valid is None else valid
        if not len(value):
            known = np.zeros(len(rows), np.uint8)
        type = self._marks.type
        mark = Column(type, is_in.astype(np.uint8), known if type.nullable else None)
        return Batch(self.schema, (*rows.columns, mark), rows.weights)

    def _kept(self, rows: Batch, is_in: np.ndarray) -> Batch:
        """The rows of the delta that may still change sides."""
        valid = rows.columns[self._column].valid
        keeps = np.ones(len(rows), np.bool_) if valid is None else valid.view(np.bool_)
        if self._rises and len(self._value()):
            if self._op in (">", ">="):
                keeps = keeps & is_in
            elif self._op in ("<", "<="):
                keeps = keeps & ~is_in
        kept = filter_batch(rows, keeps)
        return Batch(self._kept_schema, _retyped(kept, self._kept_schema), kept.weights)

    def parameters(self) -> tuple[Any, ...]:
        parameters = self._column, self._op, self._rises
        return parameters if self._marks is None else (*parameters, "marks")

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._rows, "bound": self._bound}

    def state_rows(self) -> int:
        return len(self._rows)


def _retyped(rows: Batch, schema: Schema) -> tuple[Column, ...]:
    """The columns of `rows` under other nullability; none is NULL where that is not allowed."""
    return tuple(
        c.with_type(t) if t.nullable else Column(t, c.values, None, c.heaps)
        for c, t in zip(rows.columns, schema.types, strict=True)
    )
