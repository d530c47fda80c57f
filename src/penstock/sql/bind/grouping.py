"""GROUP BY with several grouping sets: ROLLUP, CUBE, GROUPING SETS, and GROUPING(…).

    GROUP BY a, ROLLUP(b, c)      sets  (a, b, c)  (a, b)  (a)

      UnionAll                                     keys that a set lacks are NULL, and
        Project [a, b, c, s, 0]                    GROUPING(b, c) is a constant of each
          Aggregate by [a, b, c] SUM(x) AS s
        Project [a, b, NULL, s, 1]
          Aggregate by [a, b] SUM(x) AS s …

Source: sql-reference 5.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from penstock.data.types import BIGINT, Schema, SqlType
from penstock.errors import Span
from penstock.plan.expressions import Expr, InputRef, Literal
from penstock.plan.nodes import AggCall, Aggregate, Node, Project, UnionAll
from penstock.sql import ast
from penstock.sql.bind.forms import Grouped
from penstock.sql.bind.report import BindError

#: a CUBE of more expressions has more sets than anybody reads
_MOST_SETS = 1 << 12
_NUMBER = BIGINT.with_nullable(False)


@dataclass(frozen=True, slots=True)
class Grouping:
    """`keys`: all grouping expressions, each once; `sets`: positions in `keys`."""

    keys: tuple[Expr, ...]
    sets: tuple[tuple[int, ...], ...]

    def type_of(self, key: int) -> SqlType:
        """Of the column of a key, which is NULL where a set lacks it."""
        type = self.keys[key].type
        return type if all(key in s for s in self.sets) else type.with_nullable(True)

    @property
    def is_plain(self) -> bool:
        return self.sets == (tuple(range(len(self.keys))),)


def has_sets(group: ast.GroupBy | None) -> bool:
    """Whether `group` may leave a key out of some rows."""
    return group is not None and any(isinstance(item, ast.GroupingSets) for item in group.items)


def plain(keys: Sequence[Expr]) -> Grouping:
    once = tuple(dict.fromkeys(keys))
    return Grouping(once, (tuple(range(len(once))),))


def grouping(group: ast.GroupBy, bind: Callable[[ast.Expr], Expr | None]) -> Grouping:
    """The sets of `group`; `bind` gives a grouping expression, or None when it has failed."""
    known: dict[Expr, int] = {}
    sets: list[tuple[int, ...]] = []
    seen: dict[ast.Expr, Expr | None] = {}
    for exprs in _product(group.items, group.span):
        found: dict[int, None] = {}
        for e in exprs:
            if e not in seen:
                seen[e] = bind(e)
            bound = seen[e]
            if bound is not None:
                found.setdefault(known.setdefault(bound, len(known)))
        sets.append(tuple(sorted(found)))
    if group.distinct:
        sets = list(dict.fromkeys(sets))
    return Grouping(tuple(known), tuple(sets))


Sets = list[tuple[ast.Expr, ...]]


def _product(items: Sequence[ast.GroupingItem], span: Span) -> Sets:
    """One set of each item, in all combinations."""
    choices = [_sets(item) for item in items]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > _MOST_SETS:
        raise BindError(span, f"GROUP BY has {count} grouping sets; {_MOST_SETS} are the most")
    return [tuple(e for part in parts for e in part) for parts in product(*choices)]


def _sets(item: ast.GroupingItem) -> Sets:
    if isinstance(item, ast.GroupingSet):
        return [item.exprs]
    if not isinstance(item, ast.GroupingSets):
        return [(item,)]
    if item.kind == "GROUPING SETS":
        return [found for inner in item.items for found in _sets(inner)]
    units = [_unit(inner) for inner in item.items]
    if item.kind == "ROLLUP":
        chosen = [units[:n] for n in range(len(units), -1, -1)]
    else:
        if len(units) > 12:
            raise BindError(item.span, f"CUBE takes at most 12 expressions, not {len(units)}")
        masks = range((1 << len(units)) - 1, -1, -1)
        bits = range(len(units))
        chosen = [[units[i] for i in bits if m >> (len(units) - 1 - i) & 1] for m in masks]
    return [tuple(e for unit in some for e in unit) for some in chosen]


def _unit(item: ast.GroupingItem) -> tuple[ast.Expr, ...]:
    if isinstance(item, ast.GroupingSets):
        raise BindError(item.span, f"{item.kind} cannot stand inside ROLLUP or CUBE")
    return item.exprs if isinstance(item, ast.GroupingSet) else (item,)


def grouped_union(
    schema: Schema,
    source: Node,
    group: Grouping,
    at: Sequence[int],
    calls: tuple[AggCall, ...],
    tests: Sequence[Grouped],
    span: Span,
) -> Node:
    """`calls` over `source` by every set of `group`. `schema`: the keys, found in columns `at` of
    `source`, then the calls' results, then a column for each of `tests`."""
    branches: list[Node] = []
    width = len(group.keys)
    for chosen in group.sets:
        fields = [schema.fields[k] for k in chosen]
        fields += schema.fields[width : width + len(calls)]
        node = Aggregate(
            Schema(tuple(fields)), source, tuple(at[k] for k in chosen), calls, span=span
        )
        exprs: list[Expr] = []
        for k in range(width):
            type = schema.types[k]
            there = InputRef(type, chosen.index(k)) if k in chosen else Literal(type, None)
            exprs.append(there)
        for i in range(len(calls)):
            exprs.append(InputRef(schema.types[width + i], len(chosen) + i))
        exprs += [Literal(_NUMBER, _bits(test, group, chosen)) for test in tests]
        branches.append(Project(schema, node, tuple(exprs), span=span))
    return branches[0] if len(branches) == 1 else UnionAll(schema, tuple(branches), span=span)


def _bits(test: Grouped, group: Grouping, chosen: tuple[int, ...]) -> int:
    """GROUPING: the first argument is the highest bit, 1 where it is aggregated away."""
    value = 0
    for arg in test.args:
        if arg not in group.keys:
            raise BindError(arg.span or test.span, "GROUPING takes expressions of GROUP BY")
        value = value << 1 | (group.keys.index(arg) not in chosen)
    return value


def grouping_call(args: Sequence[Expr], span: Span) -> Grouped:
    if not args:
        raise BindError(span, "GROUPING takes expressions of GROUP BY")
    return Grouped(_NUMBER, tuple(args), span=span)
