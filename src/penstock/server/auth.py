"""Who is calling, and may they: `Authorization` header → `Principal` or 401; role → 403.

    Bearer apikey:…  ──► Store.find_key ──┐
    Bearer <JWT>     ──► OidcVerifier ────┼──► Principal(tenant, role, subject)
    authentication off ───────────────────┘    (default tenant, role admin)

Roles: read < write < admin < owner; each may do what the lower ones may (contract section 2).

Not here: how a JWT is verified (`oidc.py`), which endpoint needs which role (`routes/`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from penstock.errors import Forbidden, Unauthorized
from penstock.manager.store import DEFAULT_TENANT, Store, Tenant
from penstock.server.oidc import OidcVerifier

ROLES = ("read", "write", "admin", "owner")


def rank(role: str) -> int:
    return ROLES.index(role)


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    tenant: Tenant
    role: str
    subject: str

    def require(self, role: str) -> None:
        """Raises Forbidden `InsufficientPermissions` when the caller's role is lower."""
        if rank(self.role) < rank(role):
            raise Forbidden(
                f"This call needs the role '{role}', the credentials have '{self.role}'",
                details={"required": role, "actual": self.role},
            )


class Authenticator:
    """Checks credentials. Without `required`, everybody is the default tenant's admin."""

    def __init__(self, store: Store, *, required: bool, oidc: OidcVerifier | None = None) -> None:
        self._store = store
        self.is_required = required
        self.oidc = oidc

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Raises Unauthorized: `AuthenticationFailed`, `InvalidApiKey` or `InvalidOidcToken`."""
        if not self.is_required:
            tenant = await run_in_threadpool(self._store.tenant, DEFAULT_TENANT)
            return Principal(tenant, "admin", "anonymous")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token.strip()
        if not token:
            token = _websocket_token(headers.get("sec-websocket-protocol", ""))
        elif scheme.lower() != "bearer":
            raise Unauthorized(f"The authorization scheme must be Bearer, not {scheme}")
        if not token:
            raise Unauthorized("Send an API key or a JWT as 'Authorization: Bearer …'")
        return await run_in_threadpool(self._identify, token, headers.get("feldera-tenant"))

    def _identify(self, token: str, wanted_tenant: str | None) -> Principal:
        if token.startswith("apikey:"):
            key = self._store.find_key(token)
            if key is None:
                raise Unauthorized("The API key is not known", code="InvalidApiKey")
            return Principal(key.tenant, key.role, f"apikey:{key.name}")
        if self.oidc is None:
            raise Unauthorized(
                "The token is not an API key, and this server trusts no identity provider"
            )
        identity = self.oidc.verify(token)
        tenant_name = identity.choose_tenant(wanted_tenant) or DEFAULT_TENANT
        return Principal(self._store.tenant(tenant_name), identity.role, identity.subject)


def _websocket_token(protocols: str) -> str:
    """The token a browser hides in a WebSocket sub-protocol `feldera-bearer.<base64url>`."""
    for protocol in protocols.split(","):
        kind, _, encoded = protocol.strip().partition(".")
        if kind == "feldera-bearer":
            try:
                padded = encoded + "=" * (-len(encoded) % 4)
                return base64.urlsafe_b64decode(padded).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise Unauthorized("The sub-protocol feldera-bearer is not base64url") from None
    return ""
