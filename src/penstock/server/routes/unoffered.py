"""Endpoints of the contract that this edition does not offer: a clear 501, never a bare 404.

The pipeline in the path is looked up first, so that an unknown one is still a 404.
"""

from __future__ import annotations

from starlette.responses import Response

from penstock.manager.lifecycle import EnterpriseFeature
from penstock.server.site import Call, Endpoint, RouteTable

_P = "/pipelines/{pipeline_name}"


def _without(feature: str) -> Endpoint:
    async def refuse(call: Call) -> Response:
        if "pipeline_name" in call.request.path_params:
            call.pipeline()
        raise EnterpriseFeature(feature)

    return refuse


_SYNC = _without("Keeping checkpoints in an object store")
_PROFILE = _without("Profiling the memory and the threads of a running process")
_TENANTS = _without("The administration of tenants and trust")

ROUTES: RouteTable = (
    ("POST", f"{_P}/checkpoint/sync", "write", _SYNC),
    ("GET", f"{_P}/checkpoint/sync_status", "read", _SYNC),
    ("GET", f"{_P}/checkpoints/remote", "read", _SYNC),
    ("GET", f"{_P}/heap_profile", "read", _PROFILE),
    ("GET", f"{_P}/samply_profile", "read", _PROFILE),
    ("POST", f"{_P}/samply_profile", "write", _PROFILE),
    ("POST", f"{_P}/rebalance", "write", _without("Rebalancing between hosts")),
    ("POST", f"{_P}/start_compaction", "write", _without("Compaction on request")),
    ("POST", f"{_P}/testing", "write", _without("Calling test hooks")),
    (
        "POST",
        f"{_P}/views/{{view_name}}/connectors/{{connector_name}}/command",
        "write",
        _without("Commanding a connector"),
    ),
    ("GET", "/tenants", "owner", _TENANTS),
    ("POST", "/tenants", "owner", _TENANTS),
    ("GET", "/tenants/{tenant_id}", "owner", _TENANTS),
    ("PATCH", "/tenants/{tenant_id}", "owner", _TENANTS),
    ("DELETE", "/tenants/{tenant_id}", "owner", _TENANTS),
    ("GET", "/tenant/users", "admin", _TENANTS),
    ("POST", "/tenant/users", "admin", _TENANTS),
    ("PUT", "/tenant/users/{user_id}", "admin", _TENANTS),
    ("DELETE", "/tenant/users/{user_id}", "admin", _TENANTS),
    ("GET", "/oidc_trust", "admin", _TENANTS),
    ("POST", "/oidc_trust", "admin", _TENANTS),
    ("GET", "/oidc_trust/{name}", "admin", _TENANTS),
    ("DELETE", "/oidc_trust/{name}", "admin", _TENANTS),
)
