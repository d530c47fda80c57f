"""A schema registry over its REST protocol: schemas by id, and ids of schemas.

    GET  /schemas/ids/{id}              {"schema": "…"}
    POST /subjects/{subject}/versions   {"schema": "…"} → {"id": n}; the same schema, the same id

    registry_urls                       tried in their order
    registry_username, registry_password   XOR  registry_authorization_token
    registry_proxy, registry_timeout_secs

Messages carry the id: a zero byte, then the id as four bytes, big endian, then the Avro data.

Source: the Confluent Schema Registry API reference.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from penstock.errors import TransientError, UserError
from penstock.io.formats.options import Options

_TYPE = "application/vnd.schemaregistry.v1+json"


def with_id(schema_id: int, data: bytes) -> bytes:
    return b"\0" + struct.pack(">I", schema_id) + data


def split_id(message: bytes) -> tuple[int, bytes]:
    """(schema id, Avro data). ValueError if the message does not begin as `with_id` makes it."""
    if len(message) < 5 or message[0] != 0:
        raise ValueError("the record does not begin with a zero byte and a schema id")
    return struct.unpack(">I", message[1:5])[0], message[5:]


@dataclass(frozen=True, slots=True)
class Registry:
    urls: tuple[str, ...]
    timeout_s: float
    proxy: str | None
    headers: tuple[tuple[str, str], ...]
    auth: tuple[str, str] | None

    @staticmethod
    def of(o: Options) -> Registry | None:
        """What the options ask for; None without registry_urls."""
        urls = o.raw("registry_urls", [])
        if not isinstance(urls, list) or not all(isinstance(u, str) for u in urls):
            raise o.fail("registry_urls", "must be a list of URLs")
        user, password = o.text("registry_username", ""), o.text("registry_password", "")
        token = o.text("registry_authorization_token", "")
        if token and user:
            raise o.fail("registry_authorization_token", "excludes registry_username")
        if bool(user) != bool(password):
            raise o.fail("registry_username", "and registry_password belong together")
        timeout_s = o.number("registry_timeout_secs", 10.0)
        proxy = o.text("registry_proxy", "") or None
        if not urls:
            return None
        return Registry(
            tuple(u.rstrip("/") for u in urls),
            timeout_s,
            proxy,
            (("Authorization", f"Bearer {token}"),) if token else (),
            (user, password) if user else None,
        )

    def schema(self, schema_id: int) -> str:
        """The schema's JSON text. UserError if the registry has none of that id."""
        found: str = self._ask("GET", f"/schemas/ids/{schema_id}")["schema"]
        return found

    def register(self, subject: str, schema: dict[str, Any]) -> int:
        """The id of `schema` under `subject`; UserError if the registry finds it incompatible."""
        body = {"schema": json.dumps(schema)}
        return int(self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", body)["id"])

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        trouble = ""
        for url in self.urls:
            try:
                with httpx.Client(
                    timeout=self.timeout_s, proxy=self.proxy, auth=self.auth,
                    headers={"Accept": _TYPE, **dict(self.headers)},
                ) as http:  # fmt: skip
                    answer = http.request(
                        method, url + path, json=body, headers={"Content-Type": _TYPE}
                    )
            except httpx.TransportError as e:
                trouble = f"{url}: {e}"
                continue
            if answer.status_code < 300:
                found: dict[str, Any] = answer.json()
                return found
            trouble = f"{url}{path}: {answer.status_code} {answer.text[:500]}"
            if answer.status_code < 500:
                raise UserError(
                    f"schema registry: {trouble}",
                    code="SchemaRegistryError",
                    details={"status": answer.status_code},
                )
        raise TransientError(f"schema registry: {trouble}", code="SchemaRegistryError")
