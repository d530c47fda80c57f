"""The endpoints that HTTP requests bring with them: made when first needed, and again on replay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from penstock.errors import TransientError
from penstock.pipeline.digest import schema_hash
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.loop import StepLoop
from penstock.plan.nodes import TablePlan

INGRESS_QUEUE_RECORDS = 100_000
#: HTTP subscriptions and ingress requests at one time (contract section 3)
MAX_API_CONNECTIONS = 100


class ApiEndpoints:
    """The implicit input endpoints of one loop, and how many requests are using any."""

    def __init__(self, loop: StepLoop, is_running: Callable[[], bool]) -> None:
        self._loop, self._is_running = loop, is_running
        self._lock = threading.Lock()
        self._connections = 0

    def endpoint(self, table: TablePlan, name: str, format: Mapping[str, Any]) -> InputEndpoint:
        """The endpoint of this name, made if there is none."""
        with self._lock:
            endpoint = self._loop.inputs.get(name)
            if endpoint is None:
                endpoint = InputEndpoint(
                    name=name,
                    relation=table.name,
                    config={"transport": {"name": "http_input", "config": {}}, "format": format},
                    max_queued_records=INGRESS_QUEUE_RECORDS,
                    is_running=self._is_running,
                    wake=self._loop.wake,
                    schema=schema_hash(table.schema),
                    is_implicit=True,
                )
                self._loop.add_input(endpoint)
            return endpoint

    def connect(self) -> None:
        """Count one request more. Raises TransientError ApiConnectionLimit."""
        with self._lock:
            if self._connections >= MAX_API_CONNECTIONS:
                raise TransientError(
                    f"more than {MAX_API_CONNECTIONS} simultaneous API connections: close some",
                    code="ApiConnectionLimit",
                )
            self._connections += 1

    def disconnect(self) -> None:
        with self._lock:
            self._connections -= 1
