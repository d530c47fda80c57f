"""Windows of time (TUMBLE, HOP): a function of single rows that copies them.

    time 12:07, size 10 min, slide 5 min     ──►     window 12:00 – 12:10, window 12:05 – 12:15

Rows of one pane (the time between two slides) fall into the same windows. Who does not look at
the time itself gets equal rows of a pane as one, with their weights added, before it is copied:

    auction 7, 12:06   ┐
    auction 7, 12:07   ┴►   auction 7, pane 12:05 (weight 2)   ──►   two windows (weight 2 each)

Cost: O(rows · windows a row falls in); by panes O(rows + different rows · windows).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from penstock.data.batch import Batch, Column
from penstock.data.consolidate import consolidate
from penstock.data.gather import take, take_column
from penstock.data.types import Schema
from penstock.plan.expressions import InputRef
from penstock.plan.nodes import Aggregate, Hop, Project


def hop(node: Hop) -> Callable[[Batch], Batch]:
    """The rows of `node` from those of its input. Integers of µs; floor towards the past."""
    size, slide, offset = node.size, node.slide, node.offset
    copies = -(-size // slide)
    schema = node.schema
    types = schema.types[-2:]

    def windows(batch: Batch) -> Batch:
        time = batch.columns[node.column]
        known = np.arange(len(batch)) if time.valid is None else np.flatnonzero(time.valid)
        τ = time.values if len(known) == len(batch) else time.values[known]
        latest = (τ - offset) // slide * slide + offset
        if copies == 1 and len(known) == len(batch) and (latest + size > τ).all():
            ends = (Column(types[0], latest), Column(types[1], latest + size))
            return Batch(schema, (*batch.columns, *ends), batch.weights)
        back = np.arange(copies, dtype=np.int64) * slide
        start = (latest[:, None] - back).reshape(-1)
        at = np.repeat(known, copies)
        inside = start + size > np.repeat(τ, copies)
        if not inside.all():
            at, start = at[inside], start[inside]
        rows = take(batch, at)
        ends = (Column(types[0], start), Column(types[1], start + size))
        return Batch(schema, (*rows.columns, *ends), rows.weights)

    return windows


def counted_by_pane(node: Aggregate) -> Project | None:
    """The input of `node` if its rows can be added up by pane and it is worth it: columns picked
    from sliding windows, all of them group keys, so that many rows are equal."""
    picked = node.input
    if not isinstance(picked, Project) or not isinstance(picked.input, Hop):
        return None
    hop, exprs = picked.input, picked.exprs
    if hop.size <= hop.slide or hop.size % hop.slide:
        return None
    columns = {e.index for e in exprs if isinstance(e, InputRef)}
    if not all(isinstance(e, InputRef) for e in exprs) or hop.column in columns:
        return None
    return picked if set(node.keys) == set(range(len(exprs))) else None


def hop_by_pane(node: Hop, picked: Sequence[int], schema: Schema) -> Callable[[Batch], Batch]:
    """Columns `picked` of the rows of `node`, without its time, equal rows of a pane as one."""
    copies = node.size // node.slide
    width = len(node.schema) - 2
    below = sorted({i for i in picked if i < width})
    start_type = node.schema.types[width]
    fields = (*(node.schema.fields[i] for i in below), node.schema.fields[width])
    panes = Schema(fields)

    def windows(batch: Batch) -> Batch:
        time = batch.columns[node.column]
        if time.valid is not None and not time.valid.all():
            batch = take(batch, np.flatnonzero(time.valid))
            time = batch.columns[node.column]
        latest = (time.values - node.offset) // node.slide * node.slide + node.offset
        kept = (*(batch.columns[i] for i in below), Column(start_type, latest))
        pane = consolidate(Batch(panes, kept, batch.weights))
        at = np.repeat(np.arange(len(pane)), copies)
        back = np.arange(copies, dtype=np.int64) * node.slide
        start = (pane.columns[-1].values[:, None] - back).reshape(-1)
        made = {i: take_column(c, at) for i, c in zip(below, pane.columns, strict=False)}
        made[width] = Column(start_type, start)
        made[width + 1] = Column(start_type, start + node.size)
        columns = (made[i].with_type(t) for i, t in zip(picked, schema.types, strict=True))
        return Batch(schema, tuple(columns), pane.weights.take(at))

    return windows
