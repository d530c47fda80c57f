"""`penstock apikey`: make, list and delete API keys in a data directory.

Works on the store itself, so the first key can be made before a server asks for one.
"""

from __future__ import annotations

from pathlib import Path

import click

from penstock.errors import PenstockError
from penstock.manager.store import DEFAULT_TENANT, Store

_DATA_DIR = click.option(
    "--data-dir", type=click.Path(path_type=Path), default=Path(".penstock"), show_default=True
)


@click.group()
def apikey() -> None:
    """Make, list and delete API keys."""


@apikey.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["read", "write"]), default="read", show_default=True)
@_DATA_DIR
def create(name: str, role: str, data_dir: Path) -> None:
    """Make a key and print it, this once; only its hash is kept."""
    with _store(data_dir, may_be_new=True) as store:
        try:
            _, secret = store.create_key(store.tenant(DEFAULT_TENANT), name, role)
        except PenstockError as e:
            raise click.ClickException(e.message) from e
    click.echo(secret)


@apikey.command("list")
@_DATA_DIR
def list_keys(data_dir: Path) -> None:
    """Names and roles of all keys."""
    with _store(data_dir, may_be_new=False) as store:
        for key in store.keys(store.tenant(DEFAULT_TENANT)):
            click.echo(f"{key.name}\t{key.role}")


@apikey.command()
@click.argument("name")
@_DATA_DIR
def delete(name: str, data_dir: Path) -> None:
    """Delete a key; whoever holds it is refused from now on."""
    with _store(data_dir, may_be_new=False) as store:
        try:
            store.delete_key(store.tenant(DEFAULT_TENANT), name)
        except PenstockError as e:
            raise click.ClickException(e.message) from e


class _store:
    """The store of a data directory, closed at the end."""

    def __init__(self, data_dir: Path, *, may_be_new: bool) -> None:
        if not may_be_new and not data_dir.exists():
            raise click.ClickException(f"there is no data directory {data_dir}")
        try:
            self._store = Store(data_dir)
        except PenstockError as e:
            raise click.ClickException(e.message) from e

    def __enter__(self) -> Store:
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()
