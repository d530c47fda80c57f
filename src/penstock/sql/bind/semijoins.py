"""WHERE [NOT] EXISTS, [NOT] IN and comparisons with ANY and ALL → semi and anti joins.

WHERE k IN (SELECT x …)         ──►   Join semi(frame, query), k = x
WHERE k NOT IN (SELECT x …)     ──►   Join anti(…), where NULLs on either side are heeded
WHERE k > ANY (SELECT x …)      ──►   Join semi(frame, query), k > x
WHERE k > ALL (SELECT x …)      ──►   Join anti(frame, query), k <= x, then no NULLs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.plan.expressions import Expr
from penstock.plan.nodes import Filter, Join, JoinKind, Node
from penstock.sql.bind import build, marks
from penstock.sql.bind.forms import Exists, ForAll, In, outers
from penstock.sql.bind.patterns import by_pattern

if TYPE_CHECKING:
    from penstock.sql.bind.frame import Frame


def keep(frame: Frame, test: Expr) -> None:
    """Keep the rows for which `test`, an Exists, In or ForAll, is TRUE."""
    kind = JoinKind.SEMI
    if isinstance(test, ForAll):
        _for_all(frame, test)
        return
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
    """Keep the rows for which `test`, an Exists, In or ForAll, is FALSE."""
    kind = JoinKind.ANTI
    if isinstance(test, ForAll):
        test = replace(test, query=frame.asked(test.query))
        _half_join(frame, JoinKind.SEMI, *_failing(frame, test))
        return
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


def _for_all(frame: Frame, test: ForAll) -> None:
    test = replace(test, query=frame.asked(test.query))
    _half_join(frame, JoinKind.ANTI, *_failing(frame, test))
    if not test.type.nullable:
        return
    # asked of the rows that are left, which are few as a rule: all are others when a NULL comes
    operand = frame.value(test.operand)
    rows, nulls = marks.presence(frame, test.query)
    known = build.not_(nulls, test.span)
    if operand.type.nullable:
        is_value = build.is_null(operand, test.span, negated=True)
        none = build.not_(rows, test.span)
        known = build.or_([none, build.and_([is_value, known], test.span)], test.span)
    frame.node = Filter(frame.node.schema, frame.node, known)


def _failing(frame: Frame, test: ForAll) -> tuple[Node, list[Expr]]:
    """The rows that make `test` FALSE, and for which rows of the frame they do."""
    operand = frame.value(test.operand)
    query, on, values = frame.rows(test.query)
    return query, marks.failing(test, operand, on, values)


def _half_join(frame: Frame, kind: JoinKind, query: Node, on: Sequence[Expr]) -> None:
    residual = build.and_(on) if on else None
    frame.node = Join(frame.node.schema, kind, frame.node, query, (), (), residual)
