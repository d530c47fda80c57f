"""CREATE TYPE (sql-reference 6.3)."""

from __future__ import annotations

from penstock.functions.aggregates import is_aggregate
from penstock.functions.lambdas import LAMBDA_FUNCTIONS
from penstock.functions.registry import names as builtin_names
from penstock.sql import ast
from penstock.sql.bind.report import BindError
from penstock.sql.bind.types import declared_type
from penstock.sql.statements.declared import Declared


def create_type(declared: Declared, t: ast.CreateType) -> None:
    name = t.name.name
    if name in declared.types and name not in declared.parsed.lost:
        raise BindError(t.name.span, f"there is a type {name} already")
    if name.upper() in (*builtin_names(), *LAMBDA_FUNCTIONS) or is_aggregate(name):
        raise BindError(t.name.span, f"{name.upper()} is a built-in function")
    declared.types[name] = None
    known = {n: x for n, x in declared.types.items() if n != name}
    declared.types[name] = declared_type(t, known)
