"""Carry only the columns that somebody reads.

    Project [a.x]                     Project [x]
      Join on a.k = b.k      ──►        Join on k = k
        Scan a (k, x, y, z)               Project [k, x] ─ Scan a
        Scan b (k, u, v)                  Project [k]    ─ Scan b

What a join or an aggregate keeps in memory becomes as narrow as the query. DISTINCT, TopK (ties
are broken by all columns) and set operations need whole rows, so nothing is cut below them
except what they do not see.

What several read of one view, as the grouping sets of a ROLLUP do, keeps the columns that any of
them reads: it is one operator with one memory. A LOCAL view keeps what other views read of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from penstock.data.types import Schema
from penstock.plan.expressions import InputRef
from penstock.plan.nodes import (
    CLOCK,
    Aggregate,
    AsofJoin,
    Difference,
    Distinct,
    Filter,
    Frontier,
    Hop,
    Join,
    JoinKind,
    LateRows,
    Line,
    Node,
    ProgramPlan,
    Project,
    Scan,
    Session,
    TopK,
    UnionAll,
    Unnest,
    Values,
    ViewPlan,
    Window,
)
from penstock.plan.rewrite import columns_of, inputs, remap
from penstock.sql.cycles import views_in_cycles
from penstock.sql.passes.each_view import each_view

#: position of each kept column: old → new
Moves = dict[int, int]
#: the columns that are left of narrowed views
Kept = Mapping[str, tuple[int, ...]]
#: nodes that remember nothing
_PASSING = (Scan, Values, Filter, Project, UnionAll, Unnest, Hop, Line, LateRows)


def prune_columns(program: ProgramPlan) -> ProgramPlan:
    kept = _read_of_local_views(program)
    views = tuple(_narrow_view(v, kept[v.name]) if v.name in kept else v for v in program.views)
    return each_view(replace(program, views=views), lambda query: _narrowed(query, kept)[0])


def _read_of_local_views(program: ProgramPlan) -> Kept:
    """The columns that are read of those LOCAL views that others read in part."""
    local = {v.name for v in program.views if v.kind == "local" and not v.lateness}
    if not local:
        return {}
    local -= set(views_in_cycles(program.views))
    kept: dict[str, tuple[int, ...]] = {}
    read: dict[str, set[int]] = {}
    for view in reversed(program.all_views):  # who reads comes behind what is read
        # one that nobody reads stays as it is: what is wrong in it is to be found
        if view.name in local and len(read.get(view.name, view.schema)) < len(view.schema):
            kept[view.name] = tuple(sorted(read[view.name]))
            view = _narrow_view(view, kept[view.name])
        try:
            some = _narrowed(view.query, {})[1]
        except RecursionError:
            return {}  # each_view says where
        for relation, columns in some.items():
            read.setdefault(relation, set()).update(columns)
    return kept


def _narrow_view(view: ViewPlan, columns: Sequence[int]) -> ViewPlan:
    return replace(view, schema=_pick(view.schema, columns), query=_cut(view.query, [*columns])[0])


def _narrowed(query: Node, kept: Kept) -> tuple[Node, dict[str, set[int]]]:
    """`query` with the columns that it needs, and what it reads of each relation."""
    wide: dict[int, set[int]] = {}
    while True:
        narrower = _Narrower(kept, wide)
        narrow = narrower.narrow(query, range(len(query.schema)))[0]
        more = narrower.read_in_parts(query)
        if all(columns <= wide.get(node, set()) for node, columns in more.items()):
            return narrow, narrower.read
        for node, columns in more.items():
            wide.setdefault(node, set()).update(columns)


def _keeping(query: Node) -> set[int]:
    """The nodes of `query`, by identity, that remember rows or read what does."""
    found: dict[int, bool] = {}

    def visit(node: Node) -> bool:
        if id(node) not in found:
            below = [visit(child) for child in inputs(node)]
            found[id(node)] = any(below) or not isinstance(node, _PASSING)
        return found[id(node)]

    visit(query)
    return {node for node, keeps in found.items() if keeps}


def _same(width: int) -> Moves:
    return {i: i for i in range(width)}


def _pick(schema: Schema, columns: Iterable[int]) -> Schema:
    return Schema(tuple(schema.fields[i] for i in columns))


def _cut(node: Node, want: list[int]) -> tuple[Node, Moves]:
    """A Project to exactly `want`; the node itself if that is everything."""
    if len(want) == len(node.schema):
        return node, _same(len(want))
    exprs = tuple(InputRef(node.schema.types[i], i, node.schema.names[i]) for i in want)
    return Project(_pick(node.schema, want), node, exprs), {c: i for i, c in enumerate(want)}


def _only_adds_the_time(node: Join) -> bool:
    """Whether a join neither drops nor repeats rows: the clock has one row in every step."""
    clock = node.right
    while isinstance(clock, Project):
        clock = clock.input
    is_clock = isinstance(clock, Scan) and clock.relation == CLOCK
    return is_clock and node.kind is JoinKind.INNER and not node.keys and node.residual is None


class _Narrower:
    """Cuts the columns of one view; a node that several read is cut once for equal needs.

    `kept`: the columns that are left of relations which have been cut already. `wide`: what is
    needed besides of nodes, by identity."""

    def __init__(self, kept: Kept, wide: Mapping[int, set[int]]) -> None:
        self._kept = kept
        self._wide = wide
        self._done: dict[tuple[int, tuple[int, ...]], tuple[Node, Moves]] = {}
        #: the columns that were needed of relations
        self.read: dict[str, set[int]] = {}

    def read_in_parts(self, query: Node) -> dict[int, set[int]]:
        """All that is needed of each node that was cut in several ways and remembers rows, or
        reads what does: by identity."""
        several: dict[int, list[tuple[int, ...]]] = {}
        for node, want in self._done:
            several.setdefault(node, []).append(want)
        parts = {
            node: {c for w in wants for c in w} for node, wants in several.items() if wants[1:]
        }
        return {n: columns for n, columns in parts.items() if n in _keeping(query)}

    def narrow(self, node: Node, needed: Iterable[int]) -> tuple[Node, Moves]:
        """`node` with (at least) the columns `needed`, and where they are now."""
        want = tuple(sorted({*needed, *self._wide.get(id(node), ())}))
        if (id(node), want) not in self._done:
            self._done[id(node), want] = self._narrowed(node, [*want])
        return self._done[id(node), want]

    def _narrowed(self, node: Node, want: list[int]) -> tuple[Node, Moves]:
        match node:
            case Project():
                return self._project(node, want)
            case Filter():
                source, moves = self.narrow(node.input, {*want, *columns_of(node.predicate)})
                kept = Filter(source.schema, source, remap(node.predicate, moves), span=node.span)
                return kept, moves
            case Join():
                return self._join(node, want)
            case AsofJoin():
                return self._asof_join(node, want)
            case Aggregate():
                return self._aggregate(node, want)
            case Unnest():
                return self._unnest(node, want)
            case Window():
                return self._window(node, want)
            case Session():
                return self._session(node, want)
            case Distinct() | TopK():
                source, moves = self.narrow(node.input, range(len(node.schema)))
                assert moves == _same(len(node.schema)), (
                    "all columns of a whole-row node are needed"
                )
                return replace(node, schema=source.schema, input=source), moves
            case UnionAll():
                return self._union(node, want)
            case Difference():
                whole = range(len(node.schema))
                left, right = (
                    self._exactly(node.left, [*whole]),
                    self._exactly(node.right, [*whole]),
                )
                return replace(node, left=left, right=right), _same(len(whole))
            case Hop():
                return self._hop(node, want)
            case Frontier():
                return self._frontier(node, want)
            case Scan():
                return self._scan(node, want)
            case Values() | Line() | LateRows():
                return _cut(node, want)
        raise AssertionError(type(node).__name__)

    def _scan(self, node: Scan, want: list[int]) -> tuple[Node, Moves]:
        self.read.setdefault(node.relation, set()).update(want)
        left = self._kept.get(node.relation)
        if left is None:
            return _cut(node, want)
        place = {c: i for i, c in enumerate(left)}
        scan = replace(node, schema=_pick(node.schema, left))
        kept, moves = _cut(scan, [place[c] for c in want])
        return kept, {c: moves[place[c]] for c in want}

    def _exactly(self, node: Node, want: list[int]) -> Node:
        """`node` with the columns `want` in that order and no others."""
        source, moves = self.narrow(node, want)
        if [moves[c] for c in want] == list(range(len(source.schema))):
            return source
        return _cut(source, [moves[c] for c in want])[0]

    def _project(self, node: Project, want: list[int]) -> tuple[Node, Moves]:
        exprs = [node.exprs[i] for i in want]
        source, moves = self.narrow(node.input, {c for e in exprs for c in columns_of(e)})
        moved = tuple(remap(e, moves) for e in exprs)
        kept = Project(_pick(node.schema, want), source, moved, span=node.span)
        return kept, {c: i for i, c in enumerate(want)}

    def _join(self, node: Join, want: list[int]) -> tuple[Node, Moves]:
        width = len(node.left.schema)
        if _only_adds_the_time(node) and all(c < width for c in want):
            return self.narrow(node.left, want)
        needed = {*want, *(columns_of(node.residual) if node.residual is not None else ())}
        left = {c for c in needed if c < width} | {a for a, _ in node.keys}
        right = {c - width for c in needed if c >= width} | {b for _, b in node.keys}
        new_left, left_moves = self._narrow_input(node.left, left)
        new_right, right_moves = self._narrow_input(node.right, right)
        new_width = len(new_left.schema)
        moves = dict(left_moves) | {c + width: i + new_width for c, i in right_moves.items()}
        half = node.kind in (JoinKind.SEMI, JoinKind.ANTI)
        visible = {c: i for c, i in moves.items() if not half or c < width}
        back = {i: c for c, i in visible.items()}
        fields = tuple(node.schema.fields[back[i]] for i in sorted(back))
        residual = node.residual and remap(node.residual, moves)
        keys = tuple((left_moves[a], right_moves[b]) for a, b in node.keys)
        kept = Join(
            Schema(fields), node.kind, new_left, new_right, keys, node.null_safe, residual,
            span=node.span,
        )  # fmt: skip
        return kept, visible

    def _asof_join(self, node: AsofJoin, want: list[int]) -> tuple[Node, Moves]:
        width, right = len(node.left.schema), len(node.right.schema)
        left = {c for c in want if c < width} | {a for a, _ in node.keys} | {node.times[0]}
        new_left, moves = self._narrow_input(node.left, left)
        new_width = len(new_left.schema)
        # the greatest of the latest rows is told by all columns
        new_right = self._exactly(node.right, [*range(right)])
        columns = [*sorted(moves), *range(width, width + right)]
        kept = replace(
            node,
            schema=_pick(node.schema, columns),
            left=new_left,
            right=new_right,
            keys=tuple((moves[a], b) for a, b in node.keys),
            times=(moves[node.times[0]], node.times[1]),
        )
        return kept, moves | {width + i: new_width + i for i in range(right)}

    def _narrow_input(self, node: Node, needed: set[int]) -> tuple[Node, Moves]:
        """An input of a stateful node: exactly the columns it needs, whatever is below."""
        want = sorted(needed)
        return self._exactly(node, want), {c: i for i, c in enumerate(want)}

    def _aggregate(self, node: Aggregate, want: list[int]) -> tuple[Node, Moves]:
        groups = len(node.keys)
        kept_calls = [i for i in range(len(node.calls)) if groups + i in want]
        calls = [node.calls[i] for i in kept_calls]
        needed = set(node.keys)
        for call in calls:
            needed |= set(call.columns)
        source, moves = self._narrow_input(node.input, needed)
        columns = [*range(groups), *(groups + i for i in kept_calls)]
        kept = Aggregate(
            _pick(node.schema, columns),
            source,
            tuple(moves[k] for k in node.keys),
            tuple(call.moved(moves.__getitem__) for call in calls),
            span=node.span,
        )
        return kept, {c: i for i, c in enumerate(columns)}

    def _frontier(self, node: Frontier, want: list[int]) -> tuple[Node, Moves]:
        width = len(node.input.schema)
        source, moves = self._narrow_input(node.input, {*want, node.column})
        bound, _ = self._narrow_input(node.bound, {0})
        predicate = remap(node.predicate, {**moves, width: len(source.schema)})
        kept = replace(
            node, schema=source.schema, input=source, bound=bound, column=moves[node.column],
            predicate=predicate,
        )  # fmt: skip
        return kept, moves

    def _hop(self, node: Hop, want: list[int]) -> tuple[Node, Moves]:
        width = len(node.input.schema)
        source, moves = self.narrow(node.input, {*(c for c in want if c < width), node.column})
        windows = {width + i: len(source.schema) + i for i in range(2)}
        fields = (*source.schema.fields, *node.schema.fields[width:])
        kept = replace(node, schema=Schema(fields), input=source, column=moves[node.column])
        return kept, {**moves, **windows}

    def _session(self, node: Session, want: list[int]) -> tuple[Node, Moves]:
        width = len(node.input.schema)
        if all(c < width for c in want):
            return self.narrow(node.input, want)
        needed = {*(c for c in want if c < width), *node.partition, node.time}
        source, moves = self._narrow_input(node.input, needed)
        bounds = {width + i: len(source.schema) + i for i in range(2)}
        kept = replace(
            node,
            schema=Schema((*source.schema.fields, *node.schema.fields[width:])),
            input=source,
            partition=tuple(moves[p] for p in node.partition),
            time=moves[node.time],
        )
        return kept, {**moves, **bounds}

    def _unnest(self, node: Unnest, want: list[int]) -> tuple[Node, Moves]:
        width = len(node.keep)
        kept = [i for i in range(width) if i in want]
        source, moves = self.narrow(node.input, {node.column, *(node.keep[i] for i in kept)})
        columns = [*kept, *range(width, len(node.schema))]
        keep = tuple(moves[node.keep[i]] for i in kept)
        cut = replace(
            node,
            schema=_pick(node.schema, columns),
            input=source,
            column=moves[node.column],
            keep=keep,
        )
        return cut, {c: i for i, c in enumerate(columns)}

    def _window(self, node: Window, want: list[int]) -> tuple[Node, Moves]:
        width = len(node.input.schema)
        kept_calls = [i for i in range(len(node.calls)) if width + i in want]
        if not kept_calls:
            return self.narrow(node.input, want)
        calls = [node.calls[i] for i in kept_calls]
        if any(call.by_row for call in calls):
            columns = list(range(width))  # ties are broken by all of them
        else:
            read = {
                *node.partition,
                *(k.column for k in node.order),
                *(a for c in calls for a in c.args),
            }
            columns = sorted({*read, *(c for c in want if c < width)})
        source = self._exactly(node.input, columns)
        moves = {c: i for i, c in enumerate(columns)}
        kept = replace(
            node,
            schema=_pick(node.schema, [*columns, *(width + i for i in kept_calls)]),
            input=source,
            partition=tuple(moves[c] for c in node.partition),
            order=tuple(replace(k, column=moves[k.column]) for k in node.order),
            calls=tuple(replace(c, args=tuple(moves[a] for a in c.args)) for c in calls),
        )
        return kept, moves | {width + i: len(columns) + j for j, i in enumerate(kept_calls)}

    def _union(self, node: UnionAll, want: list[int]) -> tuple[Node, Moves]:
        branches = tuple(self._exactly(branch, want) for branch in node.inputs)
        kept = UnionAll(_pick(node.schema, want), branches, span=node.span)
        return kept, {c: i for i, c in enumerate(want)}
