"""`dask-sluice migrate dask-gateway` and `migrate dask-kubernetes`: read, print, change nothing."""

from __future__ import annotations

from pathlib import Path

import click

from ..exits import FAILED, USAGE, Exit


@click.group("migrate")
def migrate_command() -> None:
    """Print what another gateway's configuration means here. Changes nothing."""


output_option = click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file instead of printing it."
)


@migrate_command.command("dask-gateway", short_help="Values of its chart, or its configuration in Python.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@output_option
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report (markdown) to a file, not to standard error.",
)
@click.option(
    "--settings", "only_settings", is_flag=True, help="Print settings of the server, not values of the chart."
)
@click.option("--strict", is_flag=True, help="Exit code 1 where something needs a decision.")
def dask_gateway_command(
    files: tuple[Path, ...], output: Path | None, report_file: Path | None, only_settings: bool, strict: bool
) -> None:
    """Values of dask-gateway's chart (several files are merged as helm does), or its dask_gateway_config.py, as ours.

    YAML goes to standard output, and what to know about it to standard error: what needs a decision, what was wrong
    before and nobody was told, what means something else now. Python is read, never run. What is printed has been
    loaded by this server's own check of settings.
    """
    from .accepted import not_accepted
    from .gateway import Migration
    from .sources import Unreadable

    migration = Migration()
    try:
        migration.read(files)
    except Unreadable as error:
        raise Exit(str(error), USAGE) from error
    text = migration.text(only_settings)
    _write(text, output)
    _write(migration.report.text(), report_file, err=True)
    if wrong := not_accepted(migration.settings):
        raise Exit("the settings above are not accepted yet; put them right by hand:\n" + "\n".join(wrong), FAILED)
    decisions = len(migration.report.of("decide"))
    if strict and decisions:
        raise Exit(f"{decisions} thing{'s need' if decisions > 1 else ' needs'} a decision", FAILED)


def _write(text: str, file: Path | None, err: bool = False) -> None:
    if file is None:
        click.echo(text, nl=False, err=err)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Exit(f"{file} cannot be written: {error}", FAILED) from error


@migrate_command.command("dask-kubernetes", short_help="A KubeCluster or HelmCluster as a call of ours.")
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "-k",
    "--keyword",
    "keywords",
    multiple=True,
    metavar="NAME=VALUE",
    help="A keyword of KubeCluster; the value as YAML.",
)
@click.option("--helm", is_flag=True, help="The keywords are those of HelmCluster.")
@output_option
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report (markdown) to a file, not to standard error.",
)
def dask_kubernetes_command(
    file: Path | None, keywords: tuple[str, ...], helm: bool, output: Path | None, report_file: Path | None
) -> None:
    """A KubeCluster or HelmCluster as a call of ours, option by option.

    FILE is a worker's pod template, a DaskCluster, Dask's configuration with 'kubernetes:', or a program that calls
    KubeCluster (it is read, never run). Python goes to standard output; above it, in comments, the profile that an
    administrator would have to add.
    """
    from .dask_kubernetes import Call
    from .report import Where
    from .sources import Unreadable

    if file is None and not keywords:
        raise Exit("give a file, or keywords: -k n_workers=3 -k image=ghcr.io/dask/dask:2026.3.0", USAGE)
    call = Call()
    try:
        if file is not None:
            call.read(file)
        call.arguments(_keywords(keywords), Where("-k"), helm=helm)
    except Unreadable as error:
        raise Exit(str(error), USAGE) from error
    _write(call.program(), output)
    _write(call.report.text(), report_file, err=True)


def _keywords(given: tuple[str, ...]) -> dict[str, object]:
    import yaml

    found: dict[str, object] = {}
    for each in given:
        name, separator, value = each.partition("=")
        if not separator:
            raise Exit(f"a keyword is NAME=VALUE, got {each!r}", USAGE)
        try:
            found[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise Exit(f"{name}: the value is not YAML: {error}", USAGE) from error
    return found
