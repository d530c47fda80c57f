"""What every endpoint can reach: the server's parts (`Site`) and one request's facts (`Call`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from penstock.errors import TransientError
from penstock.manager.fleet import Fleet
from penstock.manager.records import PipelineRecord
from penstock.manager.store import Store
from penstock.server.auth import Authenticator, Principal
from penstock.server.forward import Forwarder

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Site:
    """One server: its parts and its identity."""

    fleet: Fleet
    store: Store
    auth: Authenticator
    version: str
    forwarder: Forwarder = field(default_factory=Forwarder)
    edition: str = "Open source"

    async def ask(
        self, record: PipelineRecord, method: str, args: dict[str, Any]
    ) -> Response | None:
        """A method's successful answer, None when the pipeline is away or refuses."""
        try:
            socket = self.fleet.socket_of(record)
            answer = await self.forwarder.call(record.name, socket, method, args, 10.0)
        except TransientError:
            return None
        return answer if answer.status_code == 200 else None

    async def connector_errors(self, record: PipelineRecord) -> dict[str, int] | None:
        """The number of errors of all connectors, None when the pipeline is away."""
        answer = await self.ask(record, "stats", {})
        if answer is None:
            return None
        stats = orjson.loads(bytes(answer.body))
        names = ("num_transport_errors", "num_parse_errors", "num_encode_errors")
        endpoints = stats["inputs"] + stats["outputs"]
        return {"num_errors": sum(e["metrics"].get(n, 0) for e in endpoints for n in names)}


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request."""

    request: Request
    site: Site
    principal: Principal

    @property
    def fleet(self) -> Fleet:
        return self.site.fleet

    @property
    def tenant_id(self) -> str:
        return self.principal.tenant.id

    @property
    def pipeline_name(self) -> str:
        return str(self.request.path_params["pipeline_name"])

    def pipeline(self) -> PipelineRecord:
        """The pipeline in the path. Raises `UnknownPipelineName`."""
        return self.fleet.find(self.tenant_id, self.pipeline_name)

    async def thread(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a blocking call outside the event loop."""
        return await run_in_threadpool(function, *args, **kwargs)

    async def ask(self, method: str, timeout: float = 10.0, **args: Any) -> Response:
        """Call a method of the path's pipeline and pass its answer on."""
        record = self.pipeline()
        socket = self.fleet.socket_of(record)
        return await self.site.forwarder.call(record.name, socket, method, args, timeout)


Endpoint = Callable[[Call], Awaitable[Response]]
# (method, path below /v0, role, endpoint); "*" as role: no authentication.
RouteTable = tuple[tuple[str, str, str, Endpoint], ...]
