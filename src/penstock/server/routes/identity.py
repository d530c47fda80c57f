"""Configuration, session, API keys: who the server is and who may call it (contract section 2)."""

from __future__ import annotations

import platform
from typing import Any

from starlette.responses import Response

from penstock.errors import Forbidden, UserError
from penstock.server.answers import empty_response, json_response
from penstock.server.auth import ROLES, rank
from penstock.server.parameters import object_body
from penstock.server.site import Call, RouteTable

_MINTABLE = ("read", "write")


async def get_config(call: Call) -> Response:
    site = call.site
    build = dict.fromkeys(
        (
            "build_timestamp",
            "cargo_dependencies",
            "cargo_features",
            "cargo_debug",
            "cargo_opt_level",
            "cargo_target_triple",
            "rustc_version",
        ),
        "",
    )
    return json_response(
        {
            "posthog": "",
            "telemetry": "",
            "conceptualhq": "",
            "product_fruits": "",
            "edition": site.edition,
            "version": site.version,
            "revision": "",
            "runtime_revision": "",
            "unstable_features": None,
            "changelog_url": "",
            "license_validity": None,
            "update_info": None,
            "build_info": {
                **build,
                "build_cpu": platform.machine(),
                "build_os": platform.system(),
            },
            "build_source": "penstock",
        }
    )


async def get_session(call: Call) -> Response:
    principal = call.principal
    tenant = principal.tenant
    membership = {"tenant_id": tenant.id, "name": tenant.name, "role": principal.role}
    return json_response(
        {
            "tenant_id": tenant.id,
            "tenant_name": tenant.name,
            "role": principal.role,
            "memberships": [membership],
        }
    )


async def get_demos(call: Call) -> Response:
    return json_response([])


async def get_owners(call: Call) -> Response:
    return json_response({"owners": [], "owner_trusts": []})


def authentication(call_auth_is_required: bool, issuer: str, client_id: str) -> dict[str, Any]:
    """The answer of GET /config/authentication, which needs no credentials itself."""
    if not call_auth_is_required or not issuer:
        return {}
    return {
        "GenericOidc": {"issuer": issuer, "client_id": client_id, "extra_oidc_scopes": []},
    }


async def list_keys(call: Call) -> Response:
    keys = await call.thread(call.site.store.keys, call.principal.tenant)
    return json_response([key.to_json() for key in keys])


async def post_key(call: Call) -> Response:
    body = await object_body(call.request)
    name, role = body.get("name"), body.get("role") or "read"
    if not isinstance(name, str):
        raise UserError("'name' is required and must be a string", details={"field": "name"})
    if role in ("admin", "owner"):
        raise Forbidden(
            f"An API key cannot have the role '{role}'", code="OwnerAdminNotMintableAsApiKey"
        )
    if role not in _MINTABLE:
        raise UserError(
            f"'role' must be one of {', '.join(_MINTABLE)}, not {role!r}",
            details={"field": "role", "roles": list(ROLES)},
        )
    if rank(role) > rank(call.principal.role):
        raise Forbidden(
            f"A caller with the role '{call.principal.role}' cannot make a key with '{role}'",
            code="RoleExceedsCreator",
        )
    key, secret = await call.thread(call.site.store.create_key, call.principal.tenant, name, role)
    return json_response({"id": key.id, "name": key.name, "api_key": secret}, 201)


async def get_key(call: Call) -> Response:
    name = call.request.path_params["api_key_name"]
    key = await call.thread(call.site.store.key, call.principal.tenant, name)
    return json_response([key.to_json()])


async def delete_key(call: Call) -> Response:
    name = call.request.path_params["api_key_name"]
    await call.thread(call.site.store.delete_key, call.principal.tenant, name)
    return empty_response()


ROUTES: RouteTable = (
    ("GET", "/config", "read", get_config),
    ("GET", "/config/session", "read", get_session),
    ("GET", "/config/demos", "read", get_demos),
    ("GET", "/config/owners", "read", get_owners),
    ("GET", "/api_keys", "read", list_keys),
    ("POST", "/api_keys", "write", post_key),
    ("GET", "/api_keys/{api_key_name}", "read", get_key),
    ("DELETE", "/api_keys/{api_key_name}", "write", delete_key),
)
