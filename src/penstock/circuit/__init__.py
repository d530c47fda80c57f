"""Room `circuit`: incremental operators and the graph that steps them.

`Circuit` is the door. `compile` builds one with the methods below and the pipeline steps it;
every operator lives in its own file under `ops/`.

Builder (each returns a `Stream`, a handle with `.schema`; `keys` etc. are column positions):

    source(name, schema, key=())                 a table; key: PRIMARY KEY positions → upsert
    map(stream, fn, schema, meaning)             fn: Callable[[Batch], Batch], row-wise, stateless;
                                                 meaning: what tells functions apart (fingerprints)
    join(left, right, keys, null_safe, kind, residual, schema, meaning)
                                                 kind: "inner" "left" "right" "full" "semi" "anti";
                                                 residual: None or Callable[[Batch], mask uint8[n]]
    range_join(left, right, bounds, residual, schema, meaning)
    aggregate(stream, keys, calls, schema)       calls: AggregateSpec
    distinct(stream)
    union(streams)                               multiset union
    negate(stream)
    topk(stream, partition, order, limit, offset)
                                                 order: Order
    window(stream, partition, order, calls, schema)
                                                 calls: WindowSpec; the input's columns, then
                                                 one a call
    constant(batch)                              rows present from the first step on
    sink(name, stream, materialized)             a named output; materialized keeps its integral

Running:

    step(inputs: Mapping[str, Sequence[InputBatch]]) -> Mapping[str, Batch]
        one pass; returns the consolidated delta of every sink (empty batches included as length 0);
        the first step also emits constants and aggregates without keys, whatever its input
    snapshot(name) -> Snapshot
        the integral of a materialized sink (or keyed/materialized source) as of the last step:
        an immutable handle, O(1) to take, that later steps do not change.
        Snapshot.rows (total multiplicity), Snapshot.chunks(max_rows) -> Iterator[Batch]
        (consolidated, weights > 0), Snapshot.batch() -> Batch

    capture() -> Captured; Captured.write(store) -> manifest; restore(store, manifest)
        the state after the last step, pinned in O(what changed), written in any thread and read
        back into a freshly built circuit (see `circuit.saving`)
    bootstrap(store, manifest) -> contents of changed outputs; difference(manifest)
        the same for a changed program (see `circuit.bootstrap`); `fingerprints` say what stays

    stats() -> list[NodeStats]
        per node its name and inputs, rows in and out so far, rows of state, and the seconds it
        took if `measure(clock)` was called before the first step

A step that raises leaves the circuit unusable (the pipeline stops); it never returns a part.
"""

from __future__ import annotations

from penstock.circuit.graph import Circuit, NodeStats, Stream
from penstock.circuit.spec import AggregateSpec, Frame, Order, WindowSpec

__all__ = ["AggregateSpec", "Circuit", "Frame", "NodeStats", "Order", "Stream", "WindowSpec"]
