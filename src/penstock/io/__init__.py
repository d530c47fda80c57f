"""Room `io`. See ARCHITECTURE.md."""

from __future__ import annotations
