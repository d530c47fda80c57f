"""A circuit's state, written and read back.

    fingerprint of a node = hash(operator, its parameters, fingerprints of its inputs)

Equal sub-plans have equal fingerprints in every process, so state finds its node again: in the
same program after a restart, and in a changed program wherever a part of it stayed the same. Names
play no role except for tables and outputs, which are known by theirs.

    capture ─► Captured: what every node has pinned          in the step lock
    write   ─► {"version", "steps", "nodes": {fingerprint: {"scalars", "parts"}}}    any thread

Nodes with equal fingerprints (they compute the same) are numbered: `<hash>`, `<hash>#1`, ….

Not here: how a part is pinned and written (`penstock.state.parts`).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.circuit.node import Node
from penstock.data.identity import digest, identity
from penstock.state.parts import Pin
from penstock.state.storage import StateStore

#: changes whenever an operator of an older version would not understand what is saved, or an
#: operator computes something else from the same parameters
VERSION = 5


def fingerprints(nodes: Sequence[Node]) -> dict[Node, str]:
    """Of every node; `nodes` in topological order."""
    known: dict[Node, str] = {}
    plain: dict[Node, str] = {}
    seen: Counter[str] = Counter()
    for node in nodes:
        inputs = [plain[i] for i in node.inputs]
        text = identity(node.parameters())
        plain[node] = print_ = digest(str(VERSION), type(node).__name__, text, *inputs)
        known[node] = f"{print_}#{seen[print_]}" if seen[print_] else print_
        seen[print_] += 1
    return known


@dataclass(frozen=True, slots=True)
class CapturedNode:
    fingerprint: str
    name: str
    scalars: Mapping[str, Any]
    parts: Mapping[str, Pin]


class Captured:
    """The state of a circuit after some step. Later steps do not show in it."""

    def __init__(self, steps: int, nodes: Sequence[CapturedNode]) -> None:
        self.steps = steps
        self._nodes = nodes

    def write(self, store: StateStore) -> dict[str, Any]:
        """Write what `store` does not have yet; returns the manifest, a JSON value.

        In any thread, one capture at a time, all of a circuit's to one store. Raises OSError; a
        later capture does not need this one to have succeeded."""
        nodes = {
            n.fingerprint: {
                "name": n.name,
                "scalars": dict(n.scalars),
                "parts": {name: pin.write(store) for name, pin in n.parts.items()},
            }
            for n in self._nodes
        }
        return {"version": VERSION, "steps": self.steps, "nodes": nodes}


def captured(node: Node, fingerprint: str) -> CapturedNode:
    # copies, because a list would move on with its node
    scalars = {name: copy.deepcopy(getattr(node, name)) for name in node.scalars}
    parts = {name: part.capture() for name, part in node.parts().items()}
    return CapturedNode(fingerprint, node.name, scalars, parts)


def fits(node: Node, saved: Mapping[str, Any] | None) -> bool:
    """Whether `saved` has all that `node` remembers."""
    return saved is not None and saved["parts"].keys() >= node.parts().keys()


def restore(node: Node, store: StateStore, saved: Mapping[str, Any]) -> None:
    """Give `node` the state it was saved with. Raises StateCorrupt."""
    for name, part in node.parts().items():
        part.restore(store, saved["parts"][name])
    for name in node.scalars:
        # an older version may not have had it
        if name in saved["scalars"]:
            setattr(node, name, copy.deepcopy(saved["scalars"][name]))
