"""Expressions over a large delta, a range of rows a thread (see `penstock.data.parallel`).

    delta ──► rows 0 … n/2 ──► fn ─┐
         └──► the others   ──► fn ─┴─► one after the other

Python functions of the user are called for a whole delta at once, from one thread. So is what is
done before another thread has begun, such as a comparison or two over some ten thousand rows.

Cost: a copy of what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from penstock.data.batch import Batch
from penstock.data.gather import concat, slice_batch
from penstock.data.parallel import Gain, in_ranges, is_spread
from penstock.errors import RuntimeSqlError
from penstock.functions import python_functions
from penstock.plan.expressions import Call, Expr, InputRef
from penstock.plan.rewrite import parts

MapFunction = Callable[[Batch], Batch]


def spread(fn: MapFunction, exprs: Iterable[Expr]) -> MapFunction:
    """`fn`, which computes `exprs` of single rows, in several threads where that is worth it."""
    exprs = tuple(exprs)
    if all(isinstance(e, InputRef) for e in exprs) or any(map(_is_users, exprs)):
        return fn

    gain = Gain()

    def in_parts(batch: Batch) -> Batch:
        if not is_spread(len(batch)):
            return fn(batch)
        return gain.better(len(batch), lambda: _in_threads(fn, batch), lambda: fn(batch))

    return in_parts


def _in_threads(fn: MapFunction, batch: Batch) -> Batch:
    try:
        made = in_ranges(lambda a, b: fn(slice_batch(batch, a, b)), len(batch))
    except RuntimeSqlError:
        # which failure is told must not depend on the number of threads
        return fn(batch)
    rows = concat(made)
    is_normal = batch.consolidated and all(p.consolidated for p in made)
    return Batch(rows.schema, rows.columns, rows.weights, is_normal)


def _is_users(expr: Expr) -> bool:
    if isinstance(expr, Call):
        kernel = expr.function.kernel
        if getattr(kernel, "__module__", None) == python_functions.__name__:
            return True
    return any(map(_is_users, parts(expr)))
