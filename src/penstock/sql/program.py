"""Program text → ProgramPlan: the door of the SQL front end.

    text ─ parse ─► statements ─ bind ─► tables, views, indexes ─ passes ─► ProgramPlan

All errors come at once: of every statement that does not parse, and of every one that parses and
does not bind. A statement that failed leaves a poisoned name, so that its users do not complain
again.

`explain` prints the plan as bound or after any of the passes.

Not here: what each statement means (`penstock.sql.statements`), scalar and relational binding
(`penstock.sql.bind`), `program_info` (`info`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.errors import CompilerMessage, SqlError, UserError
from penstock.functions.python_functions import PythonFunctions
from penstock.plan.nodes import ProgramPlan
from penstock.plan.printer import format_program
from penstock.sql import ast
from penstock.sql.bind.clock import without_idle_clock
from penstock.sql.bind.expiries import find_expiries
from penstock.sql.bind.functions import declare, declare_aggregate
from penstock.sql.bind.report import BindError, did_you_mean, unsupported
from penstock.sql.cycles import windows_in_cycles
from penstock.sql.diagnostics import message
from penstock.sql.parser import parse_statements
from penstock.sql.passes import PASSES, optimise
from penstock.sql.passes.each_view import TooDeep
from penstock.sql.statements.declared import Declared, refuse_reserved
from penstock.sql.statements.final_rows import find_waterlines, late_view
from penstock.sql.statements.tables import create_table
from penstock.sql.statements.types import create_type
from penstock.sql.statements.views import create_index, create_view, declare_recursive
from penstock.sql.stubs import python_stubs
from penstock.sql.unused import UNUSED, unskippable, unused_columns

#: options that tune how programs run elsewhere and change no result
_OPTIONS = (
    "feldera_avoid_star_joins", "feldera_use_multi_joins", "feldera_flat_variant",
)  # fmt: skip
#: what bounds recursive views, as `ProgramPlan` calls it
_RECURSION = {
    "penstock_recursion_rounds": "recursion_rounds",
    "penstock_recursion_rows": "recursion_rows",
}
_IGNORE = "feldera_ignore_warning_"
_TOO_DEEP = "this statement is nested too deeply; split it over several views"


def compile_program(text: str, udf: str = "") -> ProgramPlan:
    """The optimised plan of a program. Raises SqlError with all messages of the failing phase.

    `udf`: the Python text of its functions without a body; it is read here, and run by whoever
    runs the plan. Raises ValueError where it is not Python.
    """
    program = _bind(text, udf)
    try:
        plan = optimise(program.plan())
        plan = without_idle_clock(replace(plan, expiries=find_expiries(plan)))
    except TooDeep as e:
        raise SqlError([message(text, e.span, _TOO_DEEP)]) from None
    _refuse_unskippable(program, plan)
    return replace(plan, warnings=_warn(program, unused_columns(plan)))


def udf_stubs(text: str) -> str:
    """The Python to start from of a program whose functions are not defined yet; none where it
    does not parse."""
    parsed = parse_statements(text)
    return python_stubs(parsed, text) if parsed.is_sound else ""


def check_udf(udf: str) -> None:
    """Raises ValueError where the text is not Python."""
    PythonFunctions(udf)


def bind_program(text: str, udf: str = "") -> ProgramPlan:
    """The plan as written, before any pass."""
    return _bind(text, udf).plan()


def _bind(text: str, udf: str) -> Declared:
    parsed = parse_statements(text)
    if not parsed.is_sound:
        raise SqlError(parsed.messages)
    program = Declared(text, PythonFunctions(udf) if udf.strip() else None, parsed)
    for statement in parsed.statements:
        with program.report.attempt(statement.span):
            try:
                _add(program, statement)
            except RecursionError:
                raise BindError(statement.span, _TOO_DEEP) from None
    _finish(program)
    if program.report.has_errors:
        raise SqlError(program.report.messages)
    return program


def explain(text: str, after: str | None = None, udf: str = "") -> str:
    """The plan as text: after the pass named `after`, "bind" for none, None for all."""
    plan = bind_program(text, udf)
    if after == "bind":
        return format_program(plan)
    names = {p.__name__: p for p in PASSES}
    if after is not None and after not in names:
        raise UserError(f"there is no pass '{after}': expected bind, {', '.join(names)}")
    return format_program(optimise(plan, None if after is None else names[after]))


def _add(declared: Declared, statement: ast.Statement) -> None:
    match statement:
        case ast.CreateTable():
            with declared.poisoned_unless_bound(statement.name.name):
                declared.declare(statement.name, "table")
                create_table(declared, statement)
        case ast.CreateView():
            name = statement.name.name
            with declared.poisoned_unless_bound(name):
                if name not in declared.recursive or name in declared.views:
                    declared.declare(statement.name, "view")
                try:
                    create_view(declared, statement)
                finally:
                    declared.recursive.pop(name, None)
        case ast.CreateIndex():
            create_index(declared, statement)
        case ast.SetOption():
            _set(declared, statement)
        case ast.CreateType():
            create_type(declared, statement)
        case ast.CreateFunction():
            known = declared.declared_functions()
            declared.functions.setdefault(statement.name.name, None)
            refuse_reserved(statement.name)
            declared.functions[statement.name.name] = declare(statement, known, declared.python)
        case ast.CreateAggregate():
            known = declared.declared_functions()
            declared.functions.setdefault(statement.name.name, None)
            refuse_reserved(statement.name)
            declared.functions[statement.name.name] = declare_aggregate(
                statement, known, declared.python
            )
        case ast.DeclareRecursiveView():
            declare_recursive(declared, statement)
        case ast.Lateness():
            declared.late_views.append(statement)
        case _:
            raise unsupported(statement.span, type(statement).__name__)


def _set(declared: Declared, s: ast.SetOption) -> None:
    name, value = s.name.name.lower(), s.value.value
    switches = ("feldera_warnings_are_errors", "enforce_positive_inputs")
    if (name in switches or name.startswith(_IGNORE)) and not isinstance(value, bool):
        raise BindError(s.value.span, f"{s.name.name} is ON or OFF, TRUE or FALSE")
    if name == "feldera_warnings_are_errors":
        declared.warnings_are_errors = value is True
    elif name.startswith(_IGNORE):
        if value:
            declared.ignored.add(name.removeprefix(_IGNORE).replace("_", " "))
    elif name == "enforce_positive_inputs":
        declared.enforces = value is True
    elif name in _RECURSION:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BindError(s.value.span, f"{s.name.name} is a whole number, 1 or more")
        declared.recursion[_RECURSION[name]] = value
    elif name not in _OPTIONS:
        known = [*_OPTIONS, *switches, *_RECURSION]
        text = f"unknown option {s.name.name}{did_you_mean(name, known)}"
        declared.report.add(s.name.span, text, "Unknown option", warning=True)


def _finish(declared: Declared) -> None:
    """Checks that need the whole program."""
    for statement in declared.late_views:
        with declared.report.attempt(statement.span):
            late_view(declared, statement)
    if declared.final and not declared.report.has_errors:
        find_waterlines(declared)
    for found in windows_in_cycles(declared.views, declared.written):
        declared.report.error(found, "a window function cannot stand in a recursive view")
    for name, span in declared.recursive.items():
        if name in declared.parsed.lost:
            continue
        declared.report.error(span, f"recursive view {name} is declared, but never defined")
    for connector, span in declared.spans:
        index = connector.config.get("index")
        if index in declared.parsed.lost:
            continue
        if isinstance(index, str) and (index, connector.relation) not in {
            (i.name, i.view) for i in declared.indexes
        }:
            mine = [i.name for i in declared.indexes if i.view == connector.relation]
            hint = did_you_mean(index, mine) or "; declare it with CREATE INDEX"
            declared.report.error(span, f"view {connector.relation} has no index {index}{hint}")
    declared.report.settle(declared.ignored, declared.warnings_are_errors)


def _refuse_unskippable(declared: Declared, plan: ProgramPlan) -> None:
    found = unskippable(plan)
    for table, column in found:
        text = (
            f"column {column} is used by no view, so skip_unused_columns lets connectors leave it "
            "out: make it nullable, or give it a DEFAULT"
        )
        declared.report.error(declared.span_of(table, column), text)
    if found:
        declared.report.settle(declared.ignored, declared.warnings_are_errors)
        raise SqlError(declared.report.messages)


def _warn(declared: Declared, unused: Sequence[tuple[str, str]]) -> tuple[CompilerMessage, ...]:
    """All warnings, those about the columns `unused` among them. Raises SqlError where the
    program wants them to be errors."""
    for table, column in unused:
        text = f"column {column} of table {table} is used by no view"
        declared.report.add(declared.span_of(table, column), text, UNUSED, warning=True)
    declared.report.settle(declared.ignored, declared.warnings_are_errors)
    if declared.report.has_errors:
        raise SqlError(declared.report.messages)
    return declared.report.warnings
