"""Servers that tests of several folders share: started when first asked for, once a session."""

from __future__ import annotations

from tests.kafka_server import kafka

__all__ = ["kafka"]
