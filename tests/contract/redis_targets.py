"""Targets that are keys of a Redis."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import redis

from tests.contract.target import SCHEMA, Rows, Target
from tests.servers import RedisServer


class RedisTarget(Target):
    """Keys in place, read one after the other."""

    transport = "redis_output"
    is_keyed = True
    server = "redis_server"
    layout = "in_place"
    prefix = "my [view]*:"
    format: ClassVar[Mapping[str, Any] | None] = {
        "name": "json",
        "config": {"update_format": "redis", "key_fields": ["k"]},
    }

    def __init__(self, server: RedisServer) -> None:
        self.url = server.new_url()
        self.db = redis.Redis.from_url(self.url, decode_responses=True, socket_timeout=60)
        self.db.mset({"my views: of others": "stay", "others": "stay"})

    def config(self) -> dict[str, Any]:
        return {"connection_string": self.url, "key_prefix": self.prefix, "layout": self.layout}

    def shown(self) -> str:
        """The prefix of the keys that readers look at."""
        return self.prefix

    def values(self) -> dict[str, Any]:
        """Key → row, by Redis' own cursor."""
        shown = self.shown()
        names = [n for n in self.db.scan_iter(count=1000) if n.startswith(shown)]
        found = self.db.mget(names) if names else []
        return {n: json.loads(v) for n, v in zip(names, found, strict=True) if v is not None}

    def look(self) -> Rows | None:
        found = self.values()
        if not found and not self.db.hlen("__penstock_markers"):
            return None
        assert all(n.endswith(f":{r['k']}") for n, r in found.items())
        return Counter(self.row(r) for r in found.values())

    @staticmethod
    def row(r: Mapping[str, Any]) -> tuple[Any, ...]:
        n = None if r["n"] is None else f"{float(r['n']):.2f}"
        return (r["k"], r["v"], n, r["d"], None if r["b"] is None else int(r["b"]), r["x"])

    def damage(self) -> None:
        shown = self.shown()
        for name, row in self.values().items():
            if row["k"] % 3 == 0:
                self.db.delete(name)
            elif row["k"] % 3 == 1:
                self.db.set(name, json.dumps(row | {"v": "damaged", "n": None}))
        invented = dict.fromkeys(SCHEMA.names) | {"k": -7, "v": "invented"}
        self.db.set(f"{shown}-7", json.dumps(invented))

    def remove(self) -> None:
        for name in self.db.scan_iter():
            if name.startswith(self.prefix):
                self.db.delete(name)
        assert self.db.mget("my views: of others", "others") == ["stay", "stay"]


class GenerationsRedisTarget(RedisTarget):
    """Keys beside each other, read as the page says: until the pointer stays where it was."""

    layout = "generations"

    def shown(self) -> str:
        return f"{self.prefix}{self.db.get(self.prefix + 'current')}:"

    def values(self) -> dict[str, Any]:
        while True:
            shown, found = self.shown(), super().values()
            if self.shown() == shown:
                return found
