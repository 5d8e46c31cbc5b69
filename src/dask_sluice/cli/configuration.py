"""Commands about the configuration and the program itself; none of them needs a server that runs."""

from __future__ import annotations

from pathlib import Path

import click

from .exits import USAGE, Exit


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
def check_config_command(file: Path) -> None:
    """Check a configuration file: everything that is wrong with it, or what it comes to."""
    from ..server.settings import SettingsError, describe, load

    try:
        settings = load(file)
    except SettingsError as error:
        raise Exit(str(error), USAGE) from error
    click.echo(describe(settings), nl=False)
    click.echo(f"{file} is fine", err=True)


@click.command("config-reference")
def config_reference_command() -> None:
    """Print every setting: what it does, what it accepts, its default. Markdown."""
    from ..server.settings import reference

    click.echo(reference(), nl=False)


@click.command("hash-password")
def hash_password_command() -> None:
    """Ask for a password and print its hash, for `authenticator.basic.users`."""
    from ..server.identity.passwords import hash_password

    click.echo(hash_password(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)))


@click.command("version")
def version_command() -> None:
    """Print the version."""
    from .. import __version__

    click.echo(__version__)
