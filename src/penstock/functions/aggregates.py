"""The table of aggregate functions: names, argument types, result types.

`AggregateFunction` is one resolved overload. How it is maintained under insertions and deletions
is the circuit's affair (`penstock.circuit.ops.aggregate`), which dispatches on `kind`.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.data.types import SqlType


@dataclass(frozen=True, slots=True)
class AggregateFunction:
    """`kind`: COUNT (rows where all args are non-NULL; no args: all rows), SUM, AVG, MIN, MAX, …"""

    kind: str
    arg_types: tuple[SqlType, ...]
    result: SqlType
