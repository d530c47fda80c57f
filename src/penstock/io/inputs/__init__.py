"""Room `io/inputs`. See ARCHITECTURE.md."""

from __future__ import annotations
