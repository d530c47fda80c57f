"""The rules that make a bound plan cheap, in the order they run.

    bound plan ─ fold_constants ─ no_rows ─ factor_conditions ─ push_filters ─ no_rows
               ─ late_totals ─ bound_ranks ─ drop_distinct ─ window_ends ─ decided_by_partner
               ─ by_alternatives ─ compared_columns ─ prune_columns ─ as_of
               ─ merge_projects ─ partners_from_pairs ─ share ─► plan

Each rule is a plain function ProgramPlan → ProgramPlan that keeps the meaning of every view (the
same rows with the same weights), except that a rule may remove a run-time error of rows which
the query discards anyway; none may add one. `PASSES` is the whole list: a new rule is a module
and a line here, and `penstock.sql.program.explain(text, after=RULE)` prints the plan behind it.

Not here: how a node is evaluated (`penstock.compile`).
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.plan.nodes import ProgramPlan
from penstock.sql.passes.alternatives import by_alternatives
from penstock.sql.passes.as_of import as_of
from penstock.sql.passes.bound_ranks import bound_ranks
from penstock.sql.passes.compared import compared_columns
from penstock.sql.passes.decided import decided_by_partner
from penstock.sql.passes.distinct_rows import drop_distinct
from penstock.sql.passes.factor_conditions import factor_conditions
from penstock.sql.passes.fold_constants import fold_constants
from penstock.sql.passes.late_totals import late_totals
from penstock.sql.passes.merge_projects import merge_projects
from penstock.sql.passes.no_rows import no_rows
from penstock.sql.passes.partners import partners_from_pairs
from penstock.sql.passes.prune_columns import prune_columns
from penstock.sql.passes.push_filters import push_filters
from penstock.sql.passes.share import share
from penstock.sql.passes.window_ends import window_ends

Pass = Callable[[ProgramPlan], ProgramPlan]

PASSES: tuple[Pass, ...] = (
    fold_constants, no_rows, factor_conditions, push_filters, no_rows, late_totals, bound_ranks,
    drop_distinct, window_ends, decided_by_partner, by_alternatives, compared_columns,
    prune_columns, as_of, merge_projects, partners_from_pairs, share,
)  # fmt: skip


def optimise(program: ProgramPlan, after: Pass | None = None) -> ProgramPlan:
    """Run the rules, up to and including `after` (None: all of them)."""
    for rule in PASSES:
        program = rule(program)
        if rule is after:
            break
    return program
