"""Commands that talk to a running server: `pipelines`, `query`; and how they talk to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import click
import httpx

URL = click.option(
    "--url", envvar="PENSTOCK_URL", default="http://127.0.0.1:8080", show_default=True,
    help="The server (PENSTOCK_URL).",
)  # fmt: skip
KEY = click.option("--api-key", envvar="PENSTOCK_API_KEY", help="API key or JWT.")


def path_of(*segments: str) -> str:
    """`/a/b` of names, whatever characters they have."""
    return "".join(f"/{quote(s, safe='')}" for s in segments)


@dataclass(frozen=True, slots=True)
class Server:
    """A server's REST API; whatever it refuses ends the command with its message."""

    url: str
    key: str | None
    timeout_s: float = 60.0

    def call(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        # as it may have been copied: with a slash, or with the version
        url = f"{self.url.rstrip('/').removesuffix('/v0')}/v0{path}"
        try:
            r = httpx.request(method, url, headers=headers, timeout=self.timeout_s, **kwargs)
        except (httpx.TransportError, httpx.InvalidURL) as e:
            raise click.ClickException(f"no server answers at {self.url}: {e}") from e
        if r.status_code >= 400:
            try:
                body = r.json()
                raise click.ClickException(f"{body['message']} ({body['error_code']})")
            except (ValueError, KeyError, TypeError):
                raise click.ClickException(f"{r.status_code}: {r.text}") from None
        return r


@click.command()
@URL
@KEY
def pipelines(url: str, api_key: str | None) -> None:
    """List the server's pipelines with their status."""
    found = Server(url, api_key).call("GET", "/pipelines", params={"selector": "status"})
    for p in found.json():
        error = p["deployment_error"]
        note = f"  {error['message']}" if error else ""
        click.echo(f"{p['name']}\t{p['program_status']}\t{p['deployment_status']}{note}")


@click.command()
@click.argument("pipeline")
@click.argument("sql")
@click.option(
    "--format", type=click.Choice(["text", "json", "hash"]), default="text", show_default=True
)
@URL
@KEY
def query(pipeline: str, sql: str, format: str, url: str, api_key: str | None) -> None:
    """Run an ad-hoc query on PIPELINE and print the answer."""
    params = {"sql": sql, "format": format}
    r = Server(url, api_key).call("GET", path_of("pipelines", pipeline, "query"), params=params)
    click.echo(r.text, nl=False)
