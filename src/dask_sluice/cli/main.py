"""The command `dask-sluice` and its subcommands, each imported only when it is used.

So `--help` and `version` are instant, `serve` never imports distributed, and the other commands never import
the server.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import click

from .exits import EXITS, Exit, message_of

_COMMANDS = {
    "serve": ("serve", "Start a server on this machine."),
    "proxy": ("proxy", "Run the public port apart from the servers, on this machine."),
    "list": ("clusters", "List my clusters."),
    "show": ("clusters", "Show one cluster, its workers and what happened to it."),
    "new": ("clusters", "Start a cluster."),
    "scale": ("clusters", "Set how many workers a cluster has."),
    "adapt": ("clusters", "Let the number of workers follow the work."),
    "keep": ("clusters", "Keep a cluster that would be stopped for being idle."),
    "stop": ("clusters", "Stop clusters."),
    "logs": ("clusters", "Print what a scheduler or a worker wrote."),
    "drain": ("operations", "Take no new clusters; the rest runs on."),
    "backup": ("operations", "Write a server's database and keys to a file, while it runs."),
    "restore": ("operations", "Put a backup back, while the server does not run."),
    "options": ("clusters", "List what can be chosen for a cluster."),
    "usage": ("usage", "Show what was used, and what it costs."),
    "doctor": ("doctor", "Try every step from here to a result, and name the broken one."),
    "check-config": ("configuration", "Check a configuration file and print what it comes to."),
    "migrate": ("migrate.command", "Print what a configuration of dask-gateway or dask-kubernetes is here."),
    "config-reference": ("configuration", "Print every setting with its description (markdown)."),
    "hash-password": ("configuration", "Print the hash of a password, for the configuration."),
    "hub-extension": ("configuration", "Print the JupyterHub extension, for the hub's configuration."),
    "version": ("configuration", "Print the version."),
}
_SERVER_COMMANDS = (
    "serve",
    "proxy",
    "backup",
    "restore",
    "check-config",
    "migrate",
    "config-reference",
    "hash-password",
)


class _Commands(click.Group):
    """Subcommands by name of module; their help texts without importing them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        try:
            module = importlib.import_module(f"dask_sluice.cli.{_COMMANDS[name][0]}")
        except ModuleNotFoundError as error:
            raise _missing(name, error) from error
        return getattr(module, name.replace("-", "_") + "_command")  # type: ignore[no-any-return]

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        import difflib

        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            context.fail(f"no such command: {args[0]!r}.{meant}")
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in EXITS.items()])

    def invoke(self, context: click.Context) -> Any:
        """Run the subcommand; every error that we know ends as a sentence and its exit code, never a traceback."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                return super().invoke(context)
        except ModuleNotFoundError as error:
            raise _missing(context.invoked_subcommand or "", error) from error
        except Exception as error:
            told = message_of(error)
            if told is None:
                raise
            raise Exit(*told) from error


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """As a sentence; the line of code it comes from is no matter of whoever gave the command."""
    click.echo(f"dask-sluice: warning: {message}", err=True)


def _missing(command: str, error: ModuleNotFoundError) -> Exit:
    if (error.name or "").startswith("dask_sluice"):
        raise error
    extra = "dask-sluice[server]" if command in _SERVER_COMMANDS else "dask-sluice"
    return Exit(f"{command!r} needs {error.name}, which is not installed: pip install '{extra}'", 1)


@click.group(
    "sluice",  # as it is called beneath `dask`
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """Dask clusters on shared machines, through one address.

    \b
    dask-sluice serve            starts a server here and prints its address
    dask-sluice new --workers 2  starts a cluster on it
    """  # noqa: D301  click reads the \b
