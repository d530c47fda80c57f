"""A reset of a large view against the target's own way to load rows in bulk, in one run.

A view of N rows is reset on a target that holds them already, so ours replaces a table under its
readers; the peer fills an empty one with rows that are ready in the form that it likes best.

    reset/SINK        rows a second, by the clock     peer
        sqlite        executemany in one transaction  postgres   COPY of ready text
        duckdb        INSERT from Arrow               delta      write_deltalake, overwrite
        parquet       pyarrow's write_table, fsync    json       orjson.dumps of ready dicts, fsync
        redis         SETs of ready values, pipelined
        kafka         a bare producer, without transactions, to an append topic: orjson.dumps of
                      ready dicts (as for json), joined to messages of as many rows as ours
        kafka-upsert  the same to a compacted topic: orjson.dumps of a ready key and row a message
    reset/others      rows a second that another connector takes during a reset; the peer: before
    reset/dead        the same while a reset waits for a target that is down, and
    reset/dead-kept   rows that are kept in memory for it

`RESET_ROWS` (1,000,000). `RESET_CLOCK=cpu` counts the processor's seconds of this process and of
the servers that it started instead of the clock's, for a machine that others use too. Ours and the
peer's run one after the other in the same process, so a busy machine slows both: the shortest of
two runs each, or of up to eight within REPEAT_S. Targets whose server is not installed are left
out.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import orjson
import psycopg
import pyarrow as pa
import pyarrow.parquet
import redis
from confluent_kafka import KafkaError, Message, Producer

from bench.figure import Figure, higher_is_better, without_peer
from penstock.pipeline import Pipeline
from tests.kafka_server import running_kafka
from tests.servers import Unavailable, free_port, running_postgres, running_redis

RATE, OTHER_S = 20_000, 4.0
REPEAT_S = 3.0
COLUMNS = "id, customer, amount, note"
#: rows of one message of an append topic: the encoder's default
BUFFER_ROWS = 10_000


def run(only: str | None) -> Iterator[Figure]:
    rows = int(os.environ.get("RESET_ROWS", "1000000"))
    if only is not None and not only.startswith("reset"):
        return
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-reset-")))
        sinks = _sinks(stack, folder, only)
        if sinks:
            yield from _against_bulk_loads(stack, folder, sinks, rows)
    if only in (None, "reset", "reset/others", "reset/dead"):
        yield from _beside_others(rows)


# the sinks: connector, and the peer's load


class _Sink:
    def __init__(
        self,
        transport: dict[str, Any],
        load: Callable[[pa.Table], Callable[[], None]],
        format: dict[str, Any] | None = None,
        is_keyed: bool = True,
    ) -> None:
        """`load(rows)` makes everything ready and returns the load itself."""
        self.transport, self.load, self.format = transport, load, format
        self.is_keyed = is_keyed

    def connector(self, name: str) -> dict[str, Any]:
        more = {"format": self.format} if self.format else {}
        more |= {"index": "by_id"} if self.is_keyed else {}
        return {
            "name": name, "mode": "snapshot_and_follow", "paused": True,
            "transport": self.transport, **more,
        }  # fmt: skip


def _sinks(stack: contextlib.ExitStack, folder: Path, only: str | None) -> dict[str, _Sink]:
    def config(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "config": more}

    found = {
        "sqlite": _Sink(
            config("sqlite_output", path=str(folder / "a.sqlite"), table="t"),
            lambda rows: _sqlite_load(folder / "peer.sqlite", rows),
        ),
        "duckdb": _Sink(
            config("duckdb_output", path=str(folder / "a.duckdb"), table="t"),
            lambda rows: _duckdb_load(folder / "peer.duckdb", rows),
        ),
        "delta": _Sink(
            config("delta_table_output", uri=str(folder / "a"), mode="materialized"),
            lambda rows: (
                lambda: deltalake.write_deltalake(str(folder / "peer"), rows, mode="overwrite")
            ),
        ),
        "parquet": _Sink(
            config("file_output", path=str(folder / "rows")),
            lambda rows: lambda: _parquet_load(folder / "peer.parquet", rows),
            {"name": "parquet"},
            is_keyed=False,
        ),
        "json": _Sink(
            config("file_output", path=str(folder / "a.json")),
            lambda rows: _json_load(folder / "peer.json", rows),
            {"name": "json", "config": {"update_format": "insert_delete"}},
            is_keyed=False,
        ),
    }
    with contextlib.suppress(Unavailable):
        if only in (None, "reset", "reset/postgres"):
            uri = stack.enter_context(running_postgres()).new_database()
            found["postgres"] = _Sink(
                config("postgres_output", uri=uri, table="t"), lambda rows: _copy(uri, rows)
            )
    with contextlib.suppress(Unavailable):
        if only in (None, "reset", "reset/redis"):
            server = stack.enter_context(running_redis())
            ours, peers = server.new_url(), server.new_url()
            found["redis"] = _Sink(
                config("redis_output", connection_string=ours, key_prefix="t:"),
                lambda rows: _redis_load(peers, rows),
                {"name": "json", "config": {"update_format": "redis", "key_fields": ["id"]}},
            )
    with contextlib.suppress(Unavailable):
        if only in (None, "reset", "reset/kafka", "reset/kafka-upsert"):
            kafka = stack.enter_context(running_kafka())
            kafka.create("peer", 2)
            kafka.create("peer-upsert", 2, cleanup_policy="compact")
            address = kafka.client()["bootstrap.servers"]
            options = {"topic": "log", "partitions": 2, "bootstrap.servers": address}
            found["kafka-upsert"] = _Sink(
                {"name": "kafka_output", "config": {**options, "topic": "state"}},
                partial(_produce_keyed, address, "peer-upsert"),
                {"name": "json"},
            )
            found["kafka"] = _Sink(
                {"name": "kafka_output", "config": options},
                partial(_produce, address, "peer"),
                {"name": "json", "config": {"update_format": "insert_delete"}},
                is_keyed=False,
            )
    return {n: s for n, s in found.items() if only in (None, "reset", f"reset/{n}")}


def _sqlite_load(path: Path, rows: pa.Table) -> Callable[[], None]:
    ready = list(zip(*(c.to_pylist() for c in rows.columns), strict=True))

    def load() -> None:
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, customer, amount, note)")
            db.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", ready)

    return load


def _duckdb_load(path: Path, rows: pa.Table) -> Callable[[], None]:
    def load() -> None:
        path.unlink(missing_ok=True)
        with duckdb.connect(str(path)) as db:
            db.execute("CREATE TABLE t (id BIGINT PRIMARY KEY, customer BIGINT, amount BIGINT, "
                       "note VARCHAR)")  # fmt: skip
            db.register("ready", rows)
            db.execute("INSERT INTO t SELECT * FROM ready")

    return load


def _parquet_load(path: Path, rows: pa.Table) -> None:
    with path.open("wb") as f:
        pyarrow.parquet.write_table(rows, f)
        f.flush()
        os.fsync(f.fileno())


def _json_load(path: Path, rows: pa.Table) -> Callable[[], None]:
    ready = rows.to_pylist()

    def load() -> None:
        with path.open("wb") as f:
            f.write(b"".join([orjson.dumps(r, option=orjson.OPT_APPEND_NEWLINE) for r in ready]))
            f.flush()
            os.fsync(f.fileno())

    return load


def _copy(uri: str, rows: pa.Table) -> Callable[[], None]:
    lines = ("\t".join(map(str, r)) for r in zip(*(c.to_pylist() for c in rows.columns)))  # noqa: B905
    ready = ("\n".join(lines) + "\n").encode()

    def load() -> None:
        with psycopg.connect(uri) as db:
            db.execute("DROP TABLE IF EXISTS peer")
            db.execute("CREATE TABLE peer (id BIGINT PRIMARY KEY, customer BIGINT, amount BIGINT, "
                       "note VARCHAR)")  # fmt: skip
            with db.cursor().copy("COPY peer FROM STDIN") as copy:
                copy.write(ready)

    return load


def _redis_load(url: str, rows: pa.Table) -> Callable[[], None]:
    db = redis.Redis.from_url(url)
    ready = [(f"t:{r['id']}", orjson.dumps(r)) for r in rows.to_pylist()]

    def load() -> None:
        for at in range(0, len(ready), 10_000):
            with db.pipeline(transaction=False) as pipe:
                for name, value in ready[at : at + 10_000]:
                    pipe.set(name, value)
                pipe.execute()

    return load


def _produce(address: str, topic: str, rows: pa.Table) -> Callable[[], None]:
    """Messages of as many rows as ours have."""
    ready = rows.to_pylist()

    def messages() -> Iterator[tuple[None, bytes]]:
        for at in range(0, len(ready), BUFFER_ROWS):
            some = ready[at : at + BUFFER_ROWS]
            yield None, b"".join(orjson.dumps(r, option=orjson.OPT_APPEND_NEWLINE) for r in some)

    return lambda: _produced(address, topic, messages())


def _produce_keyed(address: str, topic: str, rows: pa.Table) -> Callable[[], None]:
    ready = [({"id": r["id"]}, r) for r in rows.to_pylist()]

    def messages() -> Iterator[tuple[bytes, bytes]]:
        for key, row in ready:
            yield orjson.dumps(key), orjson.dumps(row)

    return lambda: _produced(address, topic, messages())


def _produced(address: str, topic: str, messages: Iterable[tuple[bytes | None, bytes]]) -> None:
    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None, error

    producer = Producer({"bootstrap.servers": address, "queue.buffering.max.kbytes": 2**21 - 1})
    for key, value in messages:
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=delivered)
                break
            except BufferError:  # too many messages are on their way
                producer.poll(0.1)
    assert producer.flush(600) == 0


# the runs


def _against_bulk_loads(
    stack: contextlib.ExitStack, folder: Path, sinks: dict[str, _Sink], n: int
) -> Iterator[Figure]:
    connectors = json.dumps([s.connector(name) for name, s in sinks.items()])
    plan = json.dumps([{"limit": n}])
    made = f'[{{"transport": {{"name": "datagen", "config": {{"plan": {plan}}}}}}}]'
    p = _started(stack, f"""
        CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY, customer BIGINT, amount BIGINT,
                        note VARCHAR) WITH ('connectors' = '{made}');
        CREATE MATERIALIZED VIEW v WITH ('connectors' = '{connectors}') AS
          SELECT {COLUMNS} FROM t;
        CREATE INDEX by_id ON v (id);
    """)  # fmt: skip
    _until(lambda: p.stats()["global_metrics"]["total_processed_records"] == n)
    _, chunks = p.query(f"SELECT {COLUMNS} FROM v", "arrow_ipc")
    rows = pa.ipc.open_stream(b"".join(chunks)).read_all()
    # as a worker process does, and the peer gains by it as we do
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    for name, sink in sinks.items():
        p.set_output_connector("v", name, "start")
        _until(lambda name=name: _phase(p, name) == "following")  # type: ignore[misc]
        ours_s = _least(lambda name=name: _reset(p, "v", name), is_waiting=True)  # type: ignore[misc]
        p.set_output_connector("v", name, "pause")
        load = sink.load(rows)
        peer_s = _least(load)
        yield higher_is_better(f"reset/{name}", n / ours_s, "rows/s", "bulk load", n / peer_s)


def _beside_others(n: int) -> Iterator[Figure]:
    """A steady load on one connector, while another is reset, and while it waits in vain."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-reset-")))
        transports = {
            "large": ("big", {"name": "sqlite_output",
                              "config": {"path": str(folder / "a.sqlite"), "table": "t"}}),
            "dead": ("big", {"name": "postgres_output",
                             "config": {"uri": f"postgresql://x@127.0.0.1:{free_port()}/x",
                                        "table": "t"}}),
            "other": ("totals", {"name": "sqlite_output",
                                 "config": {"path": str(folder / "o.sqlite"), "table": "t"}}),
        }  # fmt: skip

        def with_(view: str, index: str) -> str:
            found = [
                {"name": name, "mode": "snapshot_and_follow", "transport": t, "index": index,
                 "paused": name == "large"}
                for name, (v, t) in transports.items() if v == view
            ]  # fmt: skip
            return f"WITH ('connectors' = '{json.dumps(found)}')"

        def made(**plan: int) -> str:
            transport = {"name": "datagen", "config": {"plan": [plan]}}
            return f"WITH ('connectors' = '{json.dumps([{'transport': transport}])}')"

        p = _started(stack, f"""
            CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY, x BIGINT) {made(limit=n)};
            CREATE TABLE load (id BIGINT NOT NULL) {made(rate=RATE)};
            CREATE MATERIALIZED VIEW big {with_("big", "by_id")} AS SELECT id, x FROM t;
            CREATE INDEX by_id ON big (id);
            CREATE MATERIALIZED VIEW totals {with_("totals", "by_g")} AS
              SELECT id % 1000 AS g, COUNT(*) AS n FROM load GROUP BY id % 1000;
            CREATE INDEX by_g ON totals (g);
        """)  # fmt: skip
        _until(lambda: p.stats()["global_metrics"]["total_processed_records"] >= n)
        p.set_output_connector("big", "dead", "pause")
        p.set_output_connector("big", "large", "start")
        _until(lambda: _phase(p, "large", "big") == "following")
        before = _taken_a_second(p, OTHER_S)
        token = p.reset("big", "large")["token"]
        during = _taken_a_second(p, 60.0, lambda: p.reset_status(token)["status"] == "complete")
        yield higher_is_better("reset/others", during, "rows/s", "before the reset", before)
        p.set_output_connector("big", "dead", "start")
        before = _taken_a_second(p, OTHER_S)
        p.reset("big", "dead")
        waiting = _taken_a_second(p, OTHER_S)
        yield higher_is_better("reset/dead", waiting, "rows/s", "before the reset", before)
        kept = p.output_stats("big", "dead")["delivery"]["kept_records"]
        yield without_peer("reset/dead-kept", float(kept), "rows")


def _taken_a_second(
    p: Pipeline, seconds: float, is_over: Callable[[], bool] = lambda: False
) -> float:
    """Input records a second that the connector of `totals` has delivered."""

    def taken() -> int:
        metrics = p.output_stats("totals", "other")["metrics"]
        return int(metrics["total_processed_input_records"])

    started, first = time.perf_counter(), taken()
    while time.perf_counter() - started < seconds and not is_over():
        time.sleep(0.05)
    return (taken() - first) / (time.perf_counter() - started)


def _started(stack: contextlib.ExitStack, program: str) -> Pipeline:
    p = Pipeline(
        {
            "pipeline_id": "reset",
            "name": "reset",
            "program_code": program,
            "runtime_config": {"workers": 1, "storage": None},
            "storage_dir": None,
        }
    )
    p.start()
    stack.callback(p.stop)
    return p


def _phase(p: Pipeline, connector: str, view: str = "v") -> str:
    return str(p.output_stats(view, connector)["delivery"]["phase"])


def _reset(p: Pipeline, view: str, connector: str) -> None:
    token = p.reset(view, connector)["token"]
    _until(lambda: p.reset_status(token)["status"] == "complete")


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 900
    while not condition():
        assert time.monotonic() < deadline, "this took too long"
        time.sleep(0.005)


def _least(call: Callable[[], object], is_waiting: bool = False) -> float:
    """The shortest of two runs, and of more where they are over in a moment: a disturbance is as
    long as they are."""
    taken = [_timed(call, is_waiting)]
    while len(taken) < 2 or (sum(taken) < REPEAT_S and len(taken) < 8):
        taken.append(_timed(call, is_waiting))
    return min(taken)


def _timed(call: Callable[[], object], is_waiting: bool = False) -> float:
    """`is_waiting`: the call only asks again and again whether others are done, which is no part of
    their work."""
    is_cpu = os.environ.get("RESET_CLOCK") == "cpu"
    clock = _processor_seconds if is_cpu else time.perf_counter
    started, asked = clock(), time.thread_time()
    call()
    waiting = time.thread_time() - asked if is_cpu and is_waiting else 0.0
    return clock() - started - waiting


def _processor_seconds() -> float:
    """Of this process and its descendants, those included that they have waited for. The servers'
    come in hundredths."""
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                # behind the name, which may hold anything: state, parent, … (proc_pid_stat(5))
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                stats[int(entry.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    mine = {os.getpid()}
    while more := {pid for pid, (parent, _) in stats.items() if parent in mine} - mine:
        mine |= more
    ticks = sum(stats[pid][1] for pid in mine - {os.getpid()})
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")
