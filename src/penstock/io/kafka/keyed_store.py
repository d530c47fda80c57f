"""A snapshot by key on local disk, held against what a topic has: what to write, what to take back.

    staged      hash │ key │ value             the snapshot, until it is published
    published   hash │ key                     the one before, if it is known to be in the topic
    topic       partition │ offset │ key │ value    the topic's records as scanned; offset −1: kept
                                               from a scan before the last publish

    to write    staged; or, for a diff, what the topic's newest record of the key does not equal
    gone        keys that are not staged and whose newest record in the topic has a value

`hash` is that of the key by which Java's clients choose its partition (`data.murmur2`), null where
another partitioner does. Then nothing can be kept from one snapshot to the next: a key's records
in the topic could not be told from stray ones in other partitions.

All come in pieces, by columns. A key is compared by its bytes. DuckDB does the work: in a
temporary folder, within MEMORY, so that neither the snapshot nor the topic has to fit into memory.

Cost: about 1 µs a row each for staging, scanning and comparing; the disk holds all of it. Between
snapshots IDLE_MEMORY, and on disk the keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.io.scratch import Scratch

MEMORY, IDLE_MEMORY = "256MB", "16MB"
PIECE_ROWS = 10_000

_COLUMNS = {
    "staged": "hash INT, key BLOB, value BLOB",
    "published": "hash INT, key BLOB",
    "topic": '"partition" INT, "offset" BIGINT, key BLOB, value BLOB, has_value BOOLEAN',
    "gone": '"partition" INT, key BLOB',
}
_NEWEST = """
    SELECT "partition", key, arg_max(has_value, "offset") AS is_there,
           arg_max(value, "offset") AS value
    FROM topic GROUP BY "partition", key
"""


def _place(partitions: int) -> str:
    """SQL for the partition of a key's hash."""
    return f"CAST((hash & 2147483647) % {partitions} AS INT)"


#: of one length
Columns = tuple[pa.Array, ...]


class KeyedStore:
    """Of one topic, for one snapshot after the other. Close it: it has a folder."""

    def __init__(self) -> None:
        self._folder = Scratch("penstock-keys-")
        # in memory as far as MEMORY goes, then in files of the folder
        self._db = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": MEMORY,
                "threads": 1,
                "temp_directory": str(self._folder.path),
                "preserve_insertion_order": False,
            },
        )
        for table in _COLUMNS:
            self._make(self._db, table)

    @staticmethod
    def _make(db: duckdb.DuckDBPyConnection, table: str) -> None:
        db.execute(f"CREATE OR REPLACE TABLE {table} ({_COLUMNS[table]})")

    def begin(self) -> None:
        """Another snapshot; what is known of the topic stays."""
        self._db.execute(f"SET memory_limit = '{MEMORY}'")
        self._make(self._db, "staged")

    def stage(self, hashes: pa.Array, keys: pa.Array, values: pa.Array) -> None:
        self._db.register("arrived", pa.table({"hash": hashes, "key": keys, "value": values}))
        self._db.execute("INSERT INTO staged SELECT hash, key, value FROM arrived")
        self._db.unregister("arrived")

    def take_topic(
        self,
        partitions: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        keys: Sequence[bytes | str | None],
        has_value: npt.NDArray[np.bool_],
        values: Sequence[bytes | str | None] | None,
    ) -> None:
        """Records of the topic; without `values` only whether they have one is kept.
        Another thread may read what is staged meanwhile."""
        rows = pa.table(
            {
                "partition": pa.array(partitions),
                "offset": pa.array(offsets),
                "key": pa.array(keys, pa.large_binary()),
                "value": (
                    pa.nulls(len(keys), pa.large_binary())
                    if values is None
                    else pa.array(values, pa.large_binary())
                ),
                "has_value": pa.array(has_value),
            }
        )
        # of its own: the snapshot may be read meanwhile
        with self._db.cursor() as db:
            db.register("arrived", rows)
            db.execute(
                'INSERT INTO topic SELECT "partition", "offset", key, value, has_value FROM arrived'
            )

    def forget_topic(self) -> None:
        self._make(self._db, "topic")
        self._make(self._db, "published")

    def settle(self, partitions: int) -> None:
        """What is gone, once all of the topic is known. In the thread that took the topic."""
        with self._db.cursor() as db:
            self._make(db, "gone")
            db.execute(f"""
                INSERT INTO gone
                SELECT t."partition", t.key FROM (
                    SELECT "partition", "offset", key, has_value FROM topic UNION ALL
                    SELECT {_place(partitions)}, -1, key, true FROM published
                ) t ANTI JOIN staged s ON s.key = t.key
                GROUP BY t."partition", t.key HAVING arg_max(t.has_value, t."offset")
            """)
            # a key that stays, and that somebody put into another partition also
            db.execute(f"""
                CREATE OR REPLACE TABLE stray AS
                SELECT t."partition", -1 AS "offset", t.key, NULL::BLOB AS value, true AS has_value
                FROM ({_NEWEST}) t JOIN staged s ON s.key = t.key
                WHERE t.is_there AND t."partition" <> {_place(partitions)}
            """)

    def keep(self) -> None:
        """The topic has what was staged, and nothing else but what is stray."""
        self._db.execute("""
            BEGIN;
            DROP TABLE topic;
            ALTER TABLE stray RENAME TO topic;
            DROP TABLE published;
            ALTER TABLE staged DROP COLUMN value;
            ALTER TABLE staged RENAME TO published;
            COMMIT
        """)

    def idle(self) -> None:
        """Nothing is staged for a while."""
        self._make(self._db, "staged")
        self._make(self._db, "gone")
        self._db.execute(f"SET memory_limit = '{IDLE_MEMORY}'")

    def repeated_keys(self) -> int:
        """How many staged keys are there more than once."""
        ((found,),) = self._db.execute(
            "SELECT count(*) FROM (SELECT key FROM staged GROUP BY key HAVING count(*) > 1)"
        ).fetchall()
        return int(found)

    def to_write(self, partitions: int, *, differing: bool) -> Iterator[Columns]:
        """Keys, values, and the partitions that the hashes say, of so many."""
        sql = f"SELECT key, value, {_place(partitions)} FROM staged"
        if differing:
            sql = (
                f"SELECT s.key, s.value, any_value({_place(partitions)}) FROM staged s "
                f"LEFT JOIN ({_NEWEST}) t ON s.key = t.key "
                "GROUP BY s.key, s.value "
                "HAVING count(*) <> 1 OR NOT bool_and(coalesce(t.is_there AND t.value = s.value, "
                "false))"
            )
        return self._pieces(sql)

    def gone(self) -> Iterator[Columns]:
        """Partitions and keys of records to take back, once it is settled."""
        return self._pieces('SELECT "partition", key FROM gone')

    def newest(self) -> Iterator[Columns]:
        """The key and value of every key that the topic has now, in each partition."""
        return self._pieces(f"SELECT key, value FROM ({_NEWEST}) WHERE is_there")

    def _pieces(self, sql: str) -> Iterator[Columns]:
        cursor = self._db.cursor()
        for piece in cursor.sql(sql).to_arrow_reader(PIECE_ROWS):
            if len(piece):
                yield tuple(piece.columns)

    def close(self) -> None:
        self._db.close()
        self._folder.cleanup()
