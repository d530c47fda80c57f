"""A join from its condition: equalities between the sides become keys, the rest the residual.

    a JOIN b ON a.k + 1 = b.k AND a.x < b.y

      Project [a.*, b.*]
        Join inner  on $key0 = k  where x < y
          Project [a.*, k + 1 AS $key0] ─ a
          b

Keys are compared by their bytes, so both get a type that holds what either may be; where there is
none (two long DECIMALs of different scales) the equality is no key, but stays in the residual.
Strings of different declared lengths are compared as they are. NaN = NaN is FALSE in SQL, but NaN
has the bytes of NaN: an equality of floats is a key and stays in the residual as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from penstock.data.types import FLOATS, STRINGS, Field, Schema, SqlType
from penstock.functions.coercion import key_type
from penstock.plan.expressions import Call, Case, Cast, Expr, InputRef, Literal, conjunction
from penstock.plan.nodes import Aggregate, Join, JoinKind, Node, Project
from penstock.plan.rewrite import can_fail, columns_of, is_risky, remap
from penstock.sql.passes.gates import gate, without_failing

_NULL_SAFE = ("is_not_distinct", "<=>")
_HALF = (JoinKind.SEMI, JoinKind.ANTI)
#: the joins of whose answer a row of the left side, or of the right one, is nothing without partner
_NEEDS_PARTNER = (
    (JoinKind.INNER, JoinKind.SEMI, JoinKind.RIGHT),
    (JoinKind.INNER, JoinKind.SEMI, JoinKind.LEFT, JoinKind.ANTI),
)
#: beyond the columns of any relation
_END = 1 << 30


@dataclass(slots=True)
class Side:
    """One input of a join under construction, with key expressions added as columns."""

    node: Node
    prefix: str = "$key"
    extra: list[Expr] = field(default_factory=list)

    def key(self, expr: Expr) -> int:
        """The column that holds `expr`."""
        if isinstance(expr, InputRef):
            return expr.index
        if expr not in self.extra:
            self.extra.append(expr)
        return len(self.node.schema) + self.extra.index(expr)

    def build(self) -> Node:
        if not self.extra:
            return self.node
        fields = self.node.schema.fields
        added = tuple(Field(f"{self.prefix}{i}", e.type) for i, e in enumerate(self.extra))
        exprs = (*references(self.node.schema), *self.extra)
        return Project(Schema(fields + added), self.node, exprs)


def join_on(
    kind: JoinKind,
    left: Node,
    right: Node,
    on: Sequence[Expr],
    keys: tuple[tuple[int, int], ...] = (),
    null_safe: tuple[bool, ...] = (),
) -> Node:
    """Join under the conjunction `on` over left's then right's columns.

    The output has left's then right's columns (semi, anti: left's), nullable as the kind says.
    `keys` and `null_safe` are keys that the join has already.
    """
    width = len(left.schema)
    sides = Side(left), Side(right)
    pairs, safe = list(keys), list(null_safe) or [False] * len(keys)
    rest: list[Expr] = []
    for i, p in enumerate(on):
        found = equality(p, width)
        if found is None:
            rest.append(p)
            continue
        a, b, is_null_safe = found
        if not is_null_safe:
            a, b = _guarded(a, on[:i], range(width)), _guarded(b, on[:i], range(width, _END))
        pairs.append((sides[0].key(a), sides[1].key(remap(b, lambda i: i - width))))
        safe.append(is_null_safe)
        if a.type.kind in FLOATS and not is_null_safe:
            rest.append(p)
    _ask_late(sides, kind)
    new_left, new_right = sides[0].build(), sides[1].build()
    at = len(new_left.schema)
    residual = conjunction(rest)
    if residual is not None and at != width:
        residual = remap(residual, lambda i: i if i < width else i - width + at)
    fields = joined_fields(kind, new_left.schema, new_right.schema)
    joined = Join(Schema(fields), kind, new_left, new_right, tuple(pairs), tuple(safe), residual)
    wanted = list(range(width))
    if kind not in _HALF:
        wanted += range(at, at + len(right.schema))
    return pick(joined, wanted)


def _ask_late(sides: tuple[Side, Side], kind: JoinKind) -> None:
    """Rows whose key would fail wait until the other side has a row, where they are none of the
    answer without one. Not for what only a number that is too large makes fail, but of one row."""
    rows = sides[0].node, sides[1].node
    for i, side in enumerate(sides):
        if kind not in _NEEDS_PARTNER[i]:
            continue
        failing = [e for e in side.extra if is_risky(e) or (can_fail(e) and is_one_row(side.node))]
        if failing:
            side.node = without_failing(side.node, failing, gate(rows[1 - i]))


def is_one_row(node: Node) -> bool:
    """Whether `node` is the one row of an aggregate."""
    while isinstance(node, Project):
        node = node.input
    return isinstance(node, Aggregate) and not node.keys


def _guarded(key: Expr, before: Sequence[Expr], side: range) -> Expr:
    """`key`, which is computed for every row of its side: NULL, which equals nothing, for those
    that the conditions `before` leave without a partner, if it could fail for them."""
    if not can_fail(key):
        return key
    own = [p for p in before if columns_of(p) and all(c in side for c in columns_of(p))]
    guard = conjunction(own)
    if guard is None:
        return key
    type = key.type.with_nullable(True)
    return Case(type, ((guard, key),), Literal(type, None), span=key.span)


def joined_fields(kind: JoinKind, left: Schema, right: Schema) -> tuple[Field, ...]:
    """The output columns of a join; those of a side padded with NULLs are nullable."""
    if kind in _HALF:
        return left.fields
    pads_left = kind in (JoinKind.RIGHT, JoinKind.FULL)
    pads_right = kind in (JoinKind.LEFT, JoinKind.FULL)
    return (
        *(_nullable(left) if pads_left else left.fields),
        *(_nullable(right) if pads_right else right.fields),
    )


def _nullable(schema: Schema) -> tuple[Field, ...]:
    return tuple(Field(f.name, f.type.with_nullable(True)) for f in schema.fields)


def references(schema: Schema) -> tuple[Expr, ...]:
    """Every column of `schema`, as expressions over it."""
    return tuple(InputRef(f.type, i, f.name) for i, f in enumerate(schema.fields))


def nulls_of(types: Sequence[SqlType]) -> tuple[Expr, ...]:
    """A NULL for each."""
    return tuple(Literal(t.with_nullable(True), None) for t in types)


def pick(node: Node, columns: Sequence[int]) -> Node:
    """The columns at `columns`; the node itself if those are all, in order."""
    if list(columns) == list(range(len(node.schema))):
        return node
    everything = references(node.schema)
    schema = Schema(tuple(node.schema.fields[i] for i in columns))
    return Project(schema, node, tuple(everything[i] for i in columns))


def is_equality(p: Expr) -> bool:
    return isinstance(p, Call) and p.function.name in ("=", *_NULL_SAFE)


def equality(p: Expr, width: int) -> tuple[Expr, Expr, bool] | None:
    """(left key, right key, null safe?) if `p` equates an expression over the first `width`
    columns with one over the others. Both keys are still over all columns."""
    if not isinstance(p, Call) or not is_equality(p):
        return None
    a, b = p.args
    used_a, used_b = columns_of(a), columns_of(b)
    if not used_a or not used_b:
        return None
    if min(used_a) >= width and max(used_b) < width:
        a, b, used_a, used_b = b, a, used_b, used_a
    if max(used_a) >= width or min(used_b) < width:
        return None
    common = key_type(a.type, b.type)
    if common is None:
        return None
    if {a.type.kind, b.type.kind} <= STRINGS:
        return a, b, p.function.name in _NULL_SAFE
    return converted(a, common), converted(b, common), p.function.name in _NULL_SAFE


def converted(e: Expr, target: SqlType) -> Expr:
    """`e` as a value of `target`, NULL where it is."""
    return e if e.type.same_as(target) else Cast(target.with_nullable(e.type.nullable), e)
