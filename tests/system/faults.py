"""One pipeline, disturbed at a boundary while readers of its targets look on.

    ┌ client: batches, resets, checkpoints; asks again what got no answer
    │      REST ──► server process ──► worker process ──► sink ──► target ◄── reader polls
    └ failpoints (`Armed`) ─────────────────┘

Every batch of rows makes one version of the view, known beforehand. Batches are idempotent and go
in their order, so with `exactly_once` the versions stay the same whatever dies in between. What
the reader may see follows (spec/reset.md section 2):

    atomic, marked   one of the versions, never an older one after a newer; after damage by hand
                     also what the damage left, until the reset publishes
    per_key          of each key its row in one of those; no key doubled; none missing that was
                     there all the time
    always           never an empty target
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import httpx

from tests.contract.target import Rows, Target
from tests.contract.test_sinks import row
from tests.system.armed import Armed, until
from tests.system.conftest import Pipeline
from tests.system.egress_target import EgressTarget
from tests.system.fault_targets import clean, things
from tests.system.looks import Reader, check_keys, check_versions

BASE_ROWS = 40
#: rows of a snapshot staged at a time: several chunks of a small view
STAGE_ROWS = 15


class Stage:
    """The pipeline, its targets, and what is known of them."""

    #: whether a reader may see an older version after a newer one
    may_go_back = False

    def __init__(
        self,
        armed: Armed,
        targets: Mapping[str, Target],
        model: str = "exactly_once",
        more_sql: str = "",
        **runtime: Any,
    ) -> None:
        self.armed, self.targets = armed, dict(targets)
        #: a process may die once for every target
        self.patience_s = 180 + 30 * len(self.targets)
        self._connectors = {
            name: f"c{i}"
            for i, (name, t) in enumerate(targets.items())
            if not isinstance(t, EgressTarget)
        }
        armed.arm("")
        self.p = Pipeline.create(
            armed.system,
            self._program() + more_sql,
            **{
                "fault_tolerance": {"model": model, "checkpoint_interval_secs": None},
                "dev_tweaks": {"stage_rows": STAGE_ROWS},
                **runtime,
            },
        )
        self.p.start()
        self.rows: dict[int, tuple[Any, ...]] = {}
        self.versions: list[Rows] = []
        self.token = ""
        self.batch([(k, "base") for k in range(BASE_ROWS)])
        self.settle()
        for subscription in self._subscriptions().values():
            subscription.follow(self.p, "m", self.ensure_up)
        self.guarantees = self.reset()
        self.settle()
        self.readers = {name: Reader(t) for name, t in self.targets.items()}
        for r in self.readers.values():
            r.start()
        self.verify(0, {})
        self.things = {name: things(t) for name, t in self.targets.items()}

    def _program(self) -> str:
        connectors = []
        for name in self._connectors:
            t = self.targets[name]
            connector: dict[str, Any] = {
                "name": self._connectors[name],
                "mode": "snapshot_and_follow",
                "transport": {"name": t.transport, "config": t.config()},
            }
            if t.format:
                connector["format"] = t.format
            if t.is_keyed:
                connector["index"] = "by_k"
            connectors.append(connector)
        quoted = json.dumps(connectors).replace("'", "''")
        return f"""
        {self._table()};
        CREATE MATERIALIZED VIEW m WITH ('connectors' = '{quoted}') AS
          SELECT k, v, n, d, b, x FROM t;
        CREATE INDEX by_k ON m (k);
        """

    def _table(self) -> str:
        return (
            "CREATE TABLE t (k INT NOT NULL PRIMARY KEY, v VARCHAR, n DECIMAL(10, 2), d DATE, "
            "b BOOLEAN, x DOUBLE)"
        )

    def endpoints(self, name: str | None) -> list[str]:
        """The pipeline's names of the outputs to one target, or to all."""
        streams = self._subscriptions().items()
        return [
            *(f"m.{c}" for n, c in self._connectors.items() if name in (None, n)),
            *(f"m.{t.connector()}" for n, t in streams if name in (None, n)),
        ]

    def _subscriptions(self) -> dict[str, EgressTarget]:
        return {n: t for n, t in self.targets.items() if isinstance(t, EgressTarget)}

    # the client

    def batch(self, upserts: list[tuple[int, str]], deletes: list[int] | None = None) -> None:
        """Rows of one version, sent until they are taken."""
        events = []
        for k in deletes or []:
            events.append({"delete": {"k": k}})
            self.rows.pop(k, None)
        for k, v in upserts:
            r = row(k, v)
            record = dict(zip("kvndbx", r, strict=True)) | {"b": bool(r[4])}
            events.append({"insert": record})
            self.rows[k] = r
        self.versions.append(Counter(self.rows.values()))
        self._send(events)

    def _send(self, events: list[dict[str, Any]]) -> None:
        body = "\n".join(map(json.dumps, events))
        parameters = {"format": "json", "update_format": "insert_delete"}
        self.token = self.asked("/ingress/t", params=parameters, content=body)["token"]

    def change(self) -> None:
        """The next version: rows changed, one deleted, one new."""
        i = len(self.versions)
        keys = sorted(self.rows)
        self.batch([(k, f"v{i}") for k in (*keys[2::7], keys[-1] + 1)], [keys[i % 5]])

    def reset(self, twice: bool = False) -> dict[str, str]:
        """Have every target reset; the guarantees."""
        streams = self._subscriptions()
        before = {name: t.reader.snapshots for name, t in streams.items()}
        asked = self.ask_reset(twice)
        for name, t in streams.items():
            until(partial(self._is_asked, t, before[name], twice), self.patience_s, "a reset")
        self.wait_reset(asked)
        for name, t in streams.items():
            until(partial(self._has_more, t, before[name]), self.patience_s, "a new snapshot")
        guarantees = {name: str(a["guarantee"]) for name, a in asked.items()}
        return guarantees | dict.fromkeys(streams, "marked")

    def _is_asked(self, subscription: EgressTarget, snapshots: int, twice: bool) -> bool:
        """Ask a stream for a snapshot. One that ends is followed by one that has its own."""
        path = f"/views/m/connectors/{subscription.connector()}/reset"
        body = {"reset_id": f"after {snapshots}"}
        with suppress(httpx.TransportError):
            answers = [self.p.post(path, json=body) for _ in range(2 if twice else 1)]
            return all(a.is_success for a in answers) or self._has_more(subscription, snapshots)
        return self._has_more(subscription, snapshots)

    def _has_more(self, subscription: EgressTarget, snapshots: int) -> bool:
        self.ensure_up()
        return subscription.reader.snapshots > snapshots

    def ask_reset(self, twice: bool = False) -> dict[str, dict[str, Any]]:
        """Ask for a reset of every target, by a name, so that it can be asked for again."""
        found = {}
        for name, connector in self._connectors.items():
            body = {"reset_id": uuid.uuid4().hex}
            path = f"/views/m/connectors/{connector}/reset"
            answers = [self.asked(path, json=body) for _ in range(2 if twice else 1)]
            assert len({a["token"] for a in answers}) == 1
            found[name] = answers[0]
        return found

    def wait_reset(self, asked: Mapping[str, Mapping[str, Any]]) -> None:
        for answer in asked.values():
            until(partial(self._is_reset, answer["token"]), self.patience_s, "the reset")

    def checkpoint(self) -> None:
        """Ask for one, and wait until it is there or has failed."""
        number = self.asked("/checkpoint")["checkpoint_sequence_number"]

        def is_over() -> bool:
            status = self.got("/checkpoint_status") or {"success": None, "failure": None}
            failed = (status["failure"] or {}).get("sequence_number", 0)
            return max(status["success"] or 0, failed) >= number or bool(self.armed.fired())

        until(is_over, self.patience_s, "the checkpoint")

    def asked(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """The answer to a POST, which is made until there is one."""
        found: dict[str, Any] = {}

        def is_answered() -> bool:
            with suppress(httpx.TransportError):
                answer = self.p.post(path, **kwargs)
                if answer.is_success:
                    found.update(answer.json())
                    return True
                assert answer.status_code >= 500, answer.text
            self.ensure_up()
            return False

        until(is_answered, self.patience_s, f"an answer to {path}")
        return found

    def got(self, path: str, **kwargs: Any) -> dict[str, Any] | None:
        """The answer to a GET; None if there is none now."""
        with suppress(httpx.TransportError):
            answer = self.p.get(path, **kwargs)
            if answer.is_success:
                return dict(answer.json())
            assert answer.status_code >= 500, answer.text
        self.ensure_up()
        return None

    def ensure_up(self) -> None:
        """Start the pipeline if it is down; what is armed has done its work then, unless it is
        about a start."""
        found = self.p.system.http.get(self.p.path).json()
        status = found["deployment_status"]
        is_down = status == "Stopped" and found["deployment_desired_status"] == "Stopped"
        if not is_down and status != "Failed":
            return
        if self.armed.fired():
            self.armed.survived()
        if is_down:
            self.p.post("/start")
        else:
            self.p.post("/stop", params={"force": "true"})

    def _is_reset(self, token: str) -> bool:
        status = self.got("/reset_status", params={"token": token}) or {"status": "inprogress"}
        assert status.get("phase") != "failed", status
        return bool(status["status"] == "complete")

    def settle(self) -> None:
        """Wait until every row that was sent is delivered."""
        parameters = {"token": self.token}
        until(
            lambda: (
                (self.got("/completion_status", params=parameters) or {}).get("status")
                == "complete"
            ),
            self.patience_s,
            "delivery",
        )

    # what must hold

    def damage(self) -> dict[str, Rows | None]:
        """Spoil every target; what it shows then."""
        found = {}
        for name, target in self.targets.items():
            reader = self.readers[name]
            with reader.lock:
                target.damage()
                found[name] = target.look()
                reader.looks.append(found[name])
        return found

    def forget(self) -> int:
        """Begin to look: forget what was seen; the number of the version that is shown."""
        self.settle()
        for reader in self.readers.values():
            reader.take()
        return len(self.versions) - 1

    def verify(self, since: int, damaged: Mapping[str, Rows | None]) -> None:
        """Every target equals the view, every look since version `since` was allowed, and nothing
        is left over that the next reset does not remove."""
        self.settle()
        for name, reader in self.readers.items():
            until(
                lambda r=reader: r.look() == self.versions[-1],
                self.patience_s,
                f"{name}: equality",
            )
            if reader.error is not None:
                raise AssertionError(f"{name}: a look failed") from reader.error
            looks = reader.take()
            try:
                if self.guarantees[name] == "per_key":
                    check_keys(looks, self.versions[since:], damaged.get(name))
                else:
                    check_versions(looks, self.versions, since, damaged.get(name), self.may_go_back)
            except AssertionError as e:
                raise AssertionError(f"{name}: {e}") from e
        if since and self._left_over():
            for target in self.targets.values():
                clean(target)
            self.reset()
            until(lambda: not self._left_over(), 60, f"nothing left over: {self._left_over()}")

    def _left_over(self) -> dict[str, set[str]]:
        found = {name: things(t) - self.things[name] for name, t in self.targets.items()}
        return {name: names for name, names in found.items() if names}

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self.readers.values():
            reader.stop()
        for subscription in self._subscriptions().values():
            subscription.leave()
        self.armed.arm("")
        with suppress(httpx.TransportError):
            self.p.post("/stop", params={"force": "true"})
