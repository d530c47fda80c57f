"""The public application: every route of the contract, behind authentication.

    ROUTES of each resource ──► /v0/… with a role ──► Call ──► endpoint

Invariants: the only endpoints without authentication are the health of the process itself and
`/config/authentication`, which tells a client how to authenticate.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from penstock.server.answers import json_response
from penstock.server.errors import EXCEPTION_HANDLERS
from penstock.server.routes import (
    checkpoints,
    connectors,
    data,
    identity,
    lifecycle,
    monitor,
    pipelines,
    programs,
    unoffered,
)
from penstock.server.site import Call, Endpoint, RouteTable, Site

ROUTES: RouteTable = (
    *identity.ROUTES,
    *pipelines.ROUTES,
    *lifecycle.ROUTES,
    *programs.ROUTES,
    *data.ROUTES,
    *connectors.ROUTES,
    *checkpoints.ROUTES,
    *monitor.ROUTES,
    *unoffered.ROUTES,
)


def _secured(site: Site, role: str, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def run(request: Request) -> Response:
        principal = await site.auth.authenticate(request.headers)
        principal.require(role)
        return await endpoint(Call(request, site, principal))

    return run


def build_app(site: Site, shut_down: Callable[[], None] = lambda: None) -> Starlette:
    """The ASGI application over the parts in `site`. `shut_down` runs when it ends."""

    async def authentication(request: Request) -> Response:
        oidc = site.auth.oidc
        issuer, client = (oidc.issuer, oidc.audience) if oidc else ("", "")
        return json_response(identity.authentication(site.auth.is_required, issuer, client))

    async def alive(request: Request) -> Response:
        return json_response({"status": "healthy"})

    async def query_socket(socket: WebSocket) -> None:
        await data.query_socket(site, socket)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await site.forwarder.close()
        await run_in_threadpool(shut_down)

    routes: list[BaseRoute] = [
        Route("/config/authentication", authentication, methods=["GET"]),
        Route("/healthz", alive, methods=["GET"]),
        WebSocketRoute("/v0/pipelines/{pipeline_name}/query", query_socket),
    ]
    routes += [
        Route(f"/v0{path}", _secured(site, role, endpoint), methods=[method])
        for method, path, role, endpoint in ROUTES
    ]
    return Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS, lifespan=lifespan)
