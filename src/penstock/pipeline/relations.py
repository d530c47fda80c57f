"""The tables and views of a program by name, and what to say when a name is none of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from penstock.data.types import Schema
from penstock.plan.nodes import ProgramPlan, TablePlan, ViewPlan

#: endpoints that HTTP requests bring with them
_OF_A_REQUEST = re.compile(r"\.(?:api-|adhoc$)")


class Relations:
    """`tables` and `views` (all but local ones) of `plan`; `readable` are those whose contents are
    kept, so that a query can ask for them."""

    def __init__(self, plan: ProgramPlan) -> None:
        self.tables: Mapping[str, TablePlan] = {t.name: t for t in plan.tables}
        self.views: Mapping[str, ViewPlan] = {
            v.name: v for v in plan.all_views if v.kind != "local"
        }
        views = {v.name for v in self.views.values() if v.kind == "materialized"}
        tables = {t.name for t in self.tables.values() if t.materialized or t.key}
        self.readable = frozenset(views | tables)
        #: of everything, local views too
        self.schemas: Mapping[str, Schema] = {t.name: t.schema for t in plan.tables} | {
            v.name: v.schema for v in plan.all_views
        }

    def find(self, name: str) -> TablePlan | ViewPlan | None:
        return self.views.get(name) or self.tables.get(name)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.tables) | frozenset(self.views)


def known(names: Mapping[str, Any] | frozenset[str], wanted: str = "") -> str:
    """What there is instead of `wanted`: the nearest of it, and all that the program declares."""
    declared = sorted(n for n in names if not _OF_A_REQUEST.search(n))
    near = [n for n in get_close_matches(wanted, declared) if _is_near(wanted, n)]
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"{meant} (there are: {', '.join(declared)})" if declared else meant


def _is_near(wanted: str, name: str) -> bool:
    """Whether each part of `view.connector` is: a long view in common makes no connector alike."""
    pairs = zip(wanted.split("."), name.split("."), strict=False)
    return all(get_close_matches(w, [n]) for w, n in pairs)
