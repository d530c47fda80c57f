"""The first rounds of an iteration, each with a state of its own, so that a step costs what it
changes in each of them.

    outer streams ──┬────────────┬────────────┬──── …
                    ▼            ▼            ▼
          nothing ─► round 1 ─► M1 ─► round 2 ─► M2 ─► …    an ordinary circuit without a cycle

What a round computes from the outer streams alone is there once. A circuit does not grow: for more
rounds there is another one, which is told all that the outer streams have brought so far.

State: that of the body, as often as there are rounds. It is not saved, as it is only there to save
time and would be many times what it is made of; that is, and how many rounds there were, so that
the first step after a restart has them made, once, and nothing is begun anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.circuit.graph import Circuit, Stream
from penstock.data.batch import Batch
from penstock.data.types import Schema

Streams = Mapping[str, Stream]
#: adds a round's operators to a circuit: (circuit, the outer streams, the members) → the members'
#: queries, all by name
Round = Callable[[Circuit, Streams, Streams], Streams]


class Unrolled:
    """So many `rounds` of the `members`, from empty ones on."""

    def __init__(
        self,
        round_: Round,
        sources: Mapping[str, Schema],
        members: Mapping[str, Schema],
        rounds: int,
    ) -> None:
        self.rounds = rounds
        self._members = tuple(members)
        self._circuit = circuit = Circuit()
        outer = {name: circuit.inlet(name, schema) for name, schema in sources.items()}
        streams: Streams = {n: circuit.inlet(f"no {n}", s) for n, s in members.items()}
        for _ in range(rounds):
            queries = round_(circuit, outer, streams)
            streams = {name: circuit.distinct(queries[name]) for name in members}
        for name, stream in streams.items():
            circuit.sink(name, stream)

    def step(self, fed: Mapping[str, Batch]) -> Mapping[str, Batch]:
        """What the change `fed` of outer streams changes in the members after the last round."""
        return self._circuit.step({name: [d] for name, d in fed.items() if len(d)})

    def state_rows(self) -> int:
        return sum(n.state_rows() for n in self._circuit.nodes)
