"""A snapshot by key on local disk, held against what a topic has: what to write, what to take back.

    staged   key │ value                      the snapshot, until it is published
    topic    partition │ offset │ key │ value    the topic's records as scanned

    to write    staged; or, for a diff, what the topic's newest record of the key does not equal
    gone        keys whose newest record in the topic has a value and that are not staged

A key is compared by its bytes. DuckDB does the work: in a temporary folder, within MEMORY, so that
neither the snapshot nor the topic has to fit into memory.

Cost: about 1 µs a row each for staging, scanning and comparing; the disk holds both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

MEMORY = "256MB"
PIECE_ROWS = 10_000

_NEWEST = """
    SELECT "partition", key, arg_max(has_value, "offset") AS is_there,
           arg_max(value, "offset") AS value
    FROM topic GROUP BY "partition", key
"""

KeyValue = tuple[bytes, bytes]


class KeyedStore:
    """One snapshot's. Close it: it has a folder."""

    def __init__(self) -> None:
        # goes with the object, should nobody close it
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-keys-")
        # in memory as far as MEMORY goes, then in files of the folder
        self._db = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": MEMORY,
                "threads": 1,
                "temp_directory": self._folder.name,
                "preserve_insertion_order": False,
            },
        )
        self._db.execute("CREATE TABLE staged (key BLOB, value BLOB)")
        self._db.execute(
            'CREATE TABLE topic ("partition" INT, "offset" BIGINT, key BLOB, value BLOB, '
            "has_value BOOLEAN)"
        )

    def stage(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        rows = pa.table(
            {"key": pa.array(keys, pa.binary()), "value": pa.array(values, pa.binary())}
        )
        self._db.register("arrived", rows)
        self._db.execute("INSERT INTO staged SELECT key, value FROM arrived")
        self._db.unregister("arrived")

    def take_topic(
        self,
        partitions: Sequence[int],
        offsets: Sequence[int],
        keys: Sequence[bytes],
        values: Sequence[bytes | None],
        *,
        with_values: bool,
    ) -> None:
        """Records of the topic; without `with_values` only whether they have a value is kept."""
        rows = pa.table(
            {
                "partition": pa.array(partitions, pa.int32()),
                "offset": pa.array(offsets, pa.int64()),
                "key": pa.array(keys, pa.binary()),
                "value": pa.array(values if with_values else [None] * len(keys), pa.binary()),
                "has_value": pa.array([v is not None for v in values], pa.bool_()),
            }
        )
        self._db.register("arrived", rows)
        self._db.execute(
            'INSERT INTO topic SELECT "partition", "offset", key, value, has_value FROM arrived'
        )
        self._db.unregister("arrived")

    def forget_topic(self) -> None:
        self._db.execute("DELETE FROM topic")

    def repeated_keys(self) -> int:
        """How many staged keys are there more than once."""
        ((found,),) = self._db.execute(
            "SELECT count(*) FROM (SELECT key FROM staged GROUP BY key HAVING count(*) > 1)"
        ).fetchall()
        return int(found)

    def to_write(self, *, differing: bool) -> Iterator[KeyValue]:
        sql = "SELECT key, value FROM staged"
        if differing:
            sql = (
                f"SELECT s.key, s.value FROM staged s LEFT JOIN ({_NEWEST}) t ON s.key = t.key "
                "GROUP BY s.key, s.value "
                "HAVING count(*) <> 1 OR NOT bool_and(coalesce(t.is_there AND t.value = s.value, "
                "false))"
            )
        yield from self._pairs(sql)

    def gone(self) -> Iterator[tuple[int, bytes]]:
        """(partition, key) of records to take back."""
        cursor = self._db.cursor()
        cursor.execute(
            f'SELECT t."partition", t.key FROM ({_NEWEST}) t ANTI JOIN staged s ON s.key = t.key '
            "WHERE t.is_there"
        )
        while rows := cursor.fetchmany(PIECE_ROWS):
            yield from rows

    def newest(self) -> Iterator[KeyValue]:
        """The key and value of every key that the topic has now, in each partition."""
        yield from self._pairs(f"SELECT key, value FROM ({_NEWEST}) WHERE is_there")

    def _pairs(self, sql: str) -> Iterator[KeyValue]:
        cursor = self._db.cursor()
        cursor.execute(sql)
        while rows := cursor.fetchmany(PIECE_ROWS):
            yield from rows

    def close(self) -> None:
        self._db.close()
        self._folder.cleanup()
