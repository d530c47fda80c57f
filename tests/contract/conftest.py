"""The servers that the contract suite needs."""

from __future__ import annotations

from tests.servers import postgres, redis_server, s3

__all__ = ["postgres", "redis_server", "s3"]
