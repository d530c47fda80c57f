"""A pipeline with several targets, all that may happen to it, and what must hold.

    events ──► World ──► Life (a process that can be killed) ──► sinks ──► targets ◄── a reader
                 ├─ Model: what the view has been              (`Watched`: what was seen)
                 └─ asks again what got no answer

Each event of `events.EVENTS` is a method. At the end (`end`), with everything up and running
again: each target that was not damaged equals the view, without any more resets; after a reset so
does each that was; nothing is left over, generations have only grown, audits find no difference.

Source: spec/reset.md sections 2 and 7.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.contract.target import Rows
from tests.histories.events import FIRST_OR_SECOND, Event
from tests.histories.model import VIEWS, Changes, Model, State
from tests.histories.nursery import Died, Life, Nursery, Refused
from tests.histories.places import Servers
from tests.histories.watched import Watched
from tests.system.fault_targets import clean, things

BASE_ROWS = 9
#: rows of a snapshot staged at a time: several chunks of a small view
STAGE_ROWS = 4
#: the connectors' generic attributes, one after the other as they are changed
SETTINGS: tuple[Mapping[str, Any], ...] = (
    {},
    {"max_queued_records": 3, "on_overflow": "reset"},
    {"enable_output_buffer": True, "max_output_buffer_time_millis": 20},
    {"max_queued_records": 3},
)
PATIENCE_S = 120.0


def until(condition: Callable[[], Any], what: Callable[[], str] | str) -> Any:
    """Wait for it; asks often at first."""
    deadline = time.monotonic() + PATIENCE_S
    pause_s = 0.002
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what if isinstance(what, str) else what()}")
        time.sleep(pause_s)
        pause_s = min(0.05, pause_s * 1.5)
    return found


class World:
    """See the module. `play` makes an event."""

    def __init__(
        self,
        nursery: Nursery,
        servers: Servers,
        folder: Path,
        fault_tolerance: str,
        targets: Sequence[str],
    ) -> None:
        self._nursery = nursery
        self._storage, self._kept = folder / "storage", folder / "backup"
        self._is_exactly_once = fault_tolerance == "exactly_once"
        self._fault_tolerance = fault_tolerance
        self._model = Model()
        self._sending: State | None = None
        self._kept_held: State | None = None
        self._is_restored = self._is_paused = False
        self._settings = 0
        self._armed = self._token = ""
        #: resets that are not over: target, token, its damages when it was asked for
        self._resets: list[tuple[Watched, str, int]] = []
        self._watched = [Watched(n, servers.place(n, folder / n)) for n in targets]
        self._life: Life | None = None
        self._is_over = threading.Event()
        self._error: BaseException | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._start()
        self.send(BASE_ROWS, True)
        self._things = {w.name: things(w.target) for w in self._watched}
        for w in self._watched:
            w.mended()
        self._reader.start()

    def _read(self) -> None:
        pause_s = 0.01
        while not self._is_over.wait(pause_s):
            started = time.thread_time()
            try:
                for w in self._watched:
                    w.look()
            except BaseException as e:
                self._error = e
                return
            # looking must not be most of what the machine does
            pause_s = max(0.01, 5 * (time.thread_time() - started))

    def close(self) -> None:
        self._is_over.set()
        if self._reader.is_alive():
            self._reader.join(30)
        if self._life is not None:
            self._life.kill()
        for w in self._watched:
            w.place.close()

    def play(self, event: Event) -> None:
        name, *args = event
        getattr(self, name)(*args)
        self.judge()

    def judge(self) -> None:
        """What must hold at every instant."""
        if self._error is not None:
            raise AssertionError("a reader failed") from self._error
        self._note_resets()
        for w in self._watched:
            w.judge(self._model.versions)

    # the process

    def _config(self) -> dict[str, Any]:
        connectors = []
        for w in self._watched:
            connector: dict[str, Any] = {
                "name": w.connector,
                "mode": "snapshot_and_follow",
                "transport": {"name": w.target.transport, "config": w.place.config()},
                **SETTINGS[self._settings],
            }
            if w.target.format:
                connector["format"] = w.target.format
            if w.target.is_keyed:
                connector["index"] = "by_k"
            connectors.append(connector)
        quoted = json.dumps(connectors).replace("'", "''")
        program = f"""
        CREATE TABLE t (k INT NOT NULL PRIMARY KEY, v VARCHAR, n DECIMAL(10, 2), d DATE,
                        b BOOLEAN, x DOUBLE);
        CREATE MATERIALIZED VIEW m WITH ('connectors' = '{quoted}') AS {VIEWS[self._model.view][0]};
        CREATE INDEX by_k ON m (k);
        """
        model = {"model": self._fault_tolerance, "checkpoint_interval_secs": None}
        return {
            "pipeline_id": "p",
            "name": "p",
            "program_code": program,
            "runtime_config": {
                "workers": 1, "fault_tolerance": model, "dev_tweaks": {"stage_rows": STAGE_ROWS}
            },
            "storage_dir": str(self._storage),
            "bootstrap_policy": "allow",
        }  # fmt: skip

    def _start(self) -> None:
        """Begin the next life. One that dies or fails of what is armed is followed by another."""
        is_first = self._life is None
        while True:
            life = self._life = self._nursery.life()
            try:
                life.ask("arm", self._points())
                life.ask("begin", self._config())
                status = until(partial(self._steady, life), "the start")
                if status["state"] != "Failed":
                    if not is_first:
                        self._take_stock(life)
                    return
                reason = str(status)
            except Died:
                reason = "died"
            except Refused as e:
                reason = str(e)
            assert self._armed, f"it does not start: {reason}"
            self._armed = ""
            life.kill()

    @staticmethod
    def _steady(life: Life) -> dict[str, Any] | None:
        status: dict[str, Any] = life.ask("status")
        return status if status["state"] in ("Running", "Paused", "Failed") else None

    def _take_stock(self, life: Life) -> None:
        """After a restart: what of the past is still so."""
        m = self._model
        self._is_paused = life.ask("status")["state"] == "Paused"
        is_open = life.ask("stats")["global_metrics"]["transaction_id"] > 0
        state, view = self._table(life), self._view(life)
        assert view == m.of(state), f"the view is not that of the table: {view} {state}"
        if m.held is not None and not is_open and self._is_exactly_once and not self._is_restored:
            m.become(m.held)
            m.held = None
        if self._is_exactly_once and not self._is_restored:
            allowed = m.state, self._sending or m.state
            assert state in allowed, f"the view went back: to {state}, instead of {allowed}"
        else:
            assert state in m.states, f"the table is as it never was: {state}"
            m.become(state)
            if is_open:  # how much of it is there is not known
                life.ask("commit_transaction")
                until(lambda: not self._is_open(life), "the commit")
                m.become(self._table(life))
            m.held = None
        if is_open and self._is_exactly_once and not self._is_restored and m.held is None:
            m.held = m.state  # the answer to its beginning was lost
        self._is_restored = False
        for w in self._watched:
            w.is_paused = life.ask("output_stats", "m", w.connector)["paused"]

    @staticmethod
    def _is_open(life: Life) -> bool:
        return bool(life.ask("stats")["global_metrics"]["transaction_id"])

    @staticmethod
    def _table(life: Life) -> State:
        return {r[0]: r for r in life.ask("rows", "t")}

    @staticmethod
    def _view(life: Life) -> Rows:
        return Counter(life.ask("rows", "m"))

    def _points(self) -> str:
        down = [
            f"{call}({w.endpoint})=error@*"
            for w in self._watched
            if w.is_down and w.place.door is None
            for call in ("begin", "stage", "publish", "delta")
        ]
        return "; ".join(filter(None, (*down, self._armed)))

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """The answer of a pipeline that may die or fail before it gives one: asked again."""
        while True:
            assert self._life is not None
            try:
                return self._life.ask(method, *args, **kwargs)
            except Died:
                self._revive()
            except Refused as e:
                if not e.is_transient:
                    raise
                self._revive_if_failed()
                time.sleep(0.01)

    def _revive(self) -> None:
        self._armed = ""
        self._start()

    def _revive_if_failed(self) -> None:
        assert self._life is not None
        try:
            if self._life.ask("status")["state"] != "Failed":
                return
            self._life.kill()
        except Died:
            pass
        self._revive()

    def _wait(self, condition: Callable[[], Any], what: Callable[[], str] | str) -> Any:
        """`until`, of a pipeline that may die or fail meanwhile."""

        def is_so() -> Any:
            self._revive_if_failed()
            return condition()

        return until(is_so, what)

    # rows

    def send(self, n: int, is_waited: bool) -> None:
        m = self._model
        if self._is_paused:
            return
        changes = m.changes(n)
        if m.held is None:
            m.may_become(changes.on(m.state))
            self._sending = changes.on(m.state)
        body = "\n".join(map(json.dumps, changes.records())).encode()
        self._token = self._ask("send", body)
        self._sending = None
        self._sent(changes)
        if is_waited:
            self.settle()

    def _sent(self, changes: Changes) -> None:
        m = self._model
        if m.held is None:
            m.become(changes.on(m.state))
        else:
            m.held = changes.on(m.held)

    def _is_taken(self) -> bool:
        """Whether all that was sent has gone through the circuit; a token of an earlier life tells
        nothing."""
        try:
            return (
                not self._token or self._ask("completion_status", self._token)["step"] is not None
            )
        except Refused:
            return True

    def begin(self) -> None:
        if self._model.held is None:
            # what is still queued would be of the transaction
            self._wait(self._is_taken, "the rows' step")
            self._model.held = self._model.state
            try:
                self._ask("start_transaction")
            except Refused as e:
                assert e.code == "TransactionInProgress", e
            if self._model.held is None:
                self.begin()

    def commit(self) -> None:
        m = self._model
        if m.held is None:
            return
        m.may_become(m.held)
        while m.held is not None:
            try:
                self._ask("commit_transaction")
            except Refused as e:
                assert e.code == "NoTransactionInProgress", e
            self._wait(lambda: not self._ask("stats")["global_metrics"]["transaction_id"], "commit")
            if m.held is not None:
                m.become(m.held)
                m.held = None

    def settle(self) -> None:
        """Wait until all is delivered that can be. Completed rows are there to be read."""
        m = self._model
        watched = self._watched
        if m.held is not None or any(w.is_down or w.is_damaged or w.is_paused for w in watched):
            return

        def is_complete() -> bool:
            try:
                status = self._ask("completion_status", self._token)
            except Refused:
                return all(w.look() == m.shown for w in watched)  # a token of an earlier life
            return bool(status["status"] == "complete")

        self._wait(is_complete, lambda: f"delivery, {self._described()}")
        if not any(w.is_paused for w in watched) and m.held is None:
            for w in watched:
                assert w.look() == m.shown, f"{w.name} is not complete, though its token says so"

    # the pipeline

    def pause(self) -> None:
        self._ask("pause")
        self._is_paused = True

    def resume(self) -> None:
        self._ask("resume")
        self._is_paused = False

    def checkpoint(self, is_waited: bool) -> None:
        number = self._ask("checkpoint")["checkpoint_sequence_number"]
        if is_waited and self._model.held is None:
            self._wait(lambda: self._is_taken_since(number), "the checkpoint")

    def _is_taken_since(self, number: int) -> bool:
        status = self._ask("checkpoint_status")
        failed = (status["failure"] or {}).get("sequence_number", 0)
        if max(status["success"] or 0, failed) >= number:
            return True
        # asked of a life that is over, and none since
        return status["success"] is None and self._ask("checkpoint_activity")["status"] == "idle"

    def restart(self, how: str, what: str) -> None:
        assert self._life is not None
        if not self._is_exactly_once:
            self.commit()
        how, _, milliseconds = how.partition(" ")
        time.sleep(int(milliseconds or 0) / 1000)
        try:
            if how != "kill":
                self._life.ask(how)
        except (Died, Refused):
            pass  # it may go on then; it is killed all the same
        self._life.kill()
        match what:
            case "older":
                manifests = sorted((self._storage / "checkpoints").glob("*.json"))
                if len(manifests) > 1:
                    manifests[-1].write_bytes(manifests[-1].read_bytes()[:-1])
            case "backup":
                shutil.rmtree(self._kept, ignore_errors=True)
                shutil.copytree(self._storage, self._kept)
            case "restore" if self._kept.exists():
                shutil.rmtree(self._storage)
                shutil.copytree(self._kept, self._storage)
                self._is_restored = True
            case "view":
                self._model.view = (self._model.view + 1) % len(VIEWS)
                self._model.become(self._model.state)
            case "connector":
                self._settings = (self._settings + 1) % len(SETTINGS)
        self._start()

    # resets

    def reset(self, which: int, mode: str, is_waited: bool) -> None:
        asked = self._watched if which == len(self._watched) else [self._watched[which]]
        for w in asked:
            body = {"reset_id": uuid.uuid4().hex}
            if mode == "diff" and w.kind.can_diff:
                body["mode"] = mode
            damages = w.damages
            answer = self._ask("reset", "m", w.connector, body)
            w.is_paused = False
            self._resets.append((w, answer["token"], damages))
        if is_waited and not any(w.is_down for w in asked):
            self._wait(self._are_reset, lambda: f"the resets, {self._described()}")

    def reset_group(self) -> None:
        damages = [w.damages for w in self._watched]
        body = {"connectors": [w.endpoint for w in self._watched], "reset_id": uuid.uuid4().hex}
        answers = self._ask("reset_group", body)["resets"]
        for w, damage, answer in zip(self._watched, damages, answers, strict=True):
            w.is_paused = False
            self._resets.append((w, answer["token"], damage))

    def _are_reset(self) -> bool:
        self._note_resets()
        return not [w for w, *_ in self._resets if not (w.is_paused or w.is_down)]

    def _note_resets(self) -> None:
        going_on = []
        for w, token, damages in self._resets:
            try:
                status = self._ask("reset_status", token)
            except Refused as e:
                assert e.code == "PipelineRestarted", e  # its storage was restored
                continue
            if status["status"] == "inprogress":
                going_on.append((w, token, damages))
            elif status["status"] == "complete" and w.damages == damages:
                w.mended()
            elif status["status"] == "failed":
                assert w.is_damaged, f"a reset of {w.name} failed: {status}"
        self._resets = going_on

    def cancel(self, which: int) -> None:
        w = self._watched[which]
        try:
            w.is_paused = not self._ask("cancel_reset", "m", w.connector)["follows"]
        except Refused as e:
            assert e.code in ("NoResetInProgress", "ResetTooLateToCancel"), e

    def dry_run(self, which: int) -> None:
        plan = self._ask("reset", "m", self._watched[which].connector, {"dry_run": True})
        assert plan["dry_run"] and plan["rows"] >= 0

    def audit(self, which: int) -> None:
        """Equal, unless the target is damaged or misses something."""
        w = self._watched[which]
        if w.is_down or w.is_damaged or w.is_paused:
            return
        found = self._audited(w)
        if found is not None and not (w.is_damaged or w.is_paused):
            assert found["equal"], f"{w.name}: {found}"

    def _audited(self, w: Watched) -> dict[str, Any] | None:
        """None if the target cannot be read back."""
        try:
            found: dict[str, Any] = self._ask("audit", "m", w.connector, {})
        except Refused as e:
            assert e.code == "NotSupported", e
            return None
        w.saw_generation(found["generation"])
        return found

    def stop_connector(self, which: int) -> None:
        w = self._watched[which]
        self._ask("set_output_connector", "m", w.connector, "pause")
        w.is_paused = True

    def start_connector(self, which: int) -> None:
        w = self._watched[which]
        self._ask("set_output_connector", "m", w.connector, "start")
        w.is_paused = False

    # the world outside

    def damage(self, which: int) -> None:
        self._watched[which].damage(is_removed=False)

    def remove(self, which: int) -> None:
        self._watched[which].damage(is_removed=True)

    def down(self, which: int, how: str) -> None:
        w = self._watched[which]
        w.is_down = True
        if w.place.door is None:
            self._ask("arm", self._points())
        else:
            w.place.down(how)

    def up(self, which: int) -> None:
        w = self._watched[which]
        w.is_down = False
        if w.place.door is None:
            self._ask("arm", self._points())
        else:
            w.place.up()

    def arm(self, point: str, action: str, passage: int) -> None:
        self._armed = f"{point}={action}@{passage}"
        self._ask("arm", self._points())

    # the end

    def end(self) -> None:
        """Everything up again, and what must hold then."""
        m = self._model
        self._armed = ""
        for i in FIRST_OR_SECOND:
            self.up(i)
        self._ask("arm", "")
        self._revive_if_failed()
        self.commit()
        self.resume()
        for w in self._watched:
            if self._ask("output_stats", "m", w.connector)["paused"]:
                self.start_connector(self._watched.index(w))
        self.send(1, False)
        for w in self._watched:
            if not w.is_damaged:
                self._wait(lambda w=w: w.look() == m.shown, lambda w=w: self._differs(w))
        self.judge()
        for w in self._watched:
            if w.is_damaged:
                self.reset(self._watched.index(w), "replace", True)
                assert not w.is_damaged, f"{w.name} is reset, and was damaged before"
        self.send(1, True)
        self._wait(self._is_all_complete, lambda: f"all records complete, {self._described()}")
        for w in self._watched:
            found = self._audited(w)
            assert found is None or found["equal"], f"{w.name}: {found}"
            clean(w.target)
            self._wait(
                lambda w=w: things(w.target) <= self._things[w.name],
                lambda w=w: f"{w.name}: left over {things(w.target) - self._things[w.name]}",
            )
        self.judge()

    def _is_all_complete(self) -> bool:
        found = self._ask("stats")["global_metrics"]
        return bool(found["total_completed_records"] == found["total_processed_records"])

    def _differs(self, w: Watched) -> str:
        seen = w.look()
        if seen is None:
            return f"{w.name} is there; {self._described()}"
        shown = self._model.shown
        return (
            f"{w.name} equals the view: extra {seen - shown}, missing {shown - seen}; "
            f"{self._described()}"
        )

    def _described(self) -> str:
        found = {}
        for w in self._watched:
            s = self._ask("output_stats", "m", w.connector)
            found[w.name] = (s["delivery"], s["fatal_error"], s["paused"], s["health"])
        return str(found)
