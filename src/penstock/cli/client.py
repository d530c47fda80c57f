"""Commands that talk to a running server: `pipelines`, `query`, `reset`."""

from __future__ import annotations

import sys
import time
from typing import Any

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_URL = click.option(
    "--url", envvar="PENSTOCK_URL", default="http://127.0.0.1:8080", show_default=True,
    help="The server (PENSTOCK_URL).",
)  # fmt: skip
_KEY = click.option("--api-key", envvar="PENSTOCK_API_KEY", help="API key or JWT.")


def _call(method: str, url: str, key: str | None, path: str, **kwargs: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        r = httpx.request(method, f"{url}/v0{path}", headers=headers, timeout=60, **kwargs)
    except httpx.TransportError as e:
        raise click.ClickException(f"no server answers at {url}: {e}") from e
    if r.status_code >= 400:
        try:
            body = r.json()
            raise click.ClickException(f"{body['message']} ({body['error_code']})")
        except (ValueError, KeyError, TypeError):
            raise click.ClickException(f"{r.status_code}: {r.text}") from None
    return r


@click.command()
@_URL
@_KEY
def pipelines(url: str, api_key: str | None) -> None:
    """List the server's pipelines with their status."""
    for p in _call("GET", url, api_key, "/pipelines", params={"selector": "status"}).json():
        error = p["deployment_error"]
        note = f"  {error['message']}" if error else ""
        click.echo(f"{p['name']}\t{p['program_status']}\t{p['deployment_status']}{note}")


@click.command()
@click.argument("pipeline")
@click.argument("sql")
@click.option("--format", default="text", show_default=True, help="text, json or hash.")
@_URL
@_KEY
def query(pipeline: str, sql: str, format: str, url: str, api_key: str | None) -> None:
    """Run an ad-hoc query on PIPELINE and print the answer."""
    params = {"sql": sql, "format": format}
    r = _call("GET", url, api_key, f"/pipelines/{pipeline}/query", params=params)
    click.echo(r.text, nl=False)


@click.command()
@click.argument("pipeline")
@click.argument("view")
@click.argument("connector")
@click.option("--watch", is_flag=True, help="Show the phases until the reset is done.")
@_URL
@_KEY
def reset(
    pipeline: str, view: str, connector: str, watch: bool, url: str, api_key: str | None
) -> None:
    """Reset CONNECTOR of VIEW: drop what is buffered, replay a snapshot, follow."""
    path = f"/pipelines/{pipeline}/views/{view}/connectors/{connector}/reset"
    accepted = _call("POST", url, api_key, path).json()
    click.echo(
        f"accepted: generation {accepted['generation']}, guarantee {accepted['guarantee']}, "
        f"token {accepted['token']}"
    )
    if watch:
        _watch(pipeline, accepted["token"], url, api_key)


def _watch(pipeline: str, token: str, url: str, key: str | None) -> None:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"),
        TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console()) as progress:
        task = progress.add_task("accepted", total=None)
        while True:
            params = {"token": token}
            s = _call("GET", url, key, f"/pipelines/{pipeline}/reset_status", params=params).json()
            progress.update(
                task, description=s["phase"], completed=s["rows_staged"], total=s["rows_total"]
            )
            if s["status"] != "inprogress":
                break
            time.sleep(0.05)
    if s["status"] == "failed":
        click.echo(f"the reset failed, the old contents stay: {s['error']}", err=True)
        sys.exit(1)
    click.echo(f"done: {s['rows_total']} rows as of step {s['step']}")
