"""The servers that the contract suite needs."""

from __future__ import annotations

from tests.servers import postgres

__all__ = ["postgres"]
