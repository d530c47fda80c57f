"""The stage of `faults` with `at_least_once`: no journal, and a source that is read again.

    ┌ client: appends each version to a file, whole or not at all (a JSON array)
    │      file_input ──► worker process ──► sink ──► target ◄── reader polls
    └ failpoints

After a death the pipeline is where its last checkpoint was, reads on from there, and makes other
steps of what it reads than before: a target that was further is written anew. So its readers may
see an older version after a newer one, none older than that checkpoint's. All else is as it is
with `exactly_once`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tests.contract.target import Target
from tests.system.armed import Armed, until
from tests.system.faults import Stage


class RereadingStage(Stage):
    may_go_back = True

    def __init__(self, armed: Armed, targets: Mapping[str, Target], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._source = folder / "versions.json"
        self._source.touch()
        super().__init__(armed, targets, "at_least_once")

    def _table(self) -> str:
        connector = {
            "name": "source",
            "transport": {
                "name": "file_input",
                "config": {"path": str(self._source), "follow": True},
            },
            "format": {
                "name": "json",
                "config": {"update_format": "insert_delete", "array": True},
            },
        }
        quoted = json.dumps([connector]).replace("'", "''")
        return f"{super()._table()} WITH ('connectors' = '{quoted}')"

    def _send(self, events: list[dict[str, Any]]) -> None:
        with self._source.open("a") as file:
            file.write(json.dumps(events) + "\n")

    def settle(self) -> None:
        until(self._is_delivered, self.patience_s, "delivery")

    def forget(self) -> int:
        """What is shown is also where a death leads back to at most."""
        version = super().forget()
        number = self.asked("/checkpoint")["checkpoint_sequence_number"]
        until(
            lambda: ((self.got("/checkpoint_status") or {}).get("success") or 0) >= number,
            self.patience_s,
            "the checkpoint",
        )
        return version

    def _is_delivered(self) -> bool:
        """Whether the view is the last version, and every output has it."""
        with suppress(httpx.TransportError):
            sql = {"sql": "SELECT * FROM m", "format": "json"}
            shown = self.p.get("/query", params=sql)
            if not shown.is_success:
                self.ensure_up()
                return False
            try:
                rows = [json.loads(line) for line in shown.text.splitlines()]
            except ValueError:  # an answer that ends with a word of the process's death
                self.ensure_up()
                return False
            if Counter((r["k"], r["v"]) for r in rows) != Counter(r[:2] for r in self.versions[-1]):
                self.ensure_up()
                return False
            token = self.p.get("/tables/t/connectors/source/completion_token")
            if token.is_success:
                told = self.p.get("/completion_status", params=token.json())
                return told.is_success and told.json()["status"] == "complete"
        self.ensure_up()
        return False
