"""Benchmarks: ours and a peer in one run, one JSON object a line. See README.md beside this."""

from __future__ import annotations
