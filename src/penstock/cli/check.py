"""`penstock check` and `penstock explain`: the compiler from a shell."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from penstock.errors import CompilerMessage, PenstockError, SqlError

_FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.command()
@_FILE
@click.option(
    "--udf", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The Python file with its functions without a body.",
)  # fmt: skip
def check(file: Path, udf: Path | None) -> None:
    """Compile FILE and say what is wrong with it; exit 1 if anything is."""
    from penstock.sql.program import compile_program

    try:
        plan = compile_program(_text(file), "" if udf is None else _text(udf))
    except SqlError as e:
        _show(file, e.messages)
        sys.exit(1)
    except ValueError as e:
        raise click.ClickException(str(e)) from e
    _show(file, plan.warnings)
    click.echo(f"{file}: {len(plan.tables)} tables, {len(plan.views)} views, no errors")


@click.command()
@_FILE
@click.option("--after", metavar="PASS", help="Show the plan behind this pass ('bind': none).")
def explain(file: Path, after: str | None) -> None:
    """Print the plan of every view in FILE."""
    from penstock.sql.program import explain as run

    try:
        click.echo(run(_text(file), after), nl=False)
    except SqlError as e:
        _show(file, e.messages)
        sys.exit(1)
    except PenstockError as e:
        raise click.ClickException(e.message) from e


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as e:
        raise click.ClickException(f"{file}: not UTF-8 at byte {e.start}") from e


def _show(file: Path, messages: tuple[CompilerMessage, ...]) -> None:
    for m in messages:
        kind, color = ("warning", "yellow") if m.warning else ("error", "red")
        place = f"{file}:{m.start_line}:{m.start_column}"
        click.echo(f"{click.style(place, bold=True)}: {click.style(kind, fg=color)}: {m.message}")
        if m.snippet:
            click.echo(m.snippet.rstrip("\n"))
