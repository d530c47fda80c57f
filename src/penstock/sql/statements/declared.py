"""What a program has declared so far, and the plan of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.data.types import Schema, SqlType
from penstock.errors import Span
from penstock.functions.python_functions import PythonFunctions
from penstock.plan.nodes import (
    CLOCK,
    ConnectorPlan,
    IndexPlan,
    ProgramPlan,
    TablePlan,
    ViewPlan,
)
from penstock.sql import ast, system_views
from penstock.sql.bind import clock
from penstock.sql.bind.catalog import Catalog
from penstock.sql.bind.functions import UserAggregate, UserFunction
from penstock.sql.bind.query import bind_query
from penstock.sql.bind.report import BindError, Report
from penstock.sql.bind.subqueries import SubqueryBinder
from penstock.sql.parser import Parsed
from penstock.sql.stubs import python_stubs
from penstock.sql.system_views import ERROR_VIEW


def refuse_reserved(name: ast.Identifier) -> None:
    """Raises BindError for the name of an object that the system keeps to itself."""
    if name.name.lower().startswith("feldera"):
        raise BindError(name.span, f"names that begin with 'feldera' are reserved: {name.name}")


@dataclass
class Declared:
    """What has been declared so far."""

    text: str
    python: PythonFunctions | None
    parsed: Parsed
    report: Report = field(init=False)
    relations: dict[str, Schema | None] = field(default_factory=dict)
    tables: dict[str, TablePlan] = field(default_factory=dict)
    views: dict[str, ViewPlan] = field(default_factory=dict)
    #: the columns of tables, and views, as they are written
    columns: dict[str, Sequence[ast.ColumnDef]] = field(default_factory=dict)
    written: dict[str, ast.CreateView] = field(default_factory=dict)
    indexes: list[IndexPlan] = field(default_factory=list)
    inputs: list[ConnectorPlan] = field(default_factory=list)
    outputs: list[ConnectorPlan] = field(default_factory=list)
    functions: dict[str, UserFunction | UserAggregate | None] = field(default_factory=dict)
    #: what CREATE TYPE has named; None where its definition failed
    types: dict[str, SqlType | None] = field(default_factory=dict)
    #: views with emit_final, and where it is written
    final: dict[str, ast.Property] = field(default_factory=dict)
    #: LATENESS statements, which may stand before their views
    late_views: list[ast.Lateness] = field(default_factory=list)
    #: declared recursive views that are not defined yet
    recursive: dict[str, Span] = field(default_factory=dict)
    #: the `connectors` property of every output connector
    spans: list[tuple[ConnectorPlan, Span]] = field(default_factory=list)
    #: types of warnings that SET turns off, in lower case
    ignored: set[str] = field(default_factory=set)
    warnings_are_errors: bool = False
    #: ENFORCE_POSITIVE_INPUTS
    enforces: bool = False
    #: what is set of `ProgramPlan`'s bounds of recursive views
    recursion: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.report = Report(self.text)
        self.relations[ERROR_VIEW] = system_views.SCHEMA
        self.report.messages += self.parsed.messages
        for name in self.parsed.lost:  # users of what does not parse do not complain
            self.relations.setdefault(name, None)
            self.functions[name] = self.types[name] = None

    @contextmanager
    def poisoned_unless_bound(self, name: str) -> Iterator[None]:
        """A failed definition leaves its name behind, so that its users do not complain again."""
        try:
            yield
        finally:
            self.relations.setdefault(name, None)

    def catalog(self, own: str | None = None) -> Catalog:
        return Catalog(
            self.relations, self.report, bind_query, SubqueryBinder(), functions=self.functions,
            types=self.types, own=own,
        )  # fmt: skip

    def declared_functions(self) -> Catalog:
        declared = {k: f for k, f in self.functions.items() if f is not None}
        return replace(self.catalog(), functions=declared)

    def plan(self) -> ProgramPlan:
        tables = [replace(t, enforced=self.enforces) for t in self.tables.values()]
        inputs = [*self.inputs]
        if clock.is_read([v.query for v in self.views.values()]):
            tables.append(TablePlan(CLOCK, clock.SCHEMA, clock.KEY, False))
            inputs.append(ConnectorPlan(CLOCK, CLOCK, {"transport": {"name": CLOCK}}))
        plan = ProgramPlan(
            tuple(tables),
            tuple(self.views.values()),
            tuple(self.indexes),
            tuple(inputs),
            tuple(self.outputs),
            self.report.warnings,
            self.text,
            (system_views.error_view(self.tables, self.views),),
        )
        return replace(plan, udf_stubs=python_stubs(self.parsed, self.text), **self.recursion)

    def span_of(self, table: str, column: str) -> Span:
        """Where a table's column is declared."""
        return next(c.span for c in self.columns[table] if c.name.name == column)

    def declare(self, name: ast.Identifier, noun: str) -> None:
        refuse_reserved(name)
        if name.name == ERROR_VIEW:
            raise BindError(name.span, f"{name.name} is the name of a system view")
        if name.name == CLOCK:
            raise BindError(name.span, f"{CLOCK} is the name of the table that NOW() reads")
        is_lost = name.name in self.parsed.lost and self.relations[name.name] is None
        if name.name in self.relations and not is_lost:
            raise BindError(
                name.span, f"{noun} {name.name}: a table or view of this name exists already"
            )
