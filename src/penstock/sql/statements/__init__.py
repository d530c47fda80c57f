"""The statements of a program, each read against what has been declared before it."""

from __future__ import annotations
