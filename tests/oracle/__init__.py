"""The slow, obviously right versions: a relation is a Counter of tuples, an operator a function.

Weights may be negative (a retraction that came before its insertion); a row, a key or a group is
there while its total is positive.
"""

from __future__ import annotations
