"""The dataflow graph of a compiled program, as `GET …/dataflow_graph` shows it.

    mir             the program's operators, each once, with the operators they read:
                    table ─► … ─► view
    calcite_plan    each view's plan on its own: relational operators, inputs first

The plan is the optimised one, so a part that several views share is one node of `mir`. Beside the
fields of the API's schema every operator has a `description`, the line that `penstock explain`
prints. `persistent_id` is the same wherever the same is computed from the same: in every program.

Not here: deciding anything. This only reads a ProgramPlan.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from penstock.errors import Span
from penstock.plan.nodes import Node, ProgramPlan, Scan
from penstock.plan.printer import children, describe, format_schema
from penstock.sql.diagnostics import position
from penstock.sql.rels import rels


def dataflow(program: ProgramPlan) -> dict[str, Any]:
    """`{"calcite_plan": {view: {"rels": […]}}, "mir": {node: {…}}}`."""
    graph = _Graph(program.text)
    for table in program.tables:
        graph.nodes[table.name] = {"operation": "table", "table": table.name, "inputs": []}
    for view in program.all_views:
        # a view may be read before it is declared, so its name is its node
        root = graph.name_of(view.query)
        inputs = [{"node": root, "output": 0}]
        graph.nodes[view.name] = {"operation": "view", "view": view.name, "inputs": inputs}
    plans = {view.name: {"rels": rels(view.query)} for view in program.all_views}
    return {"calcite_plan": plans, "mir": graph.nodes}


@dataclass
class _Graph:
    text: str
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def name_of(self, node: Node) -> str:
        """The name of the node's operator, which is added with what it reads if it is new."""
        if isinstance(node, Scan):
            return node.relation
        if id(node) not in self.names:
            below = [self.name_of(child) for child in children(node)]
            name = f"{type(node).__name__}.{len(self.names) + 1}"
            self.names[id(node)] = name
            read = [self.ids.get(source, source) for source in below]
            said = json.dumps([describe(node), format_schema(node.schema), *read])
            self.ids[name] = blake2b(said.encode(), digest_size=16).hexdigest()
            self.nodes[name] = {
                "operation": type(node).__name__,
                "persistent_id": self.ids[name],
                "description": describe(node),
                "inputs": [{"node": source, "output": 0} for source in below],
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
