"""An HTTP subscription as a target of the faults: what `EgressReader` shows its user.

It is not in the program: it is there as soon as somebody follows the view, under a name that every
stream gets anew. Damaged by hand is the reader's own copy, as a client that miscounts does it; what
a reset has to put right is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from penstock.client import EgressReader
from penstock.client.egress import Row
from tests.contract.target import SCHEMA, Rows, Target
from tests.system.armed import until
from tests.system.conftest import Pipeline

INVENTED: Row = (("k", -7), ("v", "invented"), ("n", None), ("d", None), ("b", None), ("x", None))


class EgressTarget(Target):
    transport = "http_output"

    def __init__(self, where: Any) -> None:
        self._reader: EgressReader | None = None

    def follow(self, p: Pipeline, view: str, ensure_up: Callable[[], None]) -> None:
        """Subscribe; the first snapshot is there on return."""
        self._p, self._view, self._ensure_up = p, view, ensure_up
        self._reader = EgressReader(p.system.url, p.name, view).__enter__()
        self._reader.wait_for_snapshots(1, 120)

    def leave(self) -> None:
        if self._reader is not None:
            self._reader.__exit__(None, None, None)

    @property
    def reader(self) -> EgressReader:
        assert self._reader is not None
        return self._reader

    def connector(self) -> str:
        """The name of the stream that there is now."""

        def found() -> str | None:
            self._ensure_up()
            answer = self._p.get("/stats")
            outputs = answer.json()["outputs"] if answer.is_success else []
            names = [o["endpoint_name"] for o in outputs]
            mine = [n for n in names if n.startswith(f"{self._view}.api-")]
            return mine[0] if len(mine) == 1 else None

        return str(until(found, what="one subscription")).split(".", 1)[1]

    def config(self) -> dict[str, Any]:
        return {}

    def look(self) -> Rows | None:
        found: Rows = Counter()
        for row, count in self.reader.rows().items():
            values = [dict(row)[n] for n in SCHEMA.names]
            values[2] = None if values[2] is None else f"{float(values[2]):.2f}"
            values[4] = None if values[4] is None else int(values[4])
            found[tuple(values)] += count
        return found

    def damage(self) -> None:
        with self.reader._cond:
            shown = self.reader._shown
            for row in list(shown)[::2]:
                del shown[row]
            shown[INVENTED] += 1

    def remove(self) -> None:
        with self.reader._cond:
            self.reader._shown.clear()
