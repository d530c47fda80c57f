"""Relations defined by each other: the least sets that their queries do not change any more.

    outer streams ──► ┌──────────── body, an ordinary circuit ────────────┐
                      │  members as they are ─► queries ─► derivations    │ ──► members' changes
                      └──────▲─────────────────────────────────┬──────────┘
                             └──── rows that came or went ◄────┘      round after round

The body is incremental, so a round costs what changed in the round before. Insertions need no
more than rounds (semi-naive evaluation). A deletion must not leave rows behind that support only
each other: a row that nothing less deep supports any more is withdrawn, round after round; what
then still has a derivation comes back (`penstock.circuit.grounded`).

That is for bodies that are monotone in the members. So are those with a MIN or MAX in the cycle
whose better values never make worse ones; what is shown of a key is the best row then
(`penstock.circuit.best`). For others (a COUNT in the cycle) what the n-th round leaves has to be
told from what the others leave: the first rounds are computed one by one, each with a state of its
own (`penstock.circuit.unrolled`), as soon as that pays and if there is room for it; what is left is
iterated from where they end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from penstock.circuit.best import Best, BestOf
from penstock.circuit.expiry import Expiry
from penstock.circuit.grounded import Grounded
from penstock.circuit.member import Member, Seen
from penstock.circuit.node import Node
from penstock.data.batch import Batch
from penstock.data.gather import filter_batch
from penstock.data.types import Schema
from penstock.errors import RuntimeSqlError
from penstock.state.parts import Part
from penstock.state.spine import Spine

if TYPE_CHECKING:
    from penstock.circuit.graph import Circuit
    from penstock.circuit.unrolled import Unrolled

Deltas = Mapping[str, Batch]

#: rounds that are computed one by one beyond those that were needed
SPARE_ROUNDS = 3
#: rows that a step may start over with for the price of a step of them
FEW_ROWS = 20_000


class Fixpoint(Node):
    """The members' changes of a step, for a `FixpointOutput` each.

    Reference:   from empty members, set each member to one copy of every row of its query over
                 the members, until nothing changes.
    Incremental: bodies that are monotone in the members as the module says, a row that comes from
                 a source that takes away being a deletion. Others round by round; rounds that
                 there is no state of are begun again in every step (over a body that keeps its
                 own, so sources are not read again).
    State: the body's, and the number of derivations of every row of a member. Not monotone: the
           sources, and the body's again for each of the rounds, if there is room. What rounds keep
           is not saved: the first step after a restart makes it from the sources.
    Cost:  monotone: the rows whose derivations change, withdrawn ones included. Others: what
           changes in each round; without a state of each all derivations, in every step in which
           a source changes.
    """

    scalars: ClassVar[tuple[str, ...]] = (*Node.scalars, "inner", "rounds")

    def __init__(
        self,
        sources: Mapping[str, Node],
        members: Mapping[str, Schema],
        body: Circuit,
        monotone: bool,
        rounds: int,
        taking: frozenset[str],
        unroll: Callable[[int], Unrolled],
        most_rows: int,
        best: Mapping[str, BestOf],
    ) -> None:
        """`body` has an inlet for every name of `sources` and of `members`, and a sink for every
        member's query, under its name. `monotone`: more rows of a member never mean fewer, and
        more of a source do for those in `taking` and for no other; the last column of members and
        their queries is a depth then, one more than those of the members that a row is made of.
        `best`: which row a key shows, of monotone members that are no sets. `unroll`: of others
        the first so many rounds, one by one, which may keep `most_rows`. `rounds`: after how many
        it is taken for endless."""
        super().__init__(Schema(()), tuple(sources.values()))
        self._inlets = tuple(sources)
        self._of = best
        self._deep: dict[str, Grounded | Best] = {}
        #: of a body that is not monotone
        self._sets: dict[str, Member] = {}
        if monotone:
            for name, schema in members.items():
                of = best.get(name)
                self._deep[name] = Grounded(schema) if of is None else Best(schema, of)
        else:
            self._sets = {name: Member(schema) for name, schema in members.items()}
        self._members: Mapping[str, Member | Grounded | Best] = {**self._sets, **self._deep}
        self._body = body
        self._monotone = monotone
        self._taking = taking
        self._most_rounds = rounds
        self._unroll = unroll
        self._most_rows = most_rows
        self._unrolled: Unrolled | None = None
        #: that have a state of their own, or had one before a restart
        self.rounds = 0
        #: all that the sources brought, where rounds may have to be unrolled
        self._outer: dict[str, Spine] = {}
        if not monotone:
            self._outer = {
                name: Spine(s.schema, tuple(range(len(s.schema)))) for name, s in sources.items()
            }
        #: rows that members were told so far, where the body is not monotone
        self.rows_told = 0
        #: those of them that rounds told which had no state of their own
        self._owed = 0
        self.is_pending = True
        self.changes: dict[str, Batch] = {}
        #: what whoever runs this should know and was not told: rounds for which there is no room
        self.warnings: list[str] = []
        #: rows that the last of them was about
        self._lacking = 0

    def expiry_of(self, member: str) -> Expiry:
        """Which rows of a member are over. Rounds that begin anew derive them anew, so that of a
        body that is not monotone nothing is forgotten."""
        return self._deep[member].expiry if self._monotone else Expiry()

    def step(self) -> Batch | None:
        for member in self._members.values():
            member.forget()
        fed = {
            name: source.delta
            for name, source in zip(self._inlets, self.inputs, strict=True)
            if source.delta is not None
        }
        if self._monotone:
            self._maintain(fed)
        else:
            self._iterate(fed)
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
            self._rounds(lost, lambda name, rows: self._deep[name].withdraw(rows))
            back = {name: m.bring_back() for name, m in self._deep.items()}
        gained = {name: filter_batch(d, ~takes[name]) for name, d in fed.items()}
        self._rounds({**gained, **back}, self._settle)

    def _iterate(self, fed: Deltas) -> None:
        if self.rounds and self._unrolled is None:
            # a restart: nothing else is begun anew
            self._have_rounds(self.rounds)
        for name, rows in fed.items():
            self._outer[name].insert_later(rows)
        base = {} if self._unrolled is None else self._unrolled.step(fed)
        started = {name: m.start(base.get(name)) for name, m in self._sets.items()}
        derived = self._derive({**fed, **{name: told for name, (told, _) in started.items()}})
        first = {name: m.settle(derived[name], started[name][1]) for name, m in self._sets.items()}
        rounds, told = self._rounds(first, self._settle)
        for member in self._sets.values():
            member.end()
        self.rows_told += told + sum(len(rows) for rows, _ in started.values())
        if told:
            self._owed += told
            self._unroll_if_it_pays(rounds)

    def _unroll_if_it_pays(self, more: int) -> None:
        """Have `more` rounds computed one by one, once what it took to do without comes to what
        that takes."""
        rounds = more + SPARE_ROUNDS + self.rounds
        if self._rows_of(rounds) <= self._owed - FEW_ROWS:
            self._have_rounds(rounds)

    def _rows_of(self, rounds: int) -> int:
        """About what so many read and leave."""
        outer = sum(map(len, self._outer.values()))
        return rounds * (outer + sum(m.size for m in self._members.values()))

    def _have_rounds(self, rounds: int) -> None:
        """Have so many rounds computed one by one, if there is room for them."""
        if self._rows_of(rounds) > self._most_rows:
            if self._unrolled is None:
                self.rounds = 0
            self._warn(rounds)
            return
        self._owed, self._unrolled = 0, None  # not both at once
        self._unrolled, self.rounds = self._unroll(rounds), rounds
        left = self._unrolled.step({n: s.contents() for n, s in self._outer.items()})
        for name, member in self._sets.items():
            member.rebase(left[name])

    def _warn(self, rounds: int) -> None:
        rows = self._rows_of(rounds)
        if rows < 4 * self._lacking:
            return
        self._lacking = rows
        self.warnings.append(
            f"the recursive view {', '.join(self._members)} begins anew in every step that changes "
            f"it: {rounds} rounds would keep some {rows:,} rows, and no more than "
            f"{self._most_rows:,} may be kept. If there is memory for them (100 bytes a row, about)"
            f", SET PENSTOCK_RECURSION_ROWS = {rows + rows // 2}"
        )

    def _derive(self, fed: Deltas) -> Deltas:
        """What the members' queries derive more or less of, once `fed` is told to the body."""
        return self._body.step({name: [d] for name, d in fed.items() if len(d)})

    def _settle(self, name: str, rows: Batch) -> Batch:
        return self._members[name].settle(rows)

    def _rounds(self, fed: Deltas, take: Callable[[str, Batch], Batch]) -> tuple[int, int]:
        """Tell the body until it tells the members nothing new; the rounds, and the rows told.
        What a round tells follows from what the body saw before it, so a body that is not monotone
        and sees again what it saw goes in a circle; it is compared with rounds 4, 8, 16, …
        (Brent 1980)."""
        names = ", ".join(self._members)
        marked, mark, rows = 4, dict[str, Seen](), 0
        for i in range(1, self._most_rounds + 1):
            rows += sum(map(len, fed.values()))
            derived = self._derive(fed)
            told = {n: take(n, derived[n]) for n in self._members if len(derived[n])}
            fed = {name: new for name, new in told.items() if len(new)}
            if not fed:
                return i, rows
            if self._monotone:
                continue
            if mark and all(m.is_again(mark[n]) for n, m in self._sets.items()):
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
        return {name: m.seen() for name, m in self._sets.items()}

    def parameters(self) -> tuple[Any, ...]:
        body = tuple(sorted(self._body.fingerprints.items()))
        taking = tuple(sorted(self._taking))
        best = tuple((name, of.value, of.most) for name, of in sorted(self._of.items()))
        return self._inlets, tuple(self._members), self._monotone, *taking, body, *best

    def parts(self) -> Mapping[str, Part]:
        inner = {
            f"body {i} {k}": p for i, n in enumerate(self._body.nodes) for k, p in n.parts().items()
        }
        own = {f"{name} {k}": p for name, m in self._members.items() for k, p in m.parts().items()}
        return {**inner, **own, **self._outer}

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
        unrolled = 0 if self._unrolled is None else self._unrolled.state_rows()
        body = sum(n.state_rows() for n in self._body.nodes)
        own = sum(map(len, self._members.values())) + sum(map(len, self._outer.values()))
        return body + own + unrolled


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
        #: which of the member's rows neither come nor go any more, by column
        self.expiry = fixpoint.expiry_of(member)

    def is_due(self) -> bool:
        return self._member in self._fixpoint.changes

    def step(self) -> Batch | None:
        return self._fixpoint.changes[self._member]

    def parameters(self) -> tuple[Any, ...]:
        return (self._member,)
