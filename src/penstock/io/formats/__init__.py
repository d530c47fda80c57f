"""Room `io/formats`. See ARCHITECTURE.md."""

from __future__ import annotations
