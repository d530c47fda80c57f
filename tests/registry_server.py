"""A schema registry for tests: the documented REST protocol over real HTTP, kept in memory.

    POST /subjects/{subject}/versions   GET /schemas/ids/{id}   POST /subjects/{subject}
    GET  /subjects                      GET /subjects/{subject}/versions/latest

Confluent's own client talks to it in `tests/unit/io/test_formats_avro.py`. No registry can be
installed from the package registries that tests may use.
"""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class RegistryServer:
    """A context manager. `credentials`: user and password that every request must bring."""

    def __init__(self, credentials: tuple[str, str] | None = None) -> None:
        self.schemas: list[str] = []
        self.subjects: dict[str, list[int]] = {}
        self.requests: list[str] = []
        self._credentials = credentials
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self, None)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                registry.answer(self, json.loads(self.rfile.read(length)))

            def log_message(self, *arguments: Any) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> RegistryServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *details: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        self.requests.append(f"{request.command} {request.path}")
        status, found = self._found(request, body)
        data = json.dumps(found).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _found(self, request: BaseHTTPRequestHandler, body: Any) -> tuple[int, Any]:
        if self._credentials is not None:
            wanted = "Basic " + b64encode(":".join(self._credentials).encode()).decode()
            if request.headers.get("Authorization") != wanted:
                return 401, {"error_code": 401, "message": "Unauthorized"}
        parts = [unquote(p) for p in request.path.split("?")[0].strip("/").split("/")]
        match request.command, parts:
            case "GET", ["schemas", "ids", number] if 0 < int(number) <= len(self.schemas):
                return 200, {"schema": self.schemas[int(number) - 1]}
            case "GET", ["subjects"]:
                return 200, list(self.subjects)
            case "GET", ["subjects", subject, "versions", "latest"] if subject in self.subjects:
                return 200, self._version(subject, self.subjects[subject][-1])
            case "POST", ["subjects", subject, "versions"]:
                return 200, {"id": self._register(subject, body["schema"])}
            case "POST", ["subjects", subject] if subject in self.subjects:
                if body["schema"] in self.schemas:
                    return 200, self._version(subject, self.schemas.index(body["schema"]) + 1)
        return 404, {"error_code": 40403, "message": "Schema not found"}

    def _register(self, subject: str, schema: str) -> int:
        if schema not in self.schemas:
            self.schemas.append(schema)
        number = self.schemas.index(schema) + 1
        versions = self.subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return number

    def _version(self, subject: str, number: int) -> dict[str, Any]:
        version = self.subjects[subject].index(number) + 1
        schema = self.schemas[number - 1]
        return {"subject": subject, "id": number, "version": version, "schema": schema}
