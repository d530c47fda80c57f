"""What predicates imply: for the other side of an equality, and for the rows a join pads.

    t.k = u.k AND t.k > 5        u.k > 5 as well: fewer rows of u are kept and looked up
    t LEFT JOIN u … u.y > 5      no padded row passes, so the join is an inner one
    t LEFT JOIN u … JOIN v ON u.y = v.k      the same
    t FULL JOIN u USING (k) … k > 5    t.k > 5 and u.k > 5, before the join

Invariant: a row that is dropped by what is implied matches no row that the predicates keep.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from penstock.data.types import FLOATS, Kind
from penstock.functions.registry import resolve
from penstock.plan.expressions import Call, Cast, Coalesce, Expr, InList, InputRef, IsNull, Not
from penstock.plan.nodes import (
    Distinct,
    Filter,
    Frontier,
    Join,
    JoinKind,
    Node,
    Project,
    Session,
    TopK,
    Window,
)
from penstock.plan.rewrite import can_fail, columns_of, conjuncts, is_costly, remap, transform
from penstock.sql.passes.join_keys import is_equality


def transferred(predicates: Sequence[Expr], on: Iterable[Expr]) -> list[Expr]:
    """`predicates` of one column each, of the columns that `on` equates with it (once removed).

    Equal values are the same bytes, so what holds of one holds of the other; floats are left out,
    where NaN equals nothing.
    """
    partners: dict[int, list[InputRef]] = {}
    for p in on:
        if is_equality(p) and isinstance(p, Call):
            a, b = p.args
            if isinstance(a, InputRef) and isinstance(b, InputRef) and _alike(a, b):
                partners.setdefault(a.index, []).append(b)
                partners.setdefault(b.index, []).append(a)
    found: list[Expr] = []
    for p in predicates:
        used = columns_of(p)
        if len(used) == 1 and not can_fail(p) and not is_costly(p):
            (column,) = used
            for other in partners.get(column, ()):
                found.append(transform(p, lambda e, o=other: _moved(e, o)))  # type: ignore[misc]
    return [p for p in dict.fromkeys(found) if p not in predicates]


def merged(
    predicates: Iterable[Expr], on: Iterable[Expr], width: int
) -> tuple[list[Expr], list[Expr], list[Expr]]:
    """(what the left rows of a FULL JOIN fulfil, what the right ones do, the rest) where
    `predicates` are about COALESCE of a left and a right column that `on` equates: rows that meet
    agree in it, and a padded one has that of its own side."""
    equal = set[tuple[int, int]]()
    for p in on:
        if is_equality(p) and isinstance(p, Call):
            a, b = p.args
            if isinstance(a, InputRef) and isinstance(b, InputRef) and _alike(a, b):
                equal |= {(a.index, b.index), (b.index, a.index)}

    def side(p: Expr, is_right: bool) -> Expr:
        def rule(e: Expr) -> Expr:
            match e:
                case Coalesce(args=(InputRef() as a, InputRef() as b)):
                    if (a.index, b.index) in equal and (a.index < width) != (b.index < width):
                        return b if (a.index < width) is is_right else a
            return e

        return transform(p, rule)

    left, right, rest = list[Expr](), list[Expr](), list[Expr]()
    for p in predicates:
        of_left, of_right = side(p, False), side(p, True)
        used = columns_of(of_left)
        if can_fail(p) or not used or max(used) >= width or min(columns_of(of_right)) < width:
            rest.append(p)
        else:
            left.append(of_left)
            right.append(of_right)
    return left, right, rest


def pairs(node: Join) -> list[Expr]:
    """The equalities that the keys of a join stand for, over left's columns and then right's."""
    width = len(node.left.schema)
    found: list[Expr] = []
    for a, b in node.keys:
        types = node.left.schema.types[a], node.right.schema.types[b]
        if types[0].same_as(types[1]):
            args = InputRef(types[0], a), InputRef(types[1], width + b)
            function = resolve("is_not_distinct", types, (None, None))
            found.append(Call(function.result, function, args))
    return found


def holding(node: Node) -> list[Expr]:
    """What every row of `node` fulfils, as far as its filters tell: predicates over its columns."""
    match node:
        case Filter():
            return [*conjuncts(node.predicate), *holding(node.input)]
        case Distinct() | Frontier() | TopK() | Window() | Session():
            return holding(node.input)
        case Join(kind=JoinKind.INNER | JoinKind.LEFT | JoinKind.SEMI | JoinKind.ANTI):
            return holding(node.left)
        case Project():
            place = {e.index: i for i, e in enumerate(node.exprs) if isinstance(e, InputRef)}
            found = holding(node.input)
            return [remap(p, place) for p in found if columns_of(p) <= place.keys()]
    return []


def _alike(a: InputRef, b: InputRef) -> bool:
    return a.type.same_as(b.type) and a.type.kind not in FLOATS


def _moved(e: Expr, column: InputRef) -> Expr:
    return column if isinstance(e, InputRef) else e


def without_padding(kind: JoinKind, predicates: Iterable[Expr], width: int) -> JoinKind:
    """The kind of join whose result `predicates` filter: rows that none of them lets pass are not
    padded. `width`: how many columns the left side has."""
    return _narrower(kind, demanded(predicates), width)


def demanded(predicates: Iterable[Expr]) -> set[int]:
    """The columns that are not NULL where all of `predicates` are TRUE."""
    columns: set[int] = set()
    for p in predicates:
        columns |= _not_null(p.operand if isinstance(p, IsNull) and p.negated else p)
    return columns


def without_nulls(node: Node, columns: set[int], kept: Collection[int]) -> Node:
    """`node` where nobody asks for rows with a NULL in any of `columns`: no outer join in it pads
    rows that have one. Nodes whose identity is in `kept` stay, since others read them."""
    if not columns or id(node) in kept:
        return node
    match node:
        case Filter():
            more = columns | demanded(conjuncts(node.predicate))
            below = without_nulls(node.input, more, kept)
            return node if below is node.input else replace(node, input=below)
        case Project():
            read = demanded(node.exprs[c] for c in columns)
            below = without_nulls(node.input, read, kept)
            return node if below is node.input else replace(node, input=below)
        case Join():
            width = len(node.left.schema)
            kind = _narrower(node.kind, columns, width)
            left, right = node.left, node.right
            # a side whose rows are kept whatever they meet, or whose rows must meet one
            if kind not in (JoinKind.RIGHT, JoinKind.FULL):
                left = without_nulls(left, {c for c in columns if c < width}, kept)
            if kind in (JoinKind.INNER, JoinKind.RIGHT):
                right = without_nulls(right, {c - width for c in columns if c >= width}, kept)
            if kind is node.kind and left is node.left and right is node.right:
                return node
            return replace(node, kind=kind, left=left, right=right)
    return node


def _narrower(kind: JoinKind, columns: set[int], width: int) -> JoinKind:
    """The kind of join that is left of `kind` where rows with a NULL in `columns` are dropped."""
    needs_left = any(c < width for c in columns)
    needs_right = any(c >= width for c in columns)
    match kind:
        case JoinKind.LEFT if needs_right:
            return JoinKind.INNER
        case JoinKind.RIGHT if needs_left:
            return JoinKind.INNER
        case JoinKind.FULL if needs_left and needs_right:
            return JoinKind.INNER
        case JoinKind.FULL if needs_left:
            return JoinKind.LEFT
        case JoinKind.FULL if needs_right:
            return JoinKind.RIGHT
    return kind


def _not_null(p: Expr) -> set[int]:
    """Columns that are not NULL where `p` is not."""
    match p:
        case InputRef(index=index):
            return {index}
        case Call(function=function, args=args) if function.strict:
            return {c for a in args for c in _not_null(a)}
        case InList(operand=e) | Not(operand=e):
            return _not_null(e)
        case Cast(operand=e) if Kind.VARIANT not in (p.type.kind, e.type.kind):
            return _not_null(e)
    return set()
