"""Commands about the configuration and the program itself; none of them needs a server that runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from .clusters import options_of
from .exits import FAILED, USAGE, Exit


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--user", help="Print what this user would get, by default and by every profile.")
@click.option("--groups", default="", metavar="A,B", help="Groups of the user, besides those in the file.")
@click.option("--profile", help="The profile that the user chooses.")
@click.option("-o", "--option", "given", multiple=True, metavar="NAME=VALUE", help="An option that the user chooses.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_config_command(
    file: Path, user: str | None, groups: str, profile: str | None, given: Sequence[str], as_json: bool
) -> None:
    """Check a configuration file: everything that is wrong with it, or what it comes to.

    With --user: what that user's cluster would be, every value with where it comes from, and every profile. Nothing
    is started; the site's hooks are asked. Backend, authenticator and hooks are imported. Secrets are masked.
    """
    from ..server.policy.sample import leads_nowhere
    from ..server.settings import SettingsError, describe, load, warnings, where

    try:
        settings = load(file)
    except SettingsError as error:
        raise Exit(str(error), USAGE) from error
    if wrong := [f"{where(file, place)}: {what}" for place, what in leads_nowhere(settings)]:
        raise Exit("\n".join(wrong), FAILED)
    for warning in warnings(settings):
        click.echo(f"warning: {warning}", err=True)
    if user is None:
        if groups or profile or given:
            raise Exit("--groups, --profile and --option say more of a user: name one with --user", USAGE)
        click.echo(
            json.dumps(settings.model_dump(mode="json"), indent=2) if as_json else describe(settings), nl=as_json
        )
        click.echo(f"{file} is fine", err=True)
        return
    from .samples import show_sample

    chosen = {**({"profile": profile} if profile else {}), **options_of(given)}
    show_sample(
        settings, file, user, tuple(each.strip() for each in groups.split(",") if each.strip()), chosen, as_json
    )


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


@click.command("hub-extension")
def hub_extension_command() -> None:
    """Print the JupyterHub extension: Python for jupyterhub_config.py or the hub chart's `hub.extraConfig`."""
    from importlib.resources import files

    click.echo(files("dask_sluice").joinpath("hub_extension.py").read_text(encoding="utf-8"), nl=False)


@click.command("version")
def version_command() -> None:
    """Print the version."""
    from .. import __version__

    click.echo(__version__)
