"""Room `demo`: a year of New York's flights, streamed, vandalised, reset and proved right.

    __main__.py   the story, in order
    flights.py    the data as a stream of events, and what DuckDB makes of any prefix of it
    server.py     the Penstock server as a user runs it, and its REST API
    sinks.py      the targets: reading them, vandalising one
    reader.py     a second process that keeps reading the table (its own program)
    proof.py      what must hold at the end, and whether it does

Talks to Penstock through its public REST API only.
"""

from __future__ import annotations
