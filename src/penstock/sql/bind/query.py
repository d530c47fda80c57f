"""Query syntax → relational plan.

    FROM ─► joins ─► WHERE ─► [GROUP BY, aggregates] ─► HAVING ─► SELECT ─► DISTINCT ─► top-k

    SELECT g, SUM(x) + 1 FROM t WHERE p GROUP BY g HAVING COUNT(*) > 2

      Project [g, s + 1]
        Filter n > 2
          Aggregate by [g]  SUM(x) AS s, COUNT(*) AS n
            Project [g, x]
              Filter p
                Scan t

ORDER BY without LIMIT has no meaning for a view and is dropped (contract 10.2).

Not here: scalar expressions (`expressions`), DDL (`program`), making plans cheap (`passes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from penstock.data.types import FLOATS, Field, Kind, Schema
from penstock.errors import Span
from penstock.functions.coercion import common_type
from penstock.plan.expressions import Call, Expr, InputRef
from penstock.plan.nodes import (
    AggCall,
    Aggregate,
    Distinct,
    Filter,
    Join,
    JoinKind,
    Node,
    Project,
    Scan,
    SortKey,
    TopK,
    UnionAll,
    Values,
)
from penstock.plan.rewrite import columns_of, conjuncts, parts, remap, with_parts
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.expressions import AggregateRef, ExpressionBinder
from penstock.sql.bind.report import BindError, Poisoned, did_you_mean, unsupported
from penstock.sql.bind.scope import Entry, Scope, shifted


@dataclass(frozen=True, slots=True)
class Catalog:
    """The relations a query may name; None marks one whose definition failed."""

    relations: Mapping[str, Schema | None]
    ctes: Mapping[str, Node | None] = field(default_factory=dict)

    def find(self, name: ast.Identifier) -> Node:
        """The plan that reads relation `name`."""
        if name.name in self.ctes:
            query = self.ctes[name.name]
            if query is None:
                raise Poisoned
            return query
        if name.name not in self.relations:
            hint = did_you_mean(name.name, [*self.ctes, *self.relations])
            raise BindError(name.span, f"there is no table or view {name.name}{hint}")
        schema = self.relations[name.name]
        if schema is None:
            raise Poisoned
        return Scan(schema, name.name, span=name.span)


def bind_query(query: ast.Query, catalog: Catalog) -> Node:
    """The plan of a whole query; raises BindError."""
    if query.recursive:
        raise unsupported(query.span, "WITH RECURSIVE")
    ctes = dict(catalog.ctes)
    for cte in query.ctes:
        inner = bind_query(cte.query, replace(catalog, ctes=ctes))
        ctes[cte.name.name] = _renamed(inner, cte.columns, f"WITH {cte.name.name}")
    catalog = replace(catalog, ctes=ctes)
    limit, offset = _count(query.limit, "LIMIT"), _count(query.offset, "OFFSET")
    order = query.order_by if limit is not None or offset else ()
    body = query.body
    if isinstance(body, ast.Select):
        return _Select(body, catalog).bind(order, limit, offset or 0)
    node = _body(body, catalog)
    if limit is None and not offset:
        return node
    scope = Scope.of_table(None, node.schema)
    keys = [_output_key(item, scope, node.schema) for item in order]
    return TopK(node.schema, node, (), tuple(keys), limit, offset or 0, span=query.span)


def _body(body: ast.QueryBody, catalog: Catalog) -> Node:
    match body:
        case ast.Query():
            return bind_query(body, catalog)
        case ast.Select():
            return _Select(body, catalog).bind((), None, 0)
        case ast.Values():
            return _values(body)
        case ast.SetOperation():
            return _set_operation(body, catalog)
    raise AssertionError(body)


def _count(e: ast.Expr | None, clause: str) -> int | None:
    """The constant of LIMIT or OFFSET."""
    if e is None:
        return None
    if not isinstance(e, ast.Literal) or isinstance(e.value, bool) or not isinstance(e.value, int):
        raise BindError(e.span, f"{clause} takes a constant whole number")
    return e.value


def _renamed(node: Node, columns: Sequence[ast.Identifier], what: str) -> Node:
    """`node` with its columns named as listed (nothing listed: as they are)."""
    if not columns:
        return node
    if len(columns) != len(node.schema):
        raise BindError(
            columns[0].span,
            f"{what} names {len(columns)} columns, but its query has {len(node.schema)}",
        )
    names = [c.name for c in columns]
    for i, c in enumerate(columns):
        if c.name in names[:i]:
            raise BindError(c.span, f"{what} names two columns {c.name}")
    fields = tuple(Field(n, f.type) for n, f in zip(names, node.schema.fields, strict=True))
    return Project(Schema(fields), node, identity(node.schema))


def identity(schema: Schema) -> tuple[Expr, ...]:
    """Every column of `schema`, as expressions over it."""
    return tuple(InputRef(f.type, i, f.name) for i, f in enumerate(schema.fields))


def _values(values: ast.Values) -> Node:
    binder = ExpressionBinder(Scope(), aggregates="VALUES")
    rows = [[build.string_of(binder.bind(e)) for e in row] for row in values.rows]
    width = len(rows[0])
    for row, written in zip(rows, values.rows, strict=True):
        if len(row) != width:
            raise BindError(written[0].span, f"this row of VALUES has {len(row)} values, "
                                             f"the first has {width}")  # fmt: skip
    unified = [
        build.unify(list(c), values.span, "the values of a column") for c in zip(*rows, strict=True)
    ]
    fields = tuple(Field(f"expr${i}", t) for i, (_, t) in enumerate(unified))
    return Values(
        Schema(fields), tuple(zip(*(c for c, _ in unified), strict=True)), span=values.span
    )


# set operations


def _set_operation(op: ast.SetOperation, catalog: Catalog) -> Node:
    left, right = _body(op.left, catalog), _body(op.right, catalog)
    if len(left.schema) != len(right.schema):
        raise BindError(
            op.span,
            f"{op.op} of queries with {len(left.schema)} and {len(right.schema)} columns",
        )
    types = []
    for i, (a, b) in enumerate(zip(left.schema.types, right.schema.types, strict=True)):
        common = common_type([a, b])
        if common is None:
            raise BindError(
                op.span,
                f"column {i + 1} of {op.op} is {build.bare(a)} on one side and {build.bare(b)} "
                "on the other, which have no common type",
            )
        if common.kind is Kind.CHAR and a.precision != b.precision:
            common = replace(common, kind=Kind.VARCHAR, precision=None)
        types.append(common)
    names = left.schema.names
    schema = Schema(tuple(Field(n, t) for n, t in zip(names, types, strict=True)))
    left, right = _as(left, schema), _as(right, schema)
    if op.op == "UNION":
        both = UnionAll(schema, (left, right), span=op.span)
        return both if op.all else Distinct(schema, both, span=op.span)
    if op.all:
        raise unsupported(op.span, f"{op.op} ALL")
    kind = JoinKind.SEMI if op.op == "INTERSECT" else JoinKind.ANTI
    keys = tuple((i, i) for i in range(len(schema)))
    once = Distinct(schema, left, span=op.span)
    return Join(schema, kind, once, right, keys, (True,) * len(keys), None, span=op.span)


def _as(node: Node, schema: Schema) -> Node:
    """`node` with its columns cast to the types of `schema`."""
    if node.schema == schema:
        return node
    exprs = []
    for f, e in zip(schema.fields, identity(node.schema), strict=True):
        cast = build.coerce(e, f.type)
        # nullability of the branches may differ; the union's is the wider one
        exprs.append(cast)
    return Project(schema, node, tuple(exprs))


# SELECT


class _Select:
    """One SELECT: grows `node` and the `scope` that names its columns."""

    def __init__(self, select: ast.Select, catalog: Catalog) -> None:
        self._select = select
        self._catalog = catalog
        for given, what in (
            (select.windows, "WINDOW"), (select.qualify, "QUALIFY"),
            (select.distinct_on, "DISTINCT ON"),
        ):  # fmt: skip
            if given:
                span = given[0].span if isinstance(given, tuple) else given.span
                raise unsupported(span, what)
        if select.from_ is None:
            empty = Schema(())
            self.node: Node = Values(empty, ((),))
            self.scope = Scope()
        else:
            self.node, self.scope = _From(catalog).bind(select.from_)

    def bind(self, order: Sequence[ast.OrderItem], limit: int | None, offset: int) -> Node:
        s = self._select
        if s.where is not None:
            self._where(s.where)
        items = self._items()
        group = self._group_keys(items)
        outputs = [(name, self._bind_output(e, items[:i])) for i, (name, e) in enumerate(items)]
        having = None if s.having is None else self._having(s.having, outputs)
        sort = [self._sort_key(item, outputs) for item in order]
        exprs = [e for _, e in outputs] + [e for e, _ in sort] + ([having] if having else [])
        if group is not None or any(_has_aggregate(e) for e in exprs):
            outputs, sort, having = self._aggregate(group or [], outputs, sort, having)
        elif having is not None:
            raise BindError(s.having and s.having.span, "HAVING needs GROUP BY or an aggregate")
        if having is not None:
            self.node = Filter(self.node.schema, self.node, having, span=having.span)
        return self._project(outputs, sort, limit, offset)

    # WHERE

    def _where(self, where: ast.Expr) -> None:
        plain: list[Expr] = []
        for c in _and_terms(where):
            negated, test = False, c
            while isinstance(test, ast.Unary) and test.op == "NOT":
                negated, test = not negated, test.operand
            if isinstance(test, ast.InQuery):
                self._filter(plain)
                self._in_query(test, negated != test.negated)
            elif isinstance(test, ast.Exists):
                self._filter(plain)
                self._exists(test, negated)
            else:
                plain.append(self._binder("WHERE").condition(c, "WHERE"))
        self._filter(plain)

    def _filter(self, terms: list[Expr]) -> None:
        if terms:
            self.node = Filter(self.node.schema, self.node, build.and_(terms))
            terms.clear()

    def _in_query(self, e: ast.InQuery, negated: bool) -> None:
        operand = self._binder("WHERE").bind(e.operand)
        query = bind_query(e.query, self._catalog)
        if len(query.schema) != 1:
            raise BindError(
                e.query.span, f"IN needs a query of one column; this has {len(query.schema)}"
            )
        inner: Expr = InputRef(query.schema.types[0], 0, query.schema.names[0])
        if negated and (operand.type.nullable or inner.type.nullable):
            raise unsupported(
                e.span, "NOT IN (SELECT …) where NULL can occur",
                "add IS NOT NULL to the query and COALESCE the operand",
            )  # fmt: skip
        (operand, inner), _ = build.unify([operand, inner], e.span, "the operands of IN")
        self._keyed(operand, query, inner, JoinKind.ANTI if negated else JoinKind.SEMI, e.span)

    def _keyed(self, operand: Expr, query: Node, inner: Expr, kind: JoinKind, span: Span) -> None:
        schema = self.node.schema
        key = Field("$in", operand.type)
        wide = Schema((*schema.fields, key))
        left = Project(wide, self.node, (*identity(schema), operand))
        right = Project(Schema((Field("$key", inner.type),)), query, (inner,))
        joined = Join(wide, kind, left, right, ((len(schema), 0),), (False,), None, span=span)
        self.node = Project(schema, joined, identity(schema))

    def _exists(self, e: ast.Exists, negated: bool) -> None:
        query = bind_query(e.query, self._catalog)
        kind = JoinKind.ANTI if negated else JoinKind.SEMI
        self.node = Join(self.node.schema, kind, self.node, query, (), (), None, span=e.span)

    def _binder(
        self, place: str | None, aliases: Mapping[str, Expr] | None = None
    ) -> ExpressionBinder:
        return ExpressionBinder(
            self.scope, aggregates=place, aliases=aliases, subquery=self._scalar
        )

    def _scalar(self, e: ast.ScalarSubquery) -> Expr:
        """A sub-query that is one row by construction, joined to every row of FROM."""
        query = bind_query(e.query, self._catalog)
        if len(query.schema) != 1:
            raise BindError(
                e.span, f"a scalar sub-query has one column; this has {len(query.schema)}"
            )
        if not _is_one_row(query):
            raise unsupported(
                e.span, "a scalar sub-query other than an aggregate without GROUP BY",
                "join with the query instead",
            )  # fmt: skip
        at = len(self.node.schema)
        schema = Schema(self.node.schema.fields + query.schema.fields)
        self.node = Join(schema, JoinKind.INNER, self.node, query, (), (), None, span=e.span)
        return InputRef(query.schema.types[0], at, query.schema.names[0], span=e.span)

    # the select list

    def _items(self) -> list[tuple[str, ast.Expr | Entry]]:
        """(name, what) of each output column, `*` spelled out."""
        items: list[tuple[str, ast.Expr | Entry]] = []
        for item in self._select.items:
            if isinstance(item.expr, ast.Star):
                items += self._star(item.expr)
            elif item.alias is not None:
                items.append((item.alias.name, item.expr))
            else:
                name = f"expr${len(items)}"
                if isinstance(item.expr, ast.ColumnRef):
                    name = item.expr.parts[-1].name
                items.append((name, item.expr))
        return items

    def _star(self, star: ast.Star) -> list[tuple[str, ast.Expr | Entry]]:
        if len(star.qualifier) > 1:
            raise unsupported(star.span, "* of a ROW")
        qualifier = star.qualifier[0].name if star.qualifier else None
        if qualifier in self.scope.poisoned or (qualifier is None and self.scope.poisoned):
            raise Poisoned
        entries = self.scope.star(qualifier)
        if qualifier is not None and qualifier not in self.scope.tables:
            raise self.scope.unknown(qualifier, "*", star.span)
        if not entries and qualifier is None:
            raise BindError(star.span, "* needs a FROM")
        names = [e.name for e in entries]
        for x in star.exclude:
            if x.name not in names:
                raise BindError(x.span, f"* has no column {x.name}{did_you_mean(x.name, names)}")
        gone = {x.name for x in star.exclude}
        replaced = {r.alias.name: r.expr for r in star.replace if r.alias is not None}
        for r in star.replace:
            if r.alias is None or r.alias.name not in names:
                raise BindError(r.span, "REPLACE names a column that * does not have")
        return [(e.name, replaced.get(e.name, e)) for e in entries if e.name not in gone]

    def _bind_output(
        self, what: ast.Expr | Entry, before: Sequence[tuple[str, ast.Expr | Entry]]
    ) -> Expr:
        if isinstance(what, Entry):
            return what.expr
        aliases: dict[str, Expr] = {}
        binder = self._binder(None, aliases)
        for name, earlier in before:
            # lateral aliases: bound only if something may refer to them
            if name not in aliases and _mentions(what, name):
                try:
                    aliases[name] = self._bind_output(earlier, ())
                except BindError:
                    continue  # reported where it stands
        return build.string_of(binder.bind(what))

    # GROUP BY

    def _group_keys(self, items: Sequence[tuple[str, ast.Expr | Entry]]) -> list[Expr] | None:
        """The grouping expressions, None without GROUP BY."""
        group = self._select.group_by
        if group is None:
            return None
        if group.all:
            outputs = [self._bind_output(e, items[:i]) for i, (_, e) in enumerate(items)]
            return [e for e in outputs if not _has_aggregate(e)]
        keys: list[Expr] = []
        for item in group.items:
            if isinstance(item, ast.GroupingSets):
                raise unsupported(item.span, item.kind)
            for e in item.exprs if isinstance(item, ast.GroupingSet) else (item,):
                keys.append(self._group_key(e, items))
        return list(dict.fromkeys(keys))

    def _group_key(self, e: ast.Expr, items: Sequence[tuple[str, ast.Expr | Entry]]) -> Expr:
        if (
            isinstance(e, ast.Literal)
            and isinstance(e.value, int)
            and not isinstance(e.value, bool)
        ):
            if not 1 <= e.value <= len(items):
                raise BindError(
                    e.span, f"GROUP BY {e.value}: there are {len(items)} columns in SELECT"
                )
            return self._grouped(self._bind_output(items[e.value - 1][1], ()), e.span)
        if isinstance(e, ast.ColumnRef) and len(e.parts) == 1:
            name = e.parts[0].name
            if self.scope.find(None, name, e.span) is None:
                for alias, what in items:
                    if alias == name:
                        return self._grouped(self._bind_output(what, ()), e.span)
        return self._binder("GROUP BY").bind(e)

    def _grouped(self, e: Expr, span: Span) -> Expr:
        if _has_aggregate(e):
            raise BindError(span, "GROUP BY cannot group by an aggregate")
        return e

    def _having(self, having: ast.Expr, outputs: Sequence[tuple[str, Expr]]) -> Expr:
        return self._binder(None, dict(outputs)).condition(having, "HAVING")

    def _aggregate(
        self,
        keys: list[Expr],
        outputs: list[tuple[str, Expr]],
        sort: list[tuple[Expr, ast.OrderItem]],
        having: Expr | None,
    ) -> tuple[list[tuple[str, Expr]], list[tuple[Expr, ast.OrderItem]], Expr | None]:
        """Put the Aggregate in place and rewrite everything above it to its columns."""
        refs: dict[AggregateRef, None] = {}
        for e in [*(e for _, e in outputs), *(e for e, _ in sort), *([having] if having else [])]:
            _collect(e, refs)
        feed: dict[Expr, int] = {}
        for e in keys:
            feed.setdefault(e, len(feed))
        for ref in refs:
            for e in (*ref.args, *([ref.filter] if ref.filter is not None else [])):
                feed.setdefault(e, len(feed))
        below = Schema(tuple(Field(f"$a{i}", e.type) for i, e in enumerate(feed)))
        source = Project(below, self.node, tuple(feed))
        calls = tuple(
            AggCall(
                r.function,
                tuple(feed[a] for a in r.args),
                r.distinct,
                None if r.filter is None else feed[r.filter],
            )
            for r in refs
        )
        results = [r.function.result for r in refs]
        fields = [Field(_name_of(e, i), e.type) for i, e in enumerate(keys)]
        fields += [Field(f"$r{i}", t) for i, t in enumerate(results)]
        schema = Schema(tuple(fields))
        at: dict[Expr, Expr] = {e: InputRef(e.type, i, fields[i].name) for i, e in enumerate(keys)}
        for i, r in enumerate(refs):
            at[r] = InputRef(results[i], len(keys) + i)
        self.node = Aggregate(
            schema, source, tuple(feed[e] for e in keys), calls, span=self._select.span
        )
        rewrite = _above(at)
        return (
            [(n, rewrite(e)) for n, e in outputs],
            [(rewrite(e), item) for e, item in sort],
            None if having is None else rewrite(having),
        )

    # SELECT, DISTINCT, ORDER BY … LIMIT

    def _sort_key(
        self, item: ast.OrderItem, outputs: Sequence[tuple[str, Expr]]
    ) -> tuple[Expr, ast.OrderItem]:
        e = item.expr
        if e is None:
            raise unsupported(item.span, "ORDER BY ALL with LIMIT")
        if (
            isinstance(e, ast.Literal)
            and isinstance(e.value, int)
            and not isinstance(e.value, bool)
        ):
            if not 1 <= e.value <= len(outputs):
                raise BindError(
                    e.span, f"ORDER BY {e.value}: there are {len(outputs)} columns in SELECT"
                )
            return outputs[e.value - 1][1], item
        if isinstance(e, ast.ColumnRef) and len(e.parts) == 1:
            for name, bound in outputs:
                if name == e.parts[0].name:
                    return bound, item
        return self._binder(None, dict(outputs)).bind(e), item

    def _project(
        self,
        outputs: list[tuple[str, Expr]],
        sort: list[tuple[Expr, ast.OrderItem]],
        limit: int | None,
        offset: int,
    ) -> Node:
        s = self._select
        schema = Schema(tuple(Field(n, e.type) for n, e in outputs))
        exprs = [e for _, e in outputs]
        positions: list[int] = []
        for e, item in sort:
            if e not in exprs:
                if s.distinct:
                    raise BindError(item.span, "ORDER BY of SELECT DISTINCT must be in its list")
                exprs.append(e)
            positions.append(exprs.index(e))
        wide = Schema(
            (*schema.fields, *(Field(f"$o{i}", e.type) for i, e in enumerate(exprs[len(outputs):])))
        )  # fmt: skip
        node: Node = Project(wide, self.node, tuple(exprs), span=s.span)
        if s.distinct:
            node = Distinct(wide, node, span=s.span)
        if limit is not None or offset:
            keys = tuple(_key(p, item) for p, (_, item) in zip(positions, sort, strict=True))
            node = TopK(wide, node, (), keys, limit, offset, span=s.span)
        if len(wide) > len(schema):
            node = Project(schema, node, identity(wide)[: len(schema)])
        return node


def _key(position: int, item: ast.OrderItem) -> SortKey:
    # NULL is the smallest value (contract 10.4)
    nulls_first = item.nulls_first if item.nulls_first is not None else not item.descending
    return SortKey(position, item.descending, nulls_first)


def _output_key(item: ast.OrderItem, scope: Scope, schema: Schema) -> SortKey:
    """A sort key over the output of a set operation: a column's name or number."""
    e = item.expr
    if isinstance(e, ast.Literal) and isinstance(e.value, int) and 1 <= e.value <= len(schema):
        return _key(e.value - 1, item)
    if e is not None:
        bound = ExpressionBinder(scope, aggregates="ORDER BY").bind(e)
        if isinstance(bound, InputRef):
            return _key(bound.index, item)
    raise BindError(item.span, "ORDER BY of a set operation takes a column's name or number")


def _is_one_row(node: Node) -> bool:
    """Whether `node` has exactly one row, whatever its input."""
    while isinstance(node, Project):
        node = node.input
    if isinstance(node, Aggregate):
        return not node.keys
    return isinstance(node, Values) and len(node.rows) == 1


def _and_terms(e: ast.Expr) -> list[ast.Expr]:
    if isinstance(e, ast.Binary) and e.op == "AND":
        return _and_terms(e.left) + _and_terms(e.right)
    return [e]


def _mentions(what: ast.Expr | Entry, name: str) -> bool:
    """Whether an unqualified `name` may occur in the syntax of `what`."""
    return not isinstance(what, Entry) and f"'{name}'" in repr(what)


def _has_aggregate(e: Expr) -> bool:
    return isinstance(e, AggregateRef) or any(_has_aggregate(x) for x in parts(e))


def _collect(e: Expr, into: dict[AggregateRef, None]) -> None:
    if isinstance(e, AggregateRef):
        into.setdefault(e)
    for x in parts(e):
        _collect(x, into)


def _name_of(e: Expr, i: int) -> str:
    return e.name if isinstance(e, InputRef) and e.name else f"$k{i}"


def _above(at: Mapping[Expr, Expr]) -> Callable[[Expr], Expr]:
    """Rewrite an expression over the grouped rows to one over the groups."""

    def rewrite(e: Expr) -> Expr:
        found = at.get(e)
        if found is not None:
            return replace(found, span=e.span)
        if isinstance(e, InputRef):
            name = f"column {e.name}" if e.name else "this column"
            raise BindError(
                e.span, f"{name} is neither grouped by nor inside an aggregate: add it to GROUP BY"
            )
        operands = parts(e)
        return with_parts(e, [rewrite(x) for x in operands]) if operands else e

    return rewrite


# FROM


class _From:
    """FROM and its joins: a plan and the scope that names its columns."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def bind(self, ref: ast.TableRef) -> tuple[Node, Scope]:
        match ref:
            case ast.NamedTable():
                node = self._catalog.find(ref.name)
                return self._named(node, ref.alias, ref.name.name)
            case ast.DerivedTable():
                if ref.lateral:
                    raise unsupported(ref.span, "LATERAL")
                return self._named(bind_query(ref.query, self._catalog), ref.alias, None)
            case ast.Join():
                return self._join(ref)
            case ast.Unnest():
                raise unsupported(ref.span, "UNNEST")
            case ast.TableFunction():
                raise unsupported(ref.span, f"the table function {ref.call.name.name.upper()}")
            case ast.Pivot():
                raise unsupported(ref.span, "PIVOT")
            case ast.Unpivot():
                raise unsupported(ref.span, "UNPIVOT")
        raise AssertionError(ref)

    def _named(self, node: Node, alias: ast.Alias | None, name: str | None) -> tuple[Node, Scope]:
        if alias is not None:
            node, name = _renamed(node, alias.columns, f"alias {alias.name.name}"), alias.name.name
        return node, Scope.of_table(name, node.schema)

    def _join(self, join: ast.Join) -> tuple[Node, Scope]:
        if join.kind in ("ASOF", "LEFT ASOF", "CROSS APPLY", "OUTER APPLY"):
            raise unsupported(join.span, f"{join.kind} JOIN" if "ASOF" in join.kind else join.kind)
        left, left_scope = self.bind(join.left)
        right, right_scope = self.bind(join.right)
        scope = left_scope.joined(right_scope, len(left.schema), join.span)
        pairs = self._using(join, left_scope, right_scope)
        conditions: list[Expr] = []
        moved = {name: shifted(b, len(left.schema)) for name, _, b in pairs}
        for name, a, _ in pairs:
            conditions.append(build.call("=", [a, moved[name]], join.span))
        if join.on is not None:
            binder = ExpressionBinder(scope, aggregates="ON")
            conditions += conjuncts(binder.condition(join.on, "ON"))
        kind = JoinKind(join.kind.lower() if join.kind in ("LEFT", "RIGHT", "FULL") else "inner")
        node = equi_join(left, right, kind, conditions, join.span)
        pad_left = kind in (JoinKind.RIGHT, JoinKind.FULL)
        pad_right = kind in (JoinKind.LEFT, JoinKind.FULL)
        scope = (left_scope.nullable() if pad_left else left_scope).joined(
            right_scope.nullable() if pad_right else right_scope, len(left.schema), join.span
        )
        if pairs:
            scope = scope.merged(
                [(name, self._merged(kind, name, scope, a, moved[name])) for name, a, _ in pairs]
            )
        return node, scope

    def _using(self, join: ast.Join, left: Scope, right: Scope) -> list[tuple[str, Expr, Expr]]:
        """(name, left's column, right's column) of USING or NATURAL."""
        names = [(u.name, u.span) for u in join.using]
        if join.natural:
            shared = [n for n in left.names() if n in right.names()]
            names = [(n, join.span) for n in shared]
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

    @staticmethod
    def _merged(kind: JoinKind, name: str, scope: Scope, a: Expr, b: Expr) -> Expr:
        """The one column that USING makes of two."""
        if kind is JoinKind.RIGHT:
            return b
        if kind is JoinKind.FULL:
            return build.coalesce(
                [replace(x, type=x.type.with_nullable(True)) for x in (a, b)], None
            )
        return a


def equi_join(
    left: Node, right: Node, kind: JoinKind, conditions: Sequence[Expr], span: Span | None
) -> Node:
    """A join on `conditions` (over left's columns, then right's): equalities between the sides
    become keys, projected first where they are expressions; the rest is the residual."""
    width = len(left.schema)
    left_keys: list[Expr] = []
    right_keys: list[Expr] = []
    safe: list[bool] = []
    rest: list[Expr] = []
    for c in conditions:
        pair = _equality(c, width)
        if pair is None:
            rest.append(c)
            continue
        a, b, null_safe = pair
        left_keys.append(a)
        right_keys.append(b)
        safe.append(null_safe)
        if a.type.kind in FLOATS and not null_safe:
            rest.append(c)  # NaN = NaN is FALSE, but as a key it would match
    pad_left = kind in (JoinKind.RIGHT, JoinKind.FULL)
    pad_right = kind in (JoinKind.LEFT, JoinKind.FULL)
    l_node, l_at = _with_keys(left, left_keys)
    r_node, r_at = _with_keys(right, right_keys)
    keys = tuple(zip(l_at, r_at, strict=True))
    l_fields, r_fields = _padded(l_node, pad_left), _padded(r_node, pad_right)
    l_width = len(l_node.schema)
    residual = build.and_(rest) if rest else None
    if residual is not None and l_width != width:
        residual = remap(residual, lambda i: i if i < width else i - width + l_width)
    joined = Join(
        Schema(l_fields + r_fields), kind, l_node, r_node, keys, tuple(safe), residual, span=span
    )
    if l_width == width and len(r_node.schema) == len(right.schema):
        return joined
    all_columns = identity(joined.schema)
    kept = all_columns[:width] + all_columns[l_width : l_width + len(right.schema)]
    fields = tuple(Field(e.name, e.type) for e in kept if isinstance(e, InputRef))
    return Project(Schema(fields), joined, kept)


def _padded(node: Node, is_padded: bool) -> tuple[Field, ...]:
    if not is_padded:
        return node.schema.fields
    return tuple(Field(f.name, f.type.with_nullable(True)) for f in node.schema.fields)


def _with_keys(node: Node, keys: Sequence[Expr]) -> tuple[Node, list[int]]:
    """`node` with the key expressions among its columns, and where they are."""
    at: list[int] = []
    extra: list[Expr] = []
    for k in keys:
        if isinstance(k, InputRef):
            at.append(k.index)
        else:
            if k not in extra:
                extra.append(k)
            at.append(len(node.schema) + extra.index(k))
    if not extra:
        return node, at
    fields = node.schema.fields + tuple(Field(f"$j{i}", e.type) for i, e in enumerate(extra))
    return Project(Schema(fields), node, (*identity(node.schema), *extra)), at


def _equality(c: Expr, width: int) -> tuple[Expr, Expr, bool] | None:
    """(left key, right key, null-safe) of an equality between the two sides of a join."""
    if not isinstance(c, Call) or c.function.name not in ("=", "is_not_distinct", "<=>"):
        return None
    a, b = c.args
    sides = [_side(x, width) for x in (a, b)]
    if sides == ["right", "left"]:
        a, b = b, a
    elif sides != ["left", "right"]:
        return None
    common = common_type([a.type, b.type])
    if common is None:
        return None
    if common.kind is Kind.CHAR:
        common = replace(common, kind=Kind.VARCHAR, precision=None)
    a, b = build.coerce(a, common), build.coerce(b, common)
    return a, remap(b, lambda i: i - width), c.function.name != "="


def _side(e: Expr, width: int) -> str | None:
    columns = columns_of(e)
    if not columns:
        return None
    if all(i < width for i in columns):
        return "left"
    return "right" if all(i >= width for i in columns) else None
