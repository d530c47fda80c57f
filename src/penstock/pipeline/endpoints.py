"""The connectors of a running pipeline, found by the name that a request gives.

Not here: tables and views (`relations`), what the connectors do (`inputs`, `outputs`).
"""

from __future__ import annotations

from penstock.errors import NotFound
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.outputs import OutputEndpoint
from penstock.pipeline.relations import known


def find_input(loop: StepLoop, table: str, connector: str) -> InputEndpoint:
    """Raises NotFound UnknownInputEndpoint, with the names that there are."""
    name = f"{table}.{connector}"
    endpoint = loop.inputs.get(name)
    if endpoint is None:
        raise NotFound(
            f"unknown input endpoint name '{name}'{known(loop.inputs, name)}",
            code="UnknownInputEndpoint",
        )
    return endpoint


def find_output(loop: StepLoop, view: str, connector: str) -> OutputEndpoint:
    """Raises NotFound UnknownOutputEndpoint, with the names that there are."""
    name = f"{view}.{connector}"
    endpoint = loop.outputs.get(name)
    if endpoint is None:
        raise NotFound(
            f"unknown output endpoint name '{name}'{known(loop.outputs, name)}",
            code="UnknownOutputEndpoint",
        )
    return endpoint
