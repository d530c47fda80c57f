"""Aggregates over the rows of one group, from their definitions."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from math import isqrt, sqrt
from operator import and_, or_, xor
from typing import Any

from tests.oracle.relational import ordering

_MOMENTS = {
    "VAR_POP": (0, 0, "pop"), "VAR_SAMP": (0, 0, "samp"), "STDDEV_POP": (0, 0, "pop"),
    "STDDEV_SAMP": (0, 0, "samp"), "COVAR_POP": (0, 1, "pop"), "COVAR_SAMP": (0, 1, "samp"),
    "REGR_SXX": (1, 1, "sum"), "REGR_SYY": (0, 0, "sum"),
}  # fmt: skip


def value(kind: str, rows: list[tuple[Any, ...]], scale: int | None) -> Any:
    """`kind` over `rows`, the arguments of every row that counts, one entry a copy. `scale`: the
    result's, None for floats."""
    if kind in ("COUNT", "COUNTIF"):
        return sum(1 for r in rows if kind == "COUNT" or r[0])
    if not rows:
        return None
    first = [r[0] for r in rows]
    match kind:
        case "EVERY" | "BIT_AND":
            return reduce(and_, first)
        case "SOME" | "BIT_OR":
            return reduce(or_, first)
        case "BIT_XOR":
            return reduce(xor, first)
        case "MODE":
            counts = Counter(first)
            most = max(counts.values())
            return min((v for v, n in counts.items() if n == most), key=ordering)
        case "ARG_MIN" | "ARG_MAX":
            best = (min if kind == "ARG_MIN" else max)((k for _, k in rows), key=ordering)
            found = [v for v, k in rows if ordering(k) == ordering(best)]
            return None if None in found else min(found, key=ordering)
    return _moment(kind, rows, scale)


def _moment(kind: str, rows: list[tuple[Any, ...]], scale: int | None) -> Any:
    i, j, how = _MOMENTS[kind]
    n = len(rows)
    if n == 1 and how == "samp":
        return None
    a, b = [Fraction(r[i]) for r in rows], [Fraction(r[j]) for r in rows]
    result = sum(x * y for x, y in zip(a, b, strict=True)) - sum(a) * sum(b) / n
    result /= {"pop": n, "samp": n - 1, "sum": 1}[how]
    if scale is None:
        return sqrt(result) if kind.startswith("STDDEV") else float(result)
    unit = 10**scale
    if kind.startswith("STDDEV"):
        cut = isqrt(int(result * unit * unit))
    else:
        cut = int(result * unit)  # toward zero
    return Decimal(cut).scaleb(-scale) if scale else cut
