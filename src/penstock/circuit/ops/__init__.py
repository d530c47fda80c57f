"""The operators, one a file. Each says what it computes, how it follows changes, what it keeps."""

from __future__ import annotations
