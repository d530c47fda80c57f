"""Joins that multiply: their output in batches of bounded size, to who adds it up.

    join ──► 1 M rows ──► map ──► 1 M rows ──► GROUP BY, DISTINCT        one batch in memory,
         ──► 1 M rows ──► map ──► 1 M rows ──►                           not all there will be

                                           ──► a view's change           all there will be, but of
                                                                         its own columns only

A join whose only reader is an aggregate, a DISTINCT, a view or what compares two relations row by
row (EXCEPT, INTERSECT, who has a partner), or a chain of maps, UNNEST and unions before one, says
so by `is_summed`: beyond `MOST_ROWS` its step makes only the first batch, and `Node.more` the
others when they are asked for, within the same step. Any other reader keeps every row that comes
(an arrangement, the rows of a window or a top-k in order): the pairs are its state, and as many of
them are there when they come all at once. A view's change is one batch too, since it is net and
goes on as a whole; what is not all there at once is what pairs are made of: places of rows, columns
nobody reads.

Invariant: who reads a node's delta reads all of its `more`, in the step, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from penstock.circuit.arrange import Arrange
from penstock.circuit.node import Linear, Node
from penstock.circuit.ops.aggregate import Aggregate
from penstock.circuit.ops.distinct import Positive
from penstock.circuit.ops.join import Join
from penstock.circuit.ops.sink import Sink
from penstock.circuit.two_totals import TwoTotals


def find_summed(nodes: Sequence[Node]) -> dict[Node, tuple[Arrange, ...]]:
    """Tell the joins among `nodes`; of their readers, into which arrangements they make the join
    look."""
    readers = Counter(source for node in nodes for source in node.inputs)
    reader = {source: node for node in nodes for source in node.inputs}
    looks: dict[Node, tuple[Arrange, ...]] = {}
    for join in nodes:
        if not isinstance(join, Join):
            continue
        path: list[Node] = []
        at: Node = join
        while readers[at] == 1 and isinstance(reader[at], Linear):
            at = reader[at]
            path.append(at)
        if readers[at] == 1 and isinstance(reader[at], Aggregate | Positive | TwoTotals | Sink):
            join.is_summed = True
            sides = tuple(s for s in join.inputs if isinstance(s, Arrange))
            for node in (*path, reader[at]):
                looks[node] = (*looks.get(node, ()), *sides)
    return looks
