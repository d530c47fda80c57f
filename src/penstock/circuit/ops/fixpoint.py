"""Relations defined by each other: the least sets that their queries do not change any more.

    outer streams ──► ┌──────────── body, an ordinary circuit ────────────┐
                      │  members as they are ─► queries ─► derivations    │ ──► members' changes
                      └──────▲─────────────────────────────────┬──────────┘
                             └──── rows that came or went ◄────┘      round after round

The body is incremental, so a round costs what changed in the round before. Insertions need no
more than rounds (semi-naive evaluation). A deletion must not leave rows behind that support only
each other, so it goes the way of DRed (Gupta, Mumick, Subrahmanian, SIGMOD 1993): a row that
loses any derivation is withdrawn, round after round; what then still has a derivation comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, Touched, add_totals, grown
from penstock.circuit.node import Node
from penstock.data.batch import Batch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, filter_batch
from penstock.data.types import Schema
from penstock.errors import RuntimeSqlError
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part

if TYPE_CHECKING:
    from penstock.circuit.graph import Circuit

Seen = tuple[int, npt.NDArray[np.int64]]
Deltas = Mapping[str, Batch]


class Member:
    """One recursive relation: of every row ever derived how many derivations it has, and whether
    the body sees it now."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._table = GroupTable(schema.types)
        self._totals = np.zeros(16, np.int64)
        self._seen = np.zeros(16, np.int64)
        self._size = 0
        self._touched = Touched()
        self._changes = Changes(self)
        self._withdrawn: list[Ids] = []
        #: all that the body was told in this step
        self.told: list[Batch] = []

    def __len__(self) -> int:
        return len(self._table)

    def withdraw(self, derivations: Batch) -> Batch:
        """Rows that lost a derivation are gone, for now."""
        ids = self._count(derivations)
        gone = ids[self._seen[ids] > 0]
        self._withdrawn.append(gone)
        return self._tell(gone, -1)

    def bring_back(self) -> Batch:
        """Withdrawn rows that still have a derivation."""
        ids = np.concatenate([*self._withdrawn, np.zeros(0, np.int64)])
        self._withdrawn = []
        return self._tell(ids[(self._totals[ids] > 0) & (self._seen[ids] == 0)], 1)

    def settle(self, derivations: Batch) -> Batch:
        """The body shall see the rows that have a derivation; what changes for it."""
        ids = self._count(derivations)
        change = (self._totals[ids] > 0).astype(np.int64) - self._seen[ids]
        return concat([self._tell(ids[change == s], s) for s in (-1, 1)], self.schema)

    def clear(self) -> Batch:
        """The body shall see nothing; rows may be brought back."""
        ids = np.flatnonzero(self._seen[: len(self._table)])
        self._withdrawn.append(ids)
        return self._tell(ids, -1)

    def seen(self) -> Seen:
        """What the body sees: how many rows, and which."""
        return self._size, self._seen[: len(self._table)].copy()

    def is_again(self, before: Seen) -> bool:
        """Whether the body sees what it saw then."""
        size, seen = before
        if size != self._size:
            return False
        return np.array_equal(seen, self._seen[: len(seen)]) and not self._seen[len(seen) :].any()

    def change(self) -> Batch | None:
        """What the step did in all."""
        told, self.told = self.told, []
        return consolidate(concat(told, self.schema)) if told else None

    def _count(self, derivations: Batch) -> Ids:
        ids = self._table.lookup_or_insert(derivations.columns, len(derivations))
        self._totals = grown(self._totals, len(self._table))
        self._seen = grown(self._seen, len(self._table))
        touched, _ = self._touched.find(ids, len(self._table))
        self._changes.note(touched)
        add_totals(ids, derivations.weights, self._totals)
        return touched

    def _tell(self, ids: Ids, sign: int) -> Batch:
        self._seen[ids] += sign
        self._size += sign * len(ids)
        self._changes.note(ids)
        weights = np.full(len(ids), sign, np.int64)
        rows = Batch(self.schema, self._table.take(ids), weights, True)
        if len(ids):
            self.told.append(rows)
        return rows

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._table, "counts": self._changes}

    def entries(self) -> Arrays:
        return {"totals": self._totals, "seen": self._seen}

    def entry_count(self) -> int:
        return len(self._table)

    def load_entries(self, arrays: Arrays, count: int) -> None:
        totals, seen = arrays["totals"], arrays["seen"]
        assert isinstance(totals, np.ndarray) and isinstance(seen, np.ndarray)
        self._totals, self._seen = totals, seen
        self._size = int(seen.sum())


class Fixpoint(Node):
    """The members' changes of a step, for a `FixpointOutput` each.

    Reference:   from empty members, set each member to one copy of every row of its query over
                 the members, until nothing changes.
    Incremental: bodies that are monotone in the members as the module says, a row that comes from
                 a source that takes away being a deletion. Others start from empty members in
                 every step (over a body that keeps its state, so sources are not read again).
    State: the body's, and the number of derivations of every row of a member.
    Cost:  monotone: the rows whose derivations change, withdrawn ones included. Others: all
           derivations, in every step in which an outer stream changes.
    """

    scalars: ClassVar[tuple[str, ...]] = (*Node.scalars, "inner")

    def __init__(
        self,
        sources: Mapping[str, Node],
        members: Mapping[str, Schema],
        body: Circuit,
        monotone: bool,
        rounds: int,
        taking: frozenset[str],
    ) -> None:
        """`body` has an inlet for every name of `sources` and of `members`, and a sink for every
        member's query, under its name. `monotone`: more rows of a member never mean fewer, and
        more of a source do for those in `taking` and for no other. `rounds`: after how many it is
        taken for endless."""
        super().__init__(Schema(()), tuple(sources.values()))
        self._inlets = tuple(sources)
        self._members = {name: Member(schema) for name, schema in members.items()}
        self._body = body
        self._monotone = monotone
        self._taking = taking
        self._most_rounds = rounds
        self.is_pending = True
        self.changes: dict[str, Batch] = {}

    def step(self) -> Batch | None:
        fed = {
            name: source.delta
            for name, source in zip(self._inlets, self.inputs, strict=True)
            if source.delta is not None
        }
        if self._monotone:
            self._maintain(fed)
        else:
            self._start_over(fed)
        changes = {name: m.change() for name, m in self._members.items()}
        self.changes = {name: c for name, c in changes.items() if c is not None and len(c)}
        return None

    def commit(self) -> None:
        self.changes = {}

    def _maintain(self, fed: Deltas) -> None:
        takes = {name: (d.weights > 0) == (name in self._taking) for name, d in fed.items()}
        lost = {name: filter_batch(d, takes[name]) for name, d in fed.items()}
        back: dict[str, Batch] = {}
        if any(len(d) for d in lost.values()):
            self._rounds(lost, Member.withdraw)
            back = {name: m.bring_back() for name, m in self._members.items()}
        gained = {name: filter_batch(d, ~takes[name]) for name, d in fed.items()}
        self._rounds({**gained, **back}, Member.settle)

    def _start_over(self, fed: Deltas) -> None:
        cleared = {name: m.clear() for name, m in self._members.items()}
        derived = self._derive({**fed, **cleared})
        first = {
            name: concat([m.settle(derived[name]), m.bring_back()], m.schema)
            for name, m in self._members.items()
        }
        self._rounds(first, Member.settle)

    def _derive(self, fed: Deltas) -> Deltas:
        """What the members' queries derive more or less of, once `fed` is told to the body."""
        return self._body.step({name: [d] for name, d in fed.items() if len(d)})

    def _rounds(self, fed: Deltas, take: Callable[[Member, Batch], Batch]) -> None:
        """Tell the body until it tells the members nothing new. What a round tells follows from
        what the body saw before it, so a body that is not monotone and sees again what it saw
        goes in a circle; it is compared with rounds 1, 2, 4, 8, … (Brent 1980)."""
        names = ", ".join(self._members)
        marked, mark = 1, {} if self._monotone else self._seen()
        for i in range(1, self._most_rounds + 1):
            derived = self._derive(fed)
            told = {n: take(m, derived[n]) for n, m in self._members.items() if len(derived[n])}
            fed = {name: rows for name, rows in told.items() if len(rows)}
            if not fed:
                return
            if self._monotone:
                continue
            if all(m.is_again(mark[n]) for n, m in self._members.items()):
                raise RuntimeSqlError(
                    f"the recursive view {names} has no end: its rows come and go in a circle, as "
                    "it takes away (EXCEPT, NOT IN, an aggregate) what it is made of"
                )
            if i == marked:
                marked, mark = 2 * i, self._seen()
        raise RuntimeSqlError(
            f"the recursive view {names} has not come to an end after {self._most_rounds:,} "
            "rounds: bound what it computes with WHERE, or let it go on for longer with SET "
            f"PENSTOCK_RECURSION_ROUNDS = {10 * self._most_rounds}"
        )

    def _seen(self) -> dict[str, Seen]:
        return {name: m.seen() for name, m in self._members.items()}

    def parameters(self) -> tuple[Any, ...]:
        body = tuple(sorted(self._body.fingerprints.items()))
        taking = tuple(sorted(self._taking))
        return self._inlets, tuple(self._members), self._monotone, *taking, body

    def parts(self) -> Mapping[str, Part]:
        inner = {
            f"body {i} {k}": p for i, n in enumerate(self._body.nodes) for k, p in n.parts().items()
        }
        own = {f"{name} {k}": p for name, m in self._members.items() for k, p in m.parts().items()}
        return {**inner, **own}

    @property
    def inner(self) -> list[dict[str, Any]]:
        """The scalars of the body's nodes."""
        return [{k: getattr(n, k) for k in n.scalars} for n in self._body.nodes]

    @inner.setter
    def inner(self, saved: Sequence[Mapping[str, Any]]) -> None:
        for node, scalars in zip(self._body.nodes, saved, strict=True):
            for name, value in scalars.items():
                setattr(node, name, value)

    def state_rows(self) -> int:
        body = sum(n.state_rows() for n in self._body.nodes)
        return body + sum(len(m) for m in self._members.values())


class FixpointOutput(Node):
    """One member of a `Fixpoint` as a stream.

    Reference:   the member.
    Incremental: its change, when there is one.
    State: none.
    Cost:  none.
    """

    def __init__(self, fixpoint: Fixpoint, member: str, schema: Schema) -> None:
        super().__init__(schema, (fixpoint,))
        self._fixpoint = fixpoint
        self._member = member

    def is_due(self) -> bool:
        return self._member in self._fixpoint.changes

    def step(self) -> Batch | None:
        return self._fixpoint.changes[self._member]

    def parameters(self) -> tuple[Any, ...]:
        return (self._member,)
