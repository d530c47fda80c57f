"""The endpoints, one resource a file; each file ends in its table of routes.

Not here: decisions. An endpoint parses, calls, renders.
"""

from __future__ import annotations
