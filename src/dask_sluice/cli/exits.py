"""Exit codes, and how an error becomes a sentence and one of them."""

from __future__ import annotations

from collections.abc import Mapping

import click

from ..wire.errors import (
    AuthenticationRequired,
    ClusterNotFound,
    PermissionDenied,
    RequestInvalid,
    SluiceError,
)

FAILED, USAGE, NOT_FOUND, UNREACHABLE, REFUSED = 1, 2, 3, 4, 5

EXITS: Mapping[int, str] = {
    0: "done",
    FAILED: "it did not work; the last line says why",
    USAGE: "wrong usage, an option or a value that is not accepted, a wrong configuration file",
    NOT_FOUND: "no such cluster, or somebody else's",
    UNREACHABLE: "no server answers",
    REFUSED: "not logged in, or not allowed",
}


class Exit(click.ClickException):
    """Ends the command with a sentence on standard error and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click declares it for the class

    def show(self, file: object = None) -> None:
        click.echo(f"dask-sluice: {self.message}", err=True)


def message_of(error: Exception) -> tuple[str, int] | None:
    """The sentence and exit code for an error that we know; None for one that we do not."""
    from ..client.errors import ServerUnreachable

    codes: list[tuple[type[Exception], int]] = [
        (ServerUnreachable, UNREACHABLE),
        (AuthenticationRequired, REFUSED),
        (PermissionDenied, REFUSED),
        (ClusterNotFound, NOT_FOUND),
        (RequestInvalid, USAGE),
        (SluiceError, FAILED),
    ]
    for kind, code in codes:
        if isinstance(error, kind):
            return str(error), code
    return None
