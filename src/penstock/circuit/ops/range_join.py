"""Joins without equal keys whose condition keeps two columns near to each other.

Both sides are kept in the order of one of their columns; a row of the other side looks only at
those in its band (`penstock.circuit.band`), and the condition decides about these.
"""

from __future__ import annotations

from typing import Any

from penstock.circuit.arrange import Arrange
from penstock.circuit.band import Band
from penstock.circuit.node import Node
from penstock.circuit.ops.join import Join, Residual
from penstock.circuit.spec import Bound
from penstock.data.types import Schema
from penstock.state.ordered import OrderedSpine
from penstock.state.spine import Spine


class OrderedArrange(Arrange):
    """Keep a stream, without a key, in the order of one column.

    Reference:   the stream.
    Incremental: its change.
    State: its rows in the order of the column.
    Cost:  O(|delta|), sorted and merged behind the scenes.
    """

    def __init__(self, source: Node, column: int) -> None:
        self.column = column
        super().__init__(source, (), ())

    def new_spine(self) -> Spine:
        packed = self.schema.types[self.column].is_wide
        return OrderedSpine(self.schema, (), [(self.column, False, True)], packed=packed)

    def parameters(self) -> tuple[Any, ...]:
        return (self.column,)


class RangeJoin(Join):
    """Pairs of rows that pass a condition, which implies some bounds.

    Reference:   every pair of rows that passes the residual, weights multiplied.
    Incremental: the product rule for pairs (see `penstock.circuit.ops.join`).
    State: none of its own; the two arrangements, in the order of the column that most bounds are
           about.
    Cost:  O(log n + pairs within the bounds of the ordered columns), of which no more than
           `join.MOST_ROWS` are there at a time before the condition decides (or those of one row,
           for who reads all rows at once anyway).
           A column that is bounded from one side only has many.
    """

    def __init__(
        self,
        left: OrderedArrange,
        right: OrderedArrange,
        residual: Residual | None,
        schema: Schema,
        bounds: tuple[Bound, ...],
        meaning: Any = None,
    ) -> None:
        super().__init__(left, right, "inner", residual, schema, meaning, Band(bounds))
        self._bounds = bounds

    def parameters(self) -> tuple[Any, ...]:
        return (*super().parameters(), self._bounds)
