"""`penstock check` and `penstock explain`: the compiler from a shell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from penstock.errors import CompilerMessage, PenstockError, SqlError

_FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


_UDF = click.option(
    "--udf", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The Python file with its functions without a body.",
)  # fmt: skip


@click.command()
@_FILE
@_UDF
def check(file: Path, udf: Path | None) -> None:
    """Compile FILE and say what is wrong with it; exit 1 if anything is."""
    from penstock.plan.nodes import CLOCK
    from penstock.sql.program import compile_program

    try:
        plan = compile_program(_text(file), _optional(udf))
    except SqlError as e:
        _refuse(file, e)
    except ValueError as e:
        raise click.ClickException(str(e)) from e
    _show(file, plan.warnings)
    tables = _counted(sum(t.name != CLOCK for t in plan.tables), "table")
    click.echo(f"{file}: {tables}, {_counted(len(plan.views), 'view')}, no errors")


@click.command()
@_FILE
@_UDF
@click.option("--after", metavar="PASS", help="Show the plan behind this pass ('bind': none).")
def explain(file: Path, udf: Path | None, after: str | None) -> None:
    """Print the plan of every view in FILE."""
    from penstock.sql.program import explain as run

    try:
        click.echo(run(_text(file), after, _optional(udf)), nl=False)
    except SqlError as e:
        _refuse(file, e)
    except PenstockError as e:
        raise click.ClickException(e.message) from e
    except ValueError as e:
        raise click.ClickException(str(e)) from e


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as e:
        raise click.ClickException(f"{file}: not UTF-8 at byte {e.start}") from e


def _optional(file: Path | None) -> str:
    return "" if file is None else _text(file)


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _refuse(file: Path, error: SqlError) -> NoReturn:
    _show(file, error.messages)
    warnings = sum(m.warning for m in error.messages)
    counts = [_counted(len(error.messages) - warnings, "error")]
    counts += [_counted(warnings, "warning")] if warnings else []
    click.echo(f"{file}: {', '.join(counts)}")
    sys.exit(1)


def _show(file: Path, messages: tuple[CompilerMessage, ...]) -> None:
    for m in messages:
        kind, color = ("warning", "yellow") if m.warning else ("error", "red")
        place = f"{file}:{m.start_line}:{m.start_column}"
        click.echo(f"{click.style(place, bold=True)}: {click.style(kind, fg=color)}: {m.message}")
        if m.snippet:
            click.echo(m.snippet.rstrip("\n"))
