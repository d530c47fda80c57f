"""Room `cli`: one file per command. `penstock --help` shows them all."""

from __future__ import annotations

import click

from penstock import __version__
from penstock.cli.apikey import apikey
from penstock.cli.check import check, explain
from penstock.cli.client import pipelines, query
from penstock.cli.reset import audit, reset
from penstock.cli.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="penstock")
def main() -> None:
    """Incremental SQL pipelines whose output connectors can always be reset."""


for command in (serve, apikey, check, explain, pipelines, query, reset, audit):
    main.add_command(command)
