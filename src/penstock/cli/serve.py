"""`penstock serve`: run the server."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.errors import PenstockError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True,
    help="Port to listen on; 0 is any free one.",
)  # fmt: skip
@click.option(
    "--data-dir", type=click.Path(path_type=Path), default=Path(".penstock"), show_default=True,
    help="Where programs, keys and pipeline storage are kept.",
)  # fmt: skip
@click.option(
    "--auth", type=click.Choice(["none", "apikey", "oidc"]), default="none", show_default=True,
    help="Who may call: anybody (loopback only), holders of an API key, or of a JWT as well.",
)  # fmt: skip
@click.option("--oidc-issuer", help="Issuer of the JWTs; its keys are discovered.")
@click.option("--oidc-audience", help="Audience that a JWT must name.")
@click.option("--oidc-role-claim", default="role", show_default=True, help="Claim with the role.")
@click.option("--insecure", is_flag=True, help="Allow --auth none on other than loopback.")
@click.option(
    "--allow-python-udf", "python_udf", is_flag=True,
    help="Let programs bring Python functions; they run as this server's user.",
)  # fmt: skip
def serve(
    host: str,
    port: int,
    data_dir: Path,
    auth: str,
    oidc_issuer: str | None,
    oidc_audience: str | None,
    oidc_role_claim: str,
    insecure: bool,
    python_udf: bool,
) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    from penstock.server.serve import Settings
    from penstock.server.serve import serve as run

    settings = Settings(
        host, port, data_dir, auth, oidc_issuer, oidc_audience, oidc_role_claim, insecure,
        python_udf,
    )  # fmt: skip
    try:
        run(settings)
    except PenstockError as e:
        raise click.ClickException(e.message) from e
