"""Program text → ProgramPlan: the door of the SQL front end.

    text ─ parse ─► statements ─ bind ─► tables, views, indexes ─ passes ─► ProgramPlan

All errors come at once: of every statement that does not parse, and of every one that parses and
does not bind. A statement that failed leaves a poisoned name, so that its users do not complain
again.

`explain` prints the plan as bound or after any of the passes.

Not here: scalar and relational binding (`penstock.sql.bind`), `program_info` (`info`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.data.types import Field, Kind, Schema, SqlType, has_kind
from penstock.errors import CompilerMessage, Span, SqlError, UserError
from penstock.functions.aggregates import is_aggregate
from penstock.functions.lambdas import LAMBDA_FUNCTIONS
from penstock.functions.python_functions import PythonFunctions
from penstock.functions.registry import names as builtin_names
from penstock.plan.expressions import Cast, Expr, Literal
from penstock.plan.nodes import (
    CLOCK,
    ConnectorPlan,
    IndexPlan,
    Lateness,
    Node,
    ProgramPlan,
    Project,
    TablePlan,
    ViewPlan,
)
from penstock.plan.printer import format_program
from penstock.sql import ast, system_views
from penstock.sql.bind import build, clock, waterlines
from penstock.sql.bind.catalog import Catalog, renamed
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.functions import (
    UserAggregate,
    UserFunction,
    declare,
    declare_aggregate,
)
from penstock.sql.bind.lateness import lateness
from penstock.sql.bind.query import bind_query
from penstock.sql.bind.report import (
    BindError,
    Poisoned,
    Report,
    did_you_mean,
    unsupported,
)
from penstock.sql.bind.scope import Scope
from penstock.sql.bind.subqueries import SubqueryBinder
from penstock.sql.bind.types import bind_type, declared_type
from penstock.sql.bind.view_names import distinct_names
from penstock.sql.connectors import Owner, parse_connectors
from penstock.sql.cycles import windows_in_cycles
from penstock.sql.diagnostics import message, position
from penstock.sql.parser import Parsed, parse_statements
from penstock.sql.passes import PASSES, optimise
from penstock.sql.passes.each_view import TooDeep
from penstock.sql.passes.join_keys import references
from penstock.sql.system_views import ERROR_VIEW
from penstock.sql.unused import UNUSED, unused_columns

_TABLE_PROPERTIES = (
    "materialized", "append_only", "connectors", "expected_size", "skip_unused_columns",
)  # fmt: skip
_VIEW_PROPERTIES = ("connectors", "emit_final")
#: options that tune how programs run elsewhere and change no result
_OPTIONS = (
    "feldera_avoid_star_joins", "feldera_use_multi_joins", "feldera_flat_variant",
)  # fmt: skip
_IGNORE = "feldera_ignore_warning_"
_TOO_DEEP = "this statement is nested too deeply; split it over several views"
_INTERVALS = (Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG)


def compile_program(text: str, udf: str = "") -> ProgramPlan:
    """The optimised plan of a program. Raises SqlError with all messages of the failing phase.

    `udf`: the Python text of its functions without a body; it is read here, and run by whoever
    runs the plan. Raises ValueError where it is not Python.
    """
    program = _bind(text, udf)
    try:
        plan = optimise(program.plan())
    except TooDeep as e:
        raise SqlError([message(text, e.span, _TOO_DEEP)]) from None
    return replace(plan, warnings=program.warn(unused_columns(plan)))


def check_udf(udf: str) -> None:
    """Raises ValueError where the text is not Python."""
    PythonFunctions(udf)


def bind_program(text: str, udf: str = "") -> ProgramPlan:
    """The plan as written, before any pass."""
    return _bind(text, udf).plan()


def _bind(text: str, udf: str) -> _Program:
    parsed = parse_statements(text)
    if not parsed.is_sound:
        raise SqlError(parsed.messages)
    program = _Program(text, PythonFunctions(udf) if udf.strip() else None, parsed)
    for statement in parsed.statements:
        with program.report.attempt(statement.span):
            try:
                program.add(statement)
            except RecursionError:
                raise BindError(statement.span, _TOO_DEEP) from None
    program.finish()
    if program.report.has_errors:
        raise SqlError(program.report.messages)
    return program


def explain(text: str, after: str | None = None) -> str:
    """The plan as text: after the pass named `after`, "bind" for none, None for all."""
    plan = bind_program(text)
    if after == "bind":
        return format_program(plan)
    names = {p.__name__: p for p in PASSES}
    if after is not None and after not in names:
        raise UserError(f"there is no pass '{after}': expected bind, {', '.join(names)}")
    return format_program(optimise(plan, None if after is None else names[after]))


@dataclass
class _Program:
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

    def __post_init__(self) -> None:
        self.report = Report(self.text)
        self.relations[ERROR_VIEW] = system_views.SCHEMA
        self.report.messages += self.parsed.messages
        for name in self.parsed.lost:  # users of what does not parse do not complain
            self.relations.setdefault(name, None)
            self.functions[name] = self.types[name] = None

    def add(self, statement: ast.Statement) -> None:
        match statement:
            case ast.CreateTable():
                self._declare(statement.name, "table")
                with self._poisoned_unless_bound(statement.name.name):
                    self._table(statement)
            case ast.CreateView():
                name = statement.name.name
                if name not in self.recursive or name in self.views:
                    self._declare(statement.name, "view")
                with self._poisoned_unless_bound(name):
                    try:
                        self._view(statement)
                    finally:
                        self.recursive.pop(name, None)
            case ast.CreateIndex():
                self._index(statement)
            case ast.SetOption():
                self._set(statement)
            case ast.CreateType():
                self._type(statement)
            case ast.CreateFunction():
                self.functions.setdefault(statement.name.name, None)
                self.functions[statement.name.name] = declare(
                    statement, self._declared_functions(), self.python
                )
            case ast.CreateAggregate():
                self.functions.setdefault(statement.name.name, None)
                self.functions[statement.name.name] = declare_aggregate(
                    statement, self._declared_functions(), self.python
                )
            case ast.DeclareRecursiveView():
                self._declare_recursive(statement)
            case ast.Lateness():
                self.late_views.append(statement)
            case _:
                raise unsupported(statement.span, type(statement).__name__)

    def _type(self, t: ast.CreateType) -> None:
        name = t.name.name
        if name in self.types and name not in self.parsed.lost:
            raise BindError(t.name.span, f"there is a type {name} already")
        if name.upper() in (*builtin_names(), *LAMBDA_FUNCTIONS) or is_aggregate(name):
            raise BindError(t.name.span, f"{name.upper()} is a built-in function")
        self.types[name] = None
        known = {n: x for n, x in self.types.items() if n != name}
        self.types[name] = declared_type(t, known)

    @contextmanager
    def _poisoned_unless_bound(self, name: str) -> Iterator[None]:
        """A failed definition leaves its name behind, so that its users do not complain again."""
        try:
            yield
        finally:
            self.relations.setdefault(name, None)

    def _catalog(self, own: str | None = None) -> Catalog:
        return Catalog(
            self.relations, self.report, bind_query, SubqueryBinder(), functions=self.functions,
            types=self.types, own=own,
        )  # fmt: skip

    def _declared_functions(self) -> Catalog:
        declared = {k: f for k, f in self.functions.items() if f is not None}
        return replace(self._catalog(), functions=declared)

    def _set(self, s: ast.SetOption) -> None:
        name, value = s.name.name.lower(), s.value.value
        if name == "feldera_warnings_are_errors":
            self.warnings_are_errors = value is True
        elif name.startswith(_IGNORE):
            self.ignored.add(name.removeprefix(_IGNORE).replace("_", " "))
        elif name == "enforce_positive_inputs":
            self.enforces = value is True
        elif name not in _OPTIONS:
            known = [*_OPTIONS, "feldera_warnings_are_errors", "enforce_positive_inputs"]
            text = f"unknown option {s.name.name}{did_you_mean(name, known)}"
            self.report.add(s.name.span, text, "Unknown option", warning=True)

    def finish(self) -> None:
        """Checks that need the whole program."""
        for statement in self.late_views:
            with self.report.attempt(statement.span):
                self._late_view(statement)
        if self.final and not self.report.has_errors:
            self._find_waterlines()
        for found in windows_in_cycles(self.views, self.written):
            self.report.error(found, "a window function cannot stand in a recursive view")
        for name, span in self.recursive.items():
            if name in self.parsed.lost:
                continue
            self.report.error(span, f"recursive view {name} is declared, but never defined")
        for connector, span in self.spans:
            index = connector.config.get("index")
            if index in self.parsed.lost:
                continue
            if isinstance(index, str) and (index, connector.relation) not in {
                (i.name, i.view) for i in self.indexes
            }:
                mine = [i.name for i in self.indexes if i.view == connector.relation]
                hint = did_you_mean(index, mine) or "; declare it with CREATE INDEX"
                self.report.error(span, f"view {connector.relation} has no index {index}{hint}")
        self.report.settle(self.ignored, self.warnings_are_errors)

    def warn(self, unused: Sequence[tuple[str, str]]) -> tuple[CompilerMessage, ...]:
        """All warnings, those about the columns `unused` among them. Raises SqlError where the
        program wants them to be errors."""
        for table, column in unused:
            text = f"column {column} of table {table} is used by no view"
            span = next(c.span for c in self.columns[table] if c.name.name == column)
            self.report.add(span, text, UNUSED, warning=True)
        self.report.settle(self.ignored, self.warnings_are_errors)
        if self.report.has_errors:
            raise SqlError(self.report.messages)
        return self.report.warnings

    def plan(self) -> ProgramPlan:
        tables = [replace(t, enforced=self.enforces) for t in self.tables.values()]
        inputs = [*self.inputs]
        if clock.is_read([v.query for v in self.views.values()]):
            tables.append(TablePlan(CLOCK, clock.SCHEMA, clock.KEY, False))
            inputs.append(ConnectorPlan(CLOCK, CLOCK, {"transport": {"name": CLOCK}}))
        return ProgramPlan(
            tuple(tables),
            tuple(self.views.values()),
            tuple(self.indexes),
            tuple(inputs),
            tuple(self.outputs),
            self.report.warnings,
            self.text,
            (system_views.error_view(self.tables, self.views),),
        )

    def _declare(self, name: ast.Identifier, noun: str) -> None:
        if name.name.lower().startswith("feldera"):
            raise BindError(name.span, f"names that begin with 'feldera' are reserved: {name.name}")
        if name.name == ERROR_VIEW:
            raise BindError(name.span, f"{name.name} is the name of a system view")
        if name.name == CLOCK:
            raise BindError(name.span, f"{CLOCK} is the name of the table that NOW() reads")
        is_lost = name.name in self.parsed.lost and self.relations[name.name] is None
        if name.name in self.relations and not is_lost:
            raise BindError(
                name.span, f"{noun} {name.name}: a table or view of this name exists already"
            )

    # tables

    def _table(self, t: ast.CreateTable) -> None:
        fields: list[Field] = []
        for c in t.columns:
            with self.report.attempt(c.span):
                fields.append(self._column(c, fields))
        if len(fields) != len(t.columns):
            raise Poisoned
        schema = Schema(tuple(fields))
        key = self._primary_key(t, schema)
        defaults = tuple(
            None if c.default is None else self._default(c, f.type)
            for c, f in zip(t.columns, fields, strict=True)
        )
        properties = self._properties(t.properties, _TABLE_PROPERTIES, f"table {t.name.name}")
        flag = properties.get("materialized", {}).get("value", "false")
        name = t.name.name
        self.tables[name] = TablePlan(
            name,
            schema,
            key,
            flag.lower() == "true",
            name != name.lower(),
            defaults,
            properties,
            *self._lines(t, schema),
        )
        released = waterlines.released_rows(self.tables[name])
        self.tables[name] = replace(self.tables[name], released=released)
        self._foreign_keys(t, self.tables[name])
        self.relations[name] = schema
        self.columns[name] = t.columns
        self._connectors(t.properties, Owner(name, True, bool(key)), self.inputs)

    def _column(self, c: ast.ColumnDef, before: Sequence[Field]) -> Field:
        if any(f.name == c.name.name for f in before):
            raise BindError(c.name.span, f"there are two columns {c.name.name}")
        type = bind_type(c.type, self.types)
        if has_kind(type, *_INTERVALS):
            raise BindError(c.type.span, "an INTERVAL cannot be stored in a table")
        if c.primary_key is not None and type.nullable:
            raise BindError(c.span, f"column {c.name.name} of a PRIMARY KEY must be NOT NULL")
        return Field(c.name.name, type)

    def _late_view(self, s: ast.Lateness) -> None:
        name = s.view.name
        view = self.views.get(name)
        if view is None:
            if self.relations.get(name, 0) is None:
                raise Poisoned
            raise BindError(s.view.span, f"there is no view {name}{did_you_mean(name, self.views)}")
        column = s.column[0]
        if len(s.column) > 1:
            raise BindError(s.column[1].span, "LATENESS is for columns, not for fields of them")
        if column.name not in view.schema.names:
            hint = did_you_mean(column.name, view.schema.names)
            raise BindError(column.span, f"view {name} has no column {column.name}{hint}")
        at = view.schema.index(column.name)
        behind = lateness(s.expr, view.schema.types[at])
        text = self.text[s.expr.span.start : s.expr.span.end]
        self.views[name] = replace(view, lateness=(*view.lateness, (at, behind, text)))

    def _lines(self, t: ast.CreateTable, schema: Schema) -> tuple[Lateness, Lateness]:
        """LATENESS and WATERMARK of the columns."""
        found: tuple[list[tuple[int, int | float, str]], ...] = ([], [])
        for i, c in enumerate(t.columns):
            for e, what, into in zip(
                (c.lateness, c.watermark), ("LATENESS", "WATERMARK"), found, strict=True
            ):
                if e is not None:
                    with self.report.attempt(e.span):
                        behind = lateness(e, schema.types[i], what)
                        into.append((i, behind, self.text[e.span.start : e.span.end]))
        return tuple(found[0]), tuple(found[1])

    def _find_waterlines(self) -> None:
        """The rows of emit_final, once all relations and their LATENESS are known."""
        plan = optimise(self.plan())
        known = waterlines.Waterlines(self.tables, {v.name: v for v in plan.views})
        for name, given in self.final.items():
            with self.report.attempt(given.span):
                view = self.views[name]
                column = _column_of(view, given)
                line = known.of_view(view, column)
                if line is None:
                    raise BindError(
                        given.value.span,
                        f"column {view.schema.names[column]} of view {name} has no waterline: "
                        "emit_final needs one that grows with a column that has LATENESS",
                    )
                self.views[name] = replace(view, emitted=waterlines.final_rows(view, column, line))

    def _primary_key(self, t: ast.CreateTable, schema: Schema) -> tuple[int, ...]:
        declared: list[tuple[list[ast.Identifier], ast.PrimaryKey]] = [
            ([c.name], c.primary_key) for c in t.columns if c.primary_key is not None
        ]
        declared += [(list(k.columns), k) for k in t.primary_keys]
        if len(declared) > 1:
            raise BindError(declared[1][1].span, f"table {t.name.name} has two PRIMARY KEYs")
        if not declared:
            return ()
        key = []
        for column in declared[0][0]:
            if column.name not in schema.names:
                hint = did_you_mean(column.name, schema.names)
                raise BindError(column.span, f"the table has no column {column.name}{hint}")
            i = schema.index(column.name)
            if schema.types[i].nullable:
                raise BindError(
                    column.span, f"column {column.name} of a PRIMARY KEY must be NOT NULL"
                )
            if i in key:
                raise BindError(column.span, f"the PRIMARY KEY names column {column.name} twice")
            key.append(i)
        return tuple(key)

    def _default(self, c: ast.ColumnDef, type: Any) -> Expr:
        assert c.default is not None
        bound = ExpressionBinder(
            Scope(), aggregates="DEFAULT", functions=self.functions, types=self.types
        ).bind(c.default)
        value = build.implicit(bound, type, f"the DEFAULT of {c.name.name}")
        if bound.type.kind is Kind.NULL and not type.nullable:
            raise BindError(c.default.span, f"column {c.name.name} is NOT NULL, its DEFAULT NULL")
        if isinstance(value, Cast) and isinstance(value.operand, Literal) and not value.safe:
            build.check_literal(value.operand, value.type, c.default.span)
        return replace(value, span=c.default.span)

    def _foreign_keys(self, t: ast.CreateTable, own: TablePlan) -> None:
        found: list[tuple[ast.ForeignKey, tuple[ast.Identifier, ...]]] = [
            (r, (c.name,)) for c in t.columns for r in c.references
        ]
        found += [(f, f.columns) for f in t.foreign_keys]
        for reference, columns in found:
            with self.report.attempt(reference.span):
                self._foreign_key(reference, columns, own)

    def _foreign_key(
        self, f: ast.ForeignKey, columns: Sequence[ast.Identifier], own: TablePlan
    ) -> None:
        schema = own.schema
        target = own if f.table.name == own.name else self.tables.get(f.table.name)
        if target is None:
            raise BindError(
                f.table.span,
                f"FOREIGN KEY refers to table {f.table.name}, which is not declared before"
                f"{did_you_mean(f.table.name, self.tables)}",
            )
        wanted = [target.schema.names[i] for i in target.key]
        named = [c.name for c in f.target_columns] or wanted
        if sorted(named) != sorted(wanted):
            raise BindError(
                f.span,
                f"FOREIGN KEY must refer to the PRIMARY KEY of {target.name} "
                f"({', '.join(wanted) or 'it has none'})",
            )
        if len(columns) != len(named):
            raise BindError(
                f.span, f"FOREIGN KEY has {len(columns)} columns, but refers to {len(named)}"
            )
        for column, other in zip(columns, named, strict=True):
            if column.name not in schema.names:
                hint = did_you_mean(column.name, schema.names)
                raise BindError(column.span, f"the table has no column {column.name}{hint}")
            mine = schema.types[schema.index(column.name)]
            theirs = target.schema.types[target.schema.index(other)]
            if not mine.same_as(theirs):
                raise BindError(
                    column.span,
                    f"column {column.name} is {build.bare(mine)}, but {target.name}.{other} is "
                    f"{build.bare(theirs)}",
                )

    # views

    def _declare_recursive(self, d: ast.DeclareRecursiveView) -> None:
        """A view that may be read before its definition; a cycle of views goes through one."""
        self._declare(d.name, "view")
        name = d.name.name
        with self._poisoned_unless_bound(name):
            fields: list[Field] = []
            for c in d.columns:
                if any(f.name == c.name.name for f in fields):
                    raise BindError(c.name.span, f"there are two columns {c.name.name}")
                fields.append(Field(c.name.name, bind_type(c.type, self.types)))
            self.relations[name] = Schema(tuple(fields))
            self.recursive[name] = d.name.span

    def _as_declared(self, node: Node, name: ast.Identifier) -> Node:
        """The definition of a recursive view with its declared columns."""
        schema = self.relations[name.name]
        if schema is None:
            raise Poisoned
        if node.schema.names != schema.names:
            raise BindError(
                name.span,
                f"view {name.name} was declared with columns ({', '.join(schema.names)}), but is "
                f"defined with ({', '.join(node.schema.names)})",
            )
        for f, declared in zip(node.schema.fields, schema.types, strict=True):
            fits = f.type.kind is Kind.NULL or f.type.same_as(declared)
            if not fits or (f.type.nullable and not declared.nullable):
                raise BindError(
                    name.span,
                    f"column {f.name} of view {name.name} was declared {declared}, but is "
                    f"defined as {f.type}; CAST it or change the declaration",
                )
        columns = references(node.schema)
        exprs = tuple(build.coerce(e, t) for e, t in zip(columns, schema.types, strict=True))
        return Project(schema, node, exprs)

    def _view(self, v: ast.CreateView) -> None:
        name = v.name.name
        own = None if name in self.recursive else name
        query = bind_query(v.query, self._catalog(own=own))
        node = renamed(query, v.columns, f"view {name}")
        if name in self.recursive:
            node = self._as_declared(node, v.name)
        node = distinct_names(node, v)
        for f in node.schema.fields:
            if v.kind != "local" and (f.type.kind is Kind.NULL or has_kind(f.type, *_INTERVALS)):
                raise BindError(
                    v.name.span,
                    f"column {f.name} of view {name} is {build.bare(f.type)}, which only a LOCAL "
                    "view may have; CAST it",
                )
        properties = self._properties(v.properties, _VIEW_PROPERTIES, f"view {name}")
        if v.kind == "local" and properties:
            raise BindError(v.name.span, f"LOCAL view {name} is no output: it takes no properties")
        self.views[name] = ViewPlan(
            name, node.schema, node, v.kind, name != name.lower(), properties
        )
        self.written[name] = v
        self.relations[name] = node.schema
        self.final.update((name, p) for p in v.properties if p.key.value == "emit_final")
        self._connectors(v.properties, Owner(name, False), self.outputs)

    def _index(self, i: ast.CreateIndex) -> None:
        if any(x.name == i.name.name for x in self.indexes):
            raise BindError(i.name.span, f"there is an index {i.name.name} already")
        if self.relations.get(i.view.name, 0) is None:
            raise Poisoned
        view = self.views.get(i.view.name)
        if view is None:
            noun = "a table, not a view" if i.view.name in self.tables else "not declared"
            hint = did_you_mean(i.view.name, self.views)
            raise BindError(i.view.span, f"CREATE INDEX ON {i.view.name}: that is {noun}{hint}")
        columns: list[int] = []
        for c in i.columns:
            if c.name not in view.schema.names:
                hint = did_you_mean(c.name, view.schema.names)
                raise BindError(c.span, f"view {view.name} has no column {c.name}{hint}")
            column = view.schema.index(c.name)
            if column in columns:
                raise BindError(c.span, f"index {i.name.name} names column {c.name} twice")
            columns.append(column)
        self.indexes.append(IndexPlan(i.name.name, view.name, tuple(columns)))

    # properties

    def _properties(
        self, given: Sequence[ast.Property], known: Sequence[str], what: str
    ) -> dict[str, Any]:
        """{key: {value, key_position, value_position}} as the schema JSON shows them."""
        found: dict[str, Any] = {}
        for p in given:
            with self.report.attempt(p.span):
                key = p.key.value
                if key not in known:
                    hint = did_you_mean(key, known) or f"; known are {', '.join(known)}"
                    raise BindError(p.key.span, f"unknown property '{key}' of {what}{hint}")
                if key in found:
                    raise BindError(p.key.span, f"property '{key}' of {what} is given twice")
                self._check_property(p)
                found[key] = {
                    "value": p.value.value,
                    "key_position": self._position(p.key.span),
                    "value_position": self._position(p.value.span),
                }
        return found

    @staticmethod
    def _check_property(p: ast.Property) -> None:
        value = p.value.value
        booleans = ("materialized", "append_only", "skip_unused_columns")
        if p.key.value in booleans and value.lower() not in ("true", "false"):
            raise BindError(
                p.value.span, f"property '{p.key.value}' is 'true' or 'false', not '{value}'"
            )
        if p.key.value == "expected_size" and not value.isdigit():
            raise BindError(p.value.span, f"property 'expected_size' is a number, not '{value}'")

    def _position(self, span: Any) -> dict[str, int]:
        line, column = position(self.text, span.start)
        end_line, end_column = position(self.text, max(span.start, span.end - 1))
        return {
            "start_line_number": line,
            "start_column": column,
            "end_line_number": end_line,
            "end_column": end_column,
        }

    def _connectors(
        self, given: Sequence[ast.Property], owner: Owner, into: list[ConnectorPlan]
    ) -> None:
        for p in given:
            if p.key.value == "connectors":
                plans, problems = parse_connectors(p.value.value, owner)
                for problem in problems:
                    self.report.add(
                        p.value.span, problem.message, problem.error_type, warning=problem.warning
                    )
                into += plans
                self.spans += [(plan, p.value.span) for plan in plans if not owner.is_table]


def _column_of(view: ViewPlan, given: ast.Property) -> int:
    """The column that emit_final names, or numbers from 0."""
    value, names = given.value.value, view.schema.names
    if value in names:
        return view.schema.index(value)
    if value.isdigit() and int(value) < len(names):
        return int(value)
    raise BindError(
        given.value.span, f"view {view.name} has no column {value}{did_you_mean(value, names)}"
    )
