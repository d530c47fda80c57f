"""A view's plan as the relational operators of `dataflow_graph`, in the JSON of Calcite's plans.

    a > 10   ──►   {"op": {"name": ">", "kind": "GREATER_THAN", "syntax": "BINARY"},
                    "operands": [{"input": 0, "name": "$0"},
                                 {"literal": 10, "type": {"type": "INTEGER", …}}]}

An operand is a column of the operator's input, a literal with its type, or an operator on operands.
A CASE has its conditions and results in turn, then what holds otherwise. Beside the fields of the
API's schema every operator has a `description`, the line that `penstock explain` prints.

Not here: the graph of the whole program (`penstock.sql.dataflow`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.data.types import SqlType, json_type
from penstock.plan.expressions import (
    And,
    Call,
    Case,
    Cast,
    Coalesce,
    Expr,
    Fails,
    InList,
    InputRef,
    IsNull,
    LambdaCall,
    LambdaVar,
    Literal,
    Not,
    Or,
)
from penstock.plan.nodes import (
    AggCall,
    Aggregate,
    AsofJoin,
    Difference,
    Distinct,
    Filter,
    Join,
    Node,
    Project,
    Scan,
    TopK,
    UnionAll,
)
from penstock.plan.printer import children, describe
from penstock.plan.text import literal

#: relational operators whose usual name is not ours
_NAMES = {
    Scan: "LogicalTableScan",
    Distinct: "LogicalAggregate",
    UnionAll: "LogicalUnion",
    Difference: "LogicalMinus",
    TopK: "LogicalSort",
}
#: operators whose kind is not their name
_KINDS = {
    "+": "PLUS", "-": "MINUS", "*": "TIMES", "/": "DIVIDE", "%": "MOD",
    "=": "EQUALS", "<>": "NOT_EQUALS", "<": "LESS_THAN", "<=": "LESS_THAN_OR_EQUAL",
    ">": "GREATER_THAN", ">=": "GREATER_THAN_OR_EQUAL",
    "IS_DISTINCT": "IS_DISTINCT_FROM", "IS_NOT_DISTINCT": "IS_NOT_DISTINCT_FROM",
    "<=>": "IS_NOT_DISTINCT_FROM", "UNARY-": "MINUS_PREFIX", "UNARY+": "PLUS_PREFIX",
    "[]": "ITEM", "[SAFE_OFFSET]": "ITEM",
    "LIKE": "LIKE", "ILIKE": "LIKE", "RLIKE": "RLIKE", "CASE": "CASE", "COALESCE": "COALESCE",
}  # fmt: skip
_SYNTAX = {
    **dict.fromkeys(
        ("+", "-", "*", "/", "%", "||", "=", "<>", "<", "<=", ">", ">=", "<=>", "IS DISTINCT FROM",
         "IS NOT DISTINCT FROM", "AND", "OR"), "BINARY"),
    **dict.fromkeys(("IS NULL", "IS NOT NULL"), "POSTFIX"),
    **dict.fromkeys(("NOT", "UNARY-", "UNARY+"), "PREFIX"),
    **dict.fromkeys(("CAST", "SAFE_CAST", "CASE", "IN", "LIKE", "ILIKE", "RLIKE", "[]"), "SPECIAL"),
}  # fmt: skip


def rels(root: Node) -> list[dict[str, Any]]:
    """The operators of a plan, each once, inputs first; `id` is the place in the list."""
    found: list[dict[str, Any]] = []
    ids: dict[int, int] = {}

    def visit(node: Node) -> int:
        if id(node) not in ids:
            inputs = [visit(child) for child in children(node)]
            ids[id(node)] = len(found)
            found.append(
                {
                    "id": len(found),
                    "relOp": _NAMES.get(type(node), f"Logical{type(node).__name__}"),
                    "inputs": inputs,
                    "fields": list(node.schema.names),
                    "description": describe(node),
                    **_own(node),
                }
            )
        return ids[id(node)]

    visit(root)
    return found


def _own(node: Node) -> dict[str, Any]:
    """The fields that only this kind of operator has."""
    match node:
        case Scan(relation=relation):
            return {"table": [relation]}
        case Project(exprs=exprs):
            return {"exprs": [operand(e) for e in exprs]}
        case Filter(predicate=Literal(value=value)):
            return {"condition": {"literal": value is True}}
        case Filter(predicate=predicate):
            return {"condition": operand(predicate)}
        case Join(kind=kind):
            return {"joinType": kind.value, "condition": _join_condition(node)}
        case AsofJoin():
            pairs = [("=", pair) for pair in node.keys] + [(node.op, node.times)]
            width = len(node.left.schema)
            compared = [_operator(op, [_column(x), _column(width + y)]) for op, (x, y) in pairs]
            return {"joinType": "asof" if node.inner else "left_asof", "condition": _all(compared)}
        case Aggregate(keys=keys, calls=calls):
            made = zip(calls, node.schema.fields[len(keys) :], strict=True)
            aggregates = [_call(call, field.name, field.type) for call, field in made]
            return {"group": list(keys), "aggs": aggregates}
        case Distinct():
            return {"group": list(range(len(node.schema))), "aggs": []}
        case UnionAll() | Difference():
            return {"all": True}
        case _:
            return {}


def operand(expr: Expr) -> dict[str, Any]:
    """An expression over the columns of an operator's inputs."""
    match expr:
        case InputRef(index=index):
            return _column(index)
        case Literal(value=value, type=type_):
            plain = value is None or isinstance(value, (bool, int, str))
            shown = value if plain else literal(value, type_)
            return {"literal": shown, "type": json_type(type_)}
        case Cast(operand=inner, type=type_, safe=safe):
            word = "SAFE_CAST" if safe else "CAST"
            return {**_operator(word, [operand(inner)]), "type": json_type(type_)}
        case Call(function=function, args=args):
            return _operator(function.name.upper(), _operands(args))
        case And(args=args):
            return _operator("AND", _operands(args))
        case Or(args=args):
            return _operator("OR", _operands(args))
        case Not(operand=inner):
            return _operator("NOT", [operand(inner)])
        case IsNull(operand=inner, negated=negated):
            return _operator(f"IS {'NOT ' * negated}NULL", [operand(inner)])
        case Case(branches=branches, otherwise=otherwise):
            parts = [e for branch in branches for e in branch]
            return _operator("CASE", _operands((*parts, otherwise)))
        case Coalesce(args=args):
            return _operator("COALESCE", _operands(args))
        case InList(operand=inner, items=items, negated=negated):
            found = _operator("IN", _operands((inner, *items)))
            return _operator("NOT", [found]) if negated else found
        case Fails(args=args):
            return _operator("FAILS", _operands(args))
        case LambdaVar(name=name, level=level, index=index):
            return {"name": name or f"${level}.{index}"}
        case LambdaCall(function=called, operand=inner, body=body, params=params):
            applied = {"parameters": list(params), "expression": operand(body)}
            return _operator(called.name.upper(), [operand(inner), applied])
        case _:
            raise AssertionError(f"no operand for {type(expr).__name__}")


def _operands(exprs: Sequence[Expr]) -> list[dict[str, Any]]:
    return [operand(e) for e in exprs]


def _column(index: int) -> dict[str, Any]:
    return {"input": index, "name": f"${index}"}


def _operator(name: str, operands: list[dict[str, Any]]) -> dict[str, Any]:
    word = name.replace("_", " ") + " FROM" if name in ("IS_DISTINCT", "IS_NOT_DISTINCT") else name
    words = word.replace(" ", "_")
    kind = _KINDS.get(name, words if word in _SYNTAX else "OTHER_FUNCTION")
    op = {"name": word, "kind": kind, "syntax": _SYNTAX.get(word, "FUNCTION")}
    return {"op": op, "operands": operands}


def _all(conditions: list[dict[str, Any]]) -> dict[str, Any]:
    """That all of them hold: TRUE where there are none."""
    if not conditions:
        return {"literal": True}
    return conditions[0] if len(conditions) == 1 else _operator("AND", conditions)


def _join_condition(node: Join) -> dict[str, Any]:
    width = len(node.left.schema)
    safe = node.null_safe or (False,) * len(node.keys)
    parts = [
        _operator("IS_NOT_DISTINCT" if null_safe else "=", [_column(x), _column(width + y)])
        for (x, y), null_safe in zip(node.keys, safe, strict=True)
    ]
    return _all(parts + ([] if node.residual is None else [operand(node.residual)]))


def _call(call: AggCall, name: str, result: SqlType) -> dict[str, Any]:
    kind = call.function.kind
    return {
        "agg": {"name": kind, "kind": kind, "syntax": "FUNCTION"},
        "type": json_type(result),
        "distinct": call.distinct,
        "operands": list(call.args),
        "filter": call.filter,
        "name": name,
    }
