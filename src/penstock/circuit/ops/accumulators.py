"""Which accumulator keeps which aggregate.

    COUNT COUNTIF                  Count          a number
    SUM AVG                        ExactSum, FloatSum
    VAR STDDEV COVAR REGR_S…       moments        three sums
    BIT_… EVERY SOME               Bits           a count per bit
    MIN MAX ARG_MIN ARG_MAX MODE   Extremum       the best row, all others behind it in order
    ARRAY_AGG                      Collect        all rows

All but the last two lines are linear: a row taken back leaves nothing behind.
"""

from __future__ import annotations

from penstock.circuit.ops.accumulate import Accumulator, Count, Counts, ExactSum, FloatSum
from penstock.circuit.ops.bits import Bits
from penstock.circuit.ops.collect import Collect
from penstock.circuit.ops.extremum import Extremum
from penstock.circuit.ops.mode import Mode
from penstock.circuit.ops.moments import KINDS as MOMENTS
from penstock.circuit.ops.moments import moments
from penstock.circuit.spec import AggregateSpec
from penstock.data.types import FLOATS, Kind


def accumulator(
    spec: AggregateSpec, rows: Counts, opposite: Accumulator | None = None
) -> Accumulator:
    """An empty accumulator for `spec`; `rows` are those of the operator, whatever a call counts.
    `opposite`: that of MIN for a MAX of the same rows, or the other way around."""
    kind = spec.kind
    shared = rows if spec.counts_every_row() else None
    if kind in ("COUNT", "COUNTIF"):
        return Count(spec.result, shared)
    argument = spec.arg_types[0]
    if kind in ("SUM", "AVG"):
        if argument.kind in FLOATS:
            return FloatSum(spec.result, kind == "AVG")
        return ExactSum(spec.result, kind == "AVG", shared)
    if kind in MOMENTS:
        return moments(spec)
    if kind.startswith("BIT_"):
        return Bits(kind.removeprefix("BIT_"), argument, spec.result)
    if kind in ("EVERY", "SOME") or (argument.kind is Kind.BOOLEAN and kind in ("MIN", "MAX")):
        return Bits("AND" if kind in ("EVERY", "MIN") else "OR", argument, spec.result)
    if kind == "ARRAY_AGG":
        return Collect(spec)
    if kind == "MODE":
        return Mode(argument, spec.result)
    if kind in ("ARG_MIN", "ARG_MAX"):
        # of several rows with the best key the smallest value
        key = spec.arg_types[1].with_nullable(False)
        directions = (kind == "ARG_MAX", False)
        return Extremum((key, argument), directions, spec.result, shown=1, args=(1, 0))
    assert kind in ("MIN", "MAX"), f"no such aggregate: {kind}"
    other = opposite if isinstance(opposite, Extremum) else None
    of = (argument.with_nullable(False),)
    return Extremum(of, (kind == "MAX",), spec.result, opposite=other)
