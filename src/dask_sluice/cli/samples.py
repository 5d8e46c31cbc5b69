"""`check-config --user`: what a sample user's cluster would be, every profile in one line, or the pods."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from ..wire import plans as words
from ..wire.durations import span
from ..wire.errors import SluiceError
from . import output, plans
from .exits import FAILED, USAGE, Exit

if TYPE_CHECKING:
    from ..server.policy.sample import Outcome, Sample
    from ..server.settings import Settings


def show_sample(
    settings: Settings, file: Path, user: str, groups: tuple[str, ...], given: Mapping[str, Any], as_json: bool
) -> None:
    """Print it; ends with an error where the user's choice is refused."""
    from ..server.policy.sample import caller_of, sample
    from ..server.startup import CannotStart

    caller = caller_of(settings, user, groups)
    try:
        found = asyncio.run(sample(settings, caller, given))
    except CannotStart as error:
        raise Exit(str(error), FAILED) from error
    if as_json:
        output.as_json(found)
    else:
        _show(found)
    if found.outcome.refused:
        from ..server.settings import where

        place = f"{where(file, found.outcome.place)}: " if found.outcome.place else ""
        raise Exit(f"{place}{user} would be refused: {found.outcome.refused}", USAGE)


def show_pods(settings: Settings, user: str, groups: tuple[str, ...], given: Mapping[str, Any]) -> None:
    """Print the pods of their cluster as YAML, for `kubectl create --dry-run=server -f -`."""
    import yaml

    from ..server.backends.protocol import Refused
    from ..server.policy.sample import caller_of, sample_pods
    from ..server.startup import CannotStart

    if settings.backend.kind != "kubernetes":
        raise Exit(f"--pods is for the backend 'kubernetes'; this configuration has {settings.backend.kind!r}", USAGE)
    try:
        pods = asyncio.run(sample_pods(settings, caller_of(settings, user, groups), given))
    except CannotStart as error:
        raise Exit(str(error), FAILED) from error
    except (SluiceError, Refused) as error:
        raise Exit(f"{user} would be refused: {error}", USAGE) from error
    click.echo(yaml.safe_dump_all(pods, sort_keys=False, width=116), nl=False)


def _show(found: Sample) -> None:
    if found.outcome.plan is None:
        return
    groups = f"groups {', '.join(found.groups)}" if found.groups else "no groups"
    plans.show(found.outcome.plan, title=f"What {found.user} ({groups}) would get")
    for name, count in (found.outcome.fits or {}).items():
        click.echo(f"\n{count} such workers fit on one {name}")
    if found.profiles:
        click.echo()
        rows = [_row(name, outcome) for name, outcome in found.profiles.items()]
        width = 5 if any(row[4] for row in rows) else 4
        headings = ["PROFILE", "WORKER", "WORKERS", "IDLE", "FITS"]
        output.table(headings[:width], [row[:width] for row in rows])


def _row(name: str, outcome: Outcome) -> list[str | Text]:
    if outcome.plan is None:
        return [name, Text(outcome.refused, style="yellow"), "", "", ""]
    plan = outcome.plan
    fits = ", ".join(f"{count} on {node}" for node, count in (outcome.fits or {}).items())
    idle = span(plan.idle_s) if plan.idle_s else "never"
    return [name, words.size_in_words(plan.worker), f"at most {plan.max_workers}", idle, fits]
