"""Room `cli`. See ARCHITECTURE.md."""

from __future__ import annotations
