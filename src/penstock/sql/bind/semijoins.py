"""WHERE [NOT] EXISTS and [NOT] IN → semi and anti joins with the frame.

WHERE k IN (SELECT x …)         ──►   Join semi(frame, query), k = x
WHERE k NOT IN (SELECT x …)     ──►   Join anti(…), where NULLs on either side are heeded
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.plan.expressions import Expr
from penstock.plan.nodes import Filter, Join, JoinKind, Node
from penstock.sql.bind import build, marks
from penstock.sql.bind.forms import Exists, In, outers
from penstock.sql.bind.patterns import by_pattern

if TYPE_CHECKING:
    from penstock.sql.bind.frame import Frame


def keep(frame: Frame, test: Expr) -> None:
    """Keep the rows for which `test`, an Exists or In, is TRUE."""
    kind = JoinKind.SEMI
    if isinstance(test, Exists):
        query, on, _ = frame.rows(frame.asked(test.query))
        _half_join(frame, kind, query, on)
        return
    assert isinstance(test, In)
    operands = [frame.value(e) for e in test.operands]
    test = replace(test, query=frame.asked(test.query))
    query, on, values = frame.rows(test.query)
    equal = marks.equal(operands, values, test.span)
    _half_join(frame, kind, query, marks.matching(equal, on, values))


def drop(frame: Frame, test: Expr) -> None:
    """Keep the rows for which `test`, an Exists or In, is FALSE."""
    kind = JoinKind.ANTI
    if isinstance(test, Exists):
        query, on, _ = frame.rows(frame.asked(test.query))
        _half_join(frame, kind, query, on)
        return
    assert isinstance(test, In)
    operands = [frame.value(e) for e in test.operands]
    test = replace(test, query=frame.asked(test.query))
    nullable = any(e.type.nullable for e in operands) or any(
        t.nullable for t in test.query.schema.types
    )
    # one column without correlation: whether there are NULLs is asked once, not for each row
    is_simple = len(operands) == 1 and not outers(test.query)
    if nullable and is_simple:
        rows, nulls = marks.presence(frame, test.query)
        none, no_nulls = build.not_(rows, test.span), build.not_(nulls, test.span)
        known = build.is_null(operands[0], test.span, negated=True)
        guard = build.or_([none, build.and_([known, no_nulls])], test.span)
        frame.node = Filter(frame.node.schema, frame.node, guard)
    query, on, values = frame.rows(test.query)
    equal = marks.equal(operands, values, test.span)
    if nullable and not is_simple:
        patterns = by_pattern(query, equal, on, frame.width)
        if patterns is not None:
            for inner, conditions in patterns:
                _half_join(frame, kind, inner, conditions)
            return
        # among the rows of one outer row, "equal or unknown" is a residual like any other
        equal = marks.perhaps(equal, test.span)
    _half_join(frame, kind, query, marks.matching(equal, on, values))


def _half_join(frame: Frame, kind: JoinKind, query: Node, on: Sequence[Expr]) -> None:
    residual = build.and_(on) if on else None
    frame.node = Join(frame.node.schema, kind, frame.node, query, (), (), residual)
