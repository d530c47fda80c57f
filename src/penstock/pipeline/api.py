"""What HTTP requests do with rows: bring some, subscribe to a view, ask a query, wait for a token.

Not here: the requests themselves (`penstock.server`), and when the pipeline runs (`pipeline`).
"""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from penstock.compile.program import default_columns
from penstock.errors import Gone, NotFound, TransientError, UserError
from penstock.io.contracts import Parsed, SinkContext
from penstock.io.formats import make_parser
from penstock.io.outputs.http_egress import HttpEgressSink
from penstock.pipeline.adhoc import AdHoc
from penstock.pipeline.api_endpoints import ApiEndpoints
from penstock.pipeline.eventlog import event
from penstock.pipeline.ingress import IngressSession
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.inserts import INSERT_STATEMENT, fold, insert_batch
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.outputs import OutputEndpoint, OutputSettings, SnapshotHandle
from penstock.pipeline.relations import Relations, known
from penstock.pipeline.resets import ResetLog
from penstock.pipeline.tokens import CompletionToken, decode
from penstock.plan.nodes import ProgramPlan

log = logging.getLogger("penstock.pipeline.api")

SUBSCRIPTION_QUEUE_RECORDS = 100_000


class Subscription:
    """A running HTTP subscription: iterate it for chunks, then close it."""

    def __init__(
        self, endpoint: OutputEndpoint, sink: HttpEgressSink, done: Callable[[], None]
    ) -> None:
        self._endpoint, self._sink = endpoint, sink
        self._chunks = sink.chunks(lambda: endpoint.is_over)
        self._done: Callable[[], None] | None = done

    @property
    def name(self) -> str:
        return self._endpoint.name

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            self._sink.end()
            done()


def _metadata(text: str) -> str:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = text
    if value is not None and not isinstance(value, dict):
        raise UserError(
            f'connector_metadata is a JSON object, such as {{"from": "a"}}, not {text!r}',
            code="InvalidParam",
        )
    return text


class Api:
    """Serves requests about the rows of one running pipeline, from any thread.

    `life`: what completion tokens are good for; with a journal (`is_durable`) they outlive a
    restart, since what they stand for does."""

    def __init__(
        self,
        plan: ProgramPlan,
        relations: Relations,
        *,
        pipeline_id: str,
        loop: StepLoop,
        endpoints: ApiEndpoints,
        resets: ResetLog,
        life: str,
        is_durable: bool,
        stage_rows: int,
    ) -> None:
        self._plan, self._relations, self._pipeline_id = plan, relations, pipeline_id
        self._loop, self._endpoints, self._resets = loop, endpoints, resets
        self._life, self._is_durable = life, is_durable
        self._stage_rows = stage_rows
        self._adhoc = AdHoc(relations.readable, relations.names, self._pin)

    def require_replayed(self) -> None:
        if self._loop.is_replaying:
            raise TransientError(
                "the pipeline is repeating what it did before its restart", code="RestoreInProgress"
            )

    # rows in

    def ingress(
        self, table: str, format: str, options: Mapping[str, str], force: bool = False
    ) -> IngressSession:
        """A session that takes the bytes of one request for `table`. Of the options
        `connector_metadata` is what CONNECTOR_METADATA() is for its records, as a JSON object; the
        others are the format's."""
        if force:
            self.require_replayed()
        tables = self._relations.tables
        plan = tables.get(table)
        if plan is None:
            raise NotFound(
                f"unknown table '{table}'{known(tables, table)}",
                code="ConfigError.UnknownInputStream",
            )
        parsing = dict(options)
        metadata = _metadata(parsing.pop("connector_metadata", "null"))
        config = {"name": format, "config": parsing}
        parser = make_parser(
            config, plan.schema, plan.key, default_columns(self._plan, plan, metadata),
            append_only=table if plan.append_only else None,
        )  # fmt: skip
        digest = hashlib.sha256(orjson.dumps(config, option=orjson.OPT_SORT_KEYS)).hexdigest()
        name = f"{table}.api-ingress-{digest[:16]}"
        endpoint = self._endpoints.endpoint(plan, name, config)
        self._endpoints.connect()
        return IngressSession(
            endpoint, parser, life=self._life, force=force,
            is_durable=self._is_durable, done=self._endpoints.disconnect,
        )  # fmt: skip

    def completion_status(self, token: str) -> dict[str, Any]:
        """Whether every record up to the token's is processed and delivered (contract 3)."""
        t = decode(token, self._life)
        endpoint = self._loop.inputs.get(t.endpoint)
        if endpoint is None:
            raise Gone(
                f"the token's endpoint '{t.endpoint}' is gone",
                code="UnknownEndpointInCompletionToken",
            )
        step = endpoint.step_of(t.count)
        is_complete = step is not None and self._loop.completed_step >= step
        return {"status": "complete" if is_complete else "inprogress", "step": step}

    def completion_token(self, endpoint: InputEndpoint) -> dict[str, Any]:
        token = CompletionToken(self._life, endpoint.name, endpoint.total_records)
        return {"token": token.encode()}

    # rows out

    def egress(
        self,
        relation: str,
        format: str,
        options: Mapping[str, Any],
        backpressure: bool = False,
        send_snapshot: bool = False,
    ) -> Subscription:
        """Subscribe to `relation`; works while paused too."""
        relations = self._relations
        plan = relations.find(relation)
        if plan is None:
            raise NotFound(
                f"unknown table or view '{relation}'{known(relations.names, relation)}",
                code="ConfigError.UnknownOutputStream",
            )
        if send_snapshot and relation not in relations.readable:
            raise UserError(
                f"'send_snapshot: true' requires a materialized output view: '{relation}' is not",
                code="ConfigError.InvalidTransportConfig",
            )
        connector = f"api-{uuid.uuid4()}"
        encoder = {k: v for k, v in options.items() if k != "array"}
        if format == "json":
            encoder["array"] = True
        context = SinkContext(
            pipeline_id=self._pipeline_id,
            view=relation,
            connector=connector,
            schema=plan.schema,
            config={"backpressure": backpressure},
            format={"name": format, "config": encoder},
        )
        sink = HttpEgressSink(context)
        endpoint = OutputEndpoint(
            name=f"{relation}.{connector}",
            relation=relation,
            connector=connector,
            schema=plan.schema,
            config={"transport": {"name": "http_output", "config": dict(context.config)}},
            owner=self._pipeline_id,
            settings=OutputSettings(
                snapshot=send_snapshot, max_queued_records=SUBSCRIPTION_QUEUE_RECORDS
            ),
            make_sink=lambda: sink,
            resets=self._resets,
            take_cut=self._loop.take_cut,
            on_progress=self._loop.wake,
            await_replayed=self._loop.await_replayed,
            stage_rows=self._stage_rows,
            can_probe=False,
            is_transient=True,
        )
        self._endpoints.connect()
        self._loop.add_output(endpoint)
        endpoint.start()
        return Subscription(endpoint, sink, lambda: self._unsubscribe(endpoint))

    def _unsubscribe(self, endpoint: OutputEndpoint) -> None:
        self._loop.remove_output(endpoint.name)
        endpoint.stop()
        self._endpoints.disconnect()
        try:
            self._resets.forget(endpoint.name)
        except TransientError as e:
            event(
                log, "subscription_not_forgotten", logging.WARNING, endpoint=endpoint.name, error=e
            )

    # queries

    def query(self, sql: str, format: str = "text") -> tuple[str, Iterator[bytes]]:
        """Answer an ad-hoc query, or INSERT rows (which waits while the pipeline is paused).

        Of several statements the last one answers; INSERTs are made in their order, first."""
        reading: list[str] = []
        for statement in self._adhoc.statements(sql):
            insert = INSERT_STATEMENT.match(statement)
            reading.append(
                statement if insert is None else f'SELECT {self._insert(insert)}::BIGINT AS "count"'
            )
        joined = ";\n".join(s.strip().rstrip(";") for s in reading)
        return self._adhoc.query(joined, format)

    def _insert(self, statement: re.Match[str]) -> int:
        self.require_replayed()
        name = fold(statement["table"])
        table = self._relations.tables.get(name)
        if table is None:
            raise UserError(
                f"Error during query processing: there is no table '{name}' to insert into"
                f"{known(self._relations.tables, name)}",
                code="AdHocQueryError",
            )
        rows = self._adhoc.table(statement["source"])
        columns = statement["columns"]
        names = (
            [fold(c.strip()) for c in columns.split(",")] if columns else list(table.schema.names)
        )
        batch = insert_batch(table, names, rows, default_columns(self._plan, table))
        endpoint = self._endpoints.endpoint(table, f"{name}.adhoc", {"name": "adhoc"})
        endpoint.push(Parsed((batch,), records=len(batch)), 0)
        if self._is_durable:
            endpoint.wait_durable(endpoint.total_records)
        return len(batch)

    def _pin(self, names: frozenset[str]) -> tuple[int, Mapping[str, SnapshotHandle]]:
        with self._loop.step_lock:
            return self._loop.step, {n: self._loop.circuit.snapshot(n) for n in names}
