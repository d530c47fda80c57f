"""CREATE TYPE (sql-reference 6.3)."""

from __future__ import annotations

from penstock.errors import Span
from penstock.sql import ast
from penstock.sql.bind import calls
from penstock.sql.bind.report import BindError
from penstock.sql.bind.types import declared_type, is_built_in
from penstock.sql.statements.declared import Declared, refuse_reserved


def _mention(name: str, t: ast.CreateType | ast.TypeExpr | None) -> Span | None:
    """Where `t` names type `name`."""
    match t:
        case ast.NamedType():
            return t.span if t.name == name else None
        case ast.ArrayType():
            return _mention(name, t.element)
        case ast.MapType():
            return _mention(name, t.key) or _mention(name, t.value)
        case ast.RowType():
            return next(filter(None, (_mention(name, f.type) for f in t.fields)), None)
        case ast.CreateType():
            inner = (t.type, *(f.type for f in t.fields))
            return next(filter(None, (_mention(name, x) for x in inner)), None)
    return None


def create_type(declared: Declared, t: ast.CreateType) -> None:
    name = t.name.name
    if name in declared.types and name not in declared.parsed.lost:
        raise BindError(t.name.span, f"there is a type {name} already")
    if calls.is_built_in(name):
        raise BindError(t.name.span, f"{name.upper()} is a built-in function")
    if is_built_in(name) and declared.text[t.name.span.start] != '"':
        raise BindError(t.name.span, f"{name.upper()} is a built-in type")
    declared.types[name] = None
    refuse_reserved(t.name)
    itself = _mention(name, t)
    if itself is not None:
        raise BindError(itself, f"type {name} contains itself: types cannot be recursive")
    known = {n: x for n, x in declared.types.items() if n != name}
    declared.types[name] = declared_type(t, known)
