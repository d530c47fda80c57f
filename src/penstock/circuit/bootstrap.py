"""State for a changed program: what stayed is kept, what is new is computed from the tables.

    saved        t ──► arrange ──► join ──► aggregate ──► sink v          (kept: same fingerprints)
    new                  ╰───────► aggregate' ──► sink w                  (cold: nothing saved)

Cold nodes take the tables' contents in one step that visits them and what they are computed from.
Nodes on the way that do have saved state go through that step too, from nothing, because what
they emit is what cold nodes need; then they get their saved state instead.

A table's contents are known if it has a primary key, is materialized, or never had a row. Without
them nothing can be computed from it, and that is an error that names the table.

Incremental operators do not care in how many steps a history came, so one step over the sum of it
leaves what all of it would have left.

Cost: that of one step over the tables that cold nodes read, in memory as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.circuit.node import Node
from penstock.circuit.ops.sink import Sink, StepChanges
from penstock.circuit.saving import fits, restore
from penstock.data.batch import Batch
from penstock.errors import UserError
from penstock.state.spine import Spine
from penstock.state.storage import StateStore


@dataclass(frozen=True, slots=True)
class Difference:
    """What a saved state is for a circuit. Names are of nodes, outputs and tables.

    `missing`: nodes without saved state; `changed`: outputs among them, whose contents are
    computed anew; `unknown`: tables that this needs and whose contents are not saved."""

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    unknown: tuple[str, ...]


class Bootstrap:
    """The work that a saved state leaves to do. `saved`: per node what was saved, or None;
    `tables`: the names of sources."""

    def __init__(
        self,
        nodes: Sequence[Node],
        saved: Mapping[Node, Mapping[str, Any] | None],
        tables: Mapping[Node, str],
    ) -> None:
        self._nodes = nodes
        self._saved = saved
        self._cold = {n for n in nodes if not fits(n, saved[n])}
        self._visited = set(self._cold)
        for node in reversed(nodes):
            if node in self._visited:
                self._visited.update(node.inputs)
        self._tables = {n: name for n, name in tables.items() if n in self._visited}

    def difference(self) -> Difference:
        return Difference(
            tuple(n.name for n in self._nodes if n in self._cold),
            tuple(s.relation for s in self._changed()),
            tuple(
                name
                for table, name in self._tables.items()
                if self._holder(table) is None and self._had_rows(table)
            ),
        )

    def run(self, store: StateStore) -> Mapping[str, Batch]:
        """Bring all nodes to the state after the saved step; the contents of changed outputs.

        Raises UserError for tables whose contents are unknown, StateCorrupt, and what operators
        raise; the circuit is of no use afterwards then."""
        unknown = self.difference().unknown
        if unknown:
            raise UserError(
                f"the contents of {', '.join(unknown)} are not kept, so views over them that are "
                "new or changed cannot be computed; give the tables a PRIMARY KEY or declare them "
                "'materialized' = 'true' from the start, or clear the storage",
                code="BootstrapNotAllowed",
                details={"tables": list(unknown)},
            )
        contents = self._step(store) if self._cold else {}
        for node in self._nodes:
            saved = self._saved[node]
            if node not in self._cold and saved is not None:
                restore(node, store, saved)
        return contents

    def _step(self, store: StateStore) -> Mapping[str, Batch]:
        ran: list[Node] = []
        for node in self._nodes:
            if node not in self._visited:
                continue
            if node in self._tables:
                rows = self._contents(node, store)
                node.delta = rows if len(rows) else None
            elif node.is_due():
                node.run()
                ran.append(node)
        contents = StepChanges({s.relation: s.change() for s in self._changed()})
        for node in ran:
            node.commit()
        for node in self._visited:
            node.delta = node.more = None
        return contents

    def _changed(self) -> list[Sink]:
        return [n for n in self._nodes if n in self._cold and isinstance(n, Sink)]

    def _had_rows(self, table: Node) -> bool:
        saved = self._saved[table]
        return saved is not None and saved["scalars"]["rows_out"] > 0

    def _holder(self, table: Node) -> Node | None:
        """The node whose saved integral is the table's contents."""
        for node in (
            table,
            *(n for n in self._nodes if isinstance(n, Sink) and n.inputs[0] is table),
        ):
            saved = self._saved[node]
            if saved is not None and "integral" in saved["parts"]:
                return node
        return None

    def _contents(self, table: Node, store: StateStore) -> Batch:
        """The rows of a table with their weights, negative ones too."""
        spine = Spine(table.schema, ())
        holder = self._holder(table)
        if holder is not None:
            saved = self._saved[holder]
            assert saved is not None
            spine.restore(store, saved["parts"]["integral"])
        return spine.contents()
