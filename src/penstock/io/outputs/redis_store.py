"""What redis_output does in one Redis: scripts that write under a fence, keys that it names.

With key prefix P (see `redis_output` for what readers use):

    __penstock_markers           hash: P → {"marker": …, "data": the tag of what is shown}
    __penstock_staging:P         hash: tag → rows staged so far; tags whose keys are to be removed
    __penstock_gone:P            list: keys that a snapshot in place has not, while it is published
    __penstock_stage:P<tag>:…    a snapshot in place, while it is staged
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
from penstock.io.outputs.redis_packing import BYTES, packed
from penstock.io.outputs.redis_rows import Pairs

KEYS_PER_CALL = 1_000
#: calls that travel together
_CALLS = 8
_SCAN = 5_000
_MARKERS = "__penstock_markers"
#: begins the name under which a marker without a prefix is filed
_NO_PREFIX = "\0"
#: of the words that Redis begins a reply of refusal with, those that may pass
_PASSING = ("BUSY", "LOADING", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS", "MISCONF")

#: KEYS markers    ARGV prefix, stored marker, new marker or '', (key, value) …, keys to remove …
_WRITE = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
local sets = cmsgpack.unpack(ARGV[4])
for i = 1, #sets, 2 do redis.call('SET', sets[i], sets[i + 1]) end
local gone = cmsgpack.unpack(ARGV[5])
for i = 1, #gone do redis.call('UNLINK', gone[i]) end
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
"""
#: KEYS staging    ARGV tag, (key, value) …    1, or 0 if a key is there already
_STAGE = """
local sets = cmsgpack.unpack(ARGV[2])
for i = 1, #sets, 2 do
  if not redis.call('SET', sets[i], sets[i + 1], 'NX') then return 0 end
end
redis.call('HINCRBY', KEYS[1], ARGV[1], #sets / 2)
return 1
"""
#: KEYS gone    ARGV cursor, pattern and length of the live prefix, stage prefix, keys to look at
_NOTE_GONE = """
local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[5])
for _, key in ipairs(found[2]) do
  if redis.call('EXISTS', ARGV[4] .. string.sub(key, ARGV[3] + 1)) == 0 then
    redis.call('RPUSH', KEYS[1], key)
  end
end
return found[1]
"""
#: KEYS markers    ARGV prefix, stored marker, cursor, pattern and length of the stage prefix, live
#: prefix, how many to look at    the next cursor and how many were moved; nothing if superseded
_MOVE = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return {} end
local found = redis.call('SCAN', ARGV[3], 'MATCH', ARGV[4], 'COUNT', ARGV[7])
local moved = 0
for _, key in ipairs(found[2]) do
  if redis.call('EXISTS', key) == 1 then
    redis.call('RENAME', key, ARGV[6] .. string.sub(key, ARGV[5] + 1))
    moved = moved + 1
  end
end
return {found[1], moved}
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
        """ValueError if `url` is none."""
        # a retry of a call whose reply was lost would be taken for a second writer.
        # Any: the library's types say bytes | str for what is bytes here
        self._db: Any = redis.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=30, socket_connect_timeout=5,
            client_name=f"penstock-{owner[2]}",
        )  # fmt: skip
        self.prefix = prefix
        self._filed = prefix or _NO_PREFIX + _NO_PREFIX.join(owner)
        self._staging, self._gone = f"__penstock_staging:{prefix}", f"__penstock_gone:{prefix}"
        self._write = self._db.register_script(_WRITE)
        self._stage = self._db.register_script(_STAGE)
        self._note_gone = self._db.register_script(_NOTE_GONE)
        self._move = self._db.register_script(_MOVE)

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
        """Set keys that must not be there yet; False if one is."""
        calls = list(_pieces(rows))
        for start in range(0, len(calls), _CALLS):
            pipe = self._db.pipeline(transaction=False)
            for some in calls[start : start + _CALLS]:
                self._stage([self._staging], [tag, packed([some.keys, some.values])], pipe)
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

    def note_gone(self, live: str, stage: str) -> None:
        """List the keys under `live` that have no counterpart under `stage`."""
        self._db.unlink(self._gone)
        pattern, skip, cursor = _literally(live) + "*", len(live.encode()), b"0"
        while True:
            how: list[Any] = [cursor, pattern, skip, stage, KEYS_PER_CALL]
            cursor = self._note_gone([self._gone], how)
            if cursor == b"0":
                return

    def move(self, stored: Stored, stage: str, live: str) -> int:
        """Rename the keys under `stage` to the same under `live`; how many there were."""
        moved, cursor = 0, b"0"
        pattern, skip = _literally(stage) + "*", len(stage.encode())
        while True:
            how: list[Any] = [self._filed, stored.text, cursor, pattern, skip, live, KEYS_PER_CALL]
            found = self._move([_MARKERS], how)
            if not found:
                raise Superseded
            cursor, count = found
            moved += int(count)
            if cursor == b"0":
                return moved

    def remove_gone(self, stored: Stored) -> None:
        """Remove the keys that `note_gone` listed."""
        while keys := self._db.lrange(self._gone, 0, KEYS_PER_CALL - 1):
            self.write(stored, Pairs.of(()), pa.array(keys, BYTES), None)
            self._db.ltrim(self._gone, len(keys), -1)

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


def _pieces(found: T) -> Iterator[T]:
    for start in range(0, len(found), KEYS_PER_CALL):
        yield found.slice(start, KEYS_PER_CALL)


def _literally(text: str) -> str:
    """`text` as a pattern of Redis that matches it only."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)


def _readable(raw: bytes) -> str:
    """Text; bytes that are no UTF-8 are shown as \\xNN."""
    return raw.decode("utf-8", "backslashreplace")
