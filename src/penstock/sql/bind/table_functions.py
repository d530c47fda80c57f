"""Table functions in FROM: TUMBLE, HOP and SESSION (sql-reference 4.1).

    TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '5' MINUTES))
    TABLE(TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' HOUR))

The result has all columns of the table, window_start and window_end.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.data.types import Field, Kind, Schema
from penstock.plan.expressions import Literal
from penstock.plan.nodes import Hop, Node
from penstock.sql import ast
from penstock.sql.bind import later
from penstock.sql.bind.catalog import Catalog
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.report import BindError, did_you_mean
from penstock.sql.bind.scope import Scope
from penstock.sql.bind.sessions import sessions

#: parameters in order of position; those behind None may be left out
_PARAMETERS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "TUMBLE": (("DATA", "TIMECOL", "SIZE"), ("OFFSET",)),
    "HOP": (("DATA", "TIMECOL", "SLIDE", "SIZE"), ("OFFSET",)),
    "SESSION": (("DATA", "TIMECOL", "SIZE"), ()),
    # the key stands before the gap
    "SESSION by key": (("DATA", "TIMECOL", "KEY", "SIZE"), ()),
}

_NAMES = ("TUMBLE", "HOP", "SESSION")


def bind_table_function(ref: ast.TableFunction, catalog: Catalog) -> Node:
    """The rows of `TABLE(f(…))`. Raises BindError."""
    call = ref.call
    name = call.name.name.upper()
    if name not in _NAMES:
        written = later.ELSEWHERE.get(name)
        hint = f"; write {written}" if written else did_you_mean(name, _NAMES)
        raise BindError(call.name.span, f"there is no table function {name}{hint}")
    args = _arguments(name, call)
    data = _data(name, args["DATA"], catalog)
    column = _time_column(name, args["TIMECOL"], data.schema)
    size = _interval(name, "SIZE", args["SIZE"])
    if name == "SESSION":
        key = _key(args["KEY"], data.schema) if "KEY" in args else ()
        return sessions(data, column, key, size, ref.span)
    slide = _interval(name, "SLIDE", args["SLIDE"]) if name == "HOP" else size
    offset = _interval(name, "OFFSET", args["OFFSET"], any_sign=True) if "OFFSET" in args else 0
    time = data.schema.types[column].with_nullable(False)
    windows = (Field("window_start", time), Field("window_end", time))
    schema = Schema((*data.schema.fields, *windows))
    return Hop(schema, data, column, size, slide, offset, span=ref.span)


def _arguments(name: str, call: ast.FunctionCall) -> dict[str, ast.Expr]:
    """Every parameter that is given, by its name."""
    has_key = name == "SESSION" and (
        len(call.args) > 3 or any(_is_named(a, "KEY") for a in call.args)
    )
    required, optional = _PARAMETERS["SESSION by key" if has_key else name]
    order = (*required, *optional)
    usage = f"{name}({', '.join(required)}{''.join(f' [, {o}]' for o in optional)})"
    found: dict[str, ast.Expr] = {}
    for i, arg in enumerate(call.args):
        if isinstance(arg, ast.NamedArgument):
            key, value = arg.name.name.upper(), arg.value
            if i == 0 and key in order[1:]:
                raise BindError(arg.span, f"the first argument of {name} is DATA => TABLE …")
            if key not in order:
                hint = did_you_mean(key, order)
                raise BindError(arg.span, f"{name} has no parameter {arg.name.name}{hint}")
        elif i >= len(order):
            raise BindError(arg.span, f"{name} has too many arguments; write {usage}")
        else:
            key, value = order[i], arg
        if key in found:
            raise BindError(arg.span, f"{name} is given {key} twice")
        found[key] = value
    for key in required:
        if key not in found:
            raise BindError(call.span, f"{name} lacks its argument {key}; write {usage}")
    return found


def _is_named(e: ast.Expr, name: str) -> bool:
    return isinstance(e, ast.NamedArgument) and e.name.name.upper() == name


def _key(e: ast.Expr, schema: Schema) -> tuple[int, ...]:
    if not isinstance(e, ast.Descriptor):
        raise BindError(e.span, "SESSION needs DESCRIPTOR(column, …), the columns of the key")
    for c in e.columns:
        if c.name not in schema.names:
            hint = did_you_mean(c.name, schema.names)
            raise BindError(c.span, f"the table of SESSION has no column {c.name}{hint}")
    return tuple(schema.names.index(c.name) for c in e.columns)


def _data(name: str, e: ast.Expr, catalog: Catalog) -> Node:
    if isinstance(e, ast.ScalarSubquery):
        return catalog.bind_query(e.query, catalog)
    if not isinstance(e, ast.TableArgument):
        raise BindError(e.span, f"{name} needs a table here: TABLE t")
    if isinstance(e.table, ast.Query):
        return catalog.bind_query(e.table, catalog)
    return catalog.find(e.table)


def _time_column(name: str, e: ast.Expr, schema: Schema) -> int:
    if not isinstance(e, ast.Descriptor) or len(e.columns) != 1:
        raise BindError(e.span, f"{name} needs DESCRIPTOR(column), the column of the time")
    column = e.columns[0]
    if column.name not in schema.names:
        hint = did_you_mean(column.name, schema.names)
        raise BindError(column.span, f"the table of {name} has no column {column.name}{hint}")
    at = schema.names.index(column.name)
    found = schema.types[at]
    if found.kind is not Kind.TIMESTAMP:
        raise BindError(
            column.span,
            f"{name} needs a TIMESTAMP column; {column.name} is {found.with_nullable(True)}",
        )
    return at


def _interval(name: str, parameter: str, e: ast.Expr, *, any_sign: bool = False) -> int:
    bound = ExpressionBinder(Scope(), aggregates=f"an argument of {name}").bind(e)
    is_short = isinstance(bound, Literal) and bound.type.kind is Kind.INTERVAL_SHORT
    if not is_short or not isinstance(bound, Literal) or bound.value is None:
        raise BindError(
            e.span,
            f"the {parameter} of {name} is a constant interval of days or less, such as "
            "INTERVAL '1' HOUR",
        )
    if bound.value <= 0 and not any_sign:
        raise BindError(e.span, f"the {parameter} of {name} must be longer than nothing")
    return int(bound.value)
