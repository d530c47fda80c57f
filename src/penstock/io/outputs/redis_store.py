"""What redis_output does in one Redis: scripts that write under a fence, keys that it names.

With key prefix P (see `redis_output` for what readers use):

    __penstock_markers           hash: P → {"marker": …, "data": the tag of what is shown}
    __penstock_staging:P         hash: tag → rows staged so far; tags whose keys are to be removed
    __penstock_stage:P<tag>:<n>  a piece of a snapshot in place: KEYS_PER_CALL keys and rows, packed
    __penstock_stage:P<tag>:keys set: all its keys
    P<tag>:…                     a snapshot beside the old one (layout generations)

A tag is g<generation>-<random>, so that two writers of one generation do not share a stage.

Every script first compares the stored marker, byte by byte, with the one that its caller has read:
who has been superseded writes nothing (reset.md rule 5). Scripts take KEYS_PER_CALL keys, so that
other clients are not held up; several calls travel together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from penstock.io.contracts import Marker, SinkRejected, SinkUnavailable
from penstock.io.outputs.fencing import marker_from_json, marker_to_json
from penstock.io.outputs.redis_packing import packed
from penstock.io.outputs.redis_rows import Pairs

KEYS_PER_CALL = 1_000
#: calls that travel together
_CALLS = 8
_SCAN = 5_000
_MARKERS = "__penstock_markers"
#: ends the name of the set of a staged snapshot's keys
_KEYS = "keys"
#: begins the name under which a marker without a prefix is filed
_NO_PREFIX = "\0"
#: of the words that Redis begins a reply of refusal with, those that may pass
_PASSING = ("BUSY", "LOADING", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS", "MISCONF")

#: KEYS markers    ARGV prefix, stored marker, new marker or '', (key, value) …, keys to remove …
_WRITE = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
local sets = cmsgpack.unpack(ARGV[4])
if #sets > 0 then redis.call('MSET', unpack(sets)) end
local gone = cmsgpack.unpack(ARGV[5])
if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
"""
#: KEYS staging    ARGV tag, (key, value) …    1, or 0 if a key is there already
_STAGE = """
local sets = cmsgpack.unpack(ARGV[2])
if redis.call('MSETNX', unpack(sets)) == 0 then return 0 end
redis.call('HINCRBY', KEYS[1], ARGV[1], #sets / 2)
return 1
"""
#: KEYS staging    ARGV tag, (key, value) …, name of the piece, name of the set of keys
#: 1, or 0 if a key has come before
_KEEP = """
local sets, keys = cmsgpack.unpack(ARGV[2]), {}
for i = 1, #sets, 2 do keys[#keys + 1] = sets[i] end
if redis.call('SADD', ARGV[4], unpack(keys)) < #keys then return 0 end
redis.call('SET', ARGV[3], ARGV[2])
redis.call('HINCRBY', KEYS[1], ARGV[1], #keys)
return 1
"""
#: KEYS markers    ARGV prefix, stored marker, name of the piece    1; 0 if superseded, -1 if lost
_PLACE = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
local piece = redis.call('GET', ARGV[3])
if not piece then return -1 end
redis.call('MSET', unpack(cmsgpack.unpack(piece)))
return 1
"""
#: KEYS markers    ARGV prefix, stored marker, cursor, pattern of the live keys, set of the
#: snapshot's, how many it has, how many to look at    the next cursor; '' if superseded, '-' if the
#: set is not whole
_REMOVE_GONE = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return '' end
if redis.call('SCARD', ARGV[5]) ~= tonumber(ARGV[6]) then return '-' end
local found = redis.call('SCAN', ARGV[3], 'MATCH', ARGV[4], 'COUNT', ARGV[7])
local gone = {}
for _, key in ipairs(found[2]) do
  if redis.call('SISMEMBER', ARGV[5], key) == 0 then gone[#gone + 1] = key end
end
if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
return found[1]
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """The marker as its text, which scripts compare, and read; `data`: the tag that is shown."""

    text: str = ""
    marker: Marker | None = None
    data: str = ""


class Superseded(Exception):
    """The stored marker is not the one that was read: look again."""


class RedisStore:
    """The keys under `prefix` in the Redis at `url`; without a prefix the marker is filed under the
    owner (pipeline, view, connector), as the keys cannot be told from others'."""

    def __init__(self, url: str, prefix: str, owner: tuple[str, str, str]) -> None:
        """ValueError if `url` is none, TypeError if it has parameters that no connection has."""
        # a retry of a call whose reply was lost would be taken for a second writer.
        # Any: the library's types say bytes | str for what is bytes here
        self._db: Any = redis.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=30, socket_connect_timeout=5,
            client_name=f"penstock-{owner[2]}",
        )  # fmt: skip
        self._db.connection_pool.make_connection()  # connects to nothing yet
        self.prefix = prefix
        self._filed = prefix or _NO_PREFIX + _NO_PREFIX.join(owner)
        self._staging = f"__penstock_staging:{prefix}"
        self._write = self._db.register_script(_WRITE)
        self._stage = self._db.register_script(_STAGE)
        self._keep = self._db.register_script(_KEEP)
        self._place = self._db.register_script(_PLACE)
        self._remove_gone = self._db.register_script(_REMOVE_GONE)

    @property
    def pattern(self) -> str:
        """What all keys under the prefix match, and no others."""
        return _literally(self.prefix) + "*"

    def close(self) -> None:
        self._db.close()

    # looking

    def ping(self) -> None:
        self._db.ping()

    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = self._db.info()
        return found

    def prefixes(self) -> list[str]:
        """The prefixes of all connectors that write here and have one."""
        names = [p.decode() for p in self._db.hkeys(_MARKERS)]
        return [n for n in names if not n.startswith(_NO_PREFIX)]

    def stored(self) -> Stored:
        raw = self._db.hget(_MARKERS, self._filed)
        if raw is None:
            return Stored()
        text = raw.decode()
        found = json.loads(text)
        return Stored(text, marker_from_json(found["marker"]), found["data"])

    def keys(self, prefix: str) -> Iterator[list[bytes]]:
        """All keys that begin with `prefix`, in pieces; one may come twice."""
        match, cursor = _literally(prefix) + "*", 0
        while True:
            cursor, found = self._db.scan(cursor, match=match, count=_SCAN)
            for start in range(0, len(found), KEYS_PER_CALL):
                yield found[start : start + KEYS_PER_CALL]
            if cursor == 0:
                return

    def values(self, prefix: str) -> Iterator[list[tuple[str, str]]]:
        """Keys that begin with `prefix`, without it, each once, and their values as text."""
        skip = len(prefix.encode())
        seen: set[bytes] = set()
        for found in self.keys(prefix):
            names = [k for k in found if k not in seen]
            seen.update(names)
            pipe = self._db.pipeline(transaction=False)
            for name in names:
                pipe.get(name)
            pairs = [
                (_readable(k[skip:]), _readable(v if isinstance(v, bytes) else str(v).encode()))
                for k, v in zip(names, pipe.execute(raise_on_error=False), strict=True)
                if v is not None
            ]
            if pairs:
                yield pairs

    # writing under the fence

    def write(
        self,
        stored: Stored,
        sets: Pairs,
        removed: pa.Array,
        new: Marker | None,
        data: str = "",
    ) -> None:
        """Set and remove keys; with the last of them `new` becomes the marker, `data` the tag that
        is shown. Raises Superseded when another marker is found, at the first piece or later."""
        text = ""
        if new is not None:
            text = json.dumps({"marker": marker_to_json(new), "data": data})
        none = Pairs.of(())
        calls = [(p, none.keys) for p in _pieces(sets)]
        calls += [(none, k) for k in _pieces(removed)]
        if len(sets) + len(removed) <= KEYS_PER_CALL:
            calls = [(sets, removed)]  # a small delta is one call, and so are its rows and marker
        for start in range(0, len(calls), _CALLS):
            pipe = self._db.pipeline(transaction=False)
            for n, (some, gone) in enumerate(calls[start : start + _CALLS], start):
                last = text if n == len(calls) - 1 else ""
                packs = [packed([some.keys, some.values]), packed([gone])]
                self._write([_MARKERS], [self._filed, stored.text, last, *packs], pipe)
            if 0 in pipe.execute():
                raise Superseded

    # staging

    def stage(self, tag: str, rows: Pairs) -> bool:
        """Set keys that must not be there yet; False if one is, or comes twice."""
        # MSETNX takes the last of equal keys
        if pc.count_distinct(rows.keys).as_py() < len(rows):
            return False
        return self._staged(self._stage, [(tag, p) for p in _packs(rows)])

    def keep(self, tag: str, stage: str, rows: Pairs, pieces: int) -> int:
        """Keep keys and rows as pieces of a snapshot in place, behind the `pieces` that it has; how
        many it has then, or 0 if a key has come before."""
        calls = [
            (tag, pack, f"{stage}{n}", f"{stage}{_KEYS}")
            for n, pack in enumerate(_packs(rows), pieces)
        ]
        return pieces + len(calls) if self._staged(self._keep, calls) else 0

    def _staged(self, script: Any, calls: list[tuple[Any, ...]]) -> bool:
        for start in range(0, len(calls), _CALLS):
            pipe = self._db.pipeline(transaction=False)
            for how in calls[start : start + _CALLS]:
                script([self._staging], how, pipe)
            if 0 in pipe.execute():
                return False
        return True

    def begin(self, tag: str) -> None:
        self._db.hset(self._staging, tag, 0)

    def staged(self, tag: str) -> int | None:
        """How many keys were staged under `tag`; None if it is not staged any more."""
        found = self._db.hget(self._staging, tag)
        return None if found is None else int(found)

    def tags(self) -> list[str]:
        """All tags that are staged, or were and are to be removed."""
        return [t.decode() for t in self._db.hkeys(self._staging)]

    def forget(self, tag: str) -> None:
        self._db.hdel(self._staging, tag)

    def remove(self, prefix: str) -> None:
        """Remove all keys that begin with `prefix`, which no reader looks at."""
        for keys in self.keys(prefix):
            self._db.unlink(*keys)

    # a snapshot in place

    def is_whole(self, stage: str, pieces: int, rows: int) -> bool:
        """Whether nothing has taken away what was kept (a memory limit may)."""
        pipe = self._db.pipeline(transaction=False)
        pipe.scard(f"{stage}{_KEYS}")
        for start in range(0, pieces, KEYS_PER_CALL):
            last = min(start + KEYS_PER_CALL, pieces)
            pipe.exists(*(f"{stage}{n}" for n in range(start, last)))
        keys, *found = pipe.execute()
        return bool(keys == rows and sum(found) == pieces)

    def place(self, stored: Stored, stage: str, pieces: int) -> bool:
        """Set the keys of all pieces, each to its row; False if a piece is lost."""
        for start in range(0, pieces, _CALLS):
            pipe = self._db.pipeline(transaction=False)
            for n in range(start, min(start + _CALLS, pieces)):
                self._place([_MARKERS], [self._filed, stored.text, f"{stage}{n}"], pipe)
            done = pipe.execute()
            if 0 in done:
                raise Superseded
            if -1 in done:
                return False
        return True

    def remove_gone(self, stored: Stored, stage: str, live: str, rows: int) -> bool:
        """Remove the keys under `live` that the snapshot of `rows` keys has not; False if nobody
        can tell any more which."""
        pattern, cursor = _literally(live) + "*", b"0"
        while True:
            how: list[Any] = [cursor, pattern, f"{stage}{_KEYS}", rows, KEYS_PER_CALL]
            cursor = self._remove_gone([_MARKERS], [self._filed, stored.text, *how])
            if cursor == b"":
                raise Superseded
            if cursor in (b"0", b"-"):
                return bool(cursor == b"0")

    def drop(self, stage: str, pieces: int) -> None:
        """Remove what was kept."""
        names = [f"{stage}{_KEYS}", *(f"{stage}{n}" for n in range(pieces))]
        for start in range(0, len(names), KEYS_PER_CALL):
            self._db.unlink(*names[start : start + KEYS_PER_CALL])

    # failures

    @contextmanager
    def errors(self, call: str) -> Iterator[None]:
        """Failures of Redis and the way to it, told as the controller understands them."""
        try:
            yield
        except RedisError as e:
            message = f"redis_output: {call} of keys '{self.prefix}*': {e}"
            if isinstance(e, (AuthenticationError, NoPermissionError)):
                raise SinkRejected(message) from e
            is_answer = isinstance(e, ResponseError)
            may_pass = isinstance(e, (BusyLoadingError, OutOfMemoryError, ReadOnlyError))
            if is_answer and not may_pass and not str(e).startswith(_PASSING):
                raise SinkRejected(message) from e
            raise SinkUnavailable(message) from e


T = TypeVar("T", Pairs, pa.Array)


def _packs(rows: Pairs) -> Iterator[bytes]:
    for some in _pieces(rows):
        yield packed([some.keys, some.values])


def _pieces(found: T) -> Iterator[T]:
    for start in range(0, len(found), KEYS_PER_CALL):
        yield found.slice(start, KEYS_PER_CALL)


def _literally(text: str) -> str:
    """`text` as a pattern of Redis that matches it only."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)


def _readable(raw: bytes) -> str:
    """Text; bytes that are no UTF-8 are shown as \\xNN."""
    return raw.decode("utf-8", "backslashreplace")
