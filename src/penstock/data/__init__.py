"""Room `data`. See ARCHITECTURE.md."""

from __future__ import annotations
