"""Room `io/outputs`. See ARCHITECTURE.md."""

from __future__ import annotations
