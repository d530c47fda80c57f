"""The dataflow graph of a compiled program, as `GET …/dataflow_graph` shows it.

    mir             the program's operators, each once, with the operators they read:
                    table ─► … ─► view
    calcite_plan    each view's plan on its own: relational operators, inputs first

The plan is the optimised one, so a part that several views share is one node of `mir`. Beside the
fields of the API's schema every operator has a `description`, the line that `penstock explain`
prints.

Not here: deciding anything. This only reads a ProgramPlan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from penstock.errors import Span
from penstock.plan.nodes import (
    Aggregate,
    Difference,
    Distinct,
    Join,
    Node,
    ProgramPlan,
    Scan,
    TopK,
    UnionAll,
)
from penstock.plan.printer import children, describe
from penstock.sql.diagnostics import position

#: relational operators whose usual name is not ours
_NAMES = {
    Scan: "LogicalTableScan",
    Distinct: "LogicalAggregate",
    UnionAll: "LogicalUnion",
    Difference: "LogicalMinus",
    TopK: "LogicalSort",
}


def dataflow(program: ProgramPlan) -> dict[str, Any]:
    """`{"calcite_plan": {view: {"rels": […]}}, "mir": {node: {…}}}`."""
    graph = _Graph(program.text)
    for table in program.tables:
        graph.nodes[table.name] = {"operation": "table", "table": table.name, "inputs": []}
    for view in program.views:
        # a view may be read before it is declared, so its name is its node
        root = graph.name_of(view.query)
        inputs = [{"node": root, "output": 0}]
        graph.nodes[view.name] = {"operation": "view", "view": view.name, "inputs": inputs}
    plans = {view.name: {"rels": _rels(view.query)} for view in program.views}
    return {"calcite_plan": plans, "mir": graph.nodes}


@dataclass
class _Graph:
    text: str
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def name_of(self, node: Node) -> str:
        """The name of the node's operator, which is added with what it reads if it is new."""
        if isinstance(node, Scan):
            return node.relation
        if id(node) not in self.names:
            below = [{"node": self.name_of(child), "output": 0} for child in children(node)]
            name = f"{type(node).__name__}.{len(self.names) + 1}"
            self.names[id(node)] = name
            self.nodes[name] = {
                "operation": type(node).__name__,
                "description": describe(node),
                "inputs": below,
                "positions": [] if node.span is None else [self._position(node.span)],
            }
        return self.names[id(node)]

    def _position(self, span: Span) -> dict[str, int]:
        line, column = position(self.text, span.start)
        end_line, end_column = position(self.text, max(span.start, span.end - 1))
        return {
            "start_line_number": line,
            "start_column": column,
            "end_line_number": end_line,
            "end_column": end_column,
        }


def _rels(root: Node) -> list[dict[str, Any]]:
    rels: list[dict[str, Any]] = []
    ids: dict[int, int] = {}

    def visit(node: Node) -> int:
        if id(node) not in ids:
            inputs = [visit(child) for child in children(node)]
            rel: dict[str, Any] = {
                "id": len(rels),
                "relOp": _NAMES.get(type(node), f"Logical{type(node).__name__}"),
                "inputs": inputs,
                "fields": list(node.schema.names),
                "description": describe(node),
            }
            match node:
                case Scan(relation=relation):
                    rel["table"] = [relation]
                case Join(kind=kind):
                    rel["joinType"] = kind.value
                case Aggregate(keys=keys):
                    rel["group"] = list(keys)
                case UnionAll() | Difference():
                    rel["all"] = True
                case _:
                    pass
            ids[id(node)] = len(rels)
            rels.append(rel)
        return ids[id(node)]

    visit(root)
    return rels
