"""Commands about clusters: list, show, new, scale, adapt, keep, stop, logs, options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.text import Text

from ..wire.api import ClusterView, EventView, LeaseChange, WorkerView
from ..wire.options import Option
from . import output, plans
from .exits import USAGE, Exit
from .finding import server_options, with_gateway

if TYPE_CHECKING:
    from ..client.async_gateway import AsyncGateway

EVENTS_SHOWN = 30
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("list")
@click.option("--all", "ended", is_flag=True, help="Those that have ended, too.")
@click.option("--everyone", is_flag=True, help="Everybody's; for administrators.")
@as_json
@server_options
def list_command(ended: bool, everyone: bool, as_json: bool, **server: Any) -> None:
    """List my clusters, newest first."""
    states = "pending,starting,running,stopping,stopped,failed" if ended else None
    views = with_gateway(lambda gateway: gateway.views(states, everyone=everyone))
    if as_json:
        output.as_json(views)
    elif not views:
        click.echo("no clusters; start one: dask-sluice new --workers 2", err=True)
    else:
        _table_of_clusters(views, owner=everyone)


def _table_of_clusters(views: Sequence[ClusterView], *, owner: bool = False) -> None:
    headings = ["NAME", *(["OWNER"] if owner else []), "STATE", "WORKERS", "AGE", "WHY"]
    rows: list[list[str | Text]] = [
        [
            view.name,
            *([view.owner] if owner else []),
            output.state(view.state.value),
            _workers(view),
            output.age(view.created_at, view.ended_at),
            view.reason.sentence.partition("\n")[0],
        ]
        for view in views
    ]
    output.table(headings, rows)


def _workers(view: ClusterView) -> str:
    running, wanted = view.workers.running, view.workers.wanted
    number = str(running) if running == wanted else f"{running} of {wanted}"
    if view.adaptive is None:
        return number
    return f"{number} (adapt {view.adaptive.minimum} to {view.adaptive.maximum})"


def _what_it_runs(view: ClusterView) -> str:
    """Its versions, and where they come from."""
    found = ", ".join(f"{name} {version}" for name, version in view.versions.items())
    source = view.image or view.environment
    return f"{found} ({source})" if source else found


@click.command("show")
@click.argument("name")
@as_json
@server_options
def show_command(name: str, as_json: bool, **server: Any) -> None:
    """Show one cluster: state and reason, options, workers, events."""

    async def look(gateway: AsyncGateway) -> tuple[ClusterView, list[WorkerView], list[EventView], str]:
        view = await gateway.view(name)
        return view, await gateway.workers(name), await gateway.events(name), await gateway.public_url()

    view, workers, events, base = with_gateway(look)
    if as_json:
        output.as_json({"cluster": view, "workers": workers, "events": events})
        return
    click.echo(f"{view.name}: {view.state.value}, {view.reason.sentence}")
    if view.reason.hint:
        click.echo(view.reason.hint)
    if view.budget:
        click.echo(f"{view.budget.sentence}\n{view.budget.hint}")
    click.echo(f"owner {view.owner}, age {output.age(view.created_at, view.ended_at)}, workers {_workers(view)}")
    click.echo(", ".join(f"{key}={value}" for key, value in view.options.items()))
    if view.versions:
        click.echo(_what_it_runs(view))
    if view.dashboard_path:
        click.echo(f"dashboard {base}{view.dashboard_path}")
    if workers:
        click.echo()
        output.table(
            ["WORKER", "STATE", "HOST", "AGE", "WHY"],
            [
                [each.name, output.state(each.state.value), each.host, output.age(each.created_at, each.ended_at),
                 each.reason.sentence]
                for each in workers
            ],
        )  # fmt: skip
    click.echo()
    if len(events) > EVENTS_SHOWN:
        click.echo(f"the last {EVENTS_SHOWN} of {len(events)} events; --json has them all")
    rows = [[output.clock(event.time), event.subject, event.sentence] for event in events[-EVENTS_SHOWN:]]
    output.table(["TIME", "SUBJECT", "WHAT HAPPENED"], rows)


@click.command("new")
@click.option("-o", "--option", "given", multiple=True, metavar="NAME=VALUE", help="A cluster option; may be repeated.")
@click.option("-w", "--workers", type=click.IntRange(0), default=0, help="Workers to start with.")
@click.option("--timeout", type=float, help="Seconds to wait for it; then it is stopped again.")
@click.option("--no-wait", is_flag=True, help="Print the name and return at once.")
@click.option("--dry-run", is_flag=True, help="Start nothing; print what the cluster would get, and why.")
@as_json
@server_options
def new_command(
    given: Sequence[str],
    workers: int,
    timeout: float | None,
    no_wait: bool,
    dry_run: bool,
    as_json: bool,
    **server: Any,
) -> None:
    """Start a cluster. It runs until it is stopped."""
    if dry_run:
        plan = with_gateway(lambda gateway: gateway.plan(None, **options_of(given)))
        output.as_json(plan) if as_json else plans.show(plan)
        return
    from ..client.progress import Progress

    async def start(gateway: AsyncGateway) -> ClusterView:
        async with Progress() as progress:
            view = await gateway.create(await gateway.checked(None, options_of(given)))
            if workers:
                await gateway.scale_cluster(view.name, workers)
            if no_wait:
                return view
            try:
                return await gateway.wait_until_running(view, timeout=timeout, progress=progress)
            except BaseException:
                await gateway.stop_cluster(view.name)
                raise

    view = with_gateway(start)
    output.as_json(view) if as_json else click.echo(view.name)


def options_of(given: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` pairs; a value is read as YAML, so that 2 is a number and [1] a list."""
    pairs = [each.partition("=") for each in given]
    for name, equals, _ in pairs:
        if not equals:
            raise Exit(f"--option must look like NAME=VALUE, got {name!r}", USAGE)
    try:
        return {name: yaml.safe_load(value) if value else "" for name, _, value in pairs}
    except yaml.YAMLError as error:
        raise Exit(f"--option: {error}", USAGE) from error


@click.command("scale")
@click.argument("name")
@click.argument("workers", type=click.IntRange(0))
@server_options
def scale_command(name: str, workers: int, **server: Any) -> None:
    """Set how many workers a cluster has; adaptive scaling ends."""
    _with_warnings(lambda gateway: gateway.scale_cluster(name, workers))


@click.command("adapt")
@click.argument("name")
@click.option("--minimum", type=click.IntRange(0), default=0, show_default=True)
@click.option("--maximum", type=click.IntRange(0), help="[default: the cluster's limit]")
@click.option("--off", is_flag=True, help="Stop adapting; the present number stays wanted.")
@server_options
def adapt_command(name: str, minimum: int, maximum: int | None, off: bool, **server: Any) -> None:
    """Let the number of workers follow the work."""
    _with_warnings(lambda gateway: gateway.adapt_cluster(name, minimum, maximum, active=not off))


def _with_warnings(work: Any) -> None:
    """Run it, and print a limit's warning as a line of its own."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with_gateway(work)
    for warning in caught:
        click.echo(f"dask-sluice: {warning.message}", err=True)


@click.command("keep")
@click.argument("name")
@click.argument("duration", metavar="DURATION")
@click.option("--extend", is_flag=True, help="Put off the end of its longest life instead.")
@server_options
def keep_command(name: str, duration: str, extend: bool, **server: Any) -> None:
    """Do not stop a cluster for being idle or alone for so long from now: 90min, 2h."""
    from ..client.durations import seconds

    try:
        length_s = seconds(duration)
    except ValueError as error:
        raise Exit(str(error), USAGE) from error
    change = LeaseChange(extend_s=length_s) if extend else LeaseChange(keep_alive_s=length_s)
    view = with_gateway(lambda gateway: gateway.change_lease(name, change))
    until = view.lease.ends_at if extend else view.lease.kept_until
    click.echo(f"{name} is kept until {output.clock(until)}" if until else f"{name} has no end in sight", err=True)


@click.command("stop")
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of mine.")
@server_options
def stop_command(names: Sequence[str], everything: bool, **server: Any) -> None:
    """Stop clusters, by name or all of mine."""
    if bool(names) == everything:
        raise click.UsageError("name the clusters to stop, or say --all")

    async def stop(gateway: AsyncGateway) -> list[str]:
        chosen = [view.name for view in await gateway.views()] if everything else list(names)
        for name in chosen:
            await gateway.stop_cluster(name)
        return chosen

    stopped = with_gateway(stop)
    click.echo(f"stopping {', '.join(stopped)}" if stopped else "there was nothing to stop", err=True)


@click.command("logs")
@click.argument("name")
@click.option("--worker", help="Name of a worker, as `show` lists it.  [default: the scheduler]")
@click.option("-f", "--follow", is_flag=True, help="Go on until it has ended, or until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(0), help="Only so many, the last ones.")
@server_options
def logs_command(name: str, worker: str | None, follow: bool, lines: int | None, **server: Any) -> None:
    """Print what the scheduler wrote, or a worker; also after it ended."""

    async def show(gateway: AsyncGateway) -> None:
        if not follow:
            click.echo(await gateway.logs(name, worker, lines=lines), nl=False)
            return
        async for text in gateway.follow_logs(name, worker, lines=lines):
            click.echo(text, nl=False)

    with_gateway(show)


@click.command("options")
@as_json
@server_options
def options_command(as_json: bool, **server: Any) -> None:
    """List what can be chosen for a cluster."""
    options = with_gateway(lambda gateway: gateway.options())
    if as_json:
        output.as_json(options)
    else:
        rows = [
            [each.name, _accepts(each), str(each.default), each.help or each.label]
            for each in options
            if not each.hidden
        ]
        output.table(["OPTION", "ACCEPTS", "DEFAULT", "WHAT IT IS"], rows)


def _accepts(option: Option) -> str:
    if option.choices:
        return ", ".join(option.choices)
    bounds = ""
    if option.minimum is not None and option.maximum is not None:
        bounds = f" {option.minimum:g} to {option.maximum:g}"
    elif option.minimum is not None:
        bounds = f" from {option.minimum:g}"
    elif option.maximum is not None:
        bounds = f" up to {option.maximum:g}"
    return f"{option.type}{bounds} {option.unit}".strip()
