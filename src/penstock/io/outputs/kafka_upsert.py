"""A view in a compacted topic: one record a key, a null value for a key that is gone.

    stage     keys and values go to local disk; the topic stays as it is
    publish   in transactions of FLUSH_BYTES: every staged value, while the topic is scanned;
              then null values for keys that are not staged, then the marker
    apply     changed keys and null values for deleted ones, the marker: one transaction

Guarantee: per_key. During a publish each key goes once from its old value to the new one, keys that
are gone vanish at the end, and no reader finds the topic empty or a key twice. A snapshot of up to
FLUSH_BYTES is one transaction.

Fencing: the first transaction of a publish that takes several stores a marker in phase "staging".
From then on writers of older generations are refused: their deltas are about contents that are
half replaced. After a crash there the snapshot is owed still, and staged again.

Keys are put into partitions by Java's partitioner unless the connector's `partitioner` says
otherwise. A record that somebody wrote by hand into another partition than its key's is taken back
only if its key is not in the view.

What the topic has after a publish is known without reading it (`known`). So the keys stay on local
disk, and the next publish scans only what came after. A sink that was just made, a diff, and a
partitioner other than Java's scan the whole topic.

Memory: that of `keyed_store`, the records of one transaction and librdkafka's queue.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from threading import Event
from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.data.batch import Batch
from penstock.data.murmur2 import hashes
from penstock.data.types import VARCHAR, Field, Schema
from penstock.io.contents import Contents
from penstock.io.contracts import (
    FOLLOWING,
    STAGING,
    Capabilities,
    Marker,
    Sink,
    SinkContext,
    SinkRejected,
    StagingLost,
)
from penstock.io.kafka.encoders import keyed_encoder
from penstock.io.kafka.keyed_store import KeyedStore
from penstock.io.kafka.known import Known, Tally
from penstock.io.kafka.messages import OVERHEAD_BYTES, Keyed
from penstock.io.kafka.reading import Piece
from penstock.io.kafka.records import Headers
from penstock.io.kafka.state import TopicState
from penstock.io.kafka.writer import TopicWriter, Write
from penstock.io.outputs.changes import check_keys, keyed_changes
from penstock.io.outputs.fencing import (
    LastSeen,
    Staging,
    check_complete,
    check_fence,
    check_owner,
    is_applied,
    staging_of,
)
from penstock.io.outputs.words import of_columns

log = logging.getLogger("penstock.io.kafka")

#: a transaction takes tens of milliseconds, whatever its size
FLUSH_BYTES = 32 << 20
FLUSH_RECORDS = 400_000
#: how often a publish looks at the topic anew when others write to it
SCANS = 20
_WORDS = Schema((Field("key", VARCHAR), Field("value", VARCHAR)))


class _CameBetween(Exception):
    """Another writer, one that may still write, changed the topic since it was scanned, or it has
    got more partitions."""


class _Scanning(NamedTuple):
    #: of each partition
    ends: Sequence[int]
    tally: Tally
    #: what is gone is settled
    settled: Future[None]


class KafkaUpsertSink(Sink):
    def __init__(self, context: SinkContext, writer: TopicWriter, headers: Headers) -> None:
        super().__init__(context)
        self._writer = writer
        self._headers = headers
        self._encoder = keyed_encoder(context, writer.topic.name)
        self._where = f"topic '{writer.topic.name}'"
        self._index = ", ".join(context.schema.names[i] for i in context.key)
        self._last_seen = LastSeen()
        self._staging: Staging | None = None
        #: has what is staged, and what is known of the topic
        self._store: KeyedStore | None = None
        self._known: Known | None = None
        self._is_diff = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="per_key", stores_marker=True, can_diff=True)

    def open(self) -> None:
        self._forget()
        self._writer.open()

    def validate(self) -> None:
        self._writer.validate()
        check_owner(self._writer.state().marker, self.context, self._where)

    def marker(self) -> Marker | None:
        """In phase "staging" while a publish is half done."""
        return self._last_seen.found(self._writer.state().marker)

    # a snapshot

    def begin(self, generation: int, token: str, step: int) -> None:
        self._unstage()
        check_owner(self._writer.state().marker, self.context, self._where)
        self._store = self._store or KeyedStore()
        self._store.begin()
        self._staging = Staging(generation)

    def begin_diff(self, generation: int, token: str, step: int) -> None:
        self.begin(generation, token, step)
        self._is_diff = True

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        assert self._store is not None
        keys = rows.select(self.context.key)
        check_keys(keys, self._index)
        if len(rows):
            self._store.stage(*self._hashed(self._encoder.keys(keys)), self._encoder.values(rows))
        staging.took(int(rows.weights.sum()))

    def publish(self, generation: int, marker: Marker) -> None:
        state = self._writer.claim()
        check_owner(state.marker, self.context, self._where)
        if check_fence(state.marker, marker, self._where) and self._staging is None:
            if state.marker == marker or (state.marker and state.marker.phase == FOLLOWING):
                return
            raise StagingLost(f"{self._where}: generation {generation} is half published: begin")
        check_complete(generation, staging_of(self._staging, generation).rows, marker)
        assert self._store is not None
        known, self._known = self._known, None  # what is written from here on is not
        now = state, self._writer.topic.partitions, self._writer.outages()
        if self._is_diff or not (known and known.holds(*now)):
            known = None
        for _ in range(SCANS):
            if known is None:
                self._store.forget_topic()
            try:
                with self._scanning(self._store, known) as scanning:
                    self._check_unique(self._store)
                    self._write_all(self._store, generation, marker, state, scanning)
            except _CameBetween:
                state, known = self._writer.claim(), None
                continue
            self._unstage()
            return
        raise StagingLost(f"{self._where}: other writers came in between {SCANS} times")

    def _check_unique(self, store: KeyedStore) -> None:
        if repeated := store.repeated_keys():
            raise SinkRejected(
                f"index '{self._index}' is not unique in the view: {repeated} keys belong to "
                "several rows; add columns to the index, or aggregate in the view"
            )

    @contextmanager
    def _scanning(self, store: KeyedStore, known: Known | None) -> Iterator[_Scanning]:
        """The topic, as it is now, on its way into the store in a thread of its own, beside what
        is `known` of it; given up when the block ends early."""
        is_over = Event()
        scan = self._writer.scan(() if known is None else known.ends)
        self._check_partitions(len(scan.ends))
        pieces = takewhile(lambda _: not is_over.is_set(), scan.pieces())

        def settle() -> None:
            _take(store, pieces, with_values=self._is_diff)
            if not is_over.is_set():
                store.settle(self._writer.topic.partitions)

        with ThreadPoolExecutor(1, "kafka scan") as beside:
            try:
                yield _Scanning(scan.ends, Tally(scan.ends), beside.submit(settle))
            finally:
                is_over.set()

    def _check_partitions(self, scanned: int) -> None:
        """Keys are put where they belong among as many as the scan found."""
        if self._writer.topic.partitions != scanned:
            raise _CameBetween

    def _write_all(
        self,
        store: KeyedStore,
        generation: int,
        marker: Marker,
        before: TopicState,
        scanning: _Scanning,
    ) -> None:
        """Values, null values and the marker, in one transaction or, where they are many, in
        several. Afterwards the topic is known, if it is as it must be."""
        attempt = secrets.token_hex(8)
        half = TopicState(replace(marker, phase=STAGING), {generation: attempt})
        held: list[Keyed] = []
        held_bytes, held_records = 0, 0
        has_begun = False

        def check(state: TopicState) -> None:
            self._check_partitions(len(scanning.ends))
            mine = state.open.get(generation) == attempt if has_begun else state == before
            if not mine:
                check_owner(state.marker, self.context, self._where)
                check_fence(state.marker, marker, self._where)
                raise _CameBetween

        def flush(after: TopicState) -> None:
            def plan(state: TopicState) -> Write:
                check(state)
                return Write(held, after)

            self._writer.write(plan)
            scanning.tally.add(self._places(held), self._writer.state().ends)

        for piece in self._pieces(store, scanning.settled):
            held.append(piece)
            held_bytes += piece.size
            held_records += len(piece.keys)
            if held_bytes >= FLUSH_BYTES or held_records >= FLUSH_RECORDS:
                flush(half)
                has_begun, held, held_bytes, held_records = True, [], 0, 0
        flush(TopicState(marker))
        self._last_seen.saw(marker)
        if scanning.tally.is_right and self._writer.is_javas_partitioner:
            with self._or_forget():
                store.keep()
                state = self._writer.state()
                ends = tuple(end.offset for end in state.ends)
                self._known = Known(state.topic, ends, self._writer.outages())

    def _places(self, pieces: Sequence[Keyed]) -> npt.NDArray[np.int64]:
        """How many of the records go to each partition; none of those of which it is not known."""
        chosen = [piece.partitions for piece in pieces if piece.partitions is not None]
        found = np.concatenate([np.zeros(0, np.int64), *(c.to_numpy() for c in chosen)])
        return np.bincount(found.astype(np.int64), minlength=self._writer.topic.partitions)

    def _pieces(self, store: KeyedStore, settled: Future[None]) -> Iterator[Keyed]:
        if self._is_diff:
            settled.result()
        partitions = self._writer.topic.partitions
        for keys, values, places in store.to_write(partitions, differing=self._is_diff):
            where = places if self._writer.is_javas_partitioner else None
            yield from _cut(self._upserts(keys, values, where))
        settled.result()
        for partitions, keys in store.gone():
            yield from _cut(Keyed(keys, _nulls(keys), self._headers, partitions))

    def _hashed(self, keys: pa.Array) -> tuple[pa.Array, pa.Array]:
        """With the hashes that choose their partitions."""
        if not self._writer.is_javas_partitioner:
            return pa.nulls(len(keys), pa.int32()), keys
        return pa.array(hashes(keys)), keys

    def _upserts(self, keys: pa.Array, values: pa.Array, places: pa.Array | None = None) -> Keyed:
        piece = Keyed(keys, values, self._headers, places)
        limit = self._writer.topic.max_bytes - OVERHEAD_BYTES
        if piece.size > limit:
            key, size = piece.largest()
            if size > limit:
                raise self._too_large(key, size)
        return piece

    def _too_large(self, key: bytes, size: int) -> SinkRejected:
        return SinkRejected(
            f"the row of key {key[:200]!r} takes a message of {size} bytes, {self._where} "
            f"takes {self._writer.topic.max_bytes}: raise max.message.bytes of the topic and "
            "message.max.bytes of the connector, or leave large columns out of the view",
            details={"bytes": size, "limit": self._writer.topic.max_bytes},
        )

    def abort(self, generation: int) -> None:
        self._unstage()

    def _unstage(self) -> None:
        """Nothing is staged; what is known of the topic stays known."""
        self._staging, self._is_diff = None, False
        if self._store is not None and self._known is not None:
            with self._or_forget():
                self._store.idle()
        else:
            self._forget()

    @contextmanager
    def _or_forget(self) -> Iterator[None]:
        """What is kept spares the next publish a scan, and has to fit: into little memory, and for
        the rest onto the disk."""
        try:
            yield
        except duckdb.Error as e:
            # the next reset reads the topic back
            topic, reason = json.dumps(self._writer.topic.name), json.dumps(str(e))
            log.warning("keys_not_kept topic=%s reason=%s", topic, reason)
            self._forget()

    def _forget(self) -> None:
        self._staging, self._is_diff, self._known = None, False, None
        if self._store is not None:
            self._store.close()
            self._store = None

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        upserts, deletes = keyed_changes(rows, self.context.key, self._index)

        def plan(state: TopicState) -> Write | None:
            check_owner(state.marker, self.context, self._where)
            self._last_seen.check(state.marker, self._where)
            if is_applied(state.marker, marker, self._where):
                return None
            stored = state.marker
            if stored and stored.phase == STAGING and stored.generation == marker.generation:
                raise StagingLost(
                    f"{self._where}: generation {stored.generation} is half published"
                )
            return Write(self._changes(upserts, deletes), TopicState(marker, state.open))

        self._writer.write(plan)
        self._last_seen.saw(marker)

    def _changes(self, upserts: Batch, deletes: Batch) -> Iterator[Keyed]:
        if len(deletes):
            keys = self._encoder.keys(deletes)
            yield Keyed(keys, _nulls(keys), self._headers)
        if len(upserts):
            yield self._upserts(*self._encoded(upserts))

    def _encoded(self, rows: Batch) -> tuple[pa.Array, pa.Array]:
        return self._encoder.keys(rows.select(self.context.key)), self._encoder.values(rows)

    # reading back

    def read(self) -> Contents:
        """The newest value of every key, as of the records committed by now."""
        pieces = self._writer.scan().pieces

        def rows() -> Iterator[Batch]:
            store = KeyedStore()
            try:
                _take(store, pieces(), with_values=True)
                for keys, values in store.newest():
                    yield _words(keys, values)
            finally:
                store.close()

        def spell(rows: Batch) -> Batch:
            return _words(*self._encoded(rows), rows)

        return Contents(schema=_WORDS, key=(0,), rows=rows(), spell=spell)

    def privileges(self) -> Sequence[str]:
        return self._writer.privileges()

    def transmitted_bytes(self) -> int:
        return self._writer.bytes_written

    def close(self) -> None:
        """What was staged is forgotten; it was on local disk only."""
        self._forget()
        self._writer.close()


def _take(store: KeyedStore, pieces: Iterator[Piece], *, with_values: bool) -> None:
    """Records of the topic into the store; those without a key are nobody's."""
    for piece in pieces:
        keys = piece.keys()
        if None in keys:
            piece = piece.only(np.array([k is not None for k in keys], np.bool_))
            keys = piece.keys()
        store.take_topic(
            piece.partitions, piece.offsets, keys, piece.has_value(),
            [m.value() for m in piece.messages] if with_values else None,
        )  # fmt: skip


def _cut(piece: Keyed) -> Iterator[Keyed]:
    """No more records at a time than a transaction may have."""
    for at in range(0, len(piece.keys), FLUSH_RECORDS):
        yield piece.cut(at, at + FLUSH_RECORDS)


def _nulls(keys: pa.Array) -> pa.Array:
    return pa.nulls(len(keys), keys.type)


def _words(keys: pa.Array, values: pa.Array, like: Batch | None = None) -> Batch:
    texts = [
        [b.decode("utf-8", "backslashreplace") for b in side.to_pylist()] for side in (keys, values)
    ]
    return of_columns(_WORDS, texts, None if like is None else like.weights)
