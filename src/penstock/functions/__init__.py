"""Room `functions`: scalar functions, operators, casts and the type rules of both.

    registry     resolve(name, types) → Function          the door for the binder
    coercion     common_type, can_cast                    the lattice of types
    casts        cast_kernel(from, to, safe)              conversions
    aggregates   resolve_aggregate(name, types)           type rules of aggregates
    definition   define(...)                              how a function is declared
    <family>     arithmetic, comparison, strings, …       kernels, one family a file

Not here: which rows a function sees, NULL masks, short circuits (`penstock.compile`).
"""

from __future__ import annotations
