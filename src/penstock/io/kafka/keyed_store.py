"""A snapshot by key on local disk, held against what a topic has: what to write, what to take back.

    staged   key │ value                      the snapshot, until it is published
    topic    partition │ offset │ key │ value    the topic's records as scanned

    to write    staged; or, for a diff, what the topic's newest record of the key does not equal
    gone        keys whose newest record in the topic has a value and that are not staged

Both come in pieces, by columns. A key is compared by its bytes. DuckDB does the work: in a
temporary folder, within MEMORY, so that neither the snapshot nor the topic has to fit into memory.

Cost: about 1 µs a row each for staging, scanning and comparing; the disk holds both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.io.scratch import Scratch

MEMORY = "256MB"
PIECE_ROWS = 10_000

_NEWEST = """
    SELECT "partition", key, arg_max(has_value, "offset") AS is_there,
           arg_max(value, "offset") AS value
    FROM topic GROUP BY "partition", key
"""

#: keys and their values, as bytes
Pairs = tuple[pa.Array, pa.Array]


class KeyedStore:
    """One snapshot's. Close it: it has a folder."""

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
        self._db.execute("CREATE TABLE staged (key BLOB, value BLOB)")
        self._db.execute(
            'CREATE TABLE topic ("partition" INT, "offset" BIGINT, key BLOB, value BLOB, '
            "has_value BOOLEAN)"
        )

    def stage(self, keys: pa.Array, values: pa.Array) -> None:
        self._db.register("arrived", pa.table({"key": keys, "value": values}))
        self._db.execute("INSERT INTO staged SELECT key, value FROM arrived")
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
        self._db.execute("DELETE FROM topic")

    def repeated_keys(self) -> int:
        """How many staged keys are there more than once."""
        ((found,),) = self._db.execute(
            "SELECT count(*) FROM (SELECT key FROM staged GROUP BY key HAVING count(*) > 1)"
        ).fetchall()
        return int(found)

    def to_write(self, *, differing: bool) -> Iterator[Pairs]:
        sql = "SELECT key, value FROM staged"
        if differing:
            sql = (
                f"SELECT s.key, s.value FROM staged s LEFT JOIN ({_NEWEST}) t ON s.key = t.key "
                "GROUP BY s.key, s.value "
                "HAVING count(*) <> 1 OR NOT bool_and(coalesce(t.is_there AND t.value = s.value, "
                "false))"
            )
        yield from self._pieces(sql)

    def gone(self) -> Iterator[tuple[pa.Array, pa.Array]]:
        """Partitions and keys of records to take back."""
        yield from self._pieces(
            'SELECT t."partition", t.key FROM topic t ANTI JOIN staged s ON s.key = t.key '
            'GROUP BY t."partition", t.key HAVING arg_max(t.has_value, t."offset")'
        )

    def newest(self) -> Iterator[Pairs]:
        """The key and value of every key that the topic has now, in each partition."""
        yield from self._pieces(f"SELECT key, value FROM ({_NEWEST}) WHERE is_there")

    def _pieces(self, sql: str) -> Iterator[tuple[pa.Array, pa.Array]]:
        """The two columns of a query."""
        cursor = self._db.cursor()
        for piece in cursor.sql(sql).to_arrow_reader(PIECE_ROWS):
            if len(piece):
                yield piece.column(0), piece.column(1)

    def close(self) -> None:
        self._db.close()
        self._folder.cleanup()
