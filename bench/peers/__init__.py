"""Other engines on the same queries and events, each in a virtual environment of its own."""

from __future__ import annotations
