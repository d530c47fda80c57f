"""One SELECT: clause by clause, from FROM outward.

    FROM ─► WHERE ─► [GROUP BY, aggregates] ─► HAVING ─► QUALIFY ─► items ─► DISTINCT ─► top-k

    SELECT g, SUM(x) + 1 FROM t WHERE p GROUP BY g HAVING COUNT(*) > 2

      Project [g, s + 1]
        Filter n > 2
          Aggregate by [g]  SUM(x) AS s, COUNT(*) AS n
            Project [g, x]
              Filter p
                Scan t

Expressions of an aggregate query are bound over the ungrouped rows, with `Aggregated`
placeholders, and then rewritten: what equals a grouping expression or an aggregate becomes a
column of the Aggregate, and a column that is left over is not grouped.

Errors of separate items are reported separately; the query fails when all have been looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from penstock.data.types import Field, Schema
from penstock.errors import Span
from penstock.plan.expressions import Expr, InputRef
from penstock.plan.nodes import Aggregate, Distinct, Node, Project, SortKey, TopK
from penstock.plan.rewrite import columns_of, is_risky, remap
from penstock.sql import ast
from penstock.sql.bind import build, totals
from penstock.sql.bind.catalog import Catalog
from penstock.sql.bind.conditions import kept_by
from penstock.sql.bind.decorrelate import apart
from penstock.sql.bind.expressions import ExpressionBinder, logic_terms
from penstock.sql.bind.forms import Aggregated, Grouped, Windowed, descend, find, has
from penstock.sql.bind.frame import Frame
from penstock.sql.bind.grouping import Grouping, grouped_union, grouping, has_sets, plain
from penstock.sql.bind.report import BindError, Poisoned, did_you_mean, unsupported
from penstock.sql.bind.scope import Entry, Scope, excluded
from penstock.sql.bind.tables import bind_table
from penstock.sql.bind.unnest import ONE_ROW
from penstock.sql.bind.window_plan import place_windows
from penstock.sql.passes.join_keys import references
from penstock.sql.passes.wide_totals import fitted

Item = ast.Expr | Entry


@dataclass(slots=True)
class Sort:
    """One item of ORDER BY, bound."""

    expr: Expr
    descending: bool
    nulls_first: bool
    span: Span

    @staticmethod
    def of(expr: Expr, item: ast.OrderItem) -> Sort:
        # NULL is the smallest value (contract 10.4)
        first = item.nulls_first if item.nulls_first is not None else not item.descending
        return Sort(expr, item.descending, first, item.span)

    def key(self, position: int) -> SortKey:
        return SortKey(position, self.descending, self.nulls_first)


@dataclass(slots=True)
class Select:
    """The SELECT `syntax` while it is bound."""

    syntax: ast.Select
    catalog: Catalog
    frame: Frame = field(init=False)
    _failed: bool = False

    def __post_init__(self) -> None:
        if self.syntax.from_ is None:
            self.frame = Frame(ONE_ROW, Scope())
        else:
            self.frame = Frame(*bind_table(self.syntax.from_, self.catalog))
        if self.syntax.where is not None:
            self._where(self.syntax.where)

    def bind(
        self, order: Sequence[ast.OrderItem] = (), limit: int | None = None, offset: int = 0
    ) -> Node:
        """The plan of the whole SELECT, `order` and so on included. Raises BindError."""
        is_cut = limit is not None or offset > 0 or bool(self.syntax.distinct_on)
        outputs, sort = self.outputs(order, is_ordered=is_cut)
        return self._finish(outputs, sort, limit, offset)

    def outputs(
        self, order: Sequence[ast.OrderItem] = (), *, is_ordered: bool = False
    ) -> tuple[list[tuple[str, Expr]], list[Sort]]:
        """The named output expressions and (if `is_ordered`: else `order` is only checked) the
        sort keys, over the columns of the frame: those of DISTINCT ON, then those of `order`."""
        s = self.syntax
        if has_sets(s.group_by):
            # a key is NULL in the rows of a set without it
            self.frame.scope = self.frame.scope.nullable()
        items = self._items()
        outputs = self._bind_items(items)
        aliases = dict(outputs)
        keys = self._group_keys(items, aliases)
        having = self._condition(s.having, "HAVING", aliases)
        qualify = self._condition(s.qualify, "QUALIFY", aliases, windows=True)
        first_of = [ast.OrderItem(e.span, e) for e in s.distinct_on]
        sort = [key for item in (*first_of, *order) for key in self._sort_keys(item, outputs)]
        if self._failed:
            raise Poisoned
        self._check_names()
        listed = [e for _, e in outputs]
        for x in sort if s.distinct and not s.distinct_on else ():
            if x.expr not in listed:
                raise BindError(x.span, "ORDER BY of SELECT DISTINCT must be in its list")
        if not is_ordered:
            sort = []
        exprs = [e for _, e in outputs] + [x.expr for x in sort]
        exprs += [e for e in (having, qualify) if e is not None]
        if keys is not None or s.having is not None or any(map(_is_aggregate, exprs)):
            first = [e for e in (having, qualify) if e is not None][:1]
            rewrite = self._aggregate(keys or plain([]), exprs, first or exprs)
            outputs = [(n, rewrite(e)) for n, e in outputs]
            sort = [replace(x, expr=rewrite(x.expr)) for x in sort]
            having, qualify = having and rewrite(having), qualify and rewrite(qualify)
        elif any(has(e, Grouped) for e in exprs):
            raise BindError(s.span, "GROUPING needs GROUP BY")
        if having is not None:
            self.frame.keep(having)
        # one value for an output and the sort key that names it
        values = {e: self.frame.value(e) for e in dict.fromkeys(e for _, e in outputs)}
        outputs = [(n, values[e]) for n, e in outputs]
        sort = [replace(x, expr=values.get(x.expr) or self.frame.value(x.expr)) for x in sort]
        if qualify is not None and not has(qualify, Windowed):
            raise BindError(qualify.span, "QUALIFY needs a window function; use WHERE or HAVING")
        if qualify is not None:
            # what its windows are over; its other sub-queries become joins behind them
            qualify = descend(
                qualify,
                lambda x: values.get(x) or self.frame.value(x) if isinstance(x, Windowed) else None,
            )
        return self._place_windows(outputs, sort, qualify)

    def _binder(
        self,
        place: str | None,
        aliases: Mapping[str, Expr] | None = None,
        *,
        windows: bool = False,
    ) -> ExpressionBinder:
        group = self.syntax.group_by
        is_grouped = group is not None or self.syntax.having is not None
        return ExpressionBinder(
            replace(self.frame.scope, groups=place is None, is_grouped=is_grouped),
            aggregates=place,
            aliases=aliases,
            catalog=self.catalog,
            grouped=group is not None
            and not has_sets(group)
            and (group.all or any(map(_has_key, group.items))),
            windows={w.name.name: w.spec for w in self.syntax.windows} if windows else None,
        )

    def _check_names(self) -> None:
        names = [w.name.name for w in self.syntax.windows]
        for i, w in enumerate(self.syntax.windows):
            if w.name.name in names[:i]:
                raise BindError(w.name.span, f"there are two windows {w.name.name}")

    def _attempt(self, e: ast.Expr, bind: Callable[[ast.Expr], Expr]) -> Expr | None:
        """`bind(e)`; where that fails the error is reported and the query fails later."""
        with self.catalog.report.attempt(e.span):
            return bind(e)
        self._failed = True
        return None

    def _condition(
        self, e: ast.Expr | None, place: str, aliases: Mapping[str, Expr], *, windows: bool = False
    ) -> Expr | None:
        if e is None:
            return None
        binder = self._binder(None, aliases, windows=windows)
        return self._attempt(e, lambda x: binder.condition(x, place))

    # WHERE

    def _where(self, where: ast.Expr) -> None:
        binder = self._binder("WHERE")
        terms: list[Expr] = []
        for term in logic_terms(where, "AND"):
            terms += kept_by(self._attempt(term, lambda e: binder.condition(e, "WHERE")))
        # what mentions the query around this one stays on top, where `decorrelate` looks for it
        own, joining = apart(terms)
        if own:
            self.frame.keep(build.and_(own))
        if joining:
            self.frame.keep(build.and_(joining), of_some=bool(own))

    # the select list

    def _items(self) -> list[tuple[str, Item]]:
        """(name, what) of each output column, `*` spelled out."""
        items: list[tuple[str, Item]] = []
        for item in self.syntax.items:
            if isinstance(item.expr, ast.Star):
                with self.catalog.report.attempt(item.span):
                    items += self._star(item.expr)
                    continue
                self._failed = True
            elif item.alias is not None:
                items.append((item.alias.name, item.expr))
            elif isinstance(item.expr, ast.ColumnRef):
                items.append((item.expr.parts[-1].name, item.expr))
            else:
                items.append((f"EXPR${len(items)}", item.expr))
        return items

    def _star(self, star: ast.Star) -> list[tuple[str, Item]]:
        scope = self.frame.scope
        if len(star.qualifier) > 1:
            raise unsupported(star.span, "* of a ROW")
        qualifier = star.qualifier[0].name if star.qualifier else None
        if qualifier is not None and qualifier not in scope.tables:
            raise scope.unknown(qualifier, "*", star.span)
        entries = scope.star(qualifier)
        if not entries:
            raise BindError(star.span, "* needs a FROM")
        names = [e.name for e in entries]
        gone = excluded(star, names)
        replaced: dict[str, ast.Expr] = {}
        for r in star.replace:
            if r.alias is None or r.alias.name not in names:
                name = "" if r.alias is None else f" {r.alias.name}"
                hint = "" if r.alias is None else did_you_mean(r.alias.name, names)
                raise BindError(r.span, f"REPLACE: * has no column{name}{hint}")
            if r.alias.name in replaced:
                raise BindError(r.span, f"REPLACE names column {r.alias.name} twice")
            replaced[r.alias.name] = r.expr
        # what is wrong with one of them is wrong at the *
        entries = [replace(e, expr=replace(e.expr, span=star.span)) for e in entries]
        return [(e.name, replaced.get(e.name, e)) for e in entries if e.name not in gone]

    def _bind_items(self, items: Sequence[tuple[str, Item]]) -> list[tuple[str, Expr]]:
        """The items as expressions; an alias may be used by the items right of it."""
        outputs: list[tuple[str, Expr]] = []
        aliases: dict[str, Expr] = {}
        binder = self._binder(None, aliases, windows=True)
        for name, what in items:
            bound = what.expr if isinstance(what, Entry) else self._attempt(what, binder.bind)
            if bound is not None:
                outputs.append((name, bound))
                aliases.setdefault(name, outputs[-1][1])
        return outputs

    # GROUP BY

    def _group_keys(
        self, items: Sequence[tuple[str, Item]], aliases: Mapping[str, Expr]
    ) -> Grouping | None:
        """The grouping expressions and their sets, None without GROUP BY."""
        group = self.syntax.group_by
        if group is None:
            return None
        if group.all and not group.items:
            return plain(
                [e for e in aliases.values() if not has(e, Grouped) and not _is_aggregate(e)]
            )

        def bind(e: ast.Expr) -> Expr:
            return self._group_key(e, items, aliases)

        return grouping(group, lambda e: self._attempt(e, bind))

    def _group_key(
        self, e: ast.Expr, items: Sequence[tuple[str, Item]], aliases: Mapping[str, Expr]
    ) -> Expr:
        position = ordinal(e, len(items), "GROUP BY")
        if position is not None:
            what = items[position][1]
            if isinstance(what, Entry):
                return what.expr
            e = what
        bound = self._binder(None, aliases).bind(e)
        aggregate = find(bound, Aggregated, Grouped)
        if aggregate is not None:
            raise BindError(e.span, "GROUP BY cannot group by an aggregate")
        return bound

    def _aggregate(
        self, group: Grouping, exprs: Sequence[Expr], asked: Sequence[Expr]
    ) -> Callable[[Expr], Expr]:
        """Put the Aggregate in place; what rewrites the expressions above it to its columns.
        `asked`: those of `exprs` that are evaluated for every group."""
        keys = group.keys
        found: dict[Aggregated, None] = {}
        tests: dict[Grouped, None] = {}
        for e in exprs:
            _collect(e, found, tests)
        eager = set(totals.always(asked))
        calls = [call if call in eager else totals.widened_call(call) for call in found]
        feed: dict[Expr, int] = {}
        for e in keys:
            feed.setdefault(e, len(feed))
        for call in calls:
            for e in call.operands:
                feed.setdefault(e, len(feed))
        computed = tuple(self.frame.value(e) for e in feed)
        below = Schema(tuple(Field(_name_of(e, f"$a{i}"), e.type) for i, e in enumerate(computed)))
        source = Project(below, self.frame.node, computed)
        fields = [Field(_name_of(e, f"$k{i}"), group.type_of(i)) for i, e in enumerate(keys)]
        fields += [Field(f"$r{i}", call.function.result) for i, call in enumerate(calls)]
        fields += [Field(f"$g{i}", test.type) for i, test in enumerate(tests)]
        schema = Schema(tuple(fields))
        aggregates = tuple(c.placed(feed.__getitem__) for c in calls)
        at = tuple(feed[e] for e in keys)
        span = self.syntax.span
        if group.is_plain and not tests:
            self.frame.node = Aggregate(schema, source, at, aggregates, span=span)
        else:
            self.frame.node = grouped_union(
                schema, source, group, at, aggregates, list(tests), span
            )
        columns = list(references(schema))
        for i, (call, wide) in enumerate(zip(found, calls, strict=True), len(keys)):
            if wide is not call:
                total = replace(columns[i], span=call.span)
                columns[i] = fitted(total, call.function.kind, call.type)
        above = dict(zip([*keys, *found, *tests], columns, strict=True))
        return lambda e: descend(e, lambda x: _above(x, above))

    # window functions

    def _place_windows(
        self, outputs: list[tuple[str, Expr]], sort: list[Sort], qualify: Expr | None
    ) -> tuple[list[tuple[str, Expr]], list[Sort]]:
        """Compute them as columns of the frame, and filter by them."""
        exprs = [e for _, e in outputs] + [x.expr for x in sort] + ([qualify] if qualify else [])
        placed = place_windows(self.frame, exprs)
        if qualify is not None:
            self.frame.keep(placed.pop())
        names = [n for n, _ in outputs]
        values, keys = placed[: len(names)], placed[len(names) :]
        moved = [replace(x, expr=e) for x, e in zip(sort, keys, strict=True)]
        return list(zip(names, values, strict=True)), moved

    # ORDER BY, DISTINCT, LIMIT

    def _sort_keys(self, item: ast.OrderItem, outputs: Sequence[tuple[str, Expr]]) -> list[Sort]:
        e = item.expr
        if e is None:  # ORDER BY ALL
            return [Sort.of(bound, item) for _, bound in outputs]
        with self.catalog.report.attempt(item.span):
            position = ordinal(e, len(outputs), "ORDER BY")
            if position is not None:
                return [Sort.of(outputs[position][1], item)]
            if isinstance(e, ast.ColumnRef) and len(e.parts) == 1:
                for name, bound in outputs:
                    if name == e.parts[0].name:
                        return [Sort.of(bound, item)]
            return [Sort.of(self._binder(None, dict(outputs)).bind(e), item)]
        self._failed = True
        return []

    def _finish(
        self, outputs: list[tuple[str, Expr]], sort: list[Sort], limit: int | None, offset: int
    ) -> Node:
        s = self.syntax
        schema = Schema(tuple(Field(n, e.type) for n, e in outputs))
        exprs = [e for _, e in outputs]
        n = len(s.distinct_on)
        if n or ((limit is not None or offset) and not s.distinct):
            sorted_by = {x.expr for x in sort}
            late = {e for e in exprs if is_risky(e) and columns_of(e) and e not in sorted_by}
            if late:
                return self._computed_late(outputs, late, sort, limit, offset)
        self._check_distinct_on(sort[:n], sort[n:])
        positions = []
        for e in (x.expr for x in sort):
            if e not in exprs:
                exprs.append(e)
            positions.append(exprs.index(e))
        extra = [Field(f"$o{i}", e.type) for i, e in enumerate(exprs[len(outputs) :])]
        wide = Schema((*schema.fields, *extra))
        node: Node = Project(wide, self.frame.node, tuple(exprs), span=s.span)
        keys = tuple(x.key(p) for x, p in zip(sort[n:], positions[n:], strict=True))
        if n:
            node = TopK(wide, node, tuple(dict.fromkeys(positions[:n])), keys, 1, span=s.span)
        elif s.distinct:
            node = Distinct(wide, node, span=s.span)
        if limit is not None or offset:
            node = TopK(wide, node, (), keys, limit, offset, span=s.span)
        if extra:
            node = Project(schema, node, references(wide)[: len(schema)])
        return node

    def _computed_late(
        self,
        outputs: list[tuple[str, Expr]],
        late: set[Expr],
        sort: list[Sort],
        limit: int | None,
        offset: int,
    ) -> Node:
        """A limit or DISTINCT ON, and above it the `late` ones of `outputs`, which could fail for a
        row that it drops."""
        early = [(n, e) for n, e in outputs if e not in late]
        read = sorted(set().union(*map(columns_of, late)))
        early += [(f"$l{i}", self.frame.column(i)) for i in read]
        below = self._finish(early, sort, limit, offset)
        place = {e: i for i, (_, e) in reversed([*enumerate(early)])}
        columns = references(below.schema)
        at = {i: place[self.frame.column(i)] for i in read}
        exprs = [remap(e, at) if e in late else columns[place[e]] for _, e in outputs]
        schema = Schema(tuple(Field(n, e.type) for n, e in outputs))
        return Project(schema, below, tuple(exprs), span=self.syntax.span)

    def _check_distinct_on(self, first_of: Sequence[Sort], order: Sequence[Sort]) -> None:
        """ORDER BY begins with the expressions of DISTINCT ON, in some order."""
        wanted = {x.expr for x in first_of}
        if wanted and order and {x.expr for x in order[: len(wanted)]} != wanted:
            raise BindError(
                self.syntax.distinct_on[0].span,
                "ORDER BY must begin with the expressions of DISTINCT ON",
            )


def _has_key(item: ast.GroupingItem) -> bool:
    return not isinstance(item, ast.GroupingSet) or bool(item.exprs)


def ordinal(e: ast.Expr, count: int, clause: str) -> int | None:
    """The position that an integer literal names, None for other expressions."""
    if not isinstance(e, ast.Literal) or isinstance(e.value, bool) or not isinstance(e.value, int):
        return None
    if not 1 <= e.value <= count:
        raise BindError(e.span, f"{clause} {e.value}: there are {count} columns in SELECT")
    return e.value - 1


def _collect(e: Expr, calls: dict[Aggregated, None], tests: dict[Grouped, None]) -> None:
    def note(x: Expr) -> Expr | None:
        if isinstance(x, Aggregated):
            calls.setdefault(x)
            return x
        if isinstance(x, Grouped):
            tests.setdefault(x)
            return x
        return None

    descend(e, note)


def _is_aggregate(e: Expr) -> bool:
    """Whether `e`, or a sub-query in it, takes an aggregate of this query's rows."""
    calls: dict[Aggregated, None] = {}
    _collect(e, calls, {})
    return bool(calls)


def _name_of(e: Expr, otherwise: str) -> str:
    return e.name if isinstance(e, InputRef) and e.name else otherwise


def _above(e: Expr, at: Mapping[Expr, Expr]) -> Expr | None:
    """The column of the Aggregate for `e`, None to look inside `e`."""
    found = at.get(e)
    if found is not None:
        return replace(found, span=e.span)
    if isinstance(e, InputRef):
        name = f"column {e.name}" if e.name else "this column"
        raise BindError(
            e.span, f"{name} is neither grouped by nor inside an aggregate: add it to GROUP BY"
        )
    return None
