"""Where requests about resets arrive: reset, group reset, dry run, cancel, status, audit.

    POST   …/views/V/connectors/C/reset   {"mode", "dry_run", "reset_id"}   accept, or the plan
    DELETE …/views/V/connectors/C/reset                                     call it off
    POST   …/reset                        {"connectors": ["V.C", …], …}     several, one step
    GET    …/reset_status?token=                                            what became of it
    POST   …/views/V/connectors/C/audit   {"sample"}                        target against view

Look-ups happen in the order of spec/reset.md section 1: endpoint, body, support. Everything that
can be refused is refused before anything is accepted: of a group all or none.

Not here: what a reset does (`delivery`), HTTP (`penstock.server`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from penstock.data.batch import Batch
from penstock.data.views import lengths_of
from penstock.errors import Gone, UserError
from penstock.io.contracts import Capabilities, SinkRejected, not_supported
from penstock.pipeline.audit import compare
from penstock.pipeline.delivery_facts import SnapshotHandle
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.outputs import OutputEndpoint
from penstock.pipeline.reset_group import ResetGroup
from penstock.pipeline.resets import ResetLog, ResetRecord
from penstock.pipeline.target_probe import Look
from penstock.wire.names import fold_identifier

MODES = ("replace", "diff")
MAX_RESET_ID = 100
#: rows of each kind that an audit lists unless asked for more, and the most it lists
SHOWN_ROWS, MAX_SHOWN_ROWS = 20, 10_000
#: rows of a view that are spelt at a time
AUDIT_ROWS = 20_000
ESTIMATE_ROWS = 10_000
#: how long an audit waits for the sink to be at the step that it is compared at
AUDIT_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class ResetOptions:
    """The body of a reset (spec/reset.md section 6)."""

    mode: str = "replace"
    dry_run: bool = False
    reset_id: str | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any] | None) -> ResetOptions:
        """Raises UserError InvalidParam for anything that is not offered."""
        body = dict(body or {})
        for key, value in body.items():
            good = {
                "mode": value in MODES,
                "dry_run": isinstance(value, bool),
                "reset_id": isinstance(value, str) and 0 < len(value) <= MAX_RESET_ID,
            }
            if not good.get(key, False):
                raise UserError(
                    f"reset does not take {orjson.dumps({key: value}).decode()}: the body may "
                    'hold "mode" ("replace" or "diff"), "dry_run" (true or false) and "reset_id" '
                    f"(1 to {MAX_RESET_ID} characters)",
                    details={"parameter": key},
                )
        return cls(**body)


class ResetDesk:
    """See the module. `find(view, connector)` raises NotFound; `readable` says which relations
    can be pinned as a snapshot."""

    def __init__(
        self,
        *,
        loop: StepLoop,
        resets: ResetLog,
        find: Callable[[str, str], OutputEndpoint],
        readable: frozenset[str],
    ) -> None:
        self._loop, self._resets, self._find, self._readable = loop, resets, find, readable

    # asking for a reset

    def reset(self, view: str, connector: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """Owe the connector's sink a fresh snapshot, durable on return; or say what that would
        mean."""
        endpoint = self._find(view, connector)
        options = ResetOptions.of(body)
        capabilities = self._check(endpoint, options)
        if options.dry_run:
            return self._plan(endpoint, options, capabilities)
        record = endpoint.request_reset(mode=options.mode, reset_id=options.reset_id)
        return self._accepted(record, capabilities)

    def reset_group(self, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """Reset several connectors as of one step."""
        body = dict(body or {})
        endpoints = self._named(body.pop("connectors", None))
        options = ResetOptions.of(body)
        checked = [(e, self._check(e, options)) for e in endpoints]
        if options.dry_run:
            plans = [{**_named(e), **self._plan(e, options, c)} for e, c in checked]
            return {"dry_run": True, "step": self._loop.step, "resets": plans}
        group = ResetGroup(
            [e.name for e in endpoints],
            between_steps=self._loop.step_lock,
            take_cut=self._loop.take_cut,
        )
        answers = []
        waiting = [e.name for e in endpoints]
        try:
            for e, capabilities in checked:
                record = e.request_reset(mode=options.mode, reset_id=options.reset_id, group=group)
                waiting.remove(e.name)
                answers.append({**_named(e), **self._accepted(record, capabilities)})
        finally:
            # those that could not be asked: the others, which are reset by now, go on without
            for name in waiting:
                group.leave(name)
        return {"step": self._loop.step, "resets": answers}

    def _named(self, names: Any) -> list[OutputEndpoint]:
        is_list = isinstance(names, list) and names
        is_good = is_list and all(isinstance(n, str) and "." in n for n in names)
        found = [self._one(*n.rsplit(".", 1)) for n in names] if is_good else []
        if not found or len({e.name for e in found}) < len(found):
            raise UserError(
                'a group reset needs "connectors": a list of different "view.connector" names',
                details={"parameter": "connectors"},
            )
        return found

    def _one(self, view: str, connector: str) -> OutputEndpoint:
        """By the name that the statistics have, or with the view spelt as in SQL."""
        if f"{view}.{connector}" in self._loop.outputs:
            return self._find(view, connector)
        return self._find(fold_identifier(view), connector)

    def _accepted(self, record: ResetRecord, capabilities: Capabilities) -> dict[str, Any]:
        return {
            "token": record.token,
            "generation": record.generation,
            "guarantee": capabilities.guarantee,
            "step": self._loop.step,
        }

    def _check(self, endpoint: OutputEndpoint, options: ResetOptions) -> Capabilities:
        """Raise NotSupported, saying what to change, if the connector cannot be reset so."""
        name = endpoint.name
        if endpoint.relation not in self._readable:
            raise not_supported(
                f"output connector '{name}' cannot be reset: view '{endpoint.relation}' is not "
                "materialized, so there is no snapshot to replay: declare it CREATE MATERIALIZED "
                'VIEW and set "send_snapshot": true on the connector'
            )
        if not endpoint.settings.snapshot:
            raise not_supported(
                f"output connector '{name}' cannot be reset: it is in follow mode; set "
                '"send_snapshot": true (or "mode": "snapshot_and_follow") on it'
            )
        capabilities = endpoint.capabilities()
        if capabilities.guarantee == "none":
            raise not_supported(
                f"output connector '{name}' cannot be reset: its sink can only append in this mode"
            )
        if options.mode == "diff" and not capabilities.can_diff:
            raise not_supported(
                f"output connector '{name}' cannot be reset in mode diff: its target is only "
                'ever written anew as a whole; leave "mode" out'
            )
        if not options.dry_run:
            self._probe(endpoint)
        return capabilities

    def _probe(self, endpoint: OutputEndpoint) -> Look:
        try:
            return endpoint.probe()
        except SinkRejected as e:
            raise not_supported(f"output connector '{endpoint.name}' cannot be reset: {e}") from e

    def _plan(
        self, endpoint: OutputEndpoint, options: ResetOptions, capabilities: Capabilities
    ) -> dict[str, Any]:
        """What a reset would do now; nothing is touched."""
        look = self._probe(endpoint)
        with self._loop.step_lock:
            step = self._loop.step
            snapshot = self._loop.circuit.snapshot(endpoint.relation)
        with endpoint.locked() as state:
            phase, queued = state.phase.value, state.queue.records
        return {
            "dry_run": True,
            "guarantee": capabilities.guarantee,
            "mode": options.mode,
            "step": step,
            "phase": phase,
            "rows": snapshot.rows,
            "bytes": estimated_bytes(snapshot),
            "dropped_records": queued,
            "reachable": look.trouble is None,
            "trouble": look.trouble,
            "privileges": list(look.privileges),
        }

    # afterwards

    def cancel(self, view: str, connector: str) -> dict[str, Any]:
        """Call a reset off before it is published. `follows`: the connector goes on from its old
        contents and misses nothing; if false it is paused and owes a snapshot."""
        endpoint = self._find(view, connector)
        record, follows = endpoint.cancel_reset()
        return {
            "token": record.token,
            "generation": record.generation,
            "phase": "cancelled",
            "follows": follows,
        }

    def status(self, token: str) -> dict[str, Any]:
        """What became of a reset; truthful after a restart too. Raises UserError for what was
        never a token, Gone for one that this storage does not know."""
        if not self._resets.could_give(token):
            raise UserError(
                f"'{token}' is not a reset token: give the \"token\" that the reset answered",
                details={"parameter": "token"},
            )
        record = self._resets.find(token)
        if record is None:
            raise Gone(
                f"unknown reset token '{token}': the storage that knew it was cleared, or it never "
                "existed; reset again if in doubt",
                code="PipelineRestarted",
            )
        endpoint = self._loop.outputs.get(record.endpoint)
        if endpoint is None and record.state in ("accepted", "superseded"):
            error = (
                f"there is no connector '{record.endpoint}' any more: its subscription has ended, "
                "or the program is without it now"
            )
            record = replace(record, state="failed", error=error)
        status: dict[str, Any] = {
            "phase": record.state,
            "waiting_for": None,
            "attempt": record.attempt,
            "rows_staged": record.rows or 0,
            "rows_total": record.rows,
            "bytes": record.bytes,
            "step": record.step,
            "last_error": record.error,
        }
        if record.is_pending and endpoint is not None:
            status |= endpoint.live_status(record)
        outcomes = {"done": "complete", "failed": "failed", "cancelled": "cancelled"}
        return {
            "status": outcomes.get(record.state, "inprogress"),
            "token": record.token,
            "endpoint": record.endpoint,
            "generation": record.generation,
            "mode": record.mode,
            "reset_id": record.reset_id,
            "accepted_at": _rfc3339(record.accepted_at),
            "finished_at": None if record.finished_at is None else _rfc3339(record.finished_at),
            "error": record.error,
            **status,
        }

    # comparing

    def audit(self, view: str, connector: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """Compare what the target holds with the view as of one step; touches nothing."""
        endpoint = self._find(view, connector)
        shown = _shown_rows(body)
        if endpoint.relation not in self._readable:
            raise not_supported(
                f"output connector '{endpoint.name}' cannot be audited: view "
                f"'{endpoint.relation}' is not materialized"
            )
        if not endpoint.can_probe:
            raise not_supported(f"'{endpoint.name}' is a subscription: it has nothing to read back")
        started = time.perf_counter()
        with endpoint.reading(self._loop.take_cut, AUDIT_WAIT_S) as (contents, marker, cut):
            found = compare(contents, cut.snapshot.chunks(AUDIT_ROWS), shown)
        return {
            "step": cut.step,
            "generation": None if marker is None else marker.generation,
            "marker_step": None if marker is None else marker.step,
            "seconds": round(time.perf_counter() - started, 3),
            **found.to_json(),
        }


def estimated_bytes(snapshot: SnapshotHandle) -> int:
    """About how many bytes the values of `snapshot` take, from its first rows."""
    first = next(snapshot.chunks(ESTIMATE_ROWS), None)
    return 0 if first is None else int(_bytes(first) / len(first) * snapshot.rows)


def _bytes(rows: Batch) -> int:
    total = 0
    for c in rows.columns:
        total += int(lengths_of(c.values).sum()) if c.type.is_view else c.values.nbytes
    return total


def _shown_rows(body: Mapping[str, Any] | None) -> int:
    body = dict(body or {})
    shown = body.pop("sample", SHOWN_ROWS)
    is_number = isinstance(shown, int) and not isinstance(shown, bool)
    if body or not is_number or not 0 <= shown <= MAX_SHOWN_ROWS:
        raise UserError(
            'an audit takes nothing but "sample", how many rows of each kind to list: 0 to '
            f"{MAX_SHOWN_ROWS}"
        )
    return int(shown)


def _named(endpoint: OutputEndpoint) -> dict[str, Any]:
    return {"view": endpoint.relation, "connector": endpoint.connector}


def _rfc3339(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1e6):06d}Z"
