"""The sinks, one a file; `OUTPUTS` names them as `transport.name` does (contract section 7.4).

To add one: a file here with a `Sink` subclass, an entry below, and a target in
`tests/contract/targets.py`, which makes the whole contract suite run against it.
"""

from __future__ import annotations

from penstock.io.contracts import Sink
from penstock.io.outputs.null_output import NullSink

OUTPUTS: dict[str, type[Sink]] = {
    "null_output": NullSink,
}
