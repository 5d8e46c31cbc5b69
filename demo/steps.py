"""The seed notebook's steps, for either client: `python steps.py dask_sluice|dask_gateway URL [ENVIRONMENT]`.

Everything below the import is the same for both. Runs unmodified against dask-gateway's published client, in an
environment of its own, so it uses only what both have. In a notebook of a hub `main("dask_gateway")` is enough: address
and login are in its environment.
"""

import base64
import importlib
import os
import sys
import time
import urllib.request
from urllib.parse import parse_qs, urljoin, urlsplit

COLUMN = 36


class Steps:
    """One line per step, with its time."""

    def __init__(self):
        self.began = time.perf_counter()

    def done(self, what, result=""):
        now = time.perf_counter()
        print(f"  {what:<{COLUMN}} {now - self.began:7.3f} s   {result}", flush=True)
        self.began = time.perf_counter()


def connect(module, url, token):
    """A gateway: ours takes the URL as it was printed, dask-gateway's client the token as a password."""
    client = importlib.import_module(module)
    if not url:
        return client.Gateway()
    if module == "dask_sluice":
        return client.Gateway(url)
    return client.Gateway(url.partition("/?")[0], auth=client.BasicAuth(password=token))


def status_of(link, token):
    """The status with which the dashboard answers its owner."""
    login = base64.b64encode(f"me:{token}".encode()).decode()
    request = urllib.request.Request(link, headers={"Authorization": f"Basic {login}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status


def main(module, url="", environment=""):
    """The seed notebook's steps, with this client's module; gives where Dask's traffic went."""
    steps = Steps()
    token = parse_qs(urlsplit(url).query)["token"][0] if url else os.environ["JUPYTERHUB_API_TOKEN"]
    gateway = connect(module, url, token)
    steps.done("import the client, Gateway(address)", repr(gateway))

    options = gateway.cluster_options()
    options.worker_memory = 1
    if environment:
        options.environment = environment
    steps.done("cluster_options(), less memory", ", ".join(f"{key}={value}" for key, value in options.items() if value))

    cluster = gateway.new_cluster(options)
    steps.done("new_cluster(options)", cluster.name)

    client = cluster.get_client()
    steps.done("get_client()", type(client).__name__)

    cluster.scale(2)
    client.wait_for_workers(2)
    steps.done("scale(2), both connected", f"{len(client.scheduler_info()['workers'])} workers")

    import dask.array as da

    mean = da.random.random((4000, 4000), chunks=(1000, 1000)).mean().compute()
    steps.done("dask.array mean of 16 million", f"{mean:.4f}")

    link = urljoin(f"{gateway.address}/", cluster.dashboard_link)  # of a hub's notebook: a path with the hub
    steps.done("the dashboard answers", f"{status_of(link, token)} {link}")

    cluster.adapt(minimum=1, maximum=3)
    total = client.submit(sum, range(1000)).result()
    steps.done("adapt(1, 3), a sum", total)

    way = client.scheduler.address
    client.close()
    cluster.close()
    steps.done("close()")
    return way


if __name__ == "__main__":
    main(*sys.argv[1:])
