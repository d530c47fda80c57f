"""`penstock reset` and `penstock audit`: start a copy over, and see whether it needs it.

penstock reset shop totals file --watch      replace the target, with a progress bar
penstock reset shop totals pg --dry-run      what that would do; touches nothing
penstock reset shop totals pg --mode diff    write only what differs
penstock reset shop totals pg --cancel       call it off before it is published
penstock reset shop totals pg --also totals.file      both, cut at one step
penstock audit shop totals pg                what differs; exit code 1 if anything does, 2 if nobody
                                             can tell
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from penstock.cli.client import KEY, URL, Server, path_of

POLL_S = 0.05


@click.command()
@click.argument("pipeline")
@click.argument("view")
@click.argument("connector")
@click.option("--watch", is_flag=True, help="Show phases and progress until the end.")
@click.option("--dry-run", is_flag=True, help="Only say what a reset would do.")
@click.option(
    "--mode", type=click.Choice(["replace", "diff"]), help="diff: write only the rows that differ."
)
@click.option("--cancel", is_flag=True, help="Call the reset in progress off.")
@click.option("--reset-id", help="A name: repeating the call under it is the same reset.")
@click.option(
    "--also", multiple=True, metavar="VIEW.CONNECTOR", help="Another one, cut at the same step."
)
@URL
@KEY
def reset(
    pipeline: str,
    view: str,
    connector: str,
    watch: bool,
    dry_run: bool,
    mode: str | None,
    cancel: bool,
    reset_id: str | None,
    also: tuple[str, ...],
    url: str,
    api_key: str | None,
) -> None:
    """Reset CONNECTOR of VIEW: drop what is buffered, replay a snapshot, follow.

    Exit code 1 if a watched reset fails or is cancelled."""
    for other in also:
        if "." not in other:
            raise click.UsageError(f"--also {other}: give it as VIEW.CONNECTOR")
    server = Server(url, api_key)
    path = path_of("pipelines", pipeline)
    one = path + path_of("views", view, "connectors", connector, "reset")
    if cancel:
        if watch or dry_run or mode or reset_id or also:
            raise click.UsageError("--cancel goes with no other option")
        _show_cancelled(server.call("DELETE", one).json())
        return
    given = {"dry_run": dry_run or None, "mode": mode, "reset_id": reset_id}
    body: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    if also:
        body["connectors"] = [f"{view}.{connector}", *also]
        accepted = server.call("POST", f"{path}/reset", json=body).json()["resets"]
    else:
        answer = server.call("POST", one, json=body or None).json()
        accepted = [{"view": view, "connector": connector, **answer}]
    if dry_run:
        for plan in accepted:
            _show_plan(plan)
        return
    for a in accepted:
        click.echo(
            f"accepted: {a['view']}.{a['connector']}, generation {a['generation']}, guarantee "
            f"{a['guarantee']}, token {a['token']}"
        )
    if watch:
        _watch(server, path, {a["token"]: f"{a['view']}.{a['connector']}" for a in accepted})


def _show_plan(plan: dict[str, Any]) -> None:
    click.echo(
        f"{plan['view']}.{plan['connector']}: {plan['rows']:,} rows, about {plan['bytes']:,} "
        f"bytes, as of step {plan['step']}; mode {plan['mode']}, guarantee {plan['guarantee']}"
    )
    if plan["dropped_records"]:
        click.echo(f"  drops {plan['dropped_records']:,} queued records (the snapshot has them)")
    if not plan["reachable"]:
        click.echo(f"  a reset would wait for the target: {plan['trouble']}")
    for privilege in plan["privileges"]:
        click.echo(f"  needs: {privilege}")


def _show_cancelled(answer: dict[str, Any]) -> None:
    click.echo(f"cancelled: generation {answer['generation']}; the old contents stay")
    if not answer["follows"]:
        click.echo(
            "the connector has missed changes and is paused: reset it, or start it, which is the "
            "same"
        )


class _Rate(ProgressColumn):
    """Rows a second: lately, or on the whole where all came at once."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed and task.completed and task.elapsed:
            speed = task.completed / task.elapsed
        return Text("" if not speed else f"{speed:,.0f}/s")


def _watch(server: Server, path: str, tokens: dict[str, str]) -> None:
    """Show every token's reset until all have ended: bars on a terminal, else a line a phase."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"),
        _Rate(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    ended: dict[str, dict[str, Any]] = {}
    told: set[str] = set()
    with Progress(*columns, console=Console()) as progress:
        tasks: dict[str, TaskID] = {
            t: progress.add_task(f"{name} accepted", total=None) for t, name in tokens.items()
        }
        while True:
            for token, name in tokens.items():
                if token in ended:
                    continue
                s = server.call("GET", f"{path}/reset_status", params={"token": token}).json()
                progress.update(
                    tasks[token],
                    description=f"{name} {_phase(s)}",
                    completed=s["rows_staged"],
                    total=s["rows_total"],
                )
                if s["status"] != "inprogress":
                    ended[token] = s
                    continue
                line = _line(name, s, progress.console.is_terminal)
                if line and line not in told:
                    told.add(line)
                    progress.console.print(Text(line), soft_wrap=True)
            if len(ended) == len(tokens):
                break
            time.sleep(POLL_S)
    is_good = True
    for token, s in ended.items():
        if s["status"] == "complete":
            click.echo(f"{tokens[token]}: done, {s['rows_total']} rows as of step {s['step']}")
            continue
        is_good = False
        why = f": {s['error']}" if s["error"] else ""
        outcome = "failed" if s["status"] == "failed" else "was cancelled"
        click.echo(f"{tokens[token]}: the reset {outcome}, the old contents stay{why}", err=True)
    if not is_good:
        sys.exit(1)


def _line(name: str, status: dict[str, Any], has_bars: bool) -> str:
    """What is to be said once: why a reset waits, and without bars each phase."""
    why = status["last_error"] if status["waiting_for"] else None
    phase = "" if has_bars and not why else f"{name} {_phase(status)}"
    return f"{phase}: {why}" if why else phase


def _phase(status: dict[str, Any]) -> str:
    waiting_for = status["waiting_for"]
    return status["phase"] if waiting_for is None else f"{status['phase']} for {waiting_for}"


class _CannotTell(click.ClickException):
    """An audit that came to no end, which is neither "equal" nor "different"."""

    exit_code = 2


@click.command()
@click.argument("pipeline")
@click.argument("view")
@click.argument("connector")
@click.option(
    "--sample", type=click.IntRange(0), default=20, show_default=True,
    help="Rows of each kind to show.",
)  # fmt: skip
@URL
@KEY
def audit(
    pipeline: str, view: str, connector: str, sample: int, url: str, api_key: str | None
) -> None:
    """Compare the target of CONNECTOR with VIEW, as of one step; touches nothing.

    Exit code 1 if anything differs, 2 if that cannot be told."""
    path = path_of("pipelines", pipeline, "views", view, "connectors", connector, "audit")
    try:
        server = Server(url, api_key, timeout_s=3600)
        found = server.call("POST", path, json={"sample": sample}).json()
    except click.ClickException as e:
        raise _CannotTell(e.message) from e
    sides = ", ".join(
        f"{side} {found[side]['rows']:,} rows, digest {found[side]['digest']}"
        for side in ("view", "target")
    )
    click.echo(f"step {found['step']}: {sides}")
    if found["equal"]:
        click.echo("equal")
        return
    click.echo(
        f"{found['missing']:,} missing, {found['extra']:,} extra, {found['different']:,} different"
    )
    console = Console()
    for kind in ("missing", "extra", "different"):
        rows = found[f"{kind}_rows"]
        if rows:
            title = (
                kind if len(rows) == found[kind] else f"{kind} ({len(rows):,} of {found[kind]:,})"
            )
            click.echo(title)  # a table's own is broken at its width
            console.print(_table(_lines(kind, rows)))
    again = shlex.join(["penstock", "reset", pipeline, view, connector, "--watch"])
    click.echo(f"to make them equal: {again}")
    sys.exit(1)


def _lines(kind: str, rows: Sequence[dict[str, Any]]) -> list[tuple[str | None, dict[str, Any]]]:
    if kind == "different":
        return [(side, pair[side]) for pair in rows for side in ("view", "target")]
    return [(None, row) for row in rows]


def _table(rows: Sequence[tuple[str | None, dict[str, Any]]]) -> Table:
    """Rows in the target's words; the side they are of, where there are two."""
    table = Table()
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    has_sides = any(side for side, _ in rows)
    for name in ([""] if has_sides else []) + names:
        table.add_column(Text(name), overflow="fold")
    for side, row in rows:
        words = [Text("NULL" if row.get(n) is None else str(row[n])) for n in names]
        table.add_row(*([Text(side or "")] if has_sides else []), *words)
    return table
