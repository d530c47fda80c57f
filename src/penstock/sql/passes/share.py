"""Make equal sub-plans the same object, across all views of the program.

    view a: Filter(Scan t, p)  ┐                     a ─► Filter ─► Scan t
    view b: Filter(Scan t, p)  ┘   becomes           b ─► Filter ┘

The compiler of plans builds one operator per object, so that shared work is done once.
"""

from __future__ import annotations

from penstock.plan.interning import Interner
from penstock.plan.nodes import ProgramPlan
from penstock.sql.passes.each_view import each_view


def share(program: ProgramPlan) -> ProgramPlan:
    return each_view(program, Interner().intern)
