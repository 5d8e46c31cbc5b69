"""What may be wrong at a server that is reached, and with the clusters that it is to start."""

from __future__ import annotations

import subprocess
import sys

from scripts.environments import EnvironmentFailed, environment

from ...conftest import not_here
from ...postgresql import BINARIES, PostgreSQL, address
from .catalogue import Catalogue
from .standins import COMMAND, Seen, Site, end_proxies, has_one, user

ENTRIES = Catalogue()


@ENTRIES.add(
    "the database is away",
    "health",
    "the server is not ready: the database cannot be written ({details, for administrators})",
    "An administrator looks at the database (database.url): it has ended, or the server cannot reach it.",
)
def database_away(site: Site) -> Seen:
    if not BINARIES:
        not_here("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    postgresql = PostgreSQL()
    try:
        server = site.server(database={"url": address(postgresql.new_database())})
        postgresql.kill()
        try:
            return site.doctor(server.url)
        finally:
            postgresql.start()
            server.stop()
            end_proxies(server.data_dir)
    finally:
        postgresql.close()


@ENTRIES.add(
    "the disk of the data directory is nearly full",
    "health",
    "the server is not ready: only {room} are free on the disk of the data directory ({details, for administrators})",
    "An administrator makes room on that disk; health.disk_free_bytes is the least that is to be free.",
)
def disk_full(site: Site) -> Seen:
    return site.doctor(site.server(health={"disk_free_bytes": 10**18}).url)


@ENTRIES.add(
    "a wrong token",
    "login",
    "this token is not accepted",
    "The address that `dask-sluice serve` prints holds the token.",
)
def wrong_token(site: Site) -> Seen:
    return site.doctor(site.live.address + "/?token=of-yesterday")


@ENTRIES.add(
    "no token at all",
    "login",
    "no token came along",
    "The address that `dask-sluice serve` prints holds the token.",
)
def no_token(site: Site) -> Seen:
    return site.doctor(site.live.address)


@ENTRIES.add(
    "a wrong password",
    "login",
    "this password of {user} is not accepted",
    "Check the name and the password.",
)
def wrong_password(site: Site) -> Seen:
    return site.doctor(site.shared.url, **{**user("ada"), "DASK_SLUICE__AUTH__KWARGS__PASSWORD": "of-yesterday"})


@ENTRIES.add(
    "the hub that knows the users is away",
    "login",
    "JupyterHub, which knows the users, does not answer as it should (request {id})",
    "Nothing is wrong with your token. Try again in a minute; clusters go on meanwhile.",
)
def hub_away(site: Site) -> Seen:
    hub = {"api_url": f"http://{site.closed_port()}/hub/api"}
    server = site.server(authenticator={"kind": "jupyterhub", "jupyterhub": hub})
    return site.doctor(server.url, "--step-timeout", "2", JUPYTERHUB_API_TOKEN="of-a-notebook")


@ENTRIES.add(
    "an option that there is not",
    "options",
    "Unknown fields ['worker_memry']. Did you mean 'worker_memory'? Known: {options}.",
    "`dask-sluice options` lists what can be chosen; -o and cluster.options of Dask's configuration choose.",
)
def unknown_option(site: Site) -> Seen:
    return site.doctor(site.live.url, "-o", "worker_memry=1")


@ENTRIES.add(
    "a value out of range",
    "options",
    "worker_memory must be <= {most} GiB, got 100000",
    "`dask-sluice options` lists what can be chosen; -o and cluster.options of Dask's configuration choose.",
)
def out_of_range(site: Site) -> Seen:
    return site.doctor(site.live.url, "-o", "worker_memory=100000")


@ENTRIES.add(
    "an environment that is not there",
    "options",
    "there is no environment at {path}",
    "Environments are paths on the server's machine, where clusters run; yours may be another one.",
)
def no_environment(site: Site) -> Seen:
    return site.doctor(site.live.url, "-o", "environment=/envs/nowhere")


@ENTRIES.add(
    "an environment without dask",
    "options",
    "the environment {path} lacks the package distributed",
    "Install it there, in the version that your client has: python -m pip install distributed",
)
def environment_without_dask(site: Site) -> Seen:
    bare = site.environment("bare", packages=False)
    return site.doctor(site.live.url, "-o", f"environment={bare}")


@ENTRIES.add(
    "an environment in which distributed cannot be imported",
    "options",
    "the environment {path} cannot run a cluster: ImportError: {what Python said}",
    "On the server's machine, let its python import distributed: that shows all of the error.",
)
def broken_environment(site: Site) -> Seen:
    broken = site.environment("broken", msgpack="raise ImportError('libmsgpack.so.2: cannot open shared object file')")
    return site.doctor(site.live.url, "-o", f"environment={broken}")


@ENTRIES.add(
    "a limit of no clusters",
    "options",
    "{user} may have no clusters here (limits.{key}.clusters is 0)",
    "Ask the administrator who sets the limit.",
)
def no_clusters(site: Site) -> Seen:
    return site.doctor(site.shared.url, **user("nobody"))


@ENTRIES.add(
    "as many clusters as a user may have",
    "scheduler",
    "{user} has {n} clusters, and the limit is {n} clusters (limits.{key}.clusters); it counts those that are "
    "starting or stopping",
    "Stop one that you no longer need (gateway.list_clusters() shows them), or connect to it.",
)
def limit_reached(site: Site) -> Seen:
    has_one(site)
    return site.doctor(site.shared.url, **user("one"))


@ENTRIES.add(
    "no room left for one more cluster",
    "scheduler",
    "not done after {n} s: waits for room: {n} of {n} clusters (limits.site.clusters) are in use by all users "
    "together; number {n} in the queue",
    "It starts by itself when others end. Whoever has used least is served first.",
)
def no_room(site: Site) -> Seen:
    has_one(site)
    return site.doctor(site.shared.url, "--step-timeout", "3", **user("ada"))


@ENTRIES.add(
    "a drained server",
    "scheduler",
    "the server is being drained: it takes no new clusters, and those that it has run on (request {id})",
    "Try again later, or use another server. An administrator ends it: `dask-sluice drain --off`.",
)
def drained(site: Site) -> Seen:
    return site.doctor(site.server(drain=True).url)


@ENTRIES.add(
    "a budget that is spent",
    "scheduler",
    "the budget of user {user} is spent: {spent} of {amount} core-hours for the month that ends on {date}",
    "An administrator sets it (usage.budgets.{who}) and can raise it; `dask-sluice usage` shows what it went on.",
)
def budget_spent(site: Site) -> Seen:
    return site.doctor(site.shared.url, **user("spender"))


@ENTRIES.add(
    "schedulers are told a wrong address of the server",
    "scheduler",
    "cluster {name} failed to start: the scheduler was not ready {time} after it was submitted (phase: connecting) "
    "{lines of its log} the server cannot be reached at {address}: {why}",
    "The last lines of its log say what it was at. Where it cannot reach the server, an administrator corrects "
    "listen.agent_url; else the machine has too much to do, or timeouts.scheduler_start_s is too short.",
)
def wrong_agent_url(site: Site) -> Seen:
    server = site.server(
        backend="local",
        listen={"agent_url": f"http://{site.closed_port()}"},
        timeouts={"scheduler_start_s": 2},
    )
    # The step before warms this environment, so that all of the time is for calling home.
    return site.doctor(server.url, "-o", f"environment={sys.prefix}")


@ENTRIES.add(
    "the data directory cannot be written any more",
    "scheduler",
    "not done after {n} s: the local backend does not answer: {what the system said}: {path}",
    "The server tries again by itself. Where it stays so, an administrator mends what the sentence names.",
)
def read_only(site: Site) -> Seen:
    server = site.server(backend="local")
    clusters = server.data_dir / "clusters"
    if clusters.exists():
        clusters.rmdir()
    clusters.write_text("in the way")
    return site.doctor(server.url, "--step-timeout", "1.5")


@ENTRIES.add(
    "the server ends while a cluster starts",
    "scheduler",
    "The dask-sluice server does not answer just now; clusters that are running go on computing. (request {id})",
    "Try again in a few seconds. If it stays away, whoever runs it has to start it; its log says why it ended.",
)
def killed_meanwhile(site: Site) -> Seen:
    server = site.server(
        backend="local", listen={"agent_url": f"http://{site.closed_port()}"}, timeouts={"scheduler_start_s": 60}
    )
    command = [*COMMAND, "doctor", "--address", server.url, "--step-timeout", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        while not running.stdout.readline().startswith("options"):
            assert running.poll() is None
        server.kill()
        try:
            _, printed = running.communicate(timeout=60)
        finally:
            server.start()  # and so what it left behind is ended
    told, _, hint = printed.strip().removeprefix("dask-sluice: ").rpartition("\n")
    step, _, sentence = told.partition(" is broken: ")
    return Seen(step, "", sentence, hint, printed)


@ENTRIES.add(
    "a proxy on the way lets only HTTP pass, and no WebSocket",
    "proxy",
    "neither directly: {host and port} {what happens there}; nor in a WebSocket: the tunnel {address} was not "
    "opened: {why}",
    "The API is reached and Dask's traffic is not. Whatever stands in between has to let WebSockets pass at "
    "/tunnel/; or listen.dask_address names a way for TCP.",
)
def only_http(site: Site) -> Seen:
    return site.doctor(site.http_only(site.live.address) + f"/?token={site.live.token}")


@ENTRIES.add(
    "workers whose program ends at the start",
    "worker",
    "worker-1 ended before it connected: {what Python said}",
    "The last lines of its log say what it tripped over.",
)
def worker_crashes(site: Site) -> Seen:
    return site.doctor(site.live.url, "-o", "dask_config={distributed.worker.preload: [lab_setup]}")


@ENTRIES.add(
    "an environment whose versions do not fit those of the client",
    "compute",
    "the cluster does not compute, and its versions are others: distributed {version} on Python {version} in the "
    "cluster, distributed {version} on Python {version} here; {why}",
    "Choose an environment for the cluster that has your versions, or install its versions here.",
)
def other_versions(site: Site) -> Seen:
    try:
        python = environment("distributed-2024.12")
    except EnvironmentFailed as error:
        not_here(str(error))
    return site.doctor(site.live.url, "-o", f"environment={python.parents[1]}")


@ENTRIES.add(
    "an environment without bokeh",
    "dashboard",
    "the scheduler shows no dashboard: its environment lacks bokeh",
    "Install it there: python -m pip install bokeh. Clusters compute without it.",
)
def no_bokeh(site: Site) -> Seen:
    without = site.environment("without-bokeh", bokeh="raise ImportError(\"No module named 'bokeh'\")")
    return site.doctor(site.live.url, "-o", f"environment={without}")


@ENTRIES.add(
    "a wrong listen.public_url",
    "public_url",
    "links to dashboards begin with {public_url}, where this server is not: {why}",
    "An administrator sets listen.public_url. Where only browsers can reach it, all is well.",
)
def wrong_public_url(site: Site) -> Seen:
    server = site.server(backend="local", listen={"public_url": site.answers(200, "<title>Our wiki</title>")})
    return site.doctor("", "--data-dir", str(server.data_dir))
