"""What the client of a random history knows: its table, the view, and what the view has been.

    batch of changes ──► rows of the table ──► the view's next version
                             └ kept aside while a transaction is open

With exactly_once a restart changes none of it. Without, the pipeline goes back to a checkpoint:
`back_at` takes over what the table then holds, which must be a state that it has had.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.contract.target import Rows
from tests.contract.test_sinks import row

Row = tuple[Any, ...]
State = dict[int, Row]

#: the view's definitions, and what each makes of a row of the table
VIEWS: tuple[tuple[str, Callable[[Row], Row | None]], ...] = (
    ("SELECT k, v, n, d, b, x FROM t", lambda r: r),
    ("SELECT k, v || '!' AS v, n, d, b, x FROM t", lambda r: (r[0], r[1] + "!", *r[2:])),
    ("SELECT k, v, n, d, b, x FROM t WHERE k <> 3", lambda r: None if r[0] == 3 else r),
)


@dataclass(frozen=True, slots=True)
class Changes:
    """One batch: rows by key, None for those that are deleted."""

    rows: Mapping[int, Row | None]

    def on(self, state: State) -> State:
        merged: dict[int, Row | None] = {**state, **self.rows}
        return {k: r for k, r in merged.items() if r is not None}

    def records(self) -> list[dict[str, Any]]:
        """As insert_delete JSON."""
        return [
            {"delete": {"k": k}}
            if r is None
            else {"insert": dict(zip("kvndbx", r, strict=True)) | {"b": bool(r[4])}}
            for k, r in self.rows.items()
        ]


class Model:
    def __init__(self) -> None:
        self.state: State = {}
        #: the state that the commit of the open transaction will bring; None: none is open
        self.held: State | None = None
        self.states: list[State] = [{}]
        self.versions: list[Rows] = [Counter()]
        self.view = 0
        self._number = 0

    def changes(self, n: int) -> Changes:
        """The next batch of `n` changes."""
        base = self.state if self.held is None else self.held
        found: State | dict[int, Row | None] = {}
        for _ in range(n):
            self._number += 1
            k = self._number * 7 % 13
            is_delete = self._number % 4 == 0 and k in base and k not in found and len(base) > 4
            found[k] = None if is_delete else row(k, f"v{self._number}")  # type: ignore[assignment]
        return Changes(found)

    def may_become(self, state: State) -> None:
        """The view may show `state` from now on."""
        self.states.append(state)
        self.versions.append(self.of(state))

    def become(self, state: State) -> None:
        self.may_become(state)
        self.state = state

    def of(self, state: State) -> Rows:
        """The view of `state`."""
        return Counter(filter(None, map(VIEWS[self.view][1], state.values())))

    @property
    def shown(self) -> Rows:
        return self.of(self.state)
