"""Room `client`: reading Penstock from outside, with the generation protocol made invisible.

egress.py    a view over HTTP egress, atomically
"""

from __future__ import annotations

from penstock.client.egress import EgressReader

__all__ = ["EgressReader"]
