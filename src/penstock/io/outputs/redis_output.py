"""redis_output: a view as keys of a Redis, one a row.

    connection_string   redis://[user:password@]host[:port][/db], rediss://… for TLS
    key_separator       between the key fields (":" by default)
    key_prefix          (ours) before every key; needed for snapshots and resets, as only then the
                        connector's keys can be told from others'
    layout              (ours) in_place (default) or generations
    format              json, update_format redis; key_fields, or else the connector's index

    in_place       <prefix><key> → row as JSON
    generations    <prefix>current → tag,  <prefix><tag>:<key> → row as JSON

    stage      in_place       packed, a thousand rows under a name of their own
               generations    <prefix><new tag>:…, which no reader knows of
    publish    in_place       set the keys, a thousand a call; remove what is gone; marker
               generations    pointer and marker in one script          ◄── the instant
                              then the old tag's keys are removed in pieces

Guarantee: in_place per_key: each key goes from its old row to its new one once, keys that are gone
vanish at the end. generations atomic, for readers who look the pointer up with what they read and
start over when it has moved (`docs/connectors/redis.md` has both ways). A delta of up to
KEYS_PER_CALL keys is one script; a larger one comes in pieces.

Fencing is in every script; a snapshot in place first claims the marker, so that the writer before
it can move no key any more. Never FLUSHDB, never one giant MULTI.

Not here: clusters (scripts need all keys in one place), expiry.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.data.batch import Batch
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
    SinkUnavailable,
    StagingLost,
)
from penstock.io.formats.joined import TEXT
from penstock.io.formats.options import TRANSPORT_ERROR, Options
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
from penstock.io.outputs.key_check import not_unique
from penstock.io.outputs.redis_packing import BYTES
from penstock.io.outputs.redis_rows import Pairs, RedisRows
from penstock.io.outputs.words import of_columns

if TYPE_CHECKING:
    from penstock.io.outputs.redis_store import RedisStore, Stored

LAYOUTS = ("in_place", "generations")
#: how often a write whose marker changed under it is tried before the controller backs off
ATTEMPTS = 25
# not pa.array, at whose first call pyarrow imports pandas
NOTHING = pa.nulls(0, BYTES)


class RedisSink(Sink):
    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        o = Options.of("redis_output", TRANSPORT_ERROR, context.config)
        url = o.required_text("connection_string")
        self._rows = RedisRows(
            context.format, context.schema, context.key, o.text("key_separator", ":")
        )
        self._prefix = o.text("key_prefix", "")
        self._is_in_place = o.choice("layout", "in_place", LAYOUTS) == "in_place"
        if self._prefix.startswith("__penstock_"):
            raise o.fail("key_prefix", "must not begin as the names of internal keys do")
        if not self._prefix and not self._is_in_place:
            raise o.fail("key_prefix", "is required by layout generations")
        o.done()
        try:
            self._store = _store(url, self._prefix, context)
        except (ValueError, TypeError):
            # not the text itself: it may hold a password
            raise o.fail("connection_string", "is not a redis:// URL", is_private=True) from None
        self._where = f"keys '{self._prefix}*'"
        self._staging: Staging | None = None
        self._last_seen = LastSeen()
        self._tag = ""
        self._pieces = 0
        self._bytes = 0

    @property
    def capabilities(self) -> Capabilities:
        if not self._prefix:
            guarantee = "none"
        else:
            guarantee = "per_key" if self._is_in_place else "atomic"
        return Capabilities(guarantee=guarantee, stores_marker=True, pins_reads=False)

    # connecting

    def open(self) -> None:
        self._staging, self._last_seen = None, LastSeen()
        with self._store.errors("open"):
            self._store.ping()

    def validate(self) -> None:
        with self._store.errors("validate"):
            info = self._store.info()
            if info.get("cluster_enabled"):
                raise SinkRejected(
                    "redis_output: a Redis cluster keeps keys in many places; name a single Redis"
                )
            if info.get("role") != "master":
                raise SinkUnavailable("redis_output: this Redis is a replica and takes no writes")
            check_owner(self._store.stored().marker, self.context, self._where)
            for other in self._store.prefixes() if self._prefix else ():
                is_near = other.startswith(self._prefix) or self._prefix.startswith(other)
                if is_near and other != self._prefix:
                    raise SinkRejected(
                        f"redis_output: another connector writes keys '{other}*', which overlap "
                        f"'{self._prefix}*': choose another 'key_prefix'"
                    )
            # writes nothing, as no marker looks like this; shows whether scripts may run
            self._write_nothing()

    def _write_nothing(self) -> None:
        from penstock.io.outputs.redis_store import Stored, Superseded

        try:
            self._store.write(Stored("no marker"), Pairs.of(()), NOTHING, None)
        except Superseded:
            return

    def marker(self) -> Marker | None:
        with self._store.errors("marker"):
            return self._last_seen.found(self._store.stored().marker)

    # a snapshot

    def begin(self, generation: int, token: str, step: int) -> None:
        if not self._prefix:
            raise SinkRejected(
                "redis_output: without a 'key_prefix' the keys that a snapshot has to remove are "
                "not to be told from others': set one, or use mode follow"
            )
        with self._store.errors("begin"):
            stored = self._store.stored()
            check_owner(stored.marker, self.context, self._where)
            self._remove_left_over(stored, generation)
            self._tag = f"g{generation}-{uuid.uuid4().hex[:8]}"
            self._store.begin(self._tag)
        self._pieces = 0
        self._staging = Staging(generation)

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        check_keys(rows.select(self._rows.key), self._rows.key_text)
        in_stage = "" if self._is_in_place else self._stage_prefix(self._tag)
        pairs = self._rows.pairs(rows, in_stage or self._prefix)
        self._staging = None  # for good, if nobody knows how far this came
        with self._store.errors("stage"):
            if not self._keep(pairs):
                raise not_unique(self._rows.key_text)
        self._staging = staging
        staging.took(len(pairs))
        self._bytes += pairs.byte_size

    def _keep(self, pairs: Pairs) -> bool:
        if len(pairs) == 0:
            return True
        if not self._is_in_place:
            return self._store.stage(self._tag, pairs)
        stage = self._stage_prefix(self._tag)
        self._pieces = self._store.keep(self._tag, stage, pairs, self._pieces)
        return self._pieces > 0

    def publish(self, generation: int, marker: Marker) -> None:
        def write(stored: Stored) -> None:
            is_ours = check_fence(stored.marker, marker, self._where)
            is_shown = is_ours and stored.marker is not None and stored.marker.phase == FOLLOWING
            if is_shown and (self._staging is None or stored.data == self._tag):
                return
            staging_of(self._staging, generation)
            staged = self._store.staged(self._tag)
            if staged is None:
                raise StagingLost(f"the stage of generation {generation} is gone: begin again")
            check_complete(generation, staged, marker)
            if self._is_in_place:
                self._replace_in_place(stored, marker)
            else:
                self._switch(stored, marker)

        self._fenced("publish", write)
        self._staging = None
        self._last_seen.saw(marker)

    def _switch(self, stored: Stored, marker: Marker) -> None:
        if stored.data:
            self._store.begin(stored.data)  # noted, so that a crash does not leave it for good
        self._store.write(stored, self._pointer(self._tag), NOTHING, marker, self._tag)
        self._store.forget(self._tag)
        if stored.data:
            self._remove(stored.data)

    def _replace_in_place(self, stored: Stored, marker: Marker) -> None:
        stage = self._stage_prefix(self._tag)
        if not self._store.is_whole(stage, self._pieces, marker.rows):
            raise self._lost(marker)
        claim = replace(marker, phase=STAGING)
        if stored.marker != claim:
            self._store.write(stored, Pairs.of(()), NOTHING, claim, stored.data)
            stored = self._store.stored()
        if not (
            self._store.place(stored, stage, self._pieces)
            and self._store.remove_gone(stored, stage, self._prefix, marker.rows)
        ):
            raise self._lost(marker)
        self._store.write(stored, Pairs.of(()), NOTHING, marker, self._tag)
        self._store.drop(stage, self._pieces)
        self._store.forget(self._tag)

    def _lost(self, marker: Marker) -> StagingLost:
        return StagingLost(
            f"Redis does not hold all that was staged of generation {marker.generation} any more: "
            "begin again"
        )

    def abort(self, generation: int) -> None:
        self._staging = None
        with self._store.errors("abort"):
            stored = self._store.stored()
            for tag in self._store.tags():
                if tag.startswith(f"g{generation}-") and not self._is_shown(tag, stored):
                    self._remove(tag)

    def sweep(self, generation: int) -> None:
        self._staging = None
        if self._prefix:
            with self._store.errors("sweep"):
                self._remove_left_over(self._store.stored(), generation)

    def _remove_left_over(self, stored: Stored, generation: int) -> None:
        for tag in self._store.tags():
            if self._is_shown(tag, stored):
                self._store.forget(tag)  # a crash came between its publish and this
            elif int(tag[1:].split("-", 1)[0]) <= generation:
                self._remove(tag)

    def _is_shown(self, tag: str, stored: Stored) -> bool:
        """Whether readers look at the keys that were staged under `tag`."""
        return not self._is_in_place and tag == stored.data

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        upserts, deletes = keyed_changes(rows, self._rows.key, self._rows.key_text)

        def write(stored: Stored) -> None:
            # the client connects anew by itself, so that nobody else notices
            self._last_seen.check(stored.marker, self._where)
            if is_applied(stored.marker, marker, self._where):
                return
            tag = stored.data or f"g{marker.generation}-{uuid.uuid4().hex[:8]}"
            prefix = self._live_prefix(tag)
            sets = self._rows.pairs(upserts, prefix)
            if not self._is_in_place:
                sets = sets.and_(self._pointer(tag))
            self._store.write(stored, sets, self._rows.keys(deletes, prefix), marker, tag)
            self._bytes += sets.byte_size

        self._fenced("apply", write)
        self._last_seen.saw(marker)

    def _fenced(self, call: str, write: Callable[[Stored], None]) -> None:
        """Run `write` with what is stored; once more if that changed meanwhile."""
        from penstock.io.outputs.redis_store import Superseded

        with self._store.errors(call):
            for _ in range(ATTEMPTS):
                stored = self._store.stored()
                check_owner(stored.marker, self.context, self._where)
                try:
                    write(stored)
                except Superseded:
                    continue
                return
        raise SinkUnavailable(f"redis_output: {ATTEMPTS} other writers of {self._where} came first")

    # reading back

    def read(self) -> Contents:
        """Keys without their prefix, and values; a key that comes twice is given once."""
        if not self._prefix:
            return super().read()
        with self._store.errors("read"):
            prefix = self._live_prefix(self._store.stored().data)
        schema = Schema((Field("key", VARCHAR), Field("value", VARCHAR)))

        def rows() -> Iterator[Batch]:
            with self._store.errors("read"):
                for pairs in self._store.values(prefix):
                    yield of_columns(schema, list(zip(*pairs, strict=True)))

        def spell(rows: Batch) -> Batch:
            pairs = self._rows.pairs(rows, "")
            columns = [c.cast(TEXT).to_pylist() for c in (pairs.keys, pairs.values)]
            return of_columns(schema, columns, rows.weights)

        return Contents(schema, (0,), rows(), spell)

    def privileges(self) -> Sequence[str]:
        # patterns of an ACL cannot hold a space
        pattern = self._store.pattern.replace(" ", "?")
        names = f"~{pattern} ~__penstock_*"
        return (f"+@read +@write +@scripting +info +ping +select +client|setname on {names}",)

    def transmitted_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """What was staged stays; the next `begin` removes it."""
        self._staging = None
        self._store.close()

    # keys

    def _pointer(self, tag: str) -> Pairs:
        return Pairs.of([(f"{self._prefix}current".encode(), tag.encode())])

    def _stage_prefix(self, tag: str) -> str:
        return (
            f"__penstock_stage:{self._prefix}{tag}:"
            if self._is_in_place
            else f"{self._prefix}{tag}:"
        )

    def _live_prefix(self, tag: str) -> str:
        return self._prefix if self._is_in_place else f"{self._prefix}{tag}:"

    def _remove(self, tag: str) -> None:
        self._store.remove(self._stage_prefix(tag))
        self._store.forget(tag)


def _store(url: str, prefix: str, context: SinkContext) -> RedisStore:
    """The store, by the library that only those who write to Redis need to have."""
    try:
        from penstock.io.outputs.redis_store import RedisStore
    except ImportError as e:
        raise SinkRejected(
            "redis_output needs the Redis client: pip install 'penstock[redis]'",
            code=TRANSPORT_ERROR,
        ) from e
    owner = (context.pipeline_id, context.view, context.connector)
    return RedisStore(url, prefix, owner)
