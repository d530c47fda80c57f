"""Window functions over whole relations, from their definitions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal
from functools import cmp_to_key
from typing import Any

from penstock.circuit.spec import WindowSpec
from tests.oracle.relational import Bag, Row, comparison, ordering


def window(
    a: Bag,
    partition: Sequence[int],
    order: Sequence[tuple[int, bool, bool]],
    calls: Sequence[WindowSpec],
) -> Bag:
    """Every row of `a` (copies are rows), with the values of `calls`."""
    width = len(next(iter(a), ()))
    parts: dict[Row, list[Row]] = defaultdict(list)
    for row in sorted(a, key=cmp_to_key(comparison(order, width))):
        parts[tuple(row[p] for p in partition)] += [row] * a[row]
    out: Bag = Counter()
    for rows in parts.values():
        keys = [tuple(row[c] for c, _, _ in order) for row in rows]
        for i, row in enumerate(rows):
            out[row + tuple(_value(call, rows, keys, order, i) for call in calls)] += 1
    return out


def _value(call: WindowSpec, rows: list[Row], keys: list[Any], order: Any, i: int) -> Any:
    peers = [j for j in range(len(rows)) if keys[j] == keys[i]]
    match call.kind:
        case "ROW_NUMBER":
            return i + 1
        case "RANK":
            return peers[0] + 1
        case "DENSE_RANK":
            return len(set(keys[: i + 1]))
        case "LAG" | "LEAD":
            step = -1 if call.kind == "LAG" else 1
            others = range(i + step, -1 if step < 0 else len(rows), step)
            found = [rows[j][call.args[0]] for j in others]
            if call.ignore_nulls:
                found = [v for v in found if v is not None]
            if not call.offset:
                return rows[i][call.args[0]]
            if call.offset <= len(found):
                return found[call.offset - 1]
            return rows[i][call.args[1]] if len(call.args) > 1 else None
    frame = [rows[j] for j in range(len(rows)) if _is_in(call.frame, keys, order, peers, i, j)]
    args = [tuple(row[c] for c in call.args) for row in frame]
    if call.kind in ("FIRST_VALUE", "LAST_VALUE"):
        values = [v for (v,) in args if v is not None or not call.ignore_nulls]
        return (values[0] if call.kind == "FIRST_VALUE" else values[-1]) if values else None
    args = [v for v in args if None not in v]
    if call.kind == "COUNT":
        return len(args)
    values = [v for (v,) in args]
    if not values:
        return None
    if call.kind in ("MIN", "MAX"):
        return (min if call.kind == "MIN" else max)(values, key=ordering)
    total = sum(values)
    if call.kind == "SUM":
        return total
    if isinstance(total, float):
        return total / len(values)
    if isinstance(total, Decimal):
        cents = int(total * 100)
        return Decimal(abs(cents) // len(values) * (1 if cents >= 0 else -1)) / 100
    return abs(total) // len(values) * (1 if total >= 0 else -1)


def _is_in(frame: Any, keys: list[Any], order: Any, peers: list[int], i: int, j: int) -> bool:
    if frame.unit == "ROWS":
        return (frame.start is None or j >= i + frame.start) and (
            frame.end is None or j <= i + frame.end
        )
    if frame.start in (None, 0) and frame.end in (None, 0):
        return (frame.start is None or j >= peers[0]) and (frame.end is None or j <= peers[-1])
    (mine,), (other,) = keys[i], keys[j]
    if mine is None or other is None:
        # NULLs are peers; others are before or behind all of them
        is_start, is_end = frame.start is None and j < i, frame.end is None and j > i
        return j in peers or is_start or is_end
    distance = _units(other) - _units(mine)
    if order[0][1]:
        distance = -distance
    return (frame.start is None or distance >= frame.start) and (
        frame.end is None or distance <= frame.end
    )


def _units(value: Any) -> int:
    if isinstance(value, Decimal):
        return int(value * 100)
    return value if isinstance(value, int) else int(value.toordinal())
