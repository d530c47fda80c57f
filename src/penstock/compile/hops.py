"""Windows of time (TUMBLE, HOP): a function of single rows that copies them.

    time 12:07, size 10 min, slide 5 min     ──►     window 12:00 – 12:10, window 12:05 – 12:15

Cost: O(rows · windows a row falls in).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from penstock.data.batch import Batch, Column
from penstock.data.gather import take
from penstock.plan.nodes import Hop


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
