"""The graph of operators and one pass through it.

    source ──► map ──► arrange ──► join ──► aggregate ──► sink
                       source ──► arrange ──┘

Nodes are appended in topological order, because a node can only be built from streams that
exist already. A step visits them once (in which thread: `penstock.circuit.schedule`) and skips
every node none of whose inputs changed, so that a small step costs what it touches.

Invariants:
* a node's `delta` is None or non-empty, and only within a step;
* state that a step reads as "before" is brought up to date in `commit`, after all nodes ran.

Cost: about 0.2 µs per skipped node; a node that runs costs its kernels.

Not here: what the operators do (`penstock.circuit.ops`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.circuit.arrange import Arrange
from penstock.circuit.band import Band
from penstock.circuit.best import BestOf
from penstock.circuit.beyond import expiries_of, passed_of, window_operators
from penstock.circuit.bootstrap import Bootstrap, Difference
from penstock.circuit.ends import Ends
from penstock.circuit.expiry import Expiry
from penstock.circuit.node import Node
from penstock.circuit.ops.aggregate import Aggregate
from penstock.circuit.ops.asof import AsofJoin
from penstock.circuit.ops.constant import Constant
from penstock.circuit.ops.distinct import Distinct, Positive
from penstock.circuit.ops.enforced import Enforced
from penstock.circuit.ops.fixpoint import Fixpoint, FixpointOutput
from penstock.circuit.ops.flatmap import FlatMap
from penstock.circuit.ops.frontier import Frontier
from penstock.circuit.ops.intersection import Intersection
from penstock.circuit.ops.join import Join, Residual
from penstock.circuit.ops.lines import Late, Line
from penstock.circuit.ops.map import Map
from penstock.circuit.ops.negate import Negate
from penstock.circuit.ops.partnered import Partnered
from penstock.circuit.ops.range_join import OrderedArrange, RangeJoin
from penstock.circuit.ops.session import Session
from penstock.circuit.ops.session_totals import SessionTotals
from penstock.circuit.ops.sink import Sink, StepChanges
from penstock.circuit.ops.source import Inlet, KeyedSource, Source
from penstock.circuit.ops.topk import TopK
from penstock.circuit.ops.union import Union
from penstock.circuit.saving import VERSION, Captured, captured, fingerprints
from penstock.circuit.schedule import Schedule
from penstock.circuit.spec import AggregateSpec, Bound, Order, Told, WindowSpec
from penstock.circuit.waterline import Bounds, Punctual, Value
from penstock.data.batch import Batch, InputBatch
from penstock.data.types import Field, Schema
from penstock.errors import Conflict, RuntimeSqlError
from penstock.state.snapshot import Snapshot
from penstock.state.spill import Spill
from penstock.state.spine import Spine
from penstock.state.storage import StateStore

if TYPE_CHECKING:
    from penstock.circuit.unrolled import Unrolled

#: operators that LATENESS lets forget rows
_FORGETFUL = (
    Join | AsofJoin | Partnered | Aggregate | Positive | Intersection | TopK | Session
    | FixpointOutput
)  # fmt: skip

#: every so many steps it is asked of each spine whether something waits to be merged that no rows
#: come to: a step in which nothing runs takes less time than the question
TENDED_STEPS = 32


@dataclass(frozen=True, slots=True)
class Stream:
    """A handle on one node's output, good for building on."""

    node: Node

    @property
    def schema(self) -> Schema:
        return self.node.schema


@dataclass(frozen=True, slots=True)
class NodeStats:
    """Traffic of one node since the circuit was built, the rows that it keeps, and the seconds
    that it took if they are measured."""

    name: str
    inputs: tuple[str, ...]
    seconds: float
    rows_in: int
    rows_out: int
    state_rows: int


class Circuit:
    """Builds the graph, steps it and hands out snapshots. Used from one thread.

    Snapshots may be read from any thread: later steps do not change them.
    """

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._sources: dict[str, Source | KeyedSource] = {}
        self._inlets: dict[str, Inlet] = {}
        self._sinks: dict[str, Sink] = {}
        self._arranged: dict[tuple[int, tuple[int, ...], tuple[bool, ...]], list[Arrange]] = {}
        #: line, what it lets expire, by which column, how far from the line
        self._expiring: list[tuple[Node, Expiry, int, int]] = []
        #: the operators of a window, by the one that shows it
        self._windows: dict[Node, tuple[Node, ...]] = {}
        self._fixpoints: list[Fixpoint] = []
        self._steps = 0
        self._failed = False
        self._known: Mapping[Node, str] = {}
        self._spill: Spill | None = None
        #: of all nodes, once it is stepped
        self._spines: Sequence[Spine] = ()
        self._schedule: Schedule | None = None

    # Building ------------------------------------------------------------------------------

    def source(
        self, name: str, schema: Schema, key: Sequence[int] = (), lateness: Bounds = ()
    ) -> Stream:
        """A table. `key`: its PRIMARY KEY's column positions; rows are then upserts. `lateness`:
        see `waterline`."""
        assert name not in self._sources, f"table {name!r} is there already"
        node = KeyedSource(schema, tuple(key), lateness) if key else Source(schema)
        self._sources[name] = node
        stream = self._add(node, f"source {name}")
        return self.punctual(stream, lateness) if lateness and not key else stream

    def punctual(self, stream: Stream, lateness: Bounds) -> Stream:
        """Without the rows that come too late (see `waterline`)."""
        return self._add(Punctual(stream.node, lateness))

    def enforced(self, stream: Stream, table: str) -> Stream:
        """The rows of a table, none of which may be there less than zero times."""
        return self._add(Enforced(stream.node, table))

    def line(
        self, stream: Stream, column: int, behind: Value, schema: Schema, lag: int = 0
    ) -> Stream:
        """One row: the largest value of `column` so far, less `behind` (see `ops.lines`)."""
        return self._add(Line(stream.node, column, behind, schema, lag))

    def late(self, stream: Stream) -> Stream:
        """The records that a table or a `punctual` stream found late."""
        assert isinstance(stream.node, Punctual | KeyedSource), "nothing is late here"
        return self._add(Late(stream.node))

    def inlet(self, name: str, schema: Schema) -> Stream:
        """A stream of another circuit, fed as batches (see `ops.fixpoint`)."""
        assert name not in self._inlets, f"inlet {name!r} is there already"
        self._inlets[name] = node = Inlet(schema)
        return self._add(node, f"inlet {name}")

    def map(
        self,
        stream: Stream,
        fn: Callable[[Batch], Batch],
        schema: Schema,
        meaning: Any = None,
    ) -> Stream:
        """`fn` on every delta: any function of single rows (it may also drop rows). `meaning`: a
        value that tells functions apart (see `penstock.data.identity`)."""
        return self._add(Map(stream.node, fn, schema, meaning))

    def flat_map(
        self,
        stream: Stream,
        column: int,
        keep: tuple[int, ...],
        ordinality: bool,
        schema: Schema,
    ) -> Stream:
        """A row per element of the nested values in `column` (see `ops.flatmap`)."""
        return self._add(FlatMap(stream.node, column, keep, ordinality, schema))

    def join(
        self,
        left: Stream,
        right: Stream,
        keys: Sequence[tuple[int, int]],
        null_safe: Sequence[bool],
        kind: str,
        residual: Residual | None,
        schema: Schema,
        meaning: Any = None,
        bounds: tuple[Bound, ...] = (),
        *,
        has_one_partner: bool = False,
        differing: tuple[int, int] | None = None,
    ) -> Stream:
        """Equi-join with optional residual; no keys at all: every pair (see `ops.join`).
        `meaning`: a value that tells residuals apart. `bounds`: what all pairs that are wanted
        pass, as the residual says or who reads them. `has_one_partner`: of a semi or anti join
        whose residual is the one bound, the right side has no more than one row a key.
        `differing`: of a semi or anti join, what all its residual says of differs, of either side;
        the right one is never NULL."""
        safe = tuple(null_safe) or (False,) * len(keys)
        band = Band(bounds) if bounds else None
        columns = (differing or (None, None)) if band is None else band.columns
        arranged = (
            self._arrange(left.node, tuple(k for k, _ in keys), safe, columns[0]),
            self._arrange(right.node, tuple(k for _, k in keys), safe, columns[1]),
        )
        join = Join(*arranged, kind, residual, schema, meaning, band)
        join.has_one_partner = has_one_partner
        join.ends = None if differing is None else Ends(*differing)
        return self._add(join)

    def range_join(
        self,
        left: Stream,
        right: Stream,
        bounds: tuple[Bound, ...],
        residual: Residual | None,
        schema: Schema,
        meaning: Any = None,
    ) -> Stream:
        """Pairs within `bounds` that pass the residual (see `ops.range_join`)."""
        a, b = Band(bounds).columns
        sides = self._ordered(left.node, a), self._ordered(right.node, b)
        return self._add(RangeJoin(*sides, residual, schema, bounds, meaning))

    def partnered(self, rows: Stream, others: Stream, *, paired: bool) -> Stream:
        """The rows that are among the others (`paired`), or that are not: all columns are equal,
        NULL equals NULL (see `ops.partnered`)."""
        return self._add(Partnered(rows.node, others.node, paired=paired))

    def asof_join(
        self,
        left: Stream,
        right: Stream,
        keys: Sequence[tuple[int, int]],
        times: tuple[int, int],
        schema: Schema,
        *,
        forward: bool = False,
        strict: bool = False,
        least: bool = False,
        inner: bool = False,
    ) -> Stream:
        """Each left row beside the latest right row that is not later (see `ops.asof`)."""
        how = forward, strict, least, inner
        return self._add(AsofJoin(left.node, right.node, tuple(keys), times, schema, *how))

    def aggregate(
        self,
        stream: Stream,
        keys: Sequence[int],
        calls: Sequence[AggregateSpec],
        schema: Schema,
        told: Told | None = None,
    ) -> Stream:
        """One row per group; without keys one row in all, from the first step on."""
        return self._add(Aggregate(stream.node, tuple(keys), tuple(calls), schema, told))

    def distinct(self, stream: Stream) -> Stream:
        return self._add(Distinct(stream.node))

    def union(self, streams: Sequence[Stream], schema: Schema | None = None) -> Stream:
        """Multiset union, by position; `schema` defaults to the first stream's."""
        return self._add(Union(tuple(s.node for s in streams), schema or streams[0].schema))

    def negate(self, stream: Stream) -> Stream:
        return self._add(Negate(stream.node))

    def positive(self, stream: Stream) -> Stream:
        """Each row as often as its weight is positive: of a difference, what is left over."""
        return self._add(Positive(stream.node))

    def intersection(self, left: Stream, right: Stream, schema: Schema) -> Stream:
        """Each row, of `schema`, as often as both streams have it; NULL equals NULL."""
        return self._add(Intersection(left.node, right.node, schema))

    def topk(
        self,
        stream: Stream,
        partition: Sequence[int],
        order: Sequence[Order],
        limit: int | None,
        offset: int = 0,
        ranks: str = "ROW_NUMBER",
        numbered: Schema | None = None,
    ) -> Stream:
        """Rows offset .. offset+limit of every partition in `order`, ties by the other columns;
        with `ranks` RANK or DENSE_RANK the rows of such a rank up to `limit`. `numbered`: the
        schema with a column more, which holds each row's ROW_NUMBER (without an offset)."""
        node = TopK(stream.node, tuple(partition), tuple(order), limit, offset, ranks, numbered)
        return self._add(node)

    def frontier(
        self,
        stream: Stream,
        bound: Stream,
        column: int,
        op: str,
        predicate: Residual,
        *,
        rises: bool,
        marks: Field | None = None,
    ) -> Stream:
        """Rows whose `column` compares with the one value of `bound` (see `ops.frontier`), or all
        rows, with that as the column `marks`."""
        node = Frontier(stream.node, bound.node, column, op, rises, predicate, marks)
        return self._add(node)

    def expire(self, stream: Stream, side: int, column: int, line: Stream, shift: int = 0) -> None:
        """What `stream`'s operator remembers of rows of its input `side` whose `column` is less
        than the value of `line` and `shift` is never asked for again (see `expiry`)."""
        self.expire_by(self.expiries(stream, side, column), line, shift)

    def expire_by(
        self, expiries: Sequence[tuple[Expiry, int]], line: Stream, shift: int = 0
    ) -> None:
        """The same of operators of this circuit or of one in it, as that one's `expiries` say."""
        self._expiring += ((line.node, expiry, column, shift) for expiry, column in expiries)

    def expiries(self, stream: Stream, side: int, column: int) -> list[tuple[Expiry, int]]:
        """What lets `stream`'s operator forget rows of its input `side` by their `column`, and by
        which column of what it keeps."""
        node = stream.node
        if node in self._windows:
            return list(expiries_of(self._windows[node], column))
        assert isinstance(node, _FORGETFUL), "it forgets nothing"
        if isinstance(node, Join | AsofJoin | Partnered):
            return [(node.expiries[side], column)]
        return [(node.expiry, column)]

    def passes(self, stream: Stream) -> bool:
        """Whether `stream`'s operator keeps rows in order of which changes see the nearest only."""
        return any(True for _ in self._passed(stream.node, 0))

    def expire_passed(self, stream: Stream, column: int, line: Stream) -> None:
        """The same of rows whose `column`, the first of the operator's order, is less than the
        value of `line`, but for the nearest to where changes come (see `passed`)."""
        for expiry, own, shift in self._passed(stream.node, column):
            self._expiring.append((line.node, expiry, own, shift))

    def _passed(self, node: Node, column: int) -> Iterator[tuple[Expiry, int, int]]:
        if isinstance(node, AsofJoin):
            yield node.passed.expiry, column, 0
        yield from passed_of(self._windows.get(node, ()), column)

    def fixpoint(
        self,
        sources: Mapping[str, Stream],
        members: Mapping[str, Schema],
        body: Circuit,
        *,
        monotone: bool,
        taking: frozenset[str],
        rounds: int,
        unroll: Callable[[int], Unrolled],
        most_rows: int,
        best: Mapping[str, BestOf],
    ) -> dict[str, Stream]:
        """Recursive relations by name; `body` computes their queries (see `ops.fixpoint`)."""
        inputs = {name: stream.node for name, stream in sources.items()}
        node = Fixpoint(inputs, members, body, monotone, rounds, taking, unroll, most_rows, best)
        self._add(node)
        self._fixpoints.append(node)
        shown = {n: Schema(s.fields[:-1]) if monotone else s for n, s in members.items()}
        return {n: self._add(FixpointOutput(node, n, s)) for n, s in shown.items()}

    def window(
        self,
        stream: Stream,
        partition: Sequence[int],
        order: Sequence[Order],
        calls: Sequence[WindowSpec],
        schema: Schema,
        told: Told | None = None,
    ) -> Stream:
        """The rows with a column more for each of `calls`, over their partition in `order`."""
        nodes = window_operators(
            stream.node, tuple(partition), tuple(order), tuple(calls), schema, told
        )
        for node in nodes:
            found = self._add(node)
        self._windows[found.node] = nodes
        return found

    def session(
        self,
        stream: Stream,
        partition: Sequence[int],
        time: int,
        gap: int,
        schema: Schema,
        told: Callable[[RuntimeSqlError, Batch], Exception] | None = None,
    ) -> Stream:
        """The rows with the first time and the end of their session (see `ops.session`)."""
        return self._add(Session(stream.node, tuple(partition), time, gap, schema, told))

    def session_totals(
        self,
        stream: Stream,
        partition: Sequence[int],
        time: int,
        gap: int,
        end: int,
        shown: Sequence[int],
        calls: Sequence[WindowSpec],
        schema: Schema,
        told: Told | None = None,
        told_row: Callable[[RuntimeSqlError, Batch], Exception] | None = None,
    ) -> Stream:
        """A row for each session with what its rows come to (see `ops.session_totals`)."""
        return self._add(
            SessionTotals(
                stream.node, tuple(partition), time, gap, end, tuple(shown), tuple(calls), schema,
                told, told_row,
            )
        )  # fmt: skip

    def constant(self, batch: Batch) -> Stream:
        """Rows that are there from the first step on."""
        return self._add(Constant(batch))

    def sink(self, name: str, stream: Stream, materialized: bool = False) -> None:
        """A named output; a materialized one can be asked for its snapshot."""
        assert name not in self._sinks, f"output {name!r} is there already"
        node = Sink(stream.node, name, materialized)
        self._sinks[name] = node
        self._add(node, f"sink {name}")

    def _arrange(
        self,
        node: Node,
        key: tuple[int, ...],
        null_safe: tuple[bool, ...],
        column: int | None = None,
    ) -> Arrange:
        """The integral of `node` by `key`, shared by everyone who asks for the same. `column`: by
        which a reader wants parts of a key's rows."""
        types = node.schema.types
        # NULL = NULL is only a question where there can be a NULL
        safe = tuple(s or not types[k].nullable for k, s in zip(key, null_safe, strict=True))
        shared = self._arranged.setdefault((id(node), key, safe), [])
        for arrange in shared:
            if column is None or arrange.band_column in (None, column):
                break
        else:
            arrange = Arrange(node, key, safe)
            self._add(arrange)
            shared.append(arrange)
        if column is not None:
            arrange.find_in_bands(column)
        return arrange

    def _ordered(self, node: Node, column: int) -> OrderedArrange:
        arrange = OrderedArrange(node, column)
        self._add(arrange)
        return arrange

    def _add(self, node: Node, name: str = "") -> Stream:
        assert self._steps == 0, "the circuit has been stepped; it cannot grow any more"
        node.name = name or f"{type(node).__name__.lower()} {len(self._nodes)}"
        self._nodes.append(node)
        return Stream(node)

    # Running -------------------------------------------------------------------------------

    def step(
        self, inputs: Mapping[str, Sequence[InputBatch]] | Mapping[str, Sequence[Batch]]
    ) -> Mapping[str, Batch]:
        """One pass: the consolidated change of every sink, empty ones included (each when it is
        looked at).

        The first step also emits constants and the rows of aggregates without keys, so it is
        worth taking even without input. Raises what an operator raises (RuntimeSqlError); the
        circuit cannot be stepped any more after that.
        """
        if self._failed:
            raise RuntimeError("an earlier step failed; the circuit's state is not to be trusted")
        self._failed = True
        rows = 0
        for name, batches in inputs.items():
            source: Any = self._sources.get(name) or self._inlets[name]
            source.feed(batches)
            rows += sum(map(len, batches))
        if self._schedule is None:
            self._schedule = Schedule(self._nodes)
        if not self._spines:
            self._spines = self._all_spines()
            if not self._steps:
                for turn, spine in enumerate(self._spines):
                    spine.stagger(turn)
        ran = self._schedule.run(rows)
        changes = StepChanges({name: sink.change() for name, sink in self._sinks.items()})
        for line, expiry, column, shift in self._expiring:
            if line.delta is not None:
                expiry.advance(column, line.delta, shift)
        self._schedule.commit(ran, rows)
        self._steps += 1
        if not self._steps % TENDED_STEPS:
            for spine in self._spines:
                if spine.wants_tending:
                    spine.tend()
        if self._spill is not None:
            self._spill.tend()
        self._failed = False
        return changes

    def tend(self) -> bool:
        """Between two steps, when there is nothing else to do: merge what waits for more rows to be
        merged with, so that looking into it costs less. Whether some of that is under way, in the
        background; who has still nothing to do comes again. Raises OSError if the disk fails."""
        under_way = [spine.tend(is_idle=True) for spine in self._spines]
        if self._spill is not None:
            self._spill.tend()
        return any(under_way)

    def snapshot(self, name: str) -> Snapshot:
        """The rows of a materialized sink, or of a table with a key, as of the last step.

        Raises KeyError for a name that has no integral.
        """
        sink = self._sinks.get(name)
        if sink is not None and sink.integral is not None:
            return sink.integral.snapshot()
        source = self._sources.get(name)
        if isinstance(source, KeyedSource):
            return source.integral.snapshot()
        raise KeyError(name)

    # Saving (see `penstock.circuit.saving`) -----------------------------------------------------

    def capture(self) -> Captured:
        """The state after the last step, pinned: between two steps, like a snapshot. Cost: what
        changed since the last capture, no disk."""
        assert not self._failed, "a step failed; there is no state after it"
        known = self._fingerprints()
        return Captured(self._steps, [captured(n, known[n]) for n in self._nodes])

    def restore(self, store: StateStore, saved: Mapping[str, Any]) -> None:
        """Go on where the circuit was that wrote the manifest `saved` to `store`; before the first
        step. Raises StateCorrupt, and Conflict if that circuit was another (`bootstrap` then)."""
        missing = self.difference(saved).missing
        if missing:
            raise Conflict(
                f"the saved state is of another program: it has nothing for {', '.join(missing)}",
                code="ProgramChanged",
                details={"missing": list(missing)},
            )
        self.bootstrap(store, saved)

    def bootstrap(self, store: StateStore, saved: Mapping[str, Any]) -> Mapping[str, Batch]:
        """The same for a circuit that may differ: nodes that `saved` has nothing for are computed
        from the tables (see `penstock.circuit.bootstrap`).

        Returns the full contents of the outputs that are new or changed; the others are where
        they were and emit nothing. Raises UserError if a table's contents are not known."""
        assert self._steps == 0, "a circuit takes up state before its first step"
        self._failed = True
        contents = self._left_by(saved).run(store)
        self._steps = saved["steps"]
        self._failed = False
        return contents

    def difference(self, saved: Mapping[str, Any]) -> Difference:
        """What `bootstrap` would find and do. Raises Conflict for state of another version."""
        return self._left_by(saved).difference()

    def _left_by(self, saved: Mapping[str, Any]) -> Bootstrap:
        if saved["version"] != VERSION:
            raise Conflict(
                f"the saved state has version {saved['version']}, this release reads {VERSION}: "
                "clear the pipeline's storage, or start the release that wrote it",
                code="StateVersion",
                details={"saved": saved["version"], "read": VERSION},
            )
        known = self._fingerprints()
        by_node = {n: saved["nodes"].get(known[n]) for n in self._nodes}
        return Bootstrap(self._nodes, by_node, {n: name for name, n in self._sources.items()})

    def spill_to(self, store: StateStore, budget: int) -> None:
        """Keep at most about `budget` bytes of runs in memory, the others in files of `store`
        (see `penstock.state.spill`). Nobody else has to know those files: the next checkpoint
        names those it needs, and one that is removed meanwhile lives as long as it is used."""
        self._spill = Spill(store, budget, self._all_spines())

    def _all_spines(self) -> list[Spine]:
        return [p for n in self._nodes for p in n.parts().values() if isinstance(p, Spine)]

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Node name → what it computes, hashed: equal across processes for equal sub-plans."""
        return {n.name: p for n, p in self._fingerprints().items()}

    def _fingerprints(self) -> Mapping[Node, str]:
        if len(self._known) != len(self._nodes):
            self._known = fingerprints(self._nodes)
        return self._known

    @property
    def nodes(self) -> Sequence[Node]:
        """In topological order."""
        return self._nodes

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self._steps

    @property
    def late_records(self) -> int:
        """Records that came too late and were dropped (LATENESS)."""
        return sum(n.late_records for n in self._nodes)

    def warnings(self) -> list[str]:
        """What whoever runs the circuit should know and has not been told, in words."""
        found = []
        for node in self._fixpoints:
            found += node.warnings
            node.warnings.clear()
        return found

    def stats(self) -> list[NodeStats]:
        """One entry per node, in topological order."""
        return [
            NodeStats(
                n.name, tuple(i.name for i in n.inputs), n.seconds, n.rows_in, n.rows_out,
                n.state_rows(),
            )
            for n in self._nodes
        ]  # fmt: skip

    def measure(self, clock: Callable[[], float]) -> None:
        """Note from the first step on how long each node takes, in seconds of `clock`."""
        assert self._schedule is None, "the circuit has been stepped"
        self._schedule = Schedule(self._nodes, clock)
