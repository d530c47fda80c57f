"""WITH ('key' = 'value', …) of tables and views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.plan.nodes import (
    ConnectorPlan,
)
from penstock.sql import ast
from penstock.sql.bind.report import BindError, did_you_mean
from penstock.sql.connectors import Owner, parse_connectors
from penstock.sql.diagnostics import position
from penstock.sql.statements.declared import Declared


def read(
    declared: Declared, given: Sequence[ast.Property], known: Sequence[str], what: str
) -> dict[str, Any]:
    """{key: {value, key_position, value_position}} as the schema JSON shows them."""
    found: dict[str, Any] = {}
    for p in given:
        with declared.report.attempt(p.span):
            key = p.key.value
            if key not in known:
                hint = did_you_mean(key, known) or f"; known are {', '.join(known)}"
                raise BindError(p.key.span, f"unknown property '{key}' of {what}{hint}")
            if key in found:
                raise BindError(p.key.span, f"property '{key}' of {what} is given twice")
            _check_property(p)
            found[key] = {
                "value": p.value.value,
                "key_position": _position(declared, p.key.span),
                "value_position": _position(declared, p.value.span),
            }
    return found


def _check_property(p: ast.Property) -> None:
    value = p.value.value
    booleans = ("materialized", "append_only", "skip_unused_columns")
    if p.key.value in booleans and value.lower() not in ("true", "false"):
        raise BindError(
            p.value.span, f"property '{p.key.value}' is 'true' or 'false', not '{value}'"
        )
    if p.key.value == "expected_size" and not value.isdigit():
        raise BindError(p.value.span, f"property 'expected_size' is a number, not '{value}'")


def _position(declared: Declared, span: Any) -> dict[str, int]:
    line, column = position(declared.text, span.start)
    end_line, end_column = position(declared.text, max(span.start, span.end - 1))
    return {
        "start_line_number": line,
        "start_column": column,
        "end_line_number": end_line,
        "end_column": end_column,
    }


def connectors(
    declared: Declared, given: Sequence[ast.Property], owner: Owner, into: list[ConnectorPlan]
) -> None:
    for p in given:
        if p.key.value == "connectors":
            plans, problems = parse_connectors(p.value.value, owner)
            for problem in problems:
                declared.report.add(
                    p.value.span, problem.message, problem.error_type, warning=problem.warning
                )
            into += plans
            declared.spans += [(plan, p.value.span) for plan in plans if not owner.is_table]
