"""Plan nodes → circuit operators.

    Project(Filter(x))    one `map`: the mask first, then expressions over the rows that are left
    Scan                  the stream of the table or view, by name
    Values                a `constant`
    everything else       its operator

Plan nodes are values, so equal sub-plans (of one view or of several) become one operator: the
memo is keyed by the node. A Project that only picks columns shares their arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from penstock.circuit.graph import Circuit, Stream
from penstock.circuit.ops.session_totals import SessionTotals
from penstock.circuit.spec import AggregateSpec, Bound, Order, WindowSpec
from penstock.circuit.spec import Frame as WindowFrame
from penstock.compile.expressions import compile_expressions, compile_predicate
from penstock.compile.failures import told, told_of_row
from penstock.compile.hops import counted_by_pane, hop, hop_by_pane
from penstock.compile.sessions import TotalsOfSessions, totals_of_sessions
from penstock.compile.spread import MapFunction, spread
from penstock.data.batch import Batch
from penstock.data.build import empty_batch
from penstock.data.gather import concat, filter_batch
from penstock.data.types import BOOLEAN, Schema
from penstock.plan.bounds import bounds_of, differing
from penstock.plan.expressions import Expr, InputRef, IsNull
from penstock.plan.interning import Interner
from penstock.plan.nodes import (
    Aggregate,
    AsofJoin,
    Difference,
    Distinct,
    Expiry,
    Filter,
    Frontier,
    Hop,
    Join,
    JoinKind,
    LateRows,
    Line,
    Node,
    Project,
    Scan,
    Session,
    SortKey,
    TopK,
    UnionAll,
    Unnest,
    Values,
    Window,
    WindowCall,
)
from penstock.plan.rewrite import conjuncts


class RelationCompiler:
    """Adds the operators of plan nodes to one circuit."""

    def __init__(
        self,
        circuit: Circuit,
        text: str,
        known: Callable[[Node], Stream | None] | None = None,
        lines: RelationCompiler | None = None,
    ) -> None:
        """`known`: the stream of a node that is computed elsewhere. `lines`: who computes those by
        which something may be forgotten, for all of its steps (this one, if not said)."""
        self.circuit = circuit
        self.text = text
        self.relations: dict[str, Stream] = {}
        #: relations with LATENESS, where rows are found late
        self.punctual: dict[str, Stream] = {}
        self.view = ""
        self._known = known or (lambda node: None)
        self._lines = lines or self
        #: whether it is in a recursion, whose rounds see into joins
        self._is_nested = known is not None
        self._nodes = Interner()
        #: by identity of interned nodes
        self._memo: dict[int, Stream] = {}
        #: what may be forgotten of which node
        self._expiries: dict[int, list[Expiry]] = {}

    def beside(self, circuit: Circuit, known: Callable[[Node], Stream | None]) -> RelationCompiler:
        """One that adds the same nodes to another circuit."""
        other = RelationCompiler(circuit, self.text, known)
        other._nodes = self._nodes
        return other

    def forget(self, expiries: Iterable[Expiry]) -> None:
        """What may be forgotten of nodes that are compiled after this."""
        for expiry in expiries:
            if isinstance(expiry.node, Scan):
                continue  # a recursive view, which is no operator here
            self._expiries.setdefault(id(self._nodes.intern(expiry.node)), []).append(expiry)

    def stream(self, node: Node) -> Stream:
        """The stream of `node`'s rows; equal nodes share one."""
        node = self._nodes.intern(node)
        known = self._memo.get(id(node))
        if known is None:
            known = self._memo[id(node)] = self._known(node) or self._build(node)
            self._expire(node, known)
        return known

    def _expire(self, node: Node, stream: Stream) -> None:
        if isinstance(node, Aggregate) and isinstance(stream.node, SessionTotals):
            return  # its groups are sessions, which are forgotten as such
        for expiry in self._expiries.get(id(node), ()):
            if not expiry.in_order:
                by = self.circuit.expiries(stream, expiry.input, expiry.column)
                line = self._lines.stream(expiry.line)
                self._lines.circuit.expire_by(by, line, expiry.shift)
            elif self.circuit.passes(stream):
                self.circuit.expire_passed(stream, expiry.column, self.stream(expiry.line))

    def _build(self, node: Node) -> Stream:
        match node:
            case Scan():
                return self.relations[node.relation]
            case Values():
                return self.circuit.constant(self._constant_rows(node))
            case Filter():
                return self._map(node.input, node.predicate, None, node.schema)
            case Project():
                return self._project(node)
            case Join():
                return self._join(node, _bounds(node))
            case AsofJoin():
                left, right = self.stream(node.left), self.stream(node.right)
                return self.circuit.asof_join(
                    left, right, node.keys, node.times, node.schema,
                    forward=node.forward, strict=node.strict, least=node.least, inner=node.inner,
                )  # fmt: skip
            case Aggregate():
                return self._aggregate(node)
            case Distinct():
                return self.circuit.distinct(self.stream(node.input))
            case UnionAll():
                return self.circuit.union([self.stream(i) for i in node.inputs], node.schema)
            case Difference(left=a, right=Difference(left=same, right=b)) if same is a:
                # what is not left over (INTERSECT ALL): one look-up a row instead of two
                return self.circuit.intersection(self.stream(a), self.stream(b), node.schema)
            case Difference():
                left, right = self.stream(node.left), self.stream(node.right)
                more = self.circuit.union([left, self.circuit.negate(right)], node.schema)
                return self.circuit.positive(more)
            case Frontier():
                both = Schema((*node.input.schema.fields, *node.bound.schema.fields))
                test = compile_predicate(node.predicate, both, self.view, self.text)
                source, bound = self.stream(node.input), self.stream(node.bound)
                return self.circuit.frontier(
                    source, bound, node.column, node.op, test, rises=node.rises,
                    marks=node.schema.fields[-1] if node.marks else None,
                )  # fmt: skip
            case Hop():
                meaning = ("hop", node.column, node.size, node.slide, node.offset)
                return self.circuit.map(
                    self.stream(node.input), hop(node, self.view), node.schema, meaning
                )
            case TopK():
                return self.circuit.topk(
                    self.stream(node.input), node.partition, _order(node.order), node.limit,
                    node.offset, node.ranks,
                )  # fmt: skip
            case Window() if (best := self._numbered(node)) is not None:
                stream = self.circuit.topk(
                    self.stream(best.input), best.partition, _order(best.order), best.limit,
                    numbered=node.schema,
                )  # fmt: skip
                self._expire(best, stream)
                return stream
            case Window():
                calls = [_window_call(c) for c in node.calls]
                return self.circuit.window(
                    self.stream(node.input), node.partition, _order(node.order), calls,
                    node.schema, told(calls, node.input.schema, self.view),
                )  # fmt: skip
            case Session():
                return self.circuit.session(
                    self.stream(node.input), node.partition, node.time, node.gap, node.schema,
                    told_of_row(node.input.schema, self.view),
                )  # fmt: skip
            case Line():
                source = self.stream(node.input)
                return self.circuit.line(source, node.column, node.behind, node.schema, node.lag)
            case LateRows(input=Scan(relation=relation)):
                return self.circuit.late(self.punctual[relation])
            case Unnest():
                return self.circuit.flat_map(
                    self.stream(node.input), node.column, node.keep, node.ordinality, node.schema
                )
        raise AssertionError(f"no operator for {type(node).__name__}")

    def _numbered(self, node: Window) -> TopK | None:
        """The rows that `node` numbers where those are the first in the very same order, so that
        whoever finds them knows their numbers; and nobody else asks for them."""
        best = self._nodes.intern(node.input)
        if not isinstance(best, TopK) or id(best) in self._memo:
            return None
        is_same = (best.partition, best.order) == (node.partition, node.order)
        kinds = [c.kind for c in node.calls]
        if is_same and kinds == [best.ranks] == ["ROW_NUMBER"] and not best.offset:
            return best
        return None

    def _project(self, node: Project) -> Stream:
        below = node.input
        if isinstance(below, Filter) and id(below) not in self._memo:
            return self._map(below.input, below.predicate, node.exprs, node.schema)
        return self._map(below, None, node.exprs, node.schema)

    def _map(
        self, input: Node, predicate: Expr | None, exprs: tuple[Expr, ...] | None, schema: Schema
    ) -> Stream:
        steps: list[MapFunction] = []
        if predicate is not None:
            steps.append(self._filter(predicate, input.schema))
        if exprs is not None:
            steps.append(self._columns(exprs, input.schema, schema))
        fn = steps[0] if len(steps) == 1 else _then(*steps)
        computed = (*(exprs or ()), *(() if predicate is None else (predicate,)))
        fn = spread(fn, computed)
        return self.circuit.map(self._filtered(input, predicate), fn, schema, (predicate, exprs))

    def _filtered(self, input: Node, predicate: Expr | None) -> Stream:
        """The rows of `input`, or at least those of them that may pass `predicate`: what can fail
        is not among the conditions of a join, and may bound it all the same."""
        node = self._nodes.intern(input)
        if predicate is None or not isinstance(node, Join) or id(node) in self._memo:
            return self.stream(input)
        bounds = _bounds(node, predicate)
        if bounds == _bounds(node):
            return self.stream(input)
        stream = self._join(node, bounds)
        self._expire(node, stream)
        return stream

    def _filter(self, predicate: Expr, schema: Schema) -> MapFunction:
        mask = compile_predicate(predicate, schema, self.view, self.text)
        return lambda batch: filter_batch(batch, mask(batch))

    def _columns(self, exprs: tuple[Expr, ...], before: Schema, after: Schema) -> MapFunction:
        picked = [e.index for e in exprs if isinstance(e, InputRef)]
        # one object for equal types: a column that has it already is passed on as it is
        types = tuple(
            before.types[e.index] if isinstance(e, InputRef) and before.types[e.index] == t else t
            for e, t in zip(exprs, after.types, strict=True)
        )
        if len(picked) == len(exprs):
            keeps_rows = set(picked) == set(range(len(before)))
            typed = tuple(zip(picked, types, strict=True))

            def pick(batch: Batch) -> Batch:
                columns = [batch.columns[i].with_type(t) for i, t in typed]
                consolidated = batch.consolidated and keeps_rows
                return Batch(after, tuple(columns), batch.weights, consolidated)

            return pick
        evaluate = compile_expressions(exprs, before, self.view, self.text)

        def compute(batch: Batch) -> Batch:
            columns = tuple(c.with_type(t) for c, t in zip(evaluate(batch), types, strict=True))
            return Batch(after, columns, batch.weights)

        return compute

    def _join(self, node: Join, bounds: tuple[Bound, ...]) -> Stream:
        if self._is_membership(node):
            assert isinstance(node.right, Distinct)
            rows, others = self.stream(node.left), self.stream(node.right.input)
            return self.circuit.partnered(rows, others, paired=node.kind is JoinKind.SEMI)
        left, right = self.stream(node.left), self.stream(node.right)
        residual = None
        if node.residual is not None:
            both = Schema(node.left.schema.fields + node.right.schema.fields)
            residual = compile_predicate(node.residual, both, self.view, self.text)
        if bounds and not node.keys:
            return self.circuit.range_join(
                left, right, bounds, residual, node.schema, node.residual
            )
        return self.circuit.join(
            left,
            right,
            node.keys,
            node.null_safe,
            node.kind.value,
            residual,
            node.schema,
            node.residual,
            bounds,
            has_one_partner=_has_one_partner(node, bounds),
            differing=_differing(node),
        )

    def _is_membership(self, node: Join) -> bool:
        """Whether whole rows are looked for among distinct ones, which nobody else asks for: one
        table tells both."""
        if node.kind not in (JoinKind.SEMI, JoinKind.ANTI) or not isinstance(node.right, Distinct):
            return False
        if self._is_nested or id(self._nodes.intern(node.right)) in self._memo:
            return False
        types = zip(node.left.schema.types, node.right.schema.types, strict=False)
        return (
            node.residual is None
            and len(node.left.schema) == len(node.right.schema) > 0
            and node.keys == tuple((i, i) for i in range(len(node.left.schema)))
            and all(node.null_safe)
            and len(node.null_safe) == len(node.keys)
            and all(a.with_nullable(True) == b.with_nullable(True) for a, b in types)
        )

    def _aggregate(self, node: Aggregate) -> Stream:
        totals = totals_of_sessions(node)
        if totals is not None and id(self._nodes.intern(totals.sessions)) not in self._memo:
            return self._session_totals(node, totals)
        specs = [
            AggregateSpec(
                c.function.kind,
                c.args,
                c.function.arg_types,
                c.function.result,
                c.distinct,
                c.filter,
                c.function.takes_nulls,
                c.function.order,
                c.within,
                tuple(node.input.schema.types[w] for w in c.within),
            )
            for c in node.calls
        ]
        blame = told(specs, node.input.schema, self.view)
        return self.circuit.aggregate(self._grouped(node), node.keys, specs, node.schema, blame)

    def _session_totals(self, node: Aggregate, totals: TotalsOfSessions) -> Stream:
        sessions, rows = totals.sessions, totals.rows
        stream = self.circuit.session_totals(
            self.stream(rows), sessions.partition, sessions.time, sessions.gap,
            len(sessions.input.schema) + 1, totals.shown, totals.calls, node.schema,
            told(totals.calls, rows.schema, self.view), told_of_row(rows.schema, self.view),
        )  # fmt: skip
        self._expire(self._nodes.intern(sessions), stream)
        return stream

    def _grouped(self, node: Aggregate) -> Stream:
        """The rows that `node` aggregates."""
        picked = counted_by_pane(node)
        if picked is None or id(picked) in self._memo:
            return self.stream(node.input)
        windows = picked.input
        assert isinstance(windows, Hop)
        columns = [e.index for e in picked.exprs if isinstance(e, InputRef)]
        # another stream than that of `picked`, row by row, yet the same Z-set
        meaning = (
            "panes", windows.column, windows.size, windows.slide, windows.offset, tuple(columns),
        )  # fmt: skip
        fn = hop_by_pane(windows, columns, picked.schema, self.view)
        return self.circuit.map(self.stream(windows.input), fn, picked.schema, meaning)

    def _constant_rows(self, node: Values) -> Batch:
        one_row = Batch(Schema(()), (), np.ones(1, np.int64))
        rows = []
        for exprs in node.rows:
            columns = compile_expressions(exprs, one_row.schema, self.view, self.text)(one_row)
            typed = tuple(c.with_type(t) for c, t in zip(columns, node.schema.types, strict=True))
            rows.append(Batch(node.schema, typed, one_row.weights))
        return concat(rows, node.schema) if rows else empty_batch(node.schema)


def _bounds(node: Join, predicate: Expr | None = None) -> tuple[Bound, ...]:
    """By which partners may be found, of an inner join those of pairs that pass `predicate` too."""
    if node.kind is not JoinKind.INNER:
        # who has no partner without keys is asked of pairs (see `penstock.sql.passes.partners`)
        predicate = None
        if not node.keys:
            return ()
    conditions = (*conjuncts(node.residual), *conjuncts(predicate))
    return tuple(Bound(*b) for b in bounds_of(conditions, len(node.left.schema)))


def _has_one_partner(node: Join, bounds: tuple[Bound, ...]) -> bool:
    """Whether a left row is compared with the one row of its key (`sql.passes.partners`)."""
    right, columns = node.right, {b for _, b in node.keys}
    while isinstance(right, Filter | Project):
        if isinstance(right, Project):
            shown = [e for e in (right.exprs[c] for c in columns) if isinstance(e, InputRef)]
            if len(shown) < len(columns):
                return False
            columns = {e.index for e in shown}
        right = right.input
    return (
        node.kind in (JoinKind.SEMI, JoinKind.ANTI)
        and isinstance(right, Aggregate)
        and columns == set(range(len(right.keys)))
        and len(bounds) == len(conjuncts(node.residual)) == 1
    )


def _differing(node: Join) -> tuple[int, int] | None:
    """The columns of either side of which it is asked whether they differ in some partner, whose is
    never NULL (`sql.passes.differing`)."""
    if node.kind not in (JoinKind.SEMI, JoinKind.ANTI) or not node.keys:
        return None
    found = differing(conjuncts(node.residual), len(node.left.schema))
    if found is None:
        return None
    right, column = node.right, found[1]
    type = right.schema.types[column]
    known = IsNull(BOOLEAN.with_nullable(False), InputRef(type, column), negated=True)
    filtered = isinstance(right, Filter) and known in conjuncts(right.predicate)
    return found if filtered or not type.nullable else None


def _order(keys: tuple[SortKey, ...]) -> list[Order]:
    return [Order(k.column, k.descending, k.nulls_first) for k in keys]


def _window_call(call: WindowCall) -> WindowSpec:
    bounds, frame = call.frame, None
    if bounds is not None:
        frame = WindowFrame(bounds.unit, bounds.start, bounds.end)
    return WindowSpec(call.kind, call.args, call.result, frame, call.offset, call.ignore_nulls)


def _then(first: MapFunction, second: MapFunction) -> MapFunction:
    def both(batch: Batch) -> Batch:
        kept = first(batch)
        return second(kept)

    return both
