"""Bearer JWTs of one OpenID Connect issuer: RS256, keys by discovery, aud / iss / exp checked.

    token ─► header.kid ─► cached JWKS (fetched from <issuer>/.well-known/openid-configuration)
          ─► signature, exp, iss, aud ─► Identity(subject, role, tenants)

Claims: the role is the highest of read, write, admin named by the claim `role` (text or list; its
name is configurable), else by the words of `scope` (`write` or `penstock:write`), else read. The
tenant is `tenant` or one of `tenants`, else the default tenant.

Invariants: only RS256, so neither `none` nor a public key used as an HMAC secret gets through; an
unknown key id refetches the keys at most every `_SECONDS_BETWEEN_FETCHES`, whoever sends it.

Not here: what a role may do (`auth.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from penstock.errors import Forbidden, TransientError, Unauthorized, UserError

_SECONDS_KEYS_LAST = 600.0
_SECONDS_BETWEEN_FETCHES = 10.0
_LEEWAY_SECONDS = 30
_GRANTABLE = ("read", "write", "admin")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a verified token says."""

    subject: str
    role: str
    tenants: tuple[str, ...]

    def choose_tenant(self, wanted: str | None) -> str | None:
        """The tenant to act in, None for the default one.

        Raises:
            Forbidden: `NotATenantMember`.
            UserError: `AmbiguousTenantMembership`, several and none chosen.
        """
        if not self.tenants:
            if wanted is not None:
                raise Forbidden(
                    f"The token grants no membership of tenant '{wanted}'", code="NotATenantMember"
                )
            return None
        if wanted is not None and wanted not in self.tenants:
            raise Forbidden(
                f"The token grants no membership of tenant '{wanted}'", code="NotATenantMember"
            )
        if wanted is None and len(self.tenants) > 1:
            raise UserError(
                f"The token belongs to the tenants {', '.join(self.tenants)}: choose one by the"
                " header Feldera-Tenant",
                code="AmbiguousTenantMembership",
                details={"tenants": list(self.tenants)},
            )
        return wanted or self.tenants[0]


class OidcVerifier:
    """Verifies tokens of `issuer` meant for `audience`. Thread-safe."""

    def __init__(self, issuer: str, audience: str, role_claim: str = "role") -> None:
        self.issuer = issuer
        self.audience = audience
        self._role_claim = role_claim
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")

    def verify(self, token: str) -> Identity:
        """Raises Unauthorized `InvalidOidcToken`; TransientError when the issuer is away."""
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=self.audience,
                issuer=self.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.InvalidTokenError as error:
            raise Unauthorized(f"The token is refused: {error}", code="InvalidOidcToken") from None
        return Identity(str(claims["sub"]), self._role(claims), _tenants(claims))

    def _role(self, claims: Mapping[str, Any]) -> str:
        named = claims.get(self._role_claim)
        words = [named] if isinstance(named, str) else named if isinstance(named, list) else []
        if not words:
            scope = claims.get("scope")
            words = [word.removeprefix("penstock:") for word in str(scope or "").split()]
        return next((role for role in reversed(_GRANTABLE) if role in words), "read")

    def _key(self, key_id: str | None) -> jwt.PyJWK:
        with self._lock:
            age = time.monotonic() - self._fetched_at
            known = self._find(key_id)
            if age > _SECONDS_KEYS_LAST or (known is None and age > _SECONDS_BETWEEN_FETCHES):
                self._keys = self._fetch()
                self._fetched_at = time.monotonic()
                known = self._find(key_id)
        if known is None:
            raise jwt.InvalidTokenError(f"the issuer has no key '{key_id}'")
        return known

    def _find(self, key_id: str | None) -> jwt.PyJWK | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id or "")

    def _fetch(self) -> dict[str, jwt.PyJWK]:
        try:
            with httpx.Client(timeout=5.0, follow_redirects=True) as client:
                where = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
                metadata = client.get(where).raise_for_status().json()
                if metadata.get("issuer", "").rstrip("/") != self.issuer.rstrip("/"):
                    raise Unauthorized(
                        f"The provider calls itself '{metadata.get('issuer')}', the server is"
                        f" configured for '{self.issuer}'"
                    )
                keys = client.get(metadata["jwks_uri"]).raise_for_status().json()
            usable = [k for k in keys["keys"] if k.get("kty") == "RSA" and k.get("use") != "enc"]
            return {key.get("kid", ""): jwt.PyJWK(key, algorithm="RS256") for key in usable}
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise TransientError(f"The identity provider's keys cannot be read: {error}") from error


def _tenants(claims: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(claims.get("tenant"), str):
        return (claims["tenant"],)
    several = claims.get("tenants")
    if isinstance(several, str):
        several = several.split(",")
    return tuple(str(t).strip() for t in several) if isinstance(several, list) else ()
