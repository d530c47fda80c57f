"""Room `state`: what operators remember. Sorted runs in a spine, and tables of groups.

run.py       one immutable sorted batch, found by hash
spine.py     a stack of runs under merge: the integral of a relation
ordered.py   a spine whose keys hold their rows in an order: first rows of a key
snapshot.py  a spine pinned at one step
groups.py    distinct keys numbered, for dense accumulators
columns.py   columns that grow at the end
parts.py     what can be written and read back, and how
changes.py   dense arrays as a stack of changes, for checkpoints
spill.py     runs beyond a budget of memory live in mapped files
storage.py   a directory of immutable, checksummed files
"""

from __future__ import annotations
