"""Operators over whole relations. Their incremental twins live in `penstock.circuit.ops`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import cmp_to_key
from math import isnan
from typing import Any

Row = tuple[Any, ...]
Bag = Counter[Row]


def bag(rows: Iterable[tuple[Row, int]]) -> Bag:
    """The sum of weighted rows, without those that cancel out."""
    total: Bag = Counter()
    for row, weight in rows:
        total[row] += weight
    return Counter({row: weight for row, weight in total.items() if weight})


def distinct(a: Bag) -> Bag:
    return Counter({row: 1 for row, weight in a.items() if weight > 0})


def intersection(a: Bag, b: Bag) -> Bag:
    return Counter({row: min(w, b[row]) for row, w in a.items() if min(w, b[row]) > 0})


def matches(left: Row, right: Row, keys: Sequence[tuple[int, int]], safe: Sequence[bool]) -> bool:
    return all(
        left[i] == right[j] and (s or left[i] is not None)
        for (i, j), s in zip(keys, safe, strict=True)
    )


def join(
    kind: str,
    a: Bag,
    b: Bag,
    keys: Sequence[tuple[int, int]],
    safe: Sequence[bool],
    residual: Callable[[Row], bool],
    widths: tuple[int, int],
) -> Bag:
    def partners(row: Row, others: Bag, mine_is_left: bool) -> int:
        return sum(
            w
            for other, w in others.items()
            for left, right in [(row, other) if mine_is_left else (other, row)]
            if matches(left, right, keys, safe) and residual(left + right)
        )

    out: Bag = Counter()
    if kind in ("inner", "left", "right", "full"):
        for left, v in a.items():
            for right, w in b.items():
                if matches(left, right, keys, safe) and residual(left + right):
                    out[left + right] += v * w
    for row, w in a.items():
        has = partners(row, b, True) > 0
        if kind in ("left", "full") and not has:
            out[row + (None,) * widths[1]] += w
        if (kind == "semi" and has) or (kind == "anti" and not has):
            out[row] += w
    for row, w in b.items():
        if kind in ("right", "full") and partners(row, a, False) <= 0:
            out[(None,) * widths[0] + row] += w
    return bag(out.items())


def aggregate(a: Bag, keys: Sequence[int], calls: Sequence[Callable[[Bag], Any]]) -> Bag:
    groups: dict[Row, Bag] = defaultdict(Counter)
    if not keys:
        groups[()] = Counter()
    for row, weight in a.items():
        groups[tuple(row[k] for k in keys)][row] += weight
    return Counter(
        key + tuple(call(rows) for call in calls)
        for key, rows in groups.items()
        if not keys or rows.total() > 0
    )


def call(
    kind: str,
    args: Sequence[int],
    distinct: bool = False,
    where: int | None = None,
    scale: int | None = None,
) -> Callable[[Bag], Any]:
    """An aggregate function over the rows of one group; `scale` is AVG's for decimals."""

    def value(rows: Bag) -> Any:
        kept: Counter[Row] = Counter()
        for row, weight in rows.items():
            picked = tuple(row[a] for a in args)
            if (where is None or row[where]) and None not in picked:
                kept[picked] += weight
        if kind in ("MIN", "MAX"):
            there = [v for (v,), w in kept.items() if w > 0]
            return (min if kind == "MIN" else max)(there, key=ordering, default=None)
        if distinct:
            kept = Counter({v: 1 for v, w in kept.items() if w > 0})
        count = kept.total()
        if kind == "COUNT":
            return count
        if count <= 0:
            return None
        total = sum(v * w for (v,), w in kept.items())
        if kind == "SUM":
            return total
        if isinstance(total, float):
            return total / count
        if isinstance(total, int):
            return abs(total) // count * (1 if total >= 0 else -1)
        unscaled = int(total.scaleb(scale or 0))
        return Decimal(abs(unscaled) // count * (1 if unscaled >= 0 else -1)).scaleb(-(scale or 0))

    return value


def ordering(value: Any) -> Any:
    """A sort key: strings by their bytes, NaN greatest."""
    if isinstance(value, float):
        return (isnan(value), 0.0 if isnan(value) else value)
    return value.encode() if isinstance(value, str) else value


def comparison(order: Sequence[tuple[int, bool, bool]], width: int) -> Callable[[Row, Row], int]:
    """How two rows compare: (column, descending, nulls first) each, then the other columns."""
    rest = [(c, False, True) for c in range(width) if c not in {o[0] for o in order}]

    def compare(x: Row, y: Row) -> int:
        for column, descending, nulls_first in [*order, *rest]:
            v, w = x[column], y[column]
            if v is None or w is None:
                if (v is None) != (w is None):
                    return -1 if (v is None) == nulls_first else 1
            elif v != w:
                return -1 if (ordering(v) < ordering(w)) != descending else 1
        return 0

    return compare


def topk(
    a: Bag,
    partition: Sequence[int],
    order: Sequence[tuple[int, bool, bool]],
    limit: int | None,
    offset: int,
    ranks: str = "ROW_NUMBER",
    *,
    numbered: bool = False,
) -> Bag:
    """`order`: (column, descending, nulls first); ties by the remaining columns."""
    compare = comparison(order, len(next(iter(a), ())))
    parts: dict[Row, list[Row]] = defaultdict(list)
    for row in sorted(a, key=cmp_to_key(compare)):
        parts[tuple(row[p] for p in partition)] += [row] * max(0, a[row])
    end = None if limit is None else offset + limit
    if ranks != "ROW_NUMBER" and end is not None:
        out: Bag = Counter()
        for rows in parts.values():
            keys = [tuple(row[c] for c, _, _ in order) for row in rows]
            for row, key in zip(rows, keys, strict=True):
                before = keys[: keys.index(key)]
                out[row] += len(before if ranks == "RANK" else set(before)) < end
        return +out
    if numbered:
        return Counter((*r, i + 1) for rows in parts.values() for i, r in enumerate(rows[:end]))
    return Counter(row for rows in parts.values() for row in rows[offset:end])


def upserts(ops: Iterable[tuple[str, Row, tuple[bool, ...]]], key: Sequence[int]) -> Bag:
    """Fold operations ("insert", "delete" or "update", row, which columns it has)."""
    table: dict[Row, Row] = {}
    for op, row, present in ops:
        k = tuple(row[i] for i in key)
        if op == "delete":
            table.pop(k, None)
        elif op == "insert":
            table[k] = row
        elif k in table:
            old = table[k]
            table[k] = tuple(new if p else o for new, o, p in zip(row, old, present, strict=True))
    return Counter(table.values())
