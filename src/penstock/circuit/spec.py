"""What an aggregate or an order asks for, in column positions and types.

The circuit's own vocabulary: `penstock.compile` translates plan nodes into it, so that operators
depend on nothing above `data` and `state`.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.data.types import SqlType


@dataclass(frozen=True, slots=True)
class AggregateSpec:
    """One aggregate call over columns of the input.

    `kind` is COUNT, SUM, AVG, MIN or MAX. COUNT counts rows where all `args` are non-NULL (no
    args: all rows); the others take one. Only rows whose BOOLEAN column `filter` is TRUE count
    (None: all rows); `distinct` counts equal argument values once per group.
    """

    kind: str
    args: tuple[int, ...]
    arg_types: tuple[SqlType, ...]
    result: SqlType
    distinct: bool = False
    filter: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One sort key: a column position, its direction and where its NULLs go."""

    column: int
    descending: bool = False
    nulls_first: bool = True
