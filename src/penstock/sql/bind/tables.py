"""FROM: tables, sub-queries and joins, as one plan and the scope that names its columns.

Every join is bound with its whole condition as residual; which equalities become keys is for
`penstock.sql.passes.push_filters` to see, which also knows the WHERE.

Not here: what a query is (`query`), expressions (`expressions`).
"""

from __future__ import annotations

from dataclasses import replace

from penstock.errors import Span
from penstock.plan.expressions import Expr, InputRef
from penstock.plan.nodes import JoinKind, Node
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.asof import asof_join
from penstock.sql.bind.catalog import Catalog, inside, renamed
from penstock.sql.bind.conditions import kept_by
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.forms import descend, outers
from penstock.sql.bind.frame import Frame
from penstock.sql.bind.joins import joined, kept
from penstock.sql.bind.pivot import bind_pivot, bind_unpivot
from penstock.sql.bind.report import BindError, unsupported
from penstock.sql.bind.scope import Scope, shifted
from penstock.sql.bind.table_functions import bind_table_function
from penstock.sql.bind.unnest import ONE_ROW, bind_unnest
from penstock.sql.passes.join_keys import pick

_KINDS = {
    "COMMA": JoinKind.INNER, "CROSS": JoinKind.INNER, "INNER": JoinKind.INNER,
    "LEFT": JoinKind.LEFT, "RIGHT": JoinKind.RIGHT, "FULL": JoinKind.FULL,
    "CROSS APPLY": JoinKind.INNER,
}  # fmt: skip


def bind_table(ref: ast.TableRef, catalog: Catalog) -> tuple[Node, Scope]:
    """The rows of one item of FROM. Raises BindError."""
    match ref:
        case ast.NamedTable():
            return _named(catalog.find(ref.name), ref.alias, ref.name.name)
        case ast.DerivedTable():
            return _named(catalog.bind_query(ref.query, catalog), ref.alias, None)
        case ast.Join():
            return _join(ref, catalog)
        case ast.Unnest():
            return bind_unnest(ref, ONE_ROW, Scope(), catalog)
        case ast.TableFunction():
            return _named(bind_table_function(ref, catalog), ref.alias, None)
        case ast.Pivot():
            rows = bind_pivot(ref, *bind_table(ref.source, catalog), catalog)
            return _named(rows, ref.alias, None)
        case ast.Unpivot():
            rows = bind_unpivot(ref, *bind_table(ref.source, catalog))
            return _named(rows, ref.alias, None)
    raise AssertionError(ref)


def _named(node: Node, alias: ast.Alias | None, name: str | None) -> tuple[Node, Scope]:
    if alias is not None:
        node, name = renamed(node, alias.columns, f"alias {alias.name.name}"), alias.name.name
    return node, Scope.of_table(name, node.schema)


def _join(join: ast.Join, catalog: Catalog) -> tuple[Node, Scope]:
    left = bind_table(join.left, catalog)
    chain = _chain(join.right) if join.kind == "COMMA" else []
    if not chain:
        return _joined(join, *left, catalog)
    node, scope = _joined(replace(join, right=chain[0].left), *left, catalog)
    for later in chain:
        node, scope = _joined(later, node, scope, catalog, before=left[1])
    return node, scope


def _chain(right: ast.TableRef) -> list[ast.Join]:
    """The joins of `a, b JOIN LATERAL (… a.x, b.y …) JOIN c` from the first whose right side looks
    back, which also sees what stands before the comma; those of `a, UNNEST(a.x) JOIN c` all. Joined
    to `a, b` in turn they give the same rows, unless one pads its left side."""
    joins: list[ast.Join] = []
    while isinstance(right, ast.Join):
        if right.kind not in ("CROSS", "INNER", "LEFT", "CROSS APPLY"):
            break
        joins.insert(0, right)
        right = right.left
    if _looks_back(right, "COMMA"):
        return joins
    while joins and not _looks_back(joins[0].right, joins[0].kind):
        joins.pop(0)
    return joins


def _looks_back(right: ast.TableRef, kind: str) -> bool:
    """Whether the right side of a join of `kind` may name the columns of the left."""
    if isinstance(right, ast.DerivedTable):
        return right.lateral or "APPLY" in kind
    return isinstance(right, ast.Unnest)


_NOTHING = Scope()


def _joined(
    join: ast.Join, left: Node, left_scope: Scope, catalog: Catalog, before: Scope = _NOTHING
) -> tuple[Node, Scope]:
    """`join` with its left side bound, whose first names are those of `before`: ON and USING do
    not see them."""
    if "ASOF" in join.kind:
        return _asof(join, left, left_scope, catalog)
    if join.kind == "OUTER APPLY":
        raise unsupported(join.span, "OUTER APPLY", "write LEFT JOIN LATERAL (SELECT …) ON TRUE")
    kind = _KINDS[join.kind]
    if isinstance(join.right, ast.DerivedTable) and _looks_back(join.right, join.kind):
        return _lateral(join, kind, Frame(left, left_scope), catalog, before)
    if isinstance(join.right, ast.Unnest):
        return _unnest(join, join.right, left, left_scope, catalog, before)
    right, right_scope = bind_table(join.right, catalog)
    width = len(left.schema)
    both = left_scope.joined(right_scope, width, join.right.span)
    own = _without(before, left_scope)
    pairs = [(n, a, shifted(b, width)) for n, a, b in _using(join, own, right_scope)]
    conditions = [build.equals("USING", a, b, join.span) for _, a, b in pairs]
    conditions += _on(join, both, catalog, before)
    node = joined(kind, left, right, conditions, join.span)
    scope = _padded(kind, left_scope, right_scope, width, join.span)
    if pairs:
        merged = [(name, _merged(kind, a, b)) for name, a, b in pairs]
        entries = _without(before, scope).merged(merged).entries
        scope = replace(scope, entries=(*scope.entries[: len(before.entries)], *entries))
    return node, scope


def _without(before: Scope, scope: Scope) -> Scope:
    """`scope` less its first names, which are those of `before`."""
    n, m = len(before.entries), len(before.tables)
    return replace(scope, entries=scope.entries[n:], tables=scope.tables[m:])


def _asof(join: ast.Join, left: Node, left_scope: Scope, catalog: Catalog) -> tuple[Node, Scope]:
    right, right_scope = bind_table(join.right, catalog)
    width = len(left.schema)
    both = left_scope.joined(right_scope, width, join.right.span)
    node = asof_join(join, left, right, both, catalog)
    return node, _padded(JoinKind.LEFT, left_scope, right_scope, width, join.span)


def _on(join: ast.Join, both: Scope, catalog: Catalog, before: Scope) -> list[Expr]:
    if join.on is None:
        return []
    binder = ExpressionBinder(_without(before, both), aggregates="ON", catalog=catalog)
    return kept_by(binder.condition(join.on, "ON"))


def _padded(kind: JoinKind, left: Scope, right: Scope, width: int, span: Span | None) -> Scope:
    """The columns of both sides after a join of `kind`."""
    pads_left = kind in (JoinKind.RIGHT, JoinKind.FULL)
    pads_right = kind in (JoinKind.LEFT, JoinKind.FULL)
    return (left.nullable() if pads_left else left).joined(
        right.nullable() if pads_right else right, width, span
    )


def _lateral(
    join: ast.Join, kind: JoinKind, frame: Frame, catalog: Catalog, before: Scope
) -> tuple[Node, Scope]:
    """A join whose right side is a query that may name the columns of the left."""
    ref = join.right
    assert isinstance(ref, ast.DerivedTable)
    if kind not in (JoinKind.INNER, JoinKind.LEFT) or join.using or join.natural:
        raise unsupported(join.span, f"LATERAL in a {join.kind} JOIN of this form")
    query = catalog.bind_query(ref.query, inside(catalog, frame.scope))
    query, right_scope = _named(query, ref.alias, None)
    width = frame.width
    both = frame.scope.joined(right_scope, width, ref.span)
    lifted, on = frame.dependent(query) if outers(query) else (query, [])
    at = frame.width + len(lifted.schema) - len(query.schema)
    on += [_placed(c, width, at) for c in _on(join, both, catalog, before)]
    node = joined(kind, frame.node, lifted, on, join.span)
    columns = [*range(width), *range(at, at + len(query.schema))]
    return pick(node, columns), _padded(kind, frame.scope, right_scope, width, join.span)


def _unnest(
    join: ast.Join,
    unnest: ast.Unnest,
    left: Node,
    scope: Scope,
    catalog: Catalog,
    before: Scope,
) -> tuple[Node, Scope]:
    """A join with UNNEST, whose operand may use the columns left of it."""
    if join.kind not in ("COMMA", "CROSS", "INNER", "CROSS APPLY") or join.natural or join.using:
        raise unsupported(
            join.span,
            f"{join.kind} JOIN with UNNEST",
            "write FROM t, UNNEST(COALESCE(a, ARRAY[NULL])) to keep rows without elements",
        )
    node, both = bind_unnest(unnest, left, scope, catalog)
    if join.on is not None:
        node = kept(node, _on(join, both, catalog, before))
    return node, both


def _placed(e: Expr, width: int, at: int) -> Expr:
    """`e` with its columns from `width` on found from `at` on."""

    def rule(x: Expr) -> Expr | None:
        if isinstance(x, InputRef):
            return x if x.index < width else replace(x, index=x.index - width + at)
        return None

    return descend(e, rule)


def _using(join: ast.Join, left: Scope, right: Scope) -> list[tuple[str, Expr, Expr]]:
    """(name, left's column, right's column) of USING or NATURAL."""
    names = [(u.name, u.span) for u in join.using]
    for i, (name, span) in enumerate(names):
        if name in [n for n, _ in names[:i]]:
            raise BindError(span, f"USING names column {name} twice")
    if join.natural:
        names = [(n, join.span) for n in left.names() if n in right.names()]
    pairs = []
    for name, span in names:
        sides = []
        for scope, where in ((left, "left"), (right, "right")):
            found = scope.find(None, name, span)
            if found is None:
                raise BindError(span, f"the {where} side of the join has no column {name}")
            sides.append(found)
        pairs.append((name, sides[0], sides[1]))
    return pairs


def _merged(kind: JoinKind, a: Expr, b: Expr) -> Expr:
    """The one column that USING makes of two."""
    if kind is JoinKind.FULL:
        return build.coalesce([replace(x, type=x.type.with_nullable(True)) for x in (a, b)], None)
    return b if kind is JoinKind.RIGHT else a
