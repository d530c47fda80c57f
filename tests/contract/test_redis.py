"""What is particular to redis_output: names, values, what is left alone, claims, lost servers."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from penstock.data import types as T
from penstock.data.build import batch_from_rows
from penstock.errors import UserError
from penstock.io.contracts import SinkContext, SinkRejected, SinkUnavailable, StagingLost
from penstock.io.outputs import redis_store
from penstock.io.outputs.redis_output import RedisSink
from tests.contract.targets import GenerationsRedisTarget, RedisTarget
from tests.contract.test_sinks import batch, marker, reset, rows
from tests.servers import RedisServer, Unavailable, running_redis

LAYOUTS = (RedisTarget, GenerationsRedisTarget)


def others(target: RedisTarget) -> set[str]:
    """Keys that are neither ours nor the two that were there before."""
    return {
        k for k in target.db.scan_iter()
        if not k.startswith(target.shown()) and "others" not in k
    }  # fmt: skip


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_reset_leaves_nothing_behind_and_others_keys_alone(
    redis_server: RedisServer, kind: type[RedisTarget]
) -> None:
    target = kind(redis_server)
    sink = target.sink()
    for generation in range(1, 4):
        reset(sink, rows(generation, 5), generation)
    sink.begin(4, "token-4", 1)
    sink.stage(4, 0, batch((rows(7), 1)))
    sink.close()
    sink.open()
    reset(sink, rows(8), 5)

    pointer = {f"{target.prefix}current"} if kind is GenerationsRedisTarget else set()
    assert others(target) == {"__penstock_markers"} | pointer
    assert target.db.mget("my views: of others", "others") == ["stay", "stay"]
    sink.close()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_privileges_of_the_page_are_enough(
    redis_server: RedisServer, kind: type[RedisTarget]
) -> None:
    target = kind(redis_server)
    prefix = r"my?\[view\]\*:"  # "my [view]*:": patterns of an ACL cannot hold a space
    commands = ("+@read", "+@write", "+@scripting", "+info", "+ping", "+select", "+client|setname")
    target.db.execute_command(
        "ACL", "SETUSER", "writer", "reset", "on", ">secret", *commands, f"~{prefix}*",
        "~__penstock_*",
    )  # fmt: skip
    url = target.url.replace("redis://", "redis://writer:secret@")
    sink = target.sink(config={**target.config(), "connection_string": url})
    try:
        assert sink.privileges() == (f"{' '.join(commands)} on ~{prefix}* ~__penstock_*",)
        sink.validate()
        reset(sink, rows(1, 2), 1)
        sink.apply(batch((rows(2), -1), (rows(3), 1)), marker(1, 2, 2))
        assert sum(len(b) for b in sink.read().rows) == 2
        sink.begin(2, "token-2", 3)
        sink.stage(2, 0, batch((rows(7), 1)))
        sink.abort(2)
        sink.sweep(2)
        assert target.look() == rows(1, 3)
    finally:
        sink.close()
        target.db.execute_command("ACL", "DELUSER", "writer")


def test_without_a_prefix_keys_are_as_published_and_a_snapshot_is_refused(
    redis_server: RedisServer,
) -> None:
    schema = T.schema(region=T.VARCHAR, id=T.BIGINT, day=T.DATE, n=T.decimal(10, 2))
    config = {"connection_string": redis_server.new_url(), "key_separator": "|"}
    fields = {"key_fields": ["region", "id"], "update_format": "redis"}
    context = SinkContext("p", "v", "c", schema, config, {"name": "json", "config": fields})
    db = redis.Redis.from_url(config["connection_string"], decode_responses=True, socket_timeout=60)
    db.set("eu|3", "theirs")
    sink = RedisSink(context)
    sink.open()
    sink.validate()
    first = batch_from_rows(schema, [("eu:x", 1, None, None), ("us", 2, None, None)])
    owner = {"pipeline_id": "p", "view": "v"}
    sink.apply(first, marker(1, 1, 2, **owner))
    sink.apply(batch_from_rows(schema, [("us", 2, None, None)], [-1]), marker(1, 2, 1, **owner))

    assert db.get("eu:x|1") == '{"region":"eu:x","id":1,"day":null,"n":null}\n'
    assert set(db.scan_iter()) == {"eu:x|1", "eu|3", "__penstock_markers"}
    assert sink.capabilities.guarantee == "none"
    with pytest.raises(SinkRejected, match="key_prefix"):
        sink.begin(2, "t", 1)
    with pytest.raises(SinkRejected, match="separator"):
        sink.apply(batch_from_rows(schema, [("a|b", 2, None, None)]), marker(1, 3, 1, **owner))
    with pytest.raises(SinkRejected, match="NULL"):
        sink.apply(batch_from_rows(schema, [(None, 2, None, None)]), marker(1, 3, 1, **owner))
    sink.close()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_many_keys_go_in_pieces(
    redis_server: RedisServer, kind: type[RedisTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "KEYS_PER_CALL", 7)
    target = kind(redis_server)
    sink = target.sink()
    reset(sink, rows(*range(200)), 1, chunk_rows=150)
    sink.apply(
        batch((rows(*range(100)), -1), (rows(*range(150, 200)), -1),
              (rows(*range(150, 200), v="b"), 1)), marker(1, 2, 100))  # fmt: skip
    assert target.look() == rows(*range(100, 150)) + rows(*range(150, 200), v="b")
    reset(sink, rows(*range(120, 170)), 2)

    assert target.look() == rows(*range(120, 170))
    sink.close()


def test_a_snapshot_that_died_in_the_middle_of_its_moves_is_no_snapshot_yet(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = RedisTarget(redis_server)
    sink = target.sink()
    reset(sink, rows(1, 2, 3), 1)
    dying = target.sink()
    dying.begin(2, "token-2", 5)
    dying.stage(2, 0, batch((rows(2, 3, 4, v="b"), 1)))
    monkeypatch.setattr(redis_store.RedisStore, "remove_gone", _die)
    with pytest.raises(SinkUnavailable):
        dying.publish(2, marker(2, 5, 3))
    monkeypatch.undo()
    found = sink.marker()

    assert found is not None and (found.generation, found.phase) == (2, "staging")
    assert target.look() == rows(1) + rows(2, 3, 4, v="b")
    with pytest.raises(SinkRejected, match="generation 2"):
        sink.apply(batch((rows(9), 1)), marker(1, 2, 4))
    fresh = target.sink()
    with pytest.raises(StagingLost):
        fresh.publish(2, marker(2, 5, 3))
    reset(fresh, rows(2, 3, 4, v="b"), 2, step=5)
    assert target.look() == rows(2, 3, 4, v="b")
    assert fresh.marker() == marker(2, 5, 3)
    for s in (sink, dying, fresh):
        s.close()


@pytest.mark.parametrize("lost", ["keys", "0"])
def test_a_snapshot_that_redis_has_evicted_in_part_touches_no_key(
    redis_server: RedisServer, lost: str
) -> None:
    target = RedisTarget(redis_server)
    sink = target.sink()
    reset(sink, rows(1, 2, 3), 1)
    sink.begin(2, "token-2", 5)
    sink.stage(2, 0, batch((rows(2, 3, 4, v="b"), 1)))
    (name,) = target.db.scan_iter(match=f"__penstock_stage:*:{lost}")
    target.db.delete(name)
    with pytest.raises(StagingLost):
        sink.publish(2, marker(2, 5, 3))

    assert target.look() == rows(1, 2, 3)
    reset(sink, rows(2, 3, 4, v="b"), 3, step=5)
    assert target.look() == rows(2, 3, 4, v="b")
    sink.close()


def test_a_reset_takes_away_the_time_to_live_that_others_gave_a_key(
    redis_server: RedisServer,
) -> None:
    target = RedisTarget(redis_server)
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    assert target.db.expire(f"{target.prefix}1", 1000)
    reset(sink, rows(1, 2), 2)

    assert target.db.ttl(f"{target.prefix}1") == -1
    sink.close()


def _die(*_: Any) -> None:
    raise redis.ConnectionError("gone")


def test_an_older_snapshot_in_place_moves_no_key_after_a_newer_one_has_claimed(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = RedisTarget(redis_server)
    first = target.sink()
    reset(first, rows(1), 1)
    old, new = target.sink(), target.sink()
    old.begin(2, "token-2", 2)
    old.stage(2, 0, batch((rows(1, 2, v="old"), 1)))
    place = redis_store.RedisStore.place

    def overtaken(self: Any, *how: Any) -> bool:
        monkeypatch.undo()
        reset(new, rows(1, 3, v="new"), 3)
        return place(self, *how)

    monkeypatch.setattr(redis_store.RedisStore, "place", overtaken)
    with pytest.raises((SinkRejected, StagingLost)):
        old.publish(2, marker(2, 2, 2))

    assert target.look() == rows(1, 3, v="new")
    assert new.marker() == marker(3, 1, 2)
    for s in (first, old, new):
        s.close()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that its test may kill."""
    try:
        with running_redis() as server:
            yield server
    except Unavailable as e:
        pytest.skip(str(e))


def test_a_server_that_is_gone_or_lost_its_stage_is_a_passing_failure(
    own_redis: RedisServer,
) -> None:
    target = GenerationsRedisTarget(own_redis)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(2), 1)))
    target.db.delete(f"__penstock_staging:{target.prefix}")
    with pytest.raises(StagingLost):
        sink.publish(2, marker(2, 2, 1))
    own_redis.stop(signal.SIGKILL)
    with pytest.raises(SinkUnavailable):
        sink.apply(batch((rows(3), 1)), marker(1, 2, 2))
    sink.close()
    with pytest.raises(SinkUnavailable):
        sink.open()


def test_a_server_that_came_back_empty_gets_no_delta_on_top_of_nothing(
    redis_server: RedisServer,
) -> None:
    target = RedisTarget(redis_server)
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    sink.apply(batch((rows(3), 1)), marker(1, 2, 3))
    target.db.flushdb()
    with pytest.raises(SinkUnavailable, match="has lost"):
        sink.apply(batch((rows(4), 1)), marker(1, 3, 4))
    assert target.db.dbsize() == 0
    # connected anew it says so by its marker, and is written anew by whoever asks
    sink.open()
    assert sink.marker() is None
    reset(sink, rows(1, 2, 3, 4), 2)
    assert target.look() == rows(1, 2, 3, 4)
    sink.close()


def test_what_cannot_work_is_said_at_once(redis_server: RedisServer) -> None:
    target = RedisTarget(redis_server)
    good = target.context()
    url = {"connection_string": target.url}
    for change, says in (
        ({"config": {}}, "'connection_string' is required"),
        ({"config": {"connection_string": "http://me:secret@x"}}, "not a redis:// URL"),
        ({"config": url | {"layout": "generations"}}, "'key_prefix' is required"),
        ({"config": url | {"prefix": "a"}}, "'prefix' is unknown"),
        ({"format": {"name": "csv"}}, "use json"),
        ({"format": None, "key": ()}, "must name the columns of the key"),
        ({"format": {"name": "json", "config": {"key_fields": ["z"]}}}, "no column"),
        ({"format": {"name": "json", "config": {"update_format": "debezium"}}}, "must be one of"),
    ):
        with pytest.raises(UserError, match=says) as e:
            RedisSink(replace(good, **change))
        assert "secret" not in str(e.value)
    owner = target.sink()
    reset(owner, rows(1), 1)
    near = target.sink(connector="d", config=target.config() | {"key_prefix": "my [view]*:deep:"})
    with pytest.raises(SinkRejected, match="overlap"):
        near.validate()
    wrong = replace(good, config=target.config() | {
        "connection_string": target.url.replace("://", "://nobody:password@")})  # fmt: skip
    with pytest.raises(SinkRejected, match="invalid username"):
        RedisSink(wrong).open()
    owner.close()
    near.close()


def test_the_index_of_the_connector_is_the_key_if_the_format_names_none(
    redis_server: RedisServer,
) -> None:
    target = RedisTarget(redis_server)
    sink = target.sink(format=None, key=(0,))
    reset(sink, rows(1), 1)

    assert target.look() == rows(1)
    assert Counter(target.values()) == Counter(
        {f"{target.prefix}1": target.values()[f"{target.prefix}1"]}
    )
    sink.close()


def test_the_readers_of_the_page_read_whole_contents(redis_server: RedisServer) -> None:
    page = (Path(__file__).parents[2] / "docs" / "connectors" / "redis.md").read_text()
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    target = GenerationsRedisTarget(redis_server)
    sink = target.sink()
    for generation in (1, 2):
        reset(sink, rows(1, 2, v=str(generation)), generation)
        whole = names["contents"](target.db, target.prefix)
        assert Counter(target.row(r) for r in whole.values()) == rows(1, 2, v=str(generation))
        one = names["row"](target.db, target.prefix, "2")
        assert target.row(json.loads(one)) in rows(2, v=str(generation))
        assert names["row"](target.db, target.prefix, "9") is None
    sink.close()
